"""How large a table may be."""

import math
from dataclasses import dataclass

from ..errors import InputError

DEFAULT_RATIO = 25.0
"""Of an encoder's table, which keeps what its vectors are good for."""
DECODER_RATIO = 12.0
"""Of a decoder's, whose every row is read at every step: docs/decoders.md has the figures."""


@dataclass(frozen=True)
class Budget:
    """How large the result may be: give exactly one.

    Attributes:
        ratio: float32 bytes over stored bytes, at least.
        max_bytes: stored bytes, at most.
        min_cosine: mean cosine between a row and its decoded form, at least, each row counting by
            its importance; the smallest table that has it.
    """

    ratio: float | None = None
    max_bytes: int | None = None
    min_cosine: float | None = None

    def __post_init__(self) -> None:
        if [self.ratio, self.max_bytes, self.min_cosine].count(None) != 2:
            raise InputError(
                f"give ratio, max_bytes or min_cosine, one of them; got ratio={self.ratio}, "
                f"max_bytes={self.max_bytes}, min_cosine={self.min_cosine}"
            )
        if self.min_cosine is not None and not 0 < self.min_cosine < 1:
            raise InputError(f"min_cosine must lie between 0 and 1, got {self.min_cosine}")
        if self.ratio is not None and not (math.isfinite(self.ratio) and self.ratio >= 1):
            raise InputError(f"ratio must be a number from 1 up, got {self.ratio}")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise InputError(f"max_bytes must be positive, got {self.max_bytes}")

    def bytes_for(self, rows: int, width: int) -> int:
        """The most bytes that a ``rows`` x ``width`` table may take."""
        if self.max_bytes is not None:
            return self.max_bytes
        if self.ratio is None:
            raise InputError("a budget of min_cosine alone has no bytes until a table is fitted")
        return int(rows * width * 4 / self.ratio)
