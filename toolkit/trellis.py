"""Weight matrices in 2 to 4 bits by trellis-coded quantization.

Two, three or four numbers share a byte. What a number stands for is the sum of two table entries:
one for the bits of its byte up to its own, one for the byte before. So the codes of neighbours
choose among up to 4096 values, and the best path through these is found by the Viterbi algorithm
(Marcellin and Fischer, IEEE Transactions on Communications 38(1), 1990; windows of a stream of
bits as states: QTIP, Tseng et al., NeurIPS 2024, section 3). Sums of entries of whole bytes are
ours: any runtime decodes them in two look-ups of bytes. For Gaussian numbers that leaves a squared
error of 0.0055, 0.032 and 0.081 at 4, 2.67 and 2 bits; even steps leave 0.0115 and 0.119 at 4 and
2, and no code leaves less than 4^-bits.

Three things make numbers Gaussian and errors harmless:

- inputs are rotated by Hadamard matrices, so that no single weight stands out (QuIP#, Tseng et
  al., ICML 2024, section 3);
- each output has a scale;
- the errors of some inputs are made up for by the inputs to come (GPTQ, as in
  :mod:`toolkit.rounding`).

Decoding undoes the rotation and rounds to int8. All of it is exact: every machine gets the same
integers. The native kernel (``runtime/custom_op/trellis.h``) rotates what is multiplied in place
of the matrix, and needs no int8.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .rounding import Float32, Float64, damped_factor

LARGEST_BLOCK = 128  # inputs that are rotated together
UNIT = 32  # steps of the tables to a standard deviation
_STATE_BITS = 12  # that a value depends on, at most
_AT_ONCE = 16  # inputs whose errors are carried on together
_PEAK = 127


@dataclass(frozen=True, eq=False)
class Trellis:
    """How many bits each number of a byte has, and what they stand for.

    Attributes:
        steps: bits of each number of a byte; they sum up to 8.
        current: int8 [256, numbers], entries for the byte that a number is in.
        previous: int8 [256, numbers], entries for the byte before.
    """

    steps: tuple[int, ...]
    current: NDArray[np.int8]
    previous: NDArray[np.int8]

    @property
    def per_byte(self) -> int:
        """Numbers in a byte."""
        return len(self.steps)

    def windows(self) -> list[tuple[int, int]]:
        """For each number the bits of its byte, and those of the byte before, that its value
        depends on."""
        bits = np.cumsum(self.steps)
        return [(int(own), min(8, _STATE_BITS - int(own))) for own in bits]

    def levels(self, number: int) -> Float32:
        """What each state of a byte's ``number`` stands for, of standard deviation 1.

        A state has the bits of the byte before above those of the byte.
        """
        own, before = self.windows()[number]
        ours = self.current[np.arange(2**own) << (8 - own), number].astype(np.float32)
        theirs = self.previous[: 2**before, number].astype(np.float32)
        return (theirs[:, None] + ours).reshape(-1) / np.float32(UNIT)

    def values(self, codes: NDArray[np.uint8]) -> NDArray[np.int8]:
        """What bytes [.., t] stand for, int8 [.., t * per_byte]."""
        before = np.zeros_like(codes)
        before[..., 1:] = codes[..., :-1]
        values = self.current[codes] + self.previous[before]
        return values.reshape(*codes.shape[:-1], -1)


MIXED = "trellis"  # a form for each matrix: any trellis, or int8
TRELLISES = {"trellis4": (4, 4), "trellis3": (3, 3, 2), "trellis2": (2, 2, 2, 2)}
CODED = (*TRELLISES, MIXED)
"""Forms of the weights in which any may have codes of a trellis."""


@cache
def trellis(form: str) -> Trellis:
    """The trellis called ``form``, one of ``TRELLISES``; ``benchmarks/trellis_tables.py`` made its
    tables."""
    with np.load(Path(__file__).with_name("trellis_tables.npz"), allow_pickle=False) as tables:
        return Trellis(TRELLISES[form], tables[f"{form}.current"], tables[f"{form}.previous"])


@dataclass(frozen=True, eq=False)
class TrellisWeight:
    """A matrix [n, k], decoded as int8 [n, k] times a scale for each of n outputs.

    Attributes:
        form: of ``TRELLISES``.
        codes: uint8 [k, bytes], those of each rotated input.
        factors: uint8 [n], what rotated sums are multiplied by, with 2^-:func:`shift`, for int8.
        scales: float32 [n], of the int8 numbers.
    """

    form: str
    codes: NDArray[np.uint8]
    factors: NDArray[np.uint8]
    scales: Float32

    def integers(self) -> NDArray[np.int8]:
        """What the codes stand for, int8 [n, k]."""
        values = trellis(self.form).values(self.codes)[:, : len(self.factors)]
        return _to_int8(_rotated_back(values), self.factors).T

    def dense(self) -> Float32:
        """float32 [n, k]."""
        return self.integers() * self.scales[:, None]


@cache
def hadamard(size: int) -> NDArray[np.int8]:
    """Sylvester's matrix of +1 and -1, int8 [size, size]; symmetric. ``size`` is a power of two."""
    matrix = np.ones((1, 1), np.int8)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def block_size(inputs: int) -> int:
    """How many inputs are rotated together: the largest power of two that divides their number."""
    return min(LARGEST_BLOCK, inputs & -inputs)


