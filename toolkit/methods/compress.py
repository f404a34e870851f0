"""A matrix and a budget in, a packed table out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..allocate.allocation import Allocation
from ..allocate.budget import Budget
from ..allocate.candidates import Spectrum
from ..allocate.importance import BLOCKS, SMALL_BLOCKS, check_importance, order_rows
from ..allocate.planner import plan_allocation, too_few
from ..errors import BudgetError, InputError
from ..extras import require
from ..progress import Progress
from ..table.components import Float32, RowOrder, Zeros
from ..table.embedding import CompressedEmbedding
from ..table.matrix import row_blocks
from .config import LightTokenConfig, PaperConfig

Fit = Callable[[Budget, Progress | None], CompressedEmbedding]

METHODS = ("lighttoken", "lighttoken-paper", "direction", "svd", "svd-fp32")
_ENTRY = 96  # bytes of a further tensor's entry in the file's header, at most
_LARGEST = 1e15  # sums of squares over a million rows still fit float32


def compress(
    matrix: NDArray[np.floating],
    budget: Budget,
    *,
    method: str = "lighttoken",
    seed: int = 0,
    importance: ArrayLike | None = None,
    config: LightTokenConfig | PaperConfig | None = None,
    metric: NDArray[np.floating] | None = None,
    unbiased: bool = False,
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
        config: the recipe's constants: a :class:`LightTokenConfig`, or a :class:`PaperConfig` for
            ``lighttoken-paper``.
        metric: M [d, d], symmetric and positive: an error e of a row counts e' M e. Without one
            all directions count alike.
        unbiased: store a factor a row that keeps logits as large as they were, for a table that is
            read as an output head; with ``metric`` only.
        progress: told how far the work is.

    Returns:
        A table whose ``ratio`` meets the budget. Rows of zeros stay zeros, exactly.

    Raises:
        InputError: no matrix, NaN or infinite rows (named), an unknown method, a metric that is no
            symmetric [d, d] or that the method has no use for.
        BudgetError: the budget is too small for any allocation.
        MissingDependencyError: the extra `export` is not installed.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is unknown; known: {', '.join(METHODS)}")
    require("export")
    table = check_matrix(matrix)
    weights = check_importance(importance, len(table))
    metric = _check_metric(metric, table.shape[1], method, unbiased)
    fitter = _fitter(table, method, seed, weights, config, metric, unbiased)

    zeros = _zero_rows(table)

    def fit(allowed: Budget, report: Progress | None) -> CompressedEmbedding:
        if zeros is None:
            embedding = fitter(allowed, report)
        else:
            embedding = _beside(zeros, fitter, allowed, report, table.shape)
        _check_budget(embedding, allowed)
        return embedding

    if budget.min_cosine is None:
        return fit(budget, progress)
    from ..allocate.by_cosine import smallest_with_cosine

    return smallest_with_cosine(table, weights, budget.min_cosine, fit, progress)


def _fitter(
    table: Float32,
    method: str,
    seed: int,
    weights: NDArray[np.float64],
    config: LightTokenConfig | PaperConfig | None,
    metric: NDArray[np.float64] | None,
    unbiased: bool,
) -> Fit:
    """The method, with everything but the budget and the progress given."""
    # Imported here because torch is needed only where something is trained.
    if method == "direction":
        from .direction import compress_direction

        return lambda budget, report: compress_direction(table, budget, seed, report)
    if method in ("svd", "svd-fp32"):
        from .svd import compress_svd

        return lambda budget, report: compress_svd(table, budget, int8=method == "svd")
    if method == "lighttoken-paper":
        from .lighttoken_paper.recipe import compress_paper

        paper = config or PaperConfig()
        if not isinstance(paper, PaperConfig):
            raise InputError(f"method {method} takes a PaperConfig, got {type(paper).__name__}")
        return lambda budget, report: compress_paper(table, budget, paper, seed, report)
    settings = config or LightTokenConfig()
    if not isinstance(settings, LightTokenConfig):
        raise InputError(f"method {method} takes a LightTokenConfig, got {type(settings).__name__}")
    from ..allocate.spectrum import metric_spectra
    from .lighttoken.recipe import train

    spectra = metric_spectra(table, settings, metric, unbiased)

    def fit(budget: Budget, report: Progress | None) -> CompressedEmbedding:
        allocation, order, ids, position_weights = best_allocation(
            spectra, weights, budget, settings.most_stages, dense_stages=metric is not None
        )
        return train(
            table,
            ids,
            position_weights,
            order,
            allocation,
            settings,
            seed,
            report,
            metric=metric,
            unbiased=unbiased,
        )

    return fit


def best_allocation(
    spectra: list[Spectrum],
    weights: NDArray[np.float64],
    budget: Budget,
    most_stages: int = LightTokenConfig.most_stages,
    *,
    dense_stages: bool = False,
) -> tuple[Allocation, RowOrder | None, NDArray[np.int64], NDArray[np.float64]]:
    """The allocation of least expected error over all block sizes, with the row order it needs.

    Args:
        spectra: what :func:`spectrum.measure_spectra` found.
        weights: importance of each id [V].
        budget: bytes.
        most_stages: stages for frequent rows, at most.
        dense_stages: give each of these a decoder of its own, as a metric wants it.

    Returns:
        Allocation, order, id at each position int64 [V], weight of each position [V].

    Raises:
        BudgetError: nothing fits.
    """
    orders = []
    for block in (*SMALL_BLOCKS, *BLOCKS) if dense_stages else BLOCKS:
        orders.append(order_rows(weights, block))
        if orders[-1][0] is None:
            break  # already sorted: no block size can matter
    allocation = plan_allocation(
        spectra,
        [(order.block if order else 0, by_position) for order, _, by_position in orders],
        budget,
        most_stages=most_stages,
        dense_stages=dense_stages,
    )
    chosen = next(o for o in orders if (o[0].block if o[0] else 0) == allocation.block)
    return allocation, *chosen


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


def _check_metric(
    metric: NDArray[np.floating] | None, width: int, method: str, unbiased: bool
) -> NDArray[np.float64] | None:
    """The metric in float64, its mean eigenvalue 1."""
    if metric is None:
        if unbiased:
            raise InputError("unbiased rows need a metric; give one, such as the identity")
        return None
    if method != "lighttoken":
        raise InputError(f"method {method} has no use for a metric; leave it out")
    found = np.asarray(metric, np.float64)
    if found.shape != (width, width):
        raise InputError(f"the metric must be [{width}, {width}], got {list(found.shape)}")
    if not np.isfinite(found).all() or not np.allclose(found, found.T, atol=1e-6 * found.max()):
        raise InputError("the metric must be finite and symmetric; give second moments")
    mean = float(np.trace(found)) / width
    if mean <= 0:
        raise InputError(f"the metric's mean eigenvalue must be positive, got {mean:g}")
    return found / mean


def _zero_rows(table: Float32) -> Zeros | None:
    """Rows of zeros, such as a padding token's: models that add rows up rely on them."""
    found = np.concatenate([~table[rows].any(axis=1) for rows in row_blocks(len(table))])
    return Zeros.of(found) if found.any() else None


def _beside(
    zeros: Zeros, fitter: Fit, budget: Budget, report: Progress | None, shape: tuple[int, ...]
) -> CompressedEmbedding:
    """Fit within what the budget leaves once the zero rows are marked, and mark them."""
    marks = zeros.bits.nbytes + _ENTRY
    rows, width = shape
    left = Budget(max_bytes=max(1, budget.bytes_for(rows, width) - marks))
    try:
        return replace(fitter(left, report), zeros=zeros)
    except BudgetError as error:
        if error.nearest is None:
            raise BudgetError(f"{error}, and {marks:,} bytes to mark its zero rows") from error
        least = error.nearest + marks
        allowed = budget.bytes_for(rows, width)
        raise BudgetError(too_few(rows, width, allowed, least), least) from error


def _check_budget(embedding: CompressedEmbedding, budget: Budget) -> None:
    allowed = budget.bytes_for(embedding.rows, embedding.width)
    if embedding.nbytes > allowed:
        raise BudgetError(
            f"the table took {embedding.nbytes:,} bytes where {allowed:,} were allowed; "
            "please report this as a bug"
        )
