"""The parts of a packed table and their bytes, planned before any table is trained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

STAGE_COLUMNS = 8  # columns that a byte of a stage stands for


@dataclass(frozen=True)
class Subquantizer:
    """One piece of the base code: ``groups`` bytes a row, each for ``dimension`` latent values."""

    groups: int
    dimension: int


@dataclass(frozen=True)
class Allocation:
    """What the budget buys.

    Attributes:
        subquantizers: the code of every row, directions of most variance first.
        covered: positions that have a code; those beyond share one vector.
        row_counts: rows covered by each further stage of one byte for eight columns, falling.
        gain: whether each row stores a factor.
        block: ids in one block of the row order; 0 keeps the rows where they are.
        nbytes: bytes the tensors and their header will take, at most.
        expected_error: predicted relative squared error, weighted by the prior.
        columns: values to a byte of a code of the columns themselves, which every row has in place
            of ``subquantizers``; 0 for none.
        dense_stages: whether each further stage has a decoder of its own; else its bytes stand for
            the columns themselves.
    """

    subquantizers: tuple[Subquantizer, ...]
    covered: int
    row_counts: tuple[int, ...]
    gain: bool
    block: int
    nbytes: int
    expected_error: float
    columns: int = 0
    dense_stages: bool = False

    def stages(self) -> tuple[tuple[int, int], ...]:
        """Rows, and values to a byte, of each stage beside the base code's subquantizers."""
        base = ((self.covered, self.columns),) if self.columns else ()
        return (*base, *((rows, STAGE_COLUMNS) for rows in self.row_counts))

    def bytes_per_row(self, width: int) -> int:
        """Bytes that every row has: its code, and its length if that is stored."""
        columns = -(-width // self.columns) if self.columns else 0
        return sum(subquantizer.groups for subquantizer in self.subquantizers) + columns + self.gain


def allocation_nbytes(
    rows: int,
    width: int,
    *,
    subquantizers: tuple[Subquantizer, ...],
    covered: int,
    row_counts: tuple[int, ...],
    gain: bool,
    block: int,
    columns: int = 0,
    dense_stages: bool = False,
) -> int:
    """Bytes of every tensor of an allocation and of the file's header, at most."""
    tensors: list[tuple[str, tuple[int, ...], int]] = [("mean", (width,), 4)]
    if covered < rows:
        tensors.append(("tail", (width,), 4))
    if block:
        tensors.append(("order.starts", (-(-rows // block),), 4))
    if gain:
        tensors += [("gain.codes", (covered,), 1), ("gain.levels", (256,), 4)]
    stages = [(covered, p.groups, p.dimension, p.groups * p.dimension) for p in subquantizers]
    stages += [(covered, -(-width // columns), columns, 0)] if columns else []
    groups = -(-width // STAGE_COLUMNS)
    latents = groups * STAGE_COLUMNS if dense_stages else 0
    stages += [(n, groups, STAGE_COLUMNS, latents) for n in row_counts]
    for index, (n, groups, k, latents) in enumerate(stages):
        name = f"stages.{index}"
        tensors += [(f"{name}.codes", (n, groups), 1), (f"{name}.scale", (width,), 4)]
        tensors.append((f"{name}.codebook", (256, k), 1))
        tensors += [(f"{name}.weight", (latents, width), 1)] if latents else []
    total = sum(size * math.prod(shape) for _, shape, size in tensors)
    return total + _header_nbytes(tensors, len(stages), total)


def _header_nbytes(
    tensors: Sequence[tuple[str, tuple[int, ...], int]], stages: int, total: int
) -> int:
    """What safetensors' JSON header takes for tensors (name, shape, bytes a value), at most.

    ``total`` bytes of data bound how long an offset is.
    """
    offset = len(str(total))
    entries = sum(len(name) + len(str(list(shape))) + 2 * offset + 44 for name, shape, _ in tensors)
    return 160 + entries + 64 * stages
