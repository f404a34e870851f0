"""The table's variances by direction, as they are and with classes of rows taken away."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..methods.config import LightTokenConfig
from ..table.components import Float32
from ..table.matrix import row_blocks
from .allocation import Subquantizer
from .candidates import Spectrum

# Rows whose lengths differ by more than this (standard deviation of their logarithm) are worth a
# byte each that says how long they are: measured, the point where it begins to pay.
_GAIN_SPREAD = 0.35
_SAMPLE = 32_768
_CLASS_VALUES = (16, 32, 64)  # principal directions in which classes of rows have their means


def measure_spectra(
    table: Float32, config: LightTokenConfig, root: Float32 | None = None
) -> list[Spectrum]:
    """The spectra of ``table`` float32 [V, d] that the planner chooses from.

    With ``root`` float32 [d, d] they are those of ``table @ root``.
    """
    mean = table.mean(axis=0, dtype=np.float64).astype(np.float32)
    step = -(-len(table) // _SAMPLE)
    rows = table[::step] - mean
    if root is not None:
        rows = rows @ root
    unit = root_mean_square(rows)  # squares are those of values near 1
    rows /= np.float32(unit)
    gain = _lengths_differ(rows) if config.gain is None else config.gain
    if gain:
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    power = 1.0 if gain else unit**2
    covariance = (rows.T @ rows).astype(np.float64) * power / len(rows)
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1], directions[:, ::-1]
    total = float(np.maximum(variances, 0).sum())
    spectra = [Spectrum(variances, total, gain=gain)]
    if config.classes and total > 0:
        strongest = (rows @ directions.astype(np.float32))[:, : max(_CLASS_VALUES)]
        for values in _CLASS_VALUES:
            if 2 * values <= table.shape[1]:
                left = power * _without_classes(variances / power, strongest[:, :values])
                spectra.append(Spectrum(left, total, (Subquantizer(1, values),), gain))
    return spectra


def metric_spectra(
    table: Float32,
    config: LightTokenConfig,
    metric: NDArray[np.float64] | None,
    unbiased: bool = False,
) -> list[Spectrum]:
    """The spectra where errors count in ``metric`` [d, d]; ``unbiased`` rows store a factor."""
    if metric is None:
        return measure_spectra(table, config)
    values, vectors = np.linalg.eigh(metric)
    root = ((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T).astype(np.float32)
    found = measure_spectra(table, config, root)
    return [replace(spectrum, gain=spectrum.gain or unbiased) for spectrum in found]


def covariance_spectrum(table: Float32) -> NDArray[np.float64]:
    """Eigenvalues of the rows' covariance, float64 [d], falling."""
    mean = table.mean(axis=0, dtype=np.float64).astype(np.float32)
    gram = np.zeros((table.shape[1], table.shape[1]))
    for rows in row_blocks(len(table)):
        centred = table[rows] - mean
        gram += centred.T @ centred
    return np.maximum(np.linalg.eigvalsh(gram / len(table))[::-1], 0.0)


def root_mean_square(values: Float32) -> float:
    """Over all entries of float32 [n, d]; 1 if they are all zero."""
    total = sum(
        float((values[rows].astype(np.float64) ** 2).sum()) for rows in row_blocks(len(values))
    )
    return (total / values.size) ** 0.5 or 1.0


def _lengths_differ(rows: Float32) -> bool:
    lengths = np.linalg.norm(rows, axis=1)
    real = lengths[lengths > 0]
    return bool(real.size and np.log(real).std() > _GAIN_SPREAD)


def _without_classes(variances: NDArray[np.float64], strongest: Float32) -> NDArray[np.float64]:
    """Eigenvalues once each row has its class's mean taken away in the strongest directions."""
    import torch  # only where something is fitted

    from ..methods.lighttoken.kmeans import kmeans, nearest

    values = torch.from_numpy(np.ascontiguousarray(strongest))
    generator = torch.Generator().manual_seed(0)
    # Fitted on one half and judged on the other, or small tables would seem to be all classes.
    half, judged = (values[::2], values[1::2]) if len(values) > _SAMPLE // 2 else (values, values)
    centres = kmeans(half, generator)
    left = (judged - centres[nearest(judged, centres).long()]).numpy()
    covariance = (left.T @ left / len(left)).astype(np.float64)
    return np.concatenate([np.linalg.eigvalsh(covariance)[::-1], variances[strongest.shape[1] :]])
