"""A matrix and a budget in, a packed table out."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .blocks import row_blocks
from .budget import Budget, Layout, plan_layout
from .config import LightTokenConfig
from .embedding import CompressedEmbedding, Float32
from .errors import BudgetError, InputError
from .importance import check_importance, order_rows
from .progress import Progress

METHODS = ("lighttoken",)
_LARGEST = 1e15  # sums of squares over a million rows still fit float32


def compress(
    matrix: NDArray[np.floating],
    budget: Budget,
    *,
    method: str = "lighttoken",
    seed: int = 0,
    importance: ArrayLike | None = None,
    config: LightTokenConfig | None = None,
    progress: Progress | None = None,
) -> CompressedEmbedding:
    """Compress a token-embedding table, without labels and without text.

    Args:
        matrix: the table, floating point [V, d]; worked on as float32.
        budget: ``Budget(ratio=25)`` or ``Budget(max_bytes=...)``; every stored byte counts.
        method: one of :data:`METHODS`.
        seed: equal seeds give equal bytes (on one machine, with one number of threads).
        importance: weight of each row [V], such as token counts; by default ids are taken to stand
            in order of frequency, as they do in nearly every vocabulary.
        config: the recipe's constants.
        progress: told how far the work is.

    Returns:
        A table whose ``ratio`` meets the budget.

    Raises:
        InputError: no matrix, NaN or infinite rows (named), an unknown method.
        BudgetError: the budget is too small for any layout.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is unknown; known: {', '.join(METHODS)}")
    table = check_matrix(matrix)
    weights = check_importance(importance, len(table))
    settings = config or LightTokenConfig()
    order, ids, position_weights = order_rows(weights)
    layout = plan_layout(
        covariance_spectrum(table),
        position_weights,
        budget,
        block=order.block if order else 0,
        rank=settings.rank,
    )
    from .train import train  # torch is imported only when something is trained

    embedding = train(table, ids, position_weights, order, layout, settings, seed, progress)
    _check_budget(embedding, budget, layout)
    return embedding


def check_matrix(matrix: NDArray[np.floating]) -> Float32:
    """The table as contiguous float32 [V, d].

    Raises:
        InputError: not two dimensions, empty, not floating point, or rows that are not finite.
    """
    table = np.asarray(matrix)
    if table.ndim != 2 or 0 in table.shape:
        raise InputError(f"the table must be a matrix [tokens, width], got shape {table.shape}")
    if table.dtype.kind != "f" and table.dtype.name != "bfloat16":
        raise InputError(f"the table must be floating point, got {table.dtype}; dequantise it")
    with np.errstate(over="ignore"):  # a float64 beyond float32 turns infinite and is named below
        table = np.ascontiguousarray(table, dtype=np.float32)
    largest = np.concatenate([np.abs(table[rows]).max(axis=1) for rows in row_blocks(len(table))])
    bad = ~np.isfinite(largest)  # the largest of a row is NaN or infinite if any entry is
    if bad.any():
        raise InputError(
            f"row {int(np.flatnonzero(bad)[0])} holds NaN or infinite values "
            f"({int(bad.sum())} such rows of {len(table)}); repair the model before compressing it"
        )
    row = int(largest.argmax())
    if largest[row] > _LARGEST:
        raise InputError(
            f"row {row} holds {largest[row]:.0e}, squares of values beyond "
            f"{_LARGEST:.0e} do not fit float32; scale the table down"
        )
    return table


def covariance_spectrum(table: Float32) -> NDArray[np.float64]:
    """Eigenvalues of the rows' covariance, float64 [d], falling."""
    mean = table.mean(axis=0, dtype=np.float64).astype(np.float32)
    gram = np.zeros((table.shape[1], table.shape[1]))
    for rows in row_blocks(len(table)):
        centred = table[rows] - mean
        gram += centred.T @ centred
    return np.maximum(np.linalg.eigvalsh(gram / len(table))[::-1], 0.0)


def _check_budget(embedding: CompressedEmbedding, budget: Budget, layout: Layout) -> None:
    allowed = budget.bytes_for(embedding.rows, embedding.width)
    if embedding.nbytes > allowed:
        raise BudgetError(
            f"layout {layout} took {embedding.nbytes:,} bytes where {allowed:,} were allowed; "
            "please report this as a bug"
        )
