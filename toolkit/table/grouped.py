"""A table of integers of few bits with scales, as stock operators read it.

onnxruntime's ``GatherBlockQuantized`` looks rows up in it, and its ``MatMulNBits`` multiplies by it
as an output head:

    x^[i, j] = (code[i, j] - 2^(bits - 1)) * scale[i, j // group_size]

There is no zero point: scales may be negative, so that a group reaches one step further on the side
where its largest number is. At equal bytes smaller groups are worth more than zero points are.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..rounding import GroupedWeight
from .components import Float32
from .matrix import row_blocks

BITS = (2, 4, 8)
GROUP_SIZES = (16, 32, 64, 128, 256)
# Behind the name of a table, as a head's copy of 4 bits has names of its own.
PACKED, SCALES = "stock.packed", "stock.scales"
_BYTE = 8
_SCALE_BYTES = 2  # where half precision holds the scales, as it nearly always does


@dataclass(frozen=True)
class GroupedCode:
    """How a table is held: ``bits`` a number, and ``group_size`` numbers of a row to a scale."""

    bits: int = 4
    group_size: int = 32

    def __str__(self) -> str:
        """For people."""
        return f"int{self.bits}, {self.group_size} numbers to a scale"

    def nbytes(self, rows: int, width: int, *, blocks: bool = False) -> int:
        """Bytes of a table; of ``blocks``, which output heads read, the last one is filled up."""
        groups = -(-width // self.group_size)
        numbers = groups * self.group_size if blocks else width
        return rows * (numbers * self.bits // _BYTE + _SCALE_BYTES * groups)


@dataclass(frozen=True, eq=False)
class GroupedTable:
    """A token-embedding table of integers.

    Attributes:
        codes: uint8 [V, d], below 2^bits.
        scales: float16 or float32 [V, ceil(d / group_size)].
        code: bits and group size.
        int4: 4 bits have the type of that name where nothing but look-ups reads them; .ort files
            have no such type.
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.floating]
    code: GroupedCode
    int4: bool = True

    @property
    def rows(self) -> int:
        """V."""
        return len(self.codes)

    @property
    def width(self) -> int:
        """d."""
        return self.codes.shape[1]

    @property
    def dense_nbytes(self) -> int:
        """Bytes of the same table in float32."""
        return self.rows * self.width * 4

    def lookup(self, ids: ArrayLike) -> Float32:
        """Decode rows: integers [...] -> float32 [..., d]; negative ids count from the end.

        Raises:
            InputError: an id outside the table.
        """
        wanted = np.asarray(ids)
        if wanted.size and not (-self.rows <= wanted.min() and wanted.max() < self.rows):
            raise InputError(
                f"ids lie outside {-self.rows} .. {self.rows - 1}; check the tokenizer"
            )
        flat = wanted.reshape(-1)
        some = GroupedWeight(
            self.codes[flat],
            self.scales[flat].astype(np.float32),
            self.code.bits,
            self.code.group_size,
        )
        return some.dense().reshape(*wanted.shape, self.width)

    def logits(self, hidden: ArrayLike) -> Float32:
        """An output head of this table: ``hidden`` [..., d] -> float32 [..., V]."""
        states = np.asarray(hidden, np.float32)
        parts = [states @ self.lookup(_ids(rows)).T for rows in row_blocks(self.rows)]
        return np.concatenate(parts, axis=-1)

    def dense(self) -> Float32:
        """The whole table decoded, float32 [V, d]."""
        return np.concatenate([self.lookup(_ids(rows)) for rows in row_blocks(self.rows)])

    def in_blocks(self, *, heads: bool) -> bool:
        """Whether the bytes stand as [V, groups, bytes]: for an output head, and where a row would
        end within a byte."""
        return heads or bool(self.width * self.code.bits % _BYTE and not self._typed)

    @property
    def _typed(self) -> bool:
        return self.int4 and self.code.bits == 4

    def tensors(self, *, heads: bool) -> dict[str, NDArray[np.generic]]:
        """What the graph holds, by the names behind the table's: integers and scales.

        Where nothing but look-ups reads it, the integers are int4 [V, d], or of other bits uint8
        [V, d * bits / 8], the first number in the lowest bits. For ``heads`` it is uint8
        [V, groups, group_size * bits / 8], as MatMulNBits wants it.
        """
        packed: NDArray[np.generic]
        if self.in_blocks(heads=heads):
            packed = self._weight(self.code.group_size).packed()
        elif self._typed:
            packed = (self.codes.astype(np.int8) - 8).astype(ml_dtypes.int4)
        else:
            packed = self._weight(self.width).packed()[:, 0]
        return {PACKED: packed, SCALES: self.scales}

    def _weight(self, group_size: int) -> GroupedWeight:
        """For its packing; ``group_size`` numbers go into a row of bytes."""
        groups = -(-self.width // group_size)
        none = np.empty((self.rows, groups), np.float32)
        return GroupedWeight(self.codes, none, self.code.bits, group_size)


def _ids(rows: slice) -> NDArray[np.int64]:
    return np.arange(rows.start, rows.stop)
