"""A code and its residual stages, all of them searched in one metric.

Where it is known which errors of a row matter (:class:`.base_code.Space`), the residual stages of
:mod:`.residual_stages` cannot follow: their bytes stand for columns, and the metric mixes columns.
So each stage here is a code with a decoder of its own, of a byte for eight latent values, on what
the stages before it leave. That costs d x d bytes a stage, which tables of many rows do not feel.
"""

import torch
from torch import Tensor

from ...allocate.allocation import STAGE_COLUMNS, Allocation, Subquantizer
from ...progress import Meter, Progress
from ...table.components import CODEBOOK_PEAK, DenseDecoder, Float32, Stage
from ...table.matrix import row_blocks
from ..config import LightTokenConfig
from .base_code import (
    BaseCode,
    Space,
    encode,
    fit_decoder,
    refine,
    round_codebooks,
    search,
    start_code,
    stored_decoders,
    subquantizer_columns,
)

_SWEEPS = 2  # for rows that a code was not trained on
_STAGE_ROUNDS = 2  # a stage has little to learn: what it codes is close to noise
_JOINT_ROUNDS = 2  # of all codes, each given the others
_MOST_FACTOR = 2.0  # a row that is further off than this is lost, whatever it is multiplied by


class MetricTrainer:
    """Code and stages of ``left`` float [n, d], rows by position in ``space``.

    ``left`` is changed in place: it is what the stages leave, once there are any.
    """

    def __init__(
        self,
        left: Tensor,
        weights: Tensor,
        space: Space,
        allocation: Allocation,
        config: LightTokenConfig,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self._left, self._weights, self._space = left, weights, space
        self._allocation, self._config = allocation, config
        self._generator = torch.Generator().manual_seed(seed)
        self._codes: list[BaseCode] = []
        self._joint = _JOINT_ROUNDS if config.rounds else 0
        stages = len(allocation.row_counts)
        self._meter = Meter(progress, config.rounds + stages * (1 + self._joint) + self._joint)

    def run(self) -> None:
        """Train one code after another on what the ones before it leave, then all together."""
        config, width = self._config, self._left.shape[1]
        if self._allocation.subquantizers:
            rounds = config.rounds
            self._add(self._allocation.subquantizers, len(self._left), rounds, report=True)
        stage = (Subquantizer(-(-width // STAGE_COLUMNS), STAGE_COLUMNS),)
        for rows in self._allocation.row_counts:
            self._add(stage, rows, min(_STAGE_ROUNDS, config.rounds))
            self._meter.round_done()
        for _ in range(self._joint):
            for code in self._codes:
                here = slice(len(code.codes))
                target, weights = self._left[here], self._weights[here]
                code.add_to(target, 1.0)
                search(code, target)
                fit_decoder(code, target, weights)
                search(code, target)
                code.add_to(target, -1.0)
                self._meter.round_done()

    def _add(
        self, subquantizers: tuple[Subquantizer, ...], count: int, rounds: int, report: bool = False
    ) -> None:
        """One more code, for the first ``count`` positions."""
        target, weights = self._left[:count], self._weights[:count]
        chosen = torch.randperm(count, generator=self._generator)[: self._config.sample_rows]
        sample = chosen.sort().values.to(target.device)
        rows, row_weights = target[sample], weights[sample]
        code = start_code(
            rows,
            row_weights,
            subquantizers,
            self._generator,
            additive=self._config.additive,
            space=self._space,
        )
        refine(
            code,
            rows,
            row_weights,
            rounds=rounds,
            learn_codebooks=self._config.learn_codebooks,
            generator=self._generator,
            on_round=self._meter.round_done if report else lambda: None,
        )
        round_codebooks(code, CODEBOOK_PEAK)
        code = encode(target, code)
        if rounds:
            search(code, target, _SWEEPS)
        fit_decoder(code, target, weights)
        if rounds:
            search(code, target)
        code.add_to(target, -1.0)
        self._codes.append(code)

    def stages(self, unit: float) -> tuple[Stage, ...]:
        """The codes as they are stored; they decode to ``unit`` of what was coded."""
        found = []
        for code in self._codes:
            places = zip(
                stored_decoders(code),
                code.codebooks,
                subquantizer_columns(code.subquantizers),
                strict=True,
            )
            for (weight, scale), book, columns in places:
                decoder = DenseDecoder(_numpy(weight).astype("int8"), _numpy(scale * unit))
                codes = code.codes[:, columns].contiguous().cpu().numpy()
                found.append(Stage(codes, decoder, _numpy(book).astype("int8")))
        return tuple(found)

    def factors(self, *, unbiased: bool) -> Float32:
        """What each row is best multiplied by, float32 [n].

        For the least error, <x, x^> / <x^, x^>. ``unbiased`` ones make up for what codes of least
        squares lose: <x, x^> falls short of <x, x> by the error, so that a row's logits shrink
        (:func:`.recipe.train`); <x, x> / <x, x^>.
        """
        found = torch.ones(len(self._left))
        for rows in row_blocks(len(self._left)):
            left = self._left[rows]
            decoded = torch.zeros_like(left)
            for code in self._codes:
                values = code.latents(rows) @ code.decoder
                decoded[: len(values)] += values  # fewer rows, or none, where the code ends
            target = left + decoded
            inner = (target * decoded).sum(1)
            power = (target if unbiased else decoded).square().sum(1)
            ratio = power / inner if unbiased else inner / power
            found[rows] = torch.where((inner > 0) & (power > 0), ratio, 1.0).cpu()
        clamped: Float32 = found.clamp(1 / _MOST_FACTOR, _MOST_FACTOR).numpy()
        return clamped


def _numpy(values: Tensor) -> Float32:
    found: Float32 = values.cpu().numpy()
    return found
