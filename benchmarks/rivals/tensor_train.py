"""Tensor train by TT-SVD (Oseledets 2011), the cores in fp16."""

import numpy as np
from numpy.typing import NDArray

from .result import CannotFitError, Float32, Result, fp16, squared_error

_SHARES = (0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 1.0)  # of the largest first rank


def tensor_train(table: Float32, max_bytes: int, seed: int) -> Result:
    """The better of two shapes, the ranks that fit tried on a grid.

    «paired»: rows and columns are factored into three and paired, [V1 d1, V2 d2, V3 d3], as
    embedding layers in tensor-train form do (Hrinchuk et al. 2020); rows are padded with zeros.
    «flat»: [V, d1, d2], close to a low rank whose right factor is itself a train.
    """
    best: Result | None = None
    least = np.inf
    for name, shape in (("paired", _paired(table)), ("flat", _flat(table))):
        tensor, restore = shape
        for ranks in _ranks(tensor.shape, max_bytes):
            cores = [fp16(core) for core in _tt_svd(tensor, ranks)]
            decoded = restore(_contract(cores))
            error = squared_error(table, decoded)
            if error < least:
                least = error
                stored = {f"core.{i}": core.astype(np.float16) for i, core in enumerate(cores)}
                sizes = " x ".join(map(str, tensor.shape))
                best = Result(decoded, stored, f"{name}, {sizes}, ranks {ranks[0]} and {ranks[1]}")
    if best is None:
        raise CannotFitError("ranks 1 and 1 do not fit")
    return best


def _paired(table: Float32):  # noqa: ANN202  a tensor and the way back
    rows, width = table.shape
    d = _three_factors(width)
    side = round(rows ** (1 / 3))
    v = (-(-rows // (side * side)), side, side)
    padded = np.zeros((int(np.prod(v)), width), np.float32)
    padded[:rows] = table
    paired = padded.reshape(*v, *d).transpose(0, 3, 1, 4, 2, 5)
    tensor = paired.reshape(v[0] * d[0], v[1] * d[1], v[2] * d[2])

    def restore(decoded: Float32) -> Float32:
        back = decoded.reshape(paired.shape).transpose(0, 2, 4, 1, 3, 5).reshape(-1, width)
        return np.ascontiguousarray(back[:rows])

    return tensor, restore


def _flat(table: Float32):  # noqa: ANN202
    rows, width = table.shape
    d1 = next(n for n in range(int(width**0.5), 0, -1) if width % n == 0)
    return table.reshape(rows, d1, width // d1), lambda decoded: decoded.reshape(rows, width)


def _three_factors(width: int) -> tuple[int, int, int]:
    """As even as can be."""
    options = [
        (a, b, width // (a * b))
        for a in range(1, width + 1)
        if width % a == 0
        for b in range(a, width // a + 1)
        if (width // a) % b == 0
    ]
    return min(options, key=lambda option: max(option) - min(option))


def _ranks(shape: tuple[int, ...], max_bytes: int) -> list[tuple[int, int]]:
    """Pairs of ranks whose cores fit: the first on a grid, the second as large as it can be."""
    a, b, c = shape
    entries = max_bytes // 2
    found = []
    most = min(a, b * c, (entries - c) // (a + b))
    if most < 1:
        return []
    for r1 in sorted({max(1, int(share * most)) for share in _SHARES}):
        r2 = min((entries - a * r1) // (b * r1 + c), r1 * b, c)
        if r2 >= 1:
            found.append((r1, r2))
    return found


def _tt_svd(tensor: Float32, ranks: tuple[int, int]) -> list[Float32]:
    a, b, c = tensor.shape
    first, rest = _split(tensor.reshape(a, b * c), ranks[0])
    second, third = _split(rest.reshape(ranks[0] * b, c), ranks[1])
    return [first, second.reshape(ranks[0], b, ranks[1]), third]


def _split(matrix: Float32, rank: int) -> tuple[Float32, Float32]:
    """Best ``rank`` factors, by the eigenvectors of the smaller Gram matrix."""
    wide = matrix.shape[0] <= matrix.shape[1]
    gram = (matrix @ matrix.T if wide else matrix.T @ matrix).astype(np.float64)
    vectors = np.linalg.eigh(gram)[1][:, ::-1][:, :rank].astype(np.float32)
    if wide:
        return vectors, vectors.T @ matrix
    return matrix @ vectors, np.ascontiguousarray(vectors.T)


def _contract(cores: list[Float32]) -> NDArray[np.float32]:
    first, second, third = cores
    r1, b, r2 = second.shape
    return first @ (second.reshape(r1 * b, r2) @ third).reshape(r1, -1)
