"""The LightToken recipe: one length, bytes for every row, stages for the frequent ones."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...allocate.allocation import Allocation
from ...allocate.spectrum import root_mean_square
from ...progress import Meter, Progress
from ...table.components import (
    CODEBOOK_PEAK,
    ColumnDecoder,
    DenseDecoder,
    Float32,
    Gain,
    RowOrder,
    Stage,
)
from ...table.embedding import CompressedEmbedding
from ...table.matrix import row_blocks
from ..config import LightTokenConfig
from .base_code import (
    BaseCode,
    Space,
    encode,
    fit_decoder,
    quantise_columns,
    refine,
    round_codebooks,
    search,
    start_code,
    subquantizer_columns,
)
from .gain import as_gain
from .in_metric import MetricTrainer
from .residual_stages import ResidualStage, add_stages, fit_stages

_LEAST_WEIGHT = 1e-3  # of the mean: rows that never occur still have a say where no other has
_JOINT_ROUNDS = 2  # of the code and the stages together
_LAST_SWEEPS = 2
_ENCODE_SWEEPS = 4  # for rows that the code was not trained on


def train(
    table: Float32,
    ids: NDArray[np.int64],
    position_weights: NDArray[np.float64],
    order: RowOrder | None,
    allocation: Allocation,
    config: LightTokenConfig,
    seed: int,
    progress: Progress | None,
    *,
    metric: NDArray[np.floating] | None = None,
    unbiased: bool = False,
) -> CompressedEmbedding:
    """Fill ``allocation`` with the codes and decoders that fit ``table`` [V, d] best.

    Args:
        table: float32 [V, d].
        ids: the id at each position, int64 [V].
        position_weights: importance of each position, [V].
        order: from ids to positions.
        allocation: of bytes; its stages have decoders of their own exactly where there is a metric.
        config: the recipe's constants.
        seed: of samples and starts.
        progress: told how far the work is.
        metric: M float [d, d]: an error e of a row counts e' M e; by default its square.
        unbiased: store factors that make <x, x^> in the metric as large as <x, x>, where the least
            error makes it smaller: an output head's logits then fall short of nothing. (As for
            inner products in RaBitQ; Gao & Long 2024.)
    """
    coded, rest = ids[: allocation.covered], ids[allocation.covered :]
    # The square root keeps the frequent rows from taking the whole decoder for themselves.
    row_weights = np.sqrt(position_weights[: allocation.covered])
    row_weights = np.maximum(row_weights / row_weights.mean(), _LEAST_WEIGHT)
    mean = _mean(table, coded, row_weights)
    shared = len(rest) > 0 and bool(allocation.subquantizers or allocation.columns)
    tail = _mean(table, rest, np.ones(len(rest))) if shared else None
    residual = np.empty((len(coded), table.shape[1]), np.float32)  # the one full copy
    space = None if metric is None else Space.of(torch.from_numpy(np.asarray(metric)))
    for rows in row_blocks(len(coded)):
        np.subtract(table[coded[rows]], mean, out=residual[rows])
        if space is not None:
            residual[rows] = residual[rows] @ space.root.numpy()
    unit = root_mean_square(residual)  # squares and tolerances are those of values near 1
    residual /= np.float32(unit)
    gain = None
    if allocation.gain:
        lengths = np.linalg.norm(residual, axis=1)
        gain = _bring_to_one_length(residual, lengths)
        row_weights *= np.maximum(lengths / max(lengths.mean(), 1e-30), 1e-6) ** config.length_power
        row_weights /= row_weights.mean()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    target = torch.from_numpy(residual).to(device)
    weights = torch.from_numpy(row_weights.astype(np.float32)).to(device)
    if space is None:
        trainer = _Trainer(target, weights, allocation, config, seed, progress)
        stages = trainer.run(unit)
        if gain is not None:
            gain = trainer.fit_gain(gain)
    else:
        in_metric = MetricTrainer(target, weights, space, allocation, config, seed, progress)
        in_metric.run()
        stages = in_metric.stages(unit)
        if gain is not None:
            gain = as_gain(in_metric.factors(unbiased=unbiased) * gain.levels[gain.codes])
    return CompressedEmbedding(
        len(table), table.shape[1], mean, stages, order=order, gain=gain, tail=tail
    )


def _mean(table: Float32, ids: NDArray[np.int64], weights: NDArray[np.float64]) -> Float32:
    total = np.zeros(table.shape[1])
    for rows in row_blocks(len(ids)):
        total += weights[rows] @ table[ids[rows]].astype(np.float64)
    return (total / weights.sum()).astype(np.float32)


def _in_unit(scale: Tensor, unit: float) -> Float32:
    return (scale.cpu().numpy().astype(np.float64) * unit).astype(np.float32)


def _bring_to_one_length(residual: Float32, lengths: NDArray[np.float32]) -> Gain:
    """Divide the rows by their (coded) lengths, in place; rows of no length stay zero."""
    gain = as_gain(lengths)
    for rows in row_blocks(len(residual)):
        residual[rows] /= np.maximum(gain.levels[gain.codes[rows]], 1e-30)[:, None]
    return gain


class _Trainer:
    """Code and stages of ``target`` float [n, d]: what is left of the rows, by position."""

    def __init__(
        self,
        target: Tensor,
        weights: Tensor,
        allocation: Allocation,
        config: LightTokenConfig,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self._target, self._weights = target, weights
        self._allocation, self._config = allocation, config
        self._generator = torch.Generator().manual_seed(seed)
        self._joint = (
            _JOINT_ROUNDS
            if allocation.subquantizers and allocation.row_counts and config.rounds
            else 0
        )
        self._meter = Meter(progress, config.rounds * bool(allocation.subquantizers) + self._joint)
        self._code: BaseCode | None = None
        self._stages: tuple[ResidualStage, ...] = ()

    def run(self, unit: float) -> tuple[Stage, ...]:
        """Train all stages of the allocation; they decode to ``unit`` of the target's."""
        if not self._allocation.subquantizers:
            self._stages = self._fit_stages(self._target[: self._most()].clone())
            return self._pack(unit)
        code = self._code = self._train_code()
        self._stages = self._stages_beside(code)
        for _ in range(self._joint):
            # The stages explain part of the frequent rows: what the code has to say about those
            # changes, and so does the decoder that serves all the others.
            add_stages(self._target, self._stages, -1.0)
            fit_decoder(code, self._target, self._weights)
            search(code, self._target)
            add_stages(self._target, self._stages, 1.0)
            self._stages = self._stages_beside(code)
            self._meter.round_done()
        return self._pack(unit)

    def _train_code(self) -> BaseCode:
        """Fit the code on a sample of the rows, then give all rows theirs."""
        target, weights = self._target, self._weights
        chosen = torch.randperm(len(target), generator=self._generator)[: self._config.sample_rows]
        whole = len(chosen) == len(target)
        sample = slice(None) if whole else chosen.sort().values.to(target.device)
        rows, row_weights = target[sample], weights[sample]
        code = start_code(
            rows,
            row_weights,
            self._allocation.subquantizers,
            self._generator,
            additive=self._config.additive,
        )
        refine(
            code,
            rows,
            row_weights,
            rounds=self._config.rounds,
            learn_codebooks=self._config.learn_codebooks,
            generator=self._generator,
            on_round=self._meter.round_done,
        )
        round_codebooks(code, CODEBOOK_PEAK)
        if not whole:
            code = encode(target, code)
            if self._config.rounds:
                search(code, target, _ENCODE_SWEEPS)
        fit_decoder(code, target, weights)
        if self._config.rounds:
            search(code, target, _LAST_SWEEPS)
        return code

    def _most(self) -> int:
        return max((rows for rows, _ in self._allocation.stages()), default=0)

    def _stages_beside(self, code: BaseCode) -> tuple[ResidualStage, ...]:
        left = self._target[: self._most()].clone()
        code.add_to(left, -1.0, self._most())
        return self._fit_stages(left)

    def _fit_stages(self, left: Tensor) -> tuple[ResidualStage, ...]:
        return fit_stages(
            left,
            self._allocation.stages(),
            self._weights,
            self._generator,
            additive=self._config.additive,
        )

    def fit_gain(self, gain: Gain) -> Gain:
        """Each row's factor by least squares on what its codes stand for."""
        factors = gain.levels[gain.codes].copy()
        for rows in row_blocks(len(self._target)):
            decoded = self._decoded(rows)
            power = (decoded**2).sum(1).clamp_min(1e-30)
            ratio = ((self._target[rows] * decoded).sum(1) / power).clamp_min(0)
            factors[rows] *= ratio.cpu().numpy()
        return as_gain(factors)

    def _decoded(self, rows: slice) -> Tensor:
        """What code and stages stand for, float [n, d]: a block at a time, as memory is short."""
        decoded = torch.zeros_like(self._target[rows])
        if self._code is not None:
            decoded += self._code.latents(rows) @ self._code.decoder
        for stage in self._stages:
            values = stage.values(rows)  # fewer rows, or none, where the stage ends
            decoded[: len(values)] += values
        return decoded

    def _pack(self, unit: float) -> tuple[Stage, ...]:
        stages = []
        if self._code is not None:
            code = self._code
            decoders = quantise_columns(code.decoder, code.subquantizers)
            places = zip(
                decoders, code.codebooks, subquantizer_columns(code.subquantizers), strict=True
            )
            for (weight, scale), book, columns in places:
                decoder = DenseDecoder(weight.cpu().numpy().astype(np.int8), _in_unit(scale, unit))
                codes = np.ascontiguousarray(code.codes[:, columns].cpu().numpy())
                stages.append(Stage(codes, decoder, book.cpu().numpy().astype(np.int8)))
        for stage in self._stages:
            columns_decoder = ColumnDecoder(_in_unit(stage.scale, unit))
            codebook = stage.codebook.cpu().numpy().astype(np.int8)
            stages.append(Stage(stage.codes.cpu().numpy(), columns_decoder, codebook))
        return tuple(stages)