def shift(block: int) -> int:
    """The power of two that factors are over: an output that is usual gets one of 128 to 255."""
    return int(np.log2(255 * 4 * UNIT * np.sqrt(block) / _PEAK))


def round_by_trellis(
    weight: Float32, second_moments: Float64 | None = None, *, form: str
) -> TrellisWeight:
    """The codes of ``weight`` that change what it is multiplied into least.

    Args:
        weight: float32 [n, k], rows are outputs.
        second_moments: float64 [k, k], the sum of x x^T over inputs x; None where they are not
            known, and all inputs count alike.
        form: of ``TRELLISES``.
    """
    inputs = weight.shape[1]
    moments = np.eye(inputs) if second_moments is None else second_moments
    block = block_size(inputs)
    turned = _turned(weight.T.astype(np.float64), block)  # [k, n]
    turned_moments = _turned(_turned(moments, block).T, block)
    spread = turned.std(axis=0)
    spread[spread == 0] = spread.max() or 1.0
    found = trellis(form)
    codes = _codes(found, turned / spread, spread / spread.mean(), turned_moments)
    sums = _rotated_back(found.values(codes)[:, : len(weight)])
    largest = np.maximum(np.abs(sums).max(axis=0), 1)
    factors = np.floor(_PEAK * 2.0 ** shift(block) / largest).clip(1, 255).astype(np.uint8)
    integers = _to_int8(sums, factors).T.astype(np.float64)
    seen = integers @ moments
    energy = np.einsum("nk,nk->n", seen, integers)
    scales = np.einsum("nk,nk->n", seen, weight) / np.where(energy > 0, energy, 1)
    return TrellisWeight(form, codes, factors, scales.astype(np.float32))


def _turned(matrix: Float64, block: int) -> Float64:
    """The rows of ``matrix`` [k, m] rotated: those that are k / block apart together."""
    turned: Float64 = (hadamard(block) / np.sqrt(block)) @ matrix.reshape(block, -1)
    return turned.reshape(matrix.shape)


def _rotated_back(values: NDArray[np.int8]) -> Float32:
    """Sums of +-values [k, n]; integers below 2^14, so floats are exact."""
    block = block_size(len(values))
    sums: Float32 = hadamard(block).astype(np.float32) @ values.reshape(block, -1)
    return sums.reshape(values.shape)


def _to_int8(sums: Float32, factors: NDArray[np.uint8]) -> NDArray[np.int8]:
    step = np.float32(2.0 ** -shift(block_size(len(sums))))
    return np.rint(sums * (factors.astype(np.float32) * step)).astype(np.int8)


