"""Stages (b) and (c): residual binary autoencoders, trained one after another.

LightToken (Wang et al., KDD 2023): an autoencoder with a binary bottleneck codes what low rank
leaves; binary units are trained through a tempered sigmoid; because tempered sigmoids saturate and
then learn nothing more, a stage stops short of saturation, its codes are fixed, and the next stage
is trained on the new residual. The codes of all stages are concatenated. Widths, schedule and the
stopping rule are our reconstruction.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...table.matrix import row_blocks
from ..config import PaperConfig


def direction_aware_loss(target: Tensor, output: Tensor, *, power: float = 2.0) -> Tensor:
    """An upper bound of the squared Euclidean distance that weighs the angle more.

    With c = cos(x, y):  ||x - y||^2 = ||x||^2 + ||y||^2 - 2 ||x|| ||y|| c.  Putting g(c) <= c in
    the place of c gives a bound from above; here g(c) = c**power for c > 0, and c otherwise, so a
    wrong angle costs more than a wrong length. ``power`` 1 is the Euclidean loss itself.

    The paper says that its loss bounds the distance and recalibrates the cosine; g is our choice.

    Args:
        target: x, float [n, d].
        output: y, float [n, d].
        power: beta >= 1.

    Returns:
        float [n], one loss a row.
    """
    target_norm = target.norm(dim=-1)
    output_norm = output.norm(dim=-1)
    product = target_norm * output_norm
    cosine = (target * output).sum(-1) / product.clamp_min(1e-12)
    # Clamped before the power: the gradient of c**power is infinite at 0 for power < 2.
    calibrated = torch.where(cosine > 0, cosine.clamp_min(1e-6) ** power, cosine)
    return target_norm**2 + output_norm**2 - 2 * product * calibrated


_SATURATED = 0.49  # |sigmoid - 0.5| above which a unit hardly moves any more


class BinaryAutoencoder(nn.Module):
    """d -> m -> d with a linear encoder, a tempered sigmoid between, and a linear decoder.

    Codes are read as -1 and +1. Encoder rows start as random orthogonal directions of the
    residual's principal space, the decoder as the least-squares reading of the codes; a
    ``sample`` of the residual, float [n, d], is enough for both.
    """

    def __init__(self, sample: Tensor, bits: int, generator: torch.Generator) -> None:
        super().__init__()
        width = sample.shape[1]
        directions = _principal_directions(sample, min(bits, width))
        rotation = _random_rotation(directions.shape[0], generator).to(sample.device)
        encoder = rotation @ directions
        if bits > width:  # more bits than directions: further random mixtures of the same space
            more = torch.randn(bits - width, directions.shape[0], generator=generator)
            encoder = torch.cat([encoder, nn.functional.normalize(more.to(sample)) @ directions])
        spread = (sample @ encoder.T).std(dim=0, correction=0).clamp_min(1e-12)
        self.encoder = nn.Parameter(encoder / spread[:, None])
        self.bias = nn.Parameter(torch.zeros(bits, device=sample.device))
        signs = torch.where(sample @ self.encoder.T > 0, 1.0, -1.0)
        self.decoder = nn.Parameter(least_squares(signs, sample))

    def soft(self, residual: Tensor, temperature: float) -> Tensor:
        """Training codes in (0, 1), float [n, m]."""
        return torch.sigmoid((residual @ self.encoder.T + self.bias) / temperature)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes in [0, 1] -> float [n, d]."""
        return (2 * codes - 1) @ self.decoder

    @torch.no_grad()
    def hard(self, residual: Tensor) -> Tensor:
        """Inference codes as -1 and +1, int8 [n, m]."""
        codes = torch.empty(len(residual), len(self.bias), dtype=torch.int8, device=residual.device)
        for rows in row_blocks(len(residual)):
            high = residual[rows] @ self.encoder.T + self.bias > 0
            codes[rows] = high.to(torch.int8) * 2 - 1
        return codes


@dataclass(frozen=True)
class StageReport:
    """How one stage went: its bits, epochs run, and the share of saturated units at the end."""

    bits: int
    epochs: int
    saturation: float


