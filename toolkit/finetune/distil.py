"""Distillation on plain text: a model with a packed table learns to give the original's outputs.

Hidden states and outputs of the original are the teacher (Hinton et al. 2015; hidden states as in
Jiao et al. 2020, TinyBERT), so no labels are needed. What is trained are the floats of the packed
table: decoders, scales, factors, gains, the mean; and of the model around it what is asked for.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..files import write_aside
from .batches import Batch, fast_products, hidden_states
from .guard import Guard
from .module import CompressedEmbedding

_WARM_UP = 10  # steps
_BETAS = (0.9, 0.99)
_KL_POSITIONS = 256  # of a batch whose logits are compared: a vocabulary's are many


@dataclass(frozen=True)
class DistilConfig:
    """How long and how fast.

    Attributes:
        steps: of the optimiser, at most; 0 trains nothing.
        learning_rate: Adam's, times the root mean square of each parameter of the table, falling
            to 0 along a cosine.
        matrix_rate: Adam's for the model's matrices, where they are trained too.
        vector_rate: for its vectors: the gains and biases of LayerNorms, and other biases.
        check_every: steps between looks at the held-out text.
        patience: looks without a new best after which training ends.
    """

    steps: int = 250
    learning_rate: float = 0.01
    matrix_rate: float = 5e-5
    vector_rate: float = 3e-4
    check_every: int = 50
    patience: int = 3


@dataclass(frozen=True)
class Distilled:
    """The trained ``layer`` in its best state, after ``steps`` of the optimiser."""

    layer: CompressedEmbedding
    steps: int


def distance(student: Any, teacher: Any, mask: Tensor) -> Tensor:
    """How far a student's outputs are from the teacher's, a scalar.

    The squared error of the last hidden states over their power; and of what the model is for: the
    Kullback-Leibler divergence of its logits, or without a head the angle of the texts' mean
    states.
    """
    real = mask.bool()
    own, wanted = hidden_states(student), hidden_states(teacher)
    power = wanted[real].square().sum().clamp_min(1e-30)
    loss = (own[real] - wanted[real]).square().sum() / power
    logits = [
        (getattr(student, name), getattr(teacher, name))
        for name in ("logits", "start_logits", "end_logits")
        if getattr(teacher, name, None) is not None
    ]
    if not logits:
        return (
            loss + (1 - functional.cosine_similarity(_mean(own, mask), _mean(wanted, mask))).mean()
        )
    for got, given in logits:
        if given.dim() == 3:  # a distribution a token
            step = -(-int(real.sum()) // _KL_POSITIONS)
            got, given = got[real][::step], given[real][::step]
        loss = loss + functional.kl_div(
            got.float().log_softmax(-1),
            given.float().log_softmax(-1),
            reduction="batchmean",
            log_target=True,
        )
    return loss


@torch.no_grad()
def held_out_distance(student: nn.Module, teacher: nn.Module, batches: Sequence[Batch]) -> float:
    """The mean distance over the texts of ``batches``."""
    total = sum(
        len(batch.ids) * float(distance(_run(student, batch), _run(teacher, batch), batch.mask))
        for batch in batches
    )
    return total / sum(len(batch.ids) for batch in batches)


def distil(
    student: nn.Module,
    layer: CompressedEmbedding,
    teacher: nn.Module,
    batches: Callable[[int], Sequence[Batch]],
    held_out: Sequence[Batch],
    config: DistilConfig,
    *,
    parameters: Sequence[nn.Parameter] = (),
    guard: Guard | None = None,
    state: Path | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Distilled:
    """Train ``layer``, the packed table of ``student``; the best state on ``held_out`` is kept.

    Args:
        student: the model with ``layer`` attached, in eval mode.
        layer: what is trained.
        teacher: the model as it was, in eval mode.
        batches: the text of an epoch, by its number.
        held_out: text that is not trained on.
        config: how long.
        parameters: parameters of ``student`` beside the table that are trained with it, in place.
        guard: keeps rows that the text lacks near the original's.
        state: a file to go on from, if it is there, and to note the work in; of the same call.
        on_step: told the steps done.
    """
    layer.requires_grad_(True)
    groups = [
        {"params": [parameter], "lr": config.learning_rate * _size(parameter)}
        for parameter in layer.parameters()
    ]
    for parameter in parameters:
        rate = config.matrix_rate if parameter.dim() > 1 else config.vector_rate
        groups.append({"params": [parameter.requires_grad_(True)], "lr": rate})
    optimizer = torch.optim.Adam(groups, betas=_BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done, config.steps))
    before = held_out_distance(student, teacher, held_out)
    work = _Work(layer, parameters, optimizer, schedule, before)
    if state is not None and state.is_file():
        work.load(state)
    for batch in _from(batches, work.steps):
        if work.steps >= config.steps or work.idle >= config.patience:
            break
        with fast_products(student):
            taught, learnt = _teach(teacher, batch), _run(student, batch)
        loss = distance(learnt, taught, batch.mask)
        if guard is not None:
            loss = loss + guard.loss(layer, work.steps)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        work.steps += 1
        if work.steps % config.check_every == 0 or work.steps == config.steps:
            work.look(held_out_distance(student, teacher, held_out))
            if state is not None:
                work.save(state)
        if on_step is not None:
            on_step(work.steps)
    work.restore()
    for parameter in (*layer.parameters(), *parameters):
        parameter.requires_grad_(False)
    return Distilled(layer, work.steps)


def copied(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their values now, without a gradient."""
    return {name: tensor.detach().clone() for name, tensor in parameters.items()}


