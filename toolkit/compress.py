"""A matrix and a budget in, a packed table out."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .blocks import row_blocks
from .budget import Budget, Layout, plan_layout
from .config import LightTokenConfig
from .embedding import CompressedEmbedding, Float32, RowOrder
from .errors import BudgetError, InputError
from .importance import BLOCKS, check_importance, order_rows
from .progress import Progress

METHODS = ("lighttoken", "lighttoken-paper", "direction", "svd", "svd-fp32")
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
        budget: ``Budget(ratio=25)`` or ``Budget(max_bytes=...)``, where every stored byte counts,
            or ``Budget(min_cosine=0.97)``, which takes several compressions to find.
        method: ``lighttoken``; or, as baselines, ``lighttoken-paper`` (the paper's recipe without
            what this project adds), ``direction`` (Balazy et al., 2021), ``svd`` (int8 factors)
            and ``svd-fp32``.
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

    def fit(allowed: Budget, report: Progress | None) -> CompressedEmbedding:
        embedding = _fit(table, allowed, method, seed, weights, settings, report)
        _check_budget(embedding, allowed)
        return embedding

    if budget.min_cosine is None:
        return fit(budget, progress)
    from .search import smallest_with_cosine

    return smallest_with_cosine(table, weights, budget.min_cosine, fit, progress)


def _fit(
    table: Float32,
    budget: Budget,
    method: str,
    seed: int,
    weights: NDArray[np.float64],
    config: LightTokenConfig,
    progress: Progress | None,
) -> CompressedEmbedding:
    # Imported here because torch is needed only where something is trained.
    if method == "direction":
        from .direction import compress_direction

        return compress_direction(table, budget, seed, progress)
    if method == "lighttoken-paper":
        from .paper import compress_paper

        return compress_paper(table, budget, config, seed, progress)
    if method in ("svd", "svd-fp32"):
        from .svd import compress_svd

        return compress_svd(table, budget, int8=method == "svd")
    from .train import train

    layout, order, ids, position_weights = best_layout(
        covariance_spectrum(table), weights, budget, config.rank
    )
    return train(table, ids, position_weights, order, layout, config, seed, progress)


def best_layout(
    spectrum: NDArray[np.float64],
    weights: NDArray[np.float64],
    budget: Budget,
    rank: int | None = None,
) -> tuple[Layout, RowOrder | None, NDArray[np.int64], NDArray[np.float64]]:
    """The layout of least expected error over all block sizes, with the row order it needs.

    Args:
        spectrum: eigenvalues of the table's covariance [d].
        weights: importance of each id [V].
        budget: bytes.
        rank: force a rank.

    Returns:
        Layout, order, id at each position int64 [V], weight of each position [V].

    Raises:
        BudgetError: nothing fits.
    """
    candidates = []
    for block in BLOCKS:
        order, ids, position_weights = order_rows(weights, block)
        size = order.block if order else 0
        layout = plan_layout(spectrum, position_weights, budget, block=size, rank=rank)
        candidates.append((layout, order, ids, position_weights))
        if order is None:
            break  # already sorted: no block size can matter
    return min(candidates, key=lambda candidate: candidate[0].expected_error)


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


def _check_budget(embedding: CompressedEmbedding, budget: Budget) -> None:
    allowed = budget.bytes_for(embedding.rows, embedding.width)
    if embedding.nbytes > allowed:
        raise BudgetError(
            f"the table took {embedding.nbytes:,} bytes where {allowed:,} were allowed; "
            "please report this as a bug"
        )
