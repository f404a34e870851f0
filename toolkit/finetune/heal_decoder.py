"""Healing of decoders: table, norms and weights of few bits, fitted to the original together.

The original's own distributions are the teacher, on texts that it wrote itself or that are given
(data-free distillation of quantised decoders: Liu et al. 2023, LLM-QAT, section 3). The codes of
the table stay; what they are read by is trained, and of the model around it what is asked for.
"""

import copy
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..bundle.manifest import TRAINED
from ..errors import InputError
from ..progress import Progress, part
from ..rounding import GroupedWeight
from ..table.embedding import CompressedEmbedding
from .attach import attach
from .batches import fast_products
from .candidates import Candidates, Teacher, ask_teacher
from .decoder_head import Head, body_of
from .distil import copied
from .rounded import attach_rounded
from .training import Rates, Training

_LEAST_VARIANCE = 1e-6  # of a column
_ASKING = 0.15  # of the work, for the progress


@dataclass(frozen=True)
class DecoderHealConfig:
    """How a decoder is healed.

    Attributes:
        steps: of the optimiser.
        batch: texts of a step.
        held_out: texts that are not trained on.
        check_every: steps between looks at the texts held out, after which the work is noted.
        hidden: weight of the states between the layers beside the next token.
        rates: how fast each kind of parameter learns.
        train: the floats of the ``table`` alone; or with it the ``norms``, which is all vectors; or
            with both the ``body``, which is all other weights: as codes and scales where they are
            rounded.
        seed: for all that is drawn.

    Raises:
        InputError: another word for ``train``.
    """

    steps: int = 250
    batch: int = 12
    held_out: int = 8
    check_every: int = 25
    hidden: float = 1.0
    rates: Rates = field(default_factory=Rates)
    train: str = "norms"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.train not in TRAINED:
            raise InputError(f"train {self.train!r} is unknown; choose from {', '.join(TRAINED)}")


@dataclass(frozen=True, eq=False)
class HealedDecoder:
    """A decoder nearer to its original, in the same bytes.

    Attributes:
        packed: its table.
        texts: that were read.
        before: mean Kullback-Leibler divergence from the original on texts held out, in nats.
        after: the same, healed.
        steps: of training.
        seconds: taken.
        parameters: of the model, that were trained too, as they are now, by name.
        rounded: the matrices of few bits, as they are now, by the name of their layer.
    """

    packed: CompressedEmbedding
    texts: int
    before: float
    after: float
    steps: int
    seconds: float
    parameters: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    rounded: Mapping[str, GroupedWeight] = field(default_factory=dict, repr=False)


