"""Product and additive quantisers by faiss; codes and codebooks count, codebooks in fp16."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .result import CannotFitError, Float32, Result, TooSlowError, fp16, squared_error

_SAMPLE = 16_384  # rows that PQ and OPQ are trained on
_ADDITIVE_SAMPLE = 8_192
_PRODUCT_BITS = (4, 6, 8)
_ADDITIVE_BITS = (3, 4)  # 2, 6 and 8 lost on all-MiniLM-L6-v2 at 25x; the codebooks cost too much
_MOST_CODEBOOKS = 256
_OPQ_ROUNDS = 12
_OPQ_FIRST = 10  # rounds of k-means before the first rotation; faiss' 40 take minutes
# Work of one local search: rows * codebooks**2 * entries * rounds; 4e10 take a minute or two.
_MOST_WORK = 6e10


@dataclass(frozen=True)
class Product:
    """PQ (Jegou et al. 2011), or OPQ (Ge et al. 2013) with its rotation stored in fp16."""

    rotate: bool = False

    def __call__(self, table: Float32, max_bytes: int, seed: int) -> Result:
        """The best of 4, 6 and 8 bits a part, each with as many parts as fit."""
        import faiss

        rows, width = table.shape
        sample = _sample(table, _SAMPLE, seed)
        best: Result | None = None
        least = np.inf
        for bits in _PRODUCT_BITS:
            fixed = 2 * 2**bits * width + 2 * width * width * self.rotate
            parts = _parts(width, bits, (max_bytes - fixed) // rows)
            if not parts or 2**bits > len(sample):
                continue
            stored: dict[str, NDArray[Any]] = {}
            rotated, trained_on = table, sample
            rotation = None
            if self.rotate:
                opq = faiss.OPQMatrix(width, parts)
                inner = _product(faiss, width, parts, bits, seed)  # faiss holds a bare pointer
                opq.pq = inner
                opq.niter, opq.niter_pq_0 = _OPQ_ROUNDS, _OPQ_FIRST
                opq.train(sample)
                matrix = faiss.vector_to_array(opq.A).reshape(width, width)
                stored["rotation"] = matrix.astype(np.float16)
                rotation = fp16(matrix)
                rotated, trained_on = table @ rotation.T, sample @ rotation.T
            pq = _product(faiss, width, parts, bits, seed)
            pq.train(trained_on)
            centroids = fp16(faiss.vector_to_array(pq.centroids))
            faiss.copy_array_to_vector(centroids, pq.centroids)
            codes = pq.compute_codes(rotated)
            decoded = pq.decode(codes)
            if rotation is not None:
                decoded = decoded @ np.linalg.inv(rotation).T.astype(np.float32)
            error = squared_error(table, decoded)
            if error < least:
                least = error
                stored |= {"codes": codes, "codebooks": centroids.astype(np.float16)}
                best = Result(decoded, stored, f"{parts} parts of {bits} bits")
        if best is None:
            raise CannotFitError("no number of parts fits beside its codebooks")
        return best


@dataclass(frozen=True)
class Residual:
    """Residual quantiser (RVQ, Chen et al. 2010): codebooks of full width, beam search."""

    def __call__(self, table: Float32, max_bytes: int, seed: int) -> Result:
        """The better of 3 and 4 bits a codebook, each with as many codebooks as fit."""
        import faiss

        def train(rows: Float32, count: int, bits: int) -> Any:
            quantizer = faiss.ResidualQuantizer(rows.shape[1], count, bits)
            quantizer.train_type = faiss.ResidualQuantizer.Train_default
            quantizer.cp.niter = 10
            quantizer.cp.seed = seed
            quantizer.cp.min_points_per_centroid = 1
            quantizer.max_beam_size = 2
            quantizer.train(rows)
            quantizer.max_beam_size = 4
            return quantizer

        return _additive(table, max_bytes, seed, train)


@dataclass(frozen=True)
class LocalSearch:
    """Local search quantiser (LSQ++, Martinez et al. 2018)."""

    def __call__(self, table: Float32, max_bytes: int, seed: int) -> Result:
        """As :class:`Residual`.

        Raises:
            TooSlowError: by the count of operations it would take many minutes.
        """
        import faiss

        def train(rows: Float32, count: int, bits: int) -> Any:
            work = len(table) * count**2 * 2**bits * 16
            if work > _MOST_WORK:
                raise TooSlowError(
                    f"{count} codebooks of {bits} bits are {work:.0e} operations, "
                    f"more than the {_MOST_WORK:.0e} a cell gets"
                )
            quantizer = faiss.LocalSearchQuantizer(rows.shape[1], count, bits)
            quantizer.random_seed = seed + 1
            quantizer.train_iters = 8
            quantizer.train_ils_iters = 2
            quantizer.encode_ils_iters = 4
            quantizer.train(rows)
            return quantizer

        return _additive(table, max_bytes, seed, train)


def _additive(table: Float32, max_bytes: int, seed: int, train: Any) -> Result:
    """Train each choice of bits on a sample, keep the best there, encode the table with it."""
    import faiss

    rows, width = table.shape
    mean = fp16(table.mean(axis=0))
    centred = table - mean
    sample = _sample(centred, _ADDITIVE_SAMPLE, seed)
    best, least = None, np.inf
    slow: TooSlowError | None = None
    for bits in _ADDITIVE_BITS:
        count = _codebooks(rows, width, bits, max_bytes - 2 * width)
        if not count or 2**bits > len(sample):
            continue
        try:
            quantizer = train(sample, count, bits)
        except TooSlowError as error:
            slow = error
            continue
        books = fp16(faiss.vector_to_array(quantizer.codebooks))
        faiss.copy_array_to_vector(books, quantizer.codebooks)
        judged = sample[:2048]
        error = squared_error(judged, quantizer.decode(quantizer.compute_codes(judged)))
        if error < least:
            best, least = (quantizer, books, f"{count} codebooks of {bits} bits"), error
    if best is None:
        raise slow or CannotFitError("not one codebook fits")
    quantizer, books, settings = best
    codes = quantizer.compute_codes(centred)
    stored = {
        "mean": mean.astype(np.float16),
        "codes": codes,
        "codebooks": books.astype(np.float16),
    }
    return Result(mean + quantizer.decode(codes), stored, settings)


def _codebooks(rows: int, width: int, bits: int, max_bytes: int) -> int:
    """Most codebooks whose codes (whole bytes a row) and entries fit."""
    fitting = [
        count
        for count in range(1, _MOST_CODEBOOKS + 1)
        if rows * -(-count * bits // 8) + 2 * count * 2**bits * width <= max_bytes
    ]
    return max(fitting, default=0)


def _parts(width: int, bits: int, bytes_a_row: int) -> int:
    """Most parts that divide the row and fit."""
    divisors = (n for n in range(1, width + 1) if width % n == 0)
    return max((n for n in divisors if -(-n * bits // 8) <= bytes_a_row), default=0)


def _product(faiss: Any, width: int, parts: int, bits: int, seed: int) -> Any:
    pq = faiss.ProductQuantizer(width, parts, bits)
    pq.cp.seed = seed
    pq.cp.niter = 15
    pq.cp.min_points_per_centroid = 1
    return pq


def _sample(table: Float32, most: int, seed: int) -> Float32:
    if len(table) <= most:
        return table
    chosen = np.random.default_rng(seed).choice(len(table), most, replace=False)
    return table[np.sort(chosen)]
