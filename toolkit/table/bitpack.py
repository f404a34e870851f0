"""Bits to bytes and back, least significant bit first.

Column ``j`` of a row lives in byte ``j // 8`` at bit ``j % 8``. Least significant first makes
``(byte >> j) & 1`` the unpacking rule, which is what a decoder reads out of a 256-row table.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

UInt8 = NDArray[np.uint8]


def bytes_per_row(bits: int) -> int:
    """Bytes that ``bits`` packed bits occupy: whole bytes, the rest of the last one zero."""
    return (bits + 7) // 8


def pack(bits: NDArray[np.bool_]) -> UInt8:
    """Pack ``bits`` bool [n, m] into uint8 [n, ceil(m / 8)]."""
    if bits.ndim != 2:
        raise InputError(f"bits must be a matrix [rows, bits], got {bits.ndim} dimensions")
    return np.packbits(bits.astype(bool, copy=False), axis=1, bitorder="little")


def unpack(codes: UInt8, bits: int) -> NDArray[np.bool_]:
    """Unpack uint8 [..., ceil(bits / 8)] into bool [..., bits]; the inverse of :func:`pack`."""
    if codes.shape[-1] != bytes_per_row(bits):
        raise InputError(
            f"{bits} bits take {bytes_per_row(bits)} bytes a row, got {codes.shape[-1]}"
        )
    return np.unpackbits(codes, axis=-1, count=bits, bitorder="little").astype(bool)


@cache
def signs() -> NDArray[np.int8]:
    """What a byte of bits stands for, int8 [256, 8] of -1 and +1."""
    return (sign_table().astype(np.int16) - 1).astype(np.int8)


def sign_table() -> UInt8:
    """The decoder's lookup table, uint8 [256, 8]: 2 for a set bit, 0 for a clear one.

    Read with a zero point of 1 this is exactly +1 and -1, so an integer matrix product needs no
    correction term; and the value 1 (absent from the table) means «no contribution».
    """
    every_byte = np.arange(256, dtype=np.uint8)[:, None]
    return (unpack(every_byte, 8) * np.uint8(2)).astype(np.uint8)