def train_stages(
    target: Callable[[Tensor], Tensor],
    residual: Tensor,
    bits: int,
    weights: Tensor,
    config: PaperConfig,
    generator: torch.Generator,
    on_epoch: Callable[[], None] = lambda: None,
    *,
    refit: bool = True,
) -> tuple[Tensor, Tensor, list[StageReport]]:
    """Train ``config.autoencoder_stages`` autoencoders on successive residuals.

    Args:
        target: gives the table's own rows [n, d] at positions int64 [n]; the loss looks at their
            direction.
        residual: what mean and low rank leave of the rows, float [V, d]; every stage takes its
            part away from it in place.
        bits: bits of all stages together.
        weights: importance of each row, float [V].
        on_epoch: called after each epoch, for progress.
        refit: decoders by least squares on the final codes, in place of the trained ones.

    Returns:
        Concatenated codes as -1 and +1, int8 [V, bits]; the stages' decoders, one below the
        other, float [bits, d]; and a report for each stage.
    """
    codes, decoders, reports = [], [], []
    stages = min(config.autoencoder_stages, bits)
    for stage in range(stages):
        stage_bits = bits // stages + (stage < bits % stages)
        model, report = _train_stage(
            target, residual, stage_bits, weights, config, generator, on_epoch
        )
        stage_codes = model.hard(residual)
        decoder = model.decoder.detach()
        if refit:
            decoder = least_squares(stage_codes, residual, weights)
        add_decoded(residual, stage_codes, -decoder)
        codes.append(stage_codes)
        decoders.append(decoder)
        reports.append(report)
    return torch.cat(codes, dim=1), torch.cat(decoders), reports


def _train_stage(
    target: Callable[[Tensor], Tensor],
    residual: Tensor,
    bits: int,
    weights: Tensor,
    config: PaperConfig,
    generator: torch.Generator,
    on_epoch: Callable[[], None],
) -> tuple[BinaryAutoencoder, StageReport]:
    shuffled = torch.randperm(len(residual), generator=generator)
    sample = shuffled[: config.epoch_rows].sort().values.to(residual.device)
    model = BinaryAutoencoder(residual[sample], bits, generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    # One scale for all rows, or the loss would depend on the units of the table.
    scale = (weights[sample] * (target(sample) ** 2).sum(1)).mean().clamp_min(1e-30)
    saturation, epoch = 0.0, 0
    for epoch in range(1, config.epochs + 1):
        progress = (epoch - 1) / max(1, config.epochs - 1)
        temperature = _between(config.temperature, progress)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (0.55 + 0.45 * math.cos(math.pi * progress))
        saturated = torch.zeros((), device=residual.device)
        shuffled = torch.randperm(len(residual), generator=generator)[: config.epoch_rows]
        for rows in torch.split(shuffled.to(residual.device), config.batch_rows):
            wanted, left = target(rows), residual[rows]
            soft = model.soft(left, temperature)
            output = wanted - left + model.decode(soft)
            losses = direction_aware_loss(wanted, output, power=config.angle_power)
            loss = (weights[rows] * losses).mean() / scale
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            saturated += ((soft.detach() - 0.5).abs() > _SATURATED).float().mean(1).sum()
        saturation = float(saturated) / len(shuffled)
        on_epoch()
        if saturation > config.saturation_limit:
            break
    return model, StageReport(bits, epoch, saturation)


def add_decoded(target: Tensor, signs: Tensor, decoder: Tensor) -> None:
    """Add ``signs`` [n, m] @ ``decoder`` [m, d] to ``target`` [n or fewer, d], in place."""
    for rows in row_blocks(len(target)):
        target[rows] += signs[rows].to(decoder.dtype) @ decoder


def least_squares(signs: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """The decoder [m, d] that reads ``signs`` [n, m] as ``target`` [n, d] with least squared error.

    A little ridge (1e-4 of the mean diagonal) keeps codes that never vary from blowing up.
    """
    bits = signs.shape[1]
    gram = torch.zeros(bits, bits, dtype=target.dtype, device=target.device)
    moment = torch.zeros(bits, target.shape[1], dtype=target.dtype, device=target.device)
    for rows in row_blocks(len(target)):
        block = signs[rows].to(target.dtype)
        weighted = block if weights is None else block * weights[rows, None]
        gram += weighted.T @ block
        moment += weighted.T @ target[rows]
    gram.diagonal().add_(1e-4 * gram.diagonal().mean())
    return torch.linalg.solve(gram, moment)


def _principal_directions(residual: Tensor, count: int) -> Tensor:
    """Unit directions of largest variance, float [count, d]."""
    vectors = torch.linalg.eigh(residual.T @ residual)[1]
    return vectors.flip(1)[:, :count].T


def _random_rotation(size: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=generator))[0]


def _between(ends: tuple[float, float], progress: float) -> float:
    """Geometric interpolation: 0 gives the first, 1 the second."""
    return ends[0] * (ends[1] / ends[0]) ** progress