def heal_decoder(
    model: Any,
    packed: CompressedEmbedding,
    texts: Tensor,
    *,
    heads: bool = True,
    rounded: Mapping[str, GroupedWeight] | None = None,
    config: DecoderHealConfig | None = None,
    teacher: Teacher | None = None,
    state: Path | None = None,
    progress: Progress | None = None,
) -> HealedDecoder:
    """Fit a decoder's packed table, and what else is trained, to the decoder as it was.

    Args:
        model: a causal model of transformers with its dense table; not changed.
        packed: that table, packed.
        texts: int64 [n, length], unpadded.
        heads: whether an output head that is tied to the table reads it packed; one that does not
            stays as it is, as does a head of its own.
        rounded: linear layers that will be stored in few bits, by name, as they are rounded now.
        config: how long, how much.
        teacher: what ``model`` makes of ``texts``, where it was asked before.
        state: a folder to resume from, if it is there, and to note the work in; removed at the end.
        progress: told how far the work is.

    Raises:
        InputError: too few texts, or a head whose products are not its logits.
    """
    chosen = config or DecoderHealConfig()
    started = time.monotonic()
    if len(texts) < chosen.held_out + chosen.batch:
        raise InputError(
            f"{len(texts)} texts are too few to heal with; give {chosen.held_out + chosen.batch} "
            "or more"
        )
    model.eval().requires_grad_(False)
    original = Head(model, texts[:1])
    if teacher is None:
        teacher = ask_teacher(
            body_of(model), original.weight, texts, progress=part(progress, 0.0, _ASKING)
        )
    student = _Student(model, packed, heads, rounded or {}, chosen)
    own = original.of(student.model)

    def divergence(some: Tensor, seed: int, states: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        candidates = Candidates.draw(teacher, some, generator)
        # The first token is the same in every text: what follows it says nothing of the others.
        wanted = teacher.hidden[some][:, 1:].flatten(0, 1).float()
        with torch.no_grad():
            given = original.logits(wanted, candidates.ids)
        with fast_products(student.model):
            got = own.logits(states[:, 1:].flatten(0, 1), candidates.ids)
        return candidates.divergence(given, got)

    def loss(some: Tensor, seed: int) -> Tensor:
        found = _run(student.model, texts[some], hidden=True)
        states = [found.hidden_states[layer] for layer in teacher.layers]
        apart = _hidden_distance(states, teacher.between[some].unbind(1))
        return divergence(some, seed, found.last_hidden_state) + chosen.hidden * apart

    held_out = torch.split(torch.arange(chosen.held_out), chosen.batch)

    @torch.no_grad()
    def judge() -> float:
        total = 0.0
        for some in held_out:
            states = _run(student.model, texts[some]).last_hidden_state
            total += float(divergence(some, chosen.seed, states)) * len(some)
        return total / chosen.held_out

    before = judge()
    training = Training(student.groups, chosen.steps, before)
    notes = None if state is None else state / "training.pt"
    if notes is not None and notes.is_file():
        training.load(notes)
    say = part(progress, _ASKING, 1.0)
    while training.done < chosen.steps:
        some = _batch(len(texts), chosen, training.done)
        training.step(loss(some, chosen.seed + 1 + training.done))
        if training.done % chosen.check_every == 0 or training.done == chosen.steps:
            training.look(judge())
            if notes is not None:
                training.save(notes)
        if say is not None:
            say(training.done / chosen.steps, "healing the decoder")
    training.finish()
    if state is not None:
        shutil.rmtree(state, ignore_errors=True)
    return HealedDecoder(
        student.table.pack(),
        len(texts),
        before,
        training.least,
        training.done,
        time.monotonic() - started,
        copied(student.beside),
        {name: layer.pack() for name, layer in student.rounded.items()},
    )


class _Student:
    """The decoder with its table packed and its weights rounded, and what of it is trained.

    Attributes:
        model: the decoder.
        table: its packed table.
        rounded: its matrices of few bits, by the name of their layer.
        beside: other parameters that are trained, by name.
        groups: all that is trained, by name, with its rate.
    """

    def __init__(
        self,
        model: Any,
        packed: CompressedEmbedding,
        heads: bool,
        rounded: Mapping[str, GroupedWeight],
        config: DecoderHealConfig,
    ) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        head = self.model.get_output_embeddings()
        if not heads:
            head.weight = nn.Parameter(head.weight.detach(), requires_grad=False)  # untied
        vectors, body = config.train != "table", config.train == "body"
        self.rounded = attach_rounded(self.model, rounded)
        self.table = attach(self.model, packed)
        rates = config.rates
        self.groups: dict[str, tuple[nn.Parameter, float]] = {}
        for name, tensor in self.table.named_parameters():
            rate = rates.table * float(tensor.detach().square().mean().sqrt())
            self.groups[f"table.{name}"] = tensor, rate
        for at, layer in self.rounded.items() if body else ():
            self.groups[f"{at}.positions"] = layer.positions, rates.positions
            self.groups[f"{at}.factors"] = layer.factors, rates.factors
        taken = {id(tensor) for tensor, _ in self.groups.values()}
        taken.add(id(head.weight))
        taken |= {id(layer.positions) for layer in self.rounded.values()}
        taken |= {id(layer.factors) for layer in self.rounded.values()}
        self.beside: dict[str, nn.Parameter] = {}
        for name, tensor in self.model.named_parameters():
            wanted = vectors if tensor.dim() == 1 else body
            if wanted and id(tensor) not in taken:
                self.beside[name] = tensor
                rate = rates.vectors if tensor.dim() == 1 else rates.matrices
                self.groups[name] = tensor, rate


def _run(model: Any, ids: Tensor, *, hidden: bool = False) -> Any:
    """What the body of a causal model gives for ids int64 [n, length]."""
    with fast_products(model):
        return body_of(model)(input_ids=ids, use_cache=False, output_hidden_states=hidden)


def _hidden_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean squared error of the states between the layers, as a share of each column's variance.

    A few thousand tokens say little through one distribution each, and more through every layer
    (Jiao et al. 2020, TinyBERT, section 3). Columns count alike: a few of them are a hundred times
    as large as the others. The first token is left out here too.
    """
    total = torch.zeros(())
    for own, given in zip(found, wanted, strict=True):
        goal = given[:, 1:].float()
        error = (own[:, 1:].float() - goal).square().mean((0, 1))
        total = total + (error / (goal.var((0, 1)) + _LEAST_VARIANCE)).mean()
    return total / len(wanted)


def _batch(texts: int, config: DecoderHealConfig, step: int) -> Tensor:
    """Indices of the texts of a step, int64 [batch]: each text once an epoch."""
    left = texts - config.held_out
    epoch, at = divmod(step * config.batch, left - left % config.batch)
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    order = torch.randperm(left, generator=generator) + config.held_out
    return order[at : at + config.batch]