def _codes(
    found: Trellis, values: Float64, spread: Float64, second_moments: Float64
) -> NDArray[np.uint8]:
    """Bytes for ``values`` [k, n], of standard deviation 1; errors of inputs that come early are
    made up for by the later ones. ``spread`` [n]: what an error of an output counts."""
    order = np.argsort(-np.diag(second_moments), kind="stable")
    upper = damped_factor(second_moments[np.ix_(order, order)]).astype(np.float32)
    beyond = -values.shape[1] % found.per_byte
    left = np.pad(values[order], ((0, 0), (0, beyond))).astype(np.float32)
    costs = np.pad(np.square(spread), (0, beyond)).astype(np.float32)
    codes = np.empty((len(left), left.shape[1] // found.per_byte), np.uint8)
    for start in range(0, len(left), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        codes[order[part]] = chosen = search(found, left[part], costs)
        errors = left[part] - found.values(chosen).astype(np.float32) / UNIT
        carried = np.linalg.solve(upper[part, part].T, errors)
        left[start + _AT_ONCE :] -= upper[part, start + _AT_ONCE :].T @ carried
    return codes


def search(found: Trellis, values: Float32, costs: Float32) -> NDArray[np.uint8]:
    """The bytes of least squared error for each line of ``values`` [b, n]: uint8 [b, n / per_byte].

    The Viterbi algorithm. A line begins after a byte of zeros.

    Args:
        found: whose codes.
        values: of standard deviation 1.
        costs: float32 [n], what a squared error counts.
    """
    import torch

    lines, count = values.shape
    windows, per_byte = found.windows(), found.per_byte
    levels = [torch.from_numpy(found.levels(number)) for number in range(per_byte)]
    # (x - level)^2 without x^2, which is the same for all: a product of [1, -2 x] and these.
    parts = [torch.stack([each.square(), each]) for each in levels]
    # Bits of a state that are left when the next number's come in.
    kept = [sum(window) - step for window, step in zip(windows, found.steps, strict=True)]
    weights = torch.from_numpy(
        np.stack([np.broadcast_to(costs, values.shape), -2 * values * costs])
    )
    before = torch.full((lines, 2 ** kept[0]), torch.inf)
    before[:, 0] = 0
    reached = []
    for at in range(count):
        number = at % per_byte
        reached.append(before)
        total = (weights[:, :, at].T @ parts[number]).view(lines, 2 ** kept[number], -1)
        total += before[:, :, None]
        before = total.view(lines, -1, 2 ** kept[(number + 1) % per_byte]).amin(1)
    last = total.view(lines, -1).argmin(1).numpy()
    return _walked_back(found, last, [each.numpy() for each in reached], weights.numpy(), kept)


def _walked_back(
    found: Trellis,
    last: NDArray[np.int64],
    reached: list[Float32],
    weights: Float32,
    kept: list[int],
) -> NDArray[np.uint8]:
    """The bytes on the paths that end in the states ``last`` [b].

    ``reached`` [b, kept] for each number: the least cost before it of what is kept of a state.
    ``weights`` [2, b, n]: as :func:`search` makes them.
    """
    levels = [found.levels(number) for number in range(found.per_byte)]
    own = [window[0] for window in found.windows()]
    count, lines = len(reached), np.arange(len(last))
    codes = np.empty((len(last), count // found.per_byte), np.uint8)
    state = last
    for at in range(count - 1, -1, -1):
        number = at % found.per_byte
        if own[number] == 8:
            codes[:, at // found.per_byte] = state & 255
        if at == 0:
            break
        before = (at - 1) % found.per_byte
        ways = np.arange(len(levels[before]) >> kept[number]) << kept[number]
        came = ways + (state >> found.steps[number])[:, None]  # what this state may follow
        level = levels[before][came]
        square, cross = weights[:, :, at - 1, None]
        cost = square * np.square(level) + cross * level
        cost += reached[at - 1][lines[:, None], came >> found.steps[before]]
        state = came[lines, cost.argmin(1)]
    return codes
