"""``optimum-cli export lighttoken``: our export in the command line of Hugging Face's optimum.

Everything behind these two words is what ``lighttoken export`` takes. optimum's own exports name
the model by ``--model``, so that is taken for SOURCE too. Loaded at every start of ``optimum-cli``,
so the command itself is imported when it runs.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo
from optimum.commands.export.base import ExportCommand

NAME = "optimum-cli export lighttoken"
_MODEL = "--model"
_SHORT = "-m"


class LightTokenExportCommand(BaseOptimumCLICommand):  # type: ignore[misc]
    """A bundle whose token-embedding table stays packed on disk and in memory."""

    COMMAND = CommandInfo(
        name="lighttoken", help="Export to ONNX with the token-embedding table packed."
    )

    @staticmethod
    def parse_args(parser: ArgumentParser) -> None:
        """Leave every word to our own command, ``--help`` too: its options are known there."""

        def take_all(
            words: Sequence[str] | None = None, namespace: Namespace | None = None
        ) -> tuple[Namespace, list[str]]:
            found = namespace or Namespace()
            found.func = parser.get_default("func")
            found.words = list(words or ())
            return found, []

        parser.parse_known_args = take_all  # type: ignore[assignment,method-assign]

    def run(self) -> None:
        """Export, and end with the exit code of ``lighttoken export``."""
        from toolkit.cli.app import main
        from toolkit.cli.export import command

        main(with_source_first(self.args.words), command, NAME)


def with_source_first(words: Sequence[str]) -> list[str]:
    """``words`` as ``lighttoken export`` has them: what ``--model`` names is SOURCE."""
    kept, models = list[str](), list[str]()
    rest = iter(words)
    for word in rest:
        option, given, value = word.partition("=")
        if word in (_MODEL, _SHORT):
            models += [model for model in [next(rest, None)] if model is not None]
        elif given and option == _MODEL:
            models.append(value)
        else:
            kept.append(word)
    return [*models, *kept]


REGISTER_COMMANDS = [(LightTokenExportCommand, ExportCommand)]
