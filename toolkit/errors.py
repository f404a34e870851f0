"""The errors a user can cause; each message is one line: what was wrong, seen where, what to do."""


class LightTokenError(Exception):
    """Base of every error that the caller can act on; the CLI prints it without a traceback."""


class InputError(LightTokenError, ValueError):
    """An argument, a matrix or a model that cannot be used as given."""


class BudgetError(LightTokenError, ValueError):
    """A byte budget that no allocation meets; the message names the nearest that can be met.

    Attributes:
        nearest: its bytes, where they are known.
    """

    def __init__(self, message: str, nearest: int | None = None) -> None:
        super().__init__(message)
        self.nearest = nearest


class FormatError(LightTokenError, ValueError):
    """A stored file that is damaged, foreign, or of a newer format than this version reads."""


class MissingDependencyError(LightTokenError, ImportError):
    """A package or file that is not here; the message says how to get it."""
