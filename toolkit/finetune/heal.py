"""Healing: less loss in the same bytes, from plain text and without labels."""

import copy
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..bundle.manifest import TRAINED
from ..errors import InputError
from ..files import write_aside
from ..progress import Progress
from ..table.components import Float32
from ..table.embedding import CompressedEmbedding
from . import module as layers
from .attach import attach, detach, find_table
from .batches import Batch, make_batches
from .distil import DistilConfig, copied, distil, held_out_distance, put_back
from .guard import Guard
from .metric import PLAIN, row_metric, square_root
from .recode import recode

_MEASURED, _RECODED = 0.15, 0.2  # of the work, for the progress
_ROUND_SEED = 1000  # between the seeds of two rounds' epochs


@dataclass(frozen=True)
class HealConfig:
    """How a table is healed.

    Attributes:
        distil: one round's training of the floats.
        rounds: of training, then codes.
        batch: texts of a step.
        held_out: share of the texts that is not trained on, and most of them.
        most_held_out: texts.
        metric_tokens: that the metric is estimated on, for each column of the table.
        seed: for all that is drawn.
        train: the floats of the ``table`` alone; or with it the model's ``norms``, which is all of
            its vectors, LayerNorms and biases; or all its weights (``body``). The packed bytes
            stay as many.

    Raises:
        InputError: another word for ``train``.
    """

    distil: DistilConfig = field(default_factory=DistilConfig)
    rounds: int = 1
    batch: int = 32
    held_out: float = 0.05
    most_held_out: int = 256
    metric_tokens: int = 64
    seed: int = 0
    train: str = "table"

    def __post_init__(self) -> None:
        if self.train not in TRAINED:
            raise InputError(f"train {self.train!r} is unknown; choose from {', '.join(TRAINED)}")


@dataclass(frozen=True)
class Healing:
    """What was gained, as mean distances to the original's outputs on held-out text.

    Attributes:
        texts: given.
        before: of the table as it came.
        recoded: with codes chosen in the model's metric.
        after: at the end.
        steps: of training, in all rounds of this call.
        seconds: taken.
        parameters: of the model, that were trained too, as they are now, by name; none for
            the table alone.
    """

    texts: int
    before: float
    recoded: float
    after: float
    steps: int
    seconds: float
    parameters: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)


def heal(
    model: nn.Module,
    packed: CompressedEmbedding,
    texts: Sequence[Sequence[int]],
    *,
    pad_id: int = 0,
    name: str | None = None,
    importance: NDArray[np.floating] | None = None,
    config: HealConfig | None = None,
    state: Path | None = None,
    progress: Progress | None = None,
) -> tuple[CompressedEmbedding, Healing]:
    """Fit a packed table to the model that reads it; its bytes are as many as before.

    First the codes of all rows are chosen anew in the model's own metric. Then, in rounds,
    decoders, factors and gains are trained to bring hidden states and outputs back to the
    original's, and the codes follow. Each step stays only if it helps on texts that were held out.
    What ``config.train`` names of the model itself is trained along.

    Args:
        model: a transformers model with its dense table; not changed.
        packed: that table, packed.
        texts: token ids of plain texts, special tokens included.
        pad_id: fills shorter texts.
        name: of the layer, as :func:`attach` takes it.
        importance: of each row [V]; by default what the texts say.
        config: how long, how much.
        state: a folder to resume from, if it is there, and to note the work in; it is removed at
            the end.
        progress: told how far the work is.

    Returns:
        The table and what was gained.

    Raises:
        InputError: too few texts, or a model that gives no hidden states.
    """
    chosen = config or HealConfig()
    started = time.monotonic()
    say = progress or (lambda share, what: None)
    train, held_out = _divide(texts, chosen, pad_id)
    was_training = model.training
    trial = _Trial(model.eval(), packed, name, held_out, chosen.train)
    before = trial.loss

    say(0.0, "measuring what the model is sensitive to")
    generator = torch.Generator().manual_seed(chosen.seed)
    sample = _first(train(0), chosen.metric_tokens * packed.width)
    weights = _weights(texts, packed.rows, importance)
    plain = min(1.0, max(PLAIN, _error(packed, trial.table, weights.numpy())))
    table = find_table(model, packed, name)
    root = square_root(row_metric(model, table, sample, generator, plain))
    say(_MEASURED, "choosing codes in the model's metric")
    notes = _Notes(state)
    if not notes.resume(trial):
        trial.offer(recode(packed, trial.table, root, weights))
    recoded = trial.loss
    notes.round_done(trial)

    steps = 0
    for done in range(notes.rounds - 1, chosen.rounds if chosen.distil.steps else 0):

        def on_step(step: int, done: int = done) -> None:
            share = (done + step / chosen.distil.steps) / chosen.rounds
            say(_RECODED + (1 - _RECODED) * share, "training on the text")

        distilled = distil(
            trial.student,
            trial.put(trial.best),
            model,
            partial(train, done),
            held_out,
            chosen.distil,
            parameters=list(trial.trained.values()),
            guard=Guard(torch.from_numpy(trial.table), root, weights, seed=chosen.seed),
            state=notes.training,
            on_step=on_step,
        )
        steps += distilled.steps
        trial.offer(distilled.layer.pack(), trial.copied())
        trial.offer(recode(trial.best, trial.table, root, weights, rounds=1, refit=False))
        notes.round_done(trial)
    model.train(was_training)
    notes.remove()
    say(1.0, "healed")
    seconds = time.monotonic() - started
    return trial.best, Healing(
        len(texts), before, recoded, trial.loss, steps, seconds, trial.parameters
    )


