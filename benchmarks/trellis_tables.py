"""Train the tables of ``toolkit.trellis`` on Gaussian numbers, and write them beside it.

    python benchmarks/trellis_tables.py toolkit/trellis_tables.npz

Tables begin as a Gaussian's quantiles in random order. Then codes are searched and entries fitted
by least squares in turns (Lloyd's algorithm), rounded to int8 at the end. For each trellis the
squared error of numbers that it was not trained on is printed, beside the least possible.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from toolkit.trellis import TRELLISES, UNIT, Trellis, search

_ROUNDS, _LINES, _NUMBERS = 40, 48, 2400
_PRIOR = 2.0  # numbers that an entry's old value counts as


def main() -> None:
    """Train all tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    tables = {}
    for form, steps in TRELLISES.items():
        found = trained(steps, np.random.RandomState(0))
        tables[f"{form}.current"], tables[f"{form}.previous"] = found.current, found.previous
        bits = 8 / len(steps)
        print(
            f"{form}: {bits:.2f} bits, error {error(found):.4f}, bound {4**-bits:.4f}", flush=True
        )
    np.savez(options.file, **tables)


def trained(steps: tuple[int, ...], random: np.random.RandomState) -> Trellis:
    """The trellis of ``steps``, its tables fitted to Gaussian numbers."""
    current, previous = np.zeros((2, 256, len(steps)))
    empty = np.zeros((256, len(steps)), np.int8)
    for table, which in ((current, 0), (previous, 1)):
        for number, group in enumerate(masks(Trellis(steps, empty, empty), which)):
            entries = np.unique(group)
            quantiles = ndtri((np.arange(len(entries)) + 0.5) / len(entries))
            table[entries, number] = random.permutation(quantiles) * UNIT * np.sqrt(0.5)
    found = shared(steps, current, previous)
    for _ in range(_ROUNDS):
        values = numbers(found, random)
        codes = search(found, values, np.ones(values.shape[1], np.float32))
        target = values.reshape(*codes.shape, -1) * UNIT
        before = np.pad(codes, ((0, 0), (1, 0)))[:, :-1]
        for _ in range(5):
            current = fitted(current, codes, target - previous[before], masks(found, 0))
            previous = fitted(previous, before, target - current[codes], masks(found, 1))
        found = shared(steps, current, previous)
    return found


def shared(steps: tuple[int, ...], current: NDArray, previous: NDArray) -> Trellis:  # type: ignore[type-arg]
    """The trellis of these tables, rounded; entries of equal bits become equal, in place."""
    empty = np.zeros((256, len(steps)), np.int8)
    found = Trellis(steps, empty, empty)
    for table, which in ((current, 0), (previous, 1)):
        for number, groups in enumerate(masks(found, which)):
            table[:, number] = table[groups, number]
    # A sum has to be an int8 too: what is beyond is taken from both.
    beyond = np.abs(current).max(0) + np.abs(previous).max(0) - 127
    limits = [np.abs(table).max(0) - beyond.clip(0) / 2 for table in (current, previous)]
    current, previous = (
        np.rint(table.clip(-limit, limit)).astype(np.int8)
        for table, limit in zip((current, previous), limits, strict=True)
    )
    return Trellis(steps, current, previous)


def masks(found: Trellis, which: int) -> list[NDArray[np.int64]]:
    """For each number the first byte that has the same entry as each byte, [256]; of the tables of
    the current byte (0) or the previous one (1)."""
    every = np.arange(256)
    return [
        every >> (8 - window[0]) << (8 - window[0]) if which == 0 else every % 2 ** window[1]
        for window in found.windows()
    ]


def fitted(
    table: NDArray[np.float64],
    codes: NDArray[np.uint8],
    target: NDArray[np.float64],
    groups: list[NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Entries of least squared error for ``target`` [.., numbers] at ``codes``."""
    new = np.empty_like(table)
    for number, group in enumerate(groups):
        at = group[codes].ravel()
        total = np.bincount(at, target[..., number].ravel(), 256) + _PRIOR * table[:, number]
        new[:, number] = (total / (np.bincount(at, minlength=256) + _PRIOR))[group]
    return new


def numbers(found: Trellis, random: np.random.RandomState) -> NDArray[np.float32]:
    """Gaussian numbers for whole bytes."""
    count = _NUMBERS // found.per_byte * found.per_byte
    return random.standard_normal((_LINES, count)).astype(np.float32)


def error(found: Trellis) -> float:
    """Mean squared error of numbers that the tables have not seen."""
    values = numbers(found, np.random.RandomState(1))
    codes = search(found, values, np.ones(values.shape[1], np.float32))
    return float(np.square(found.values(codes).astype(np.float32) / UNIT - values).mean())


if __name__ == "__main__":
    main()