@torch.no_grad()
def put_back(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Set those parameters that ``values`` has, in place."""
    for name, tensor in values.items():
        parameters[name].copy_(tensor)


class _Work:
    """What has to be kept to go on another time."""

    def __init__(
        self,
        layer: CompressedEmbedding,
        parameters: Sequence[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        before: float,
    ) -> None:
        self._trained: dict[str, Tensor] = dict(layer.named_parameters())
        self._trained |= {f"body.{index}": tensor for index, tensor in enumerate(parameters)}
        self._optimizer, self._schedule = optimizer, schedule
        self.steps, self.idle, self.least = 0, 0, before
        self.best = copied(self._trained)

    def look(self, loss: float) -> None:
        """Note a held-out loss."""
        self.idle = 0 if loss < self.least else self.idle + 1
        if loss < self.least:
            self.least, self.best = loss, copied(self._trained)

    def restore(self) -> None:
        """What was trained, as it was at its best."""
        put_back(self._trained, self.best)

    def save(self, path: Path) -> None:
        """All of it, aside first and then renamed."""
        kept = {
            "numbers": (self.steps, self.idle, self.least),
            "best": self.best,
            "trained": copied(self._trained),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        with write_aside(path) as aside:
            torch.save(kept, aside)

    def load(self, path: Path) -> None:
        """What :meth:`save` wrote."""
        kept = torch.load(path, weights_only=True)
        self.steps, self.idle, self.least = kept["numbers"]
        self.best = kept["best"]
        put_back(self._trained, kept["trained"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self._schedule.load_state_dict(kept["schedule"])


def _from(batches: Callable[[int], Sequence[Batch]], step: int) -> Iterator[Batch]:
    """Batches of epoch after epoch, from a step on."""
    epoch = 0
    while True:
        some = batches(epoch)
        yield from some[step:]
        step = max(step - len(some), 0)
        epoch += 1


def _run(model: nn.Module, batch: Batch) -> Any:
    return model(**batch.inputs, output_hidden_states=True)


@torch.no_grad()
def _teach(model: nn.Module, batch: Batch) -> Any:
    return _run(model, batch)


def _size(parameter: Tensor) -> float:
    return float(parameter.detach().square().mean().sqrt())


def _rate(done: int, steps: int) -> float:
    falling = 0.5 * (1 + math.cos(math.pi * min(done / max(steps, 1), 1)))
    return min(1.0, (done + 1) / _WARM_UP) * falling


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    weight = mask[:, :, None].to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1)