class _Trial:
    """The best table so far, with what was trained beside it, and a model to try others in."""

    def __init__(
        self,
        model: nn.Module,
        packed: CompressedEmbedding,
        name: str | None,
        held_out: Sequence[Batch],
        train: str,
    ) -> None:
        self._model, self._name, self._held_out = model, name, held_out
        table = find_table(model, packed, name)
        self.table: Float32 = table.weight.detach().float().cpu().numpy().copy()
        self.student = copy.deepcopy(model).requires_grad_(False)
        own = find_table(self.student, packed, name).weight
        self.trained = {
            at: parameter
            for at, parameter in self.student.named_parameters()
            if parameter is not own
            and (train == "body" or (train == "norms" and parameter.dim() == 1))
        }
        self.parameters = self.copied()
        self.best, self.loss = packed, self._judge(packed)

    def copied(self) -> dict[str, Tensor]:
        """What is trained beside the table, as the student has it now."""
        return copied(self.trained)

    def put(self, packed: CompressedEmbedding) -> layers.CompressedEmbedding:
        """Let the student read ``packed``; the rest of it is as it was at its best."""
        put_back(self.trained, self.parameters)
        return attach(detach(self.student), packed, self._name)

    def offer(
        self, packed: CompressedEmbedding, parameters: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take ``packed``, with ``body``, if the model does better on the text held out."""
        tried = self.parameters if parameters is None else dict(parameters)
        put_back(self.trained, tried)
        loss = self._judge(packed)
        if loss < self.loss:
            self.best, self.loss, self.parameters = packed, loss, tried

    def _judge(self, packed: CompressedEmbedding) -> float:
        attach(detach(self.student), packed, self._name)
        return held_out_distance(self.student, self._model, self._held_out)


class _Notes:
    """A folder with the table after each round, and the training of the one under way."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.rounds = 0

    @property
    def training(self) -> Path | None:
        """File for the training of this round."""
        return None if self._folder is None else self._folder / f"training-{self.rounds}.pt"

    def resume(self, trial: "_Trial") -> bool:
        """Offer the last round's table, if one is noted."""
        if self._folder is None:
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        found = {int(path.stem.removeprefix("round-")): path for path in self._folder.glob("*.lt")}
        if not found:
            return False
        self.rounds = max(found)
        parameters = torch.load(self._body(), weights_only=True)
        trial.offer(CompressedEmbedding.load(found[self.rounds]), parameters)
        return True

    def round_done(self, trial: "_Trial") -> None:
        """Note the best table."""
        if self._folder is not None:
            with write_aside(self._body()) as aside:
                torch.save(trial.parameters, aside)
            trial.best.save(self._folder / f"round-{self.rounds}.lt")  # last: with it all is there
        self.rounds += 1

    def _body(self) -> Path:
        assert self._folder is not None
        return self._folder / f"round-{self.rounds}.pt"

    def remove(self) -> None:
        """Nothing is left to resume."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _divide(
    texts: Sequence[Sequence[int]], config: HealConfig, pad_id: int
) -> tuple[Callable[..., list[Batch]], list[Batch]]:
    """Batches to train on, by round and epoch, and those held out; equal texts stay together."""
    distinct = [list(ids) for ids in dict.fromkeys(map(tuple, texts))]
    count = min(round(len(distinct) * config.held_out), config.most_held_out)
    if count < 1 or len(distinct) - count < config.batch:
        raise InputError(
            f"{len(distinct)} different texts are too few to heal with; give some hundreds, a line "
            "each"
        )
    order = random.Random(config.seed).sample(range(len(distinct)), len(distinct))
    held_out = [distinct[index] for index in order[:count]]
    train = [distinct[index] for index in order[count:]]

    def epoch(number: int, after: int = 0) -> list[Batch]:
        seed = config.seed + _ROUND_SEED * number + after
        return make_batches(train, config.batch, pad_id, seed=seed)

    return epoch, make_batches(held_out, config.batch, pad_id)


def _error(packed: CompressedEmbedding, table: Float32, weights: Float32) -> float:
    """What packing lost of rows around their mean, in squares, 0 to 1 or so."""
    shares = weights / weights.sum()
    spread = np.square(table - shares @ table).sum(axis=1)
    lost = np.square(table - packed.dense()).sum(axis=1)
    return float(shares @ lost / max(float(shares @ spread), 1e-30))


def _first(batches: Sequence[Batch], tokens: int) -> Sequence[Batch]:
    """As many of the first batches as have so many tokens."""
    total = np.cumsum([int(batch.mask.sum()) for batch in batches])
    return batches[: int(np.searchsorted(total, tokens)) + 1]


def _weights(
    texts: Sequence[Sequence[int]], rows: int, importance: NDArray[np.floating] | None
) -> Tensor:
    """Of each row its importance, or how often the texts have it; float [rows], 1 in the mean."""
    if importance is None:
        weights = torch.full((rows,), 0.5)  # a row that the texts have not may come in others
        for ids in texts:
            weights.index_add_(0, torch.tensor(ids), torch.ones(len(ids)))
    else:
        weights = torch.from_numpy(np.asarray(importance, np.float32))
    return weights / weights.mean()
