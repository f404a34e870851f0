"""One training and its scores: a task, a table, a seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from downstream.arms import Table, Uncompressed, dense_of
from downstream.tasks import Feature, Outputs, Task
from torch import nn
from torch.nn.utils import clip_grad_norm_

from toolkit.errors import InputError

_POOL = 16  # batches' worth of examples that are sorted by length together
_TEST_BATCH = 64
_LARGEST_NORM = 1.0  # of a gradient of the weights beside the table
_ATTENTION_DROPOUT = "attention_probs_dropout_prob"


@dataclass(frozen=True)
class Recipe:
    """The same for every arm: AdamW without weight decay, warm-up, then linearly down to 0.

    Attributes:
        learning_rate: for questions times ``question_rate``. At 2e-4 trainings of
            all-MiniLM-L6-v2 on CoLA may end in one answer to everything.
        epochs: passes over the examples.
        batch: examples of a step.
        length: tokens that an example is cut to.
        limit: examples to train on, at most; None for all.
        warm_up: share of the steps.
        question_rate: 3e-5 to 2e-5, as in the papers.
        question_length: tokens of a window.
        question_overlap: tokens that windows share.
        precision: of products, float32 or bfloat16 (torch.autocast); parameters are float32, and
            so are a packed table's own products.
    """

    learning_rate: float = 1e-4
    epochs: int = 3
    batch: int = 32
    length: int = 128
    limit: int | None = None
    warm_up: float = 0.1
    question_rate: float = 1.5
    question_length: int = 384
    question_overlap: int = 128
    precision: str = "float32"

    def __str__(self) -> str:
        examples = "all examples" if self.limit is None else f"at most {self.limit:,} examples"
        return (
            f"learning rate {self.learning_rate:g}, epochs {self.epochs}, batch {self.batch}, "
            f"{self.length} tokens, {examples}; questions: "
            f"{self.learning_rate * self.question_rate:g}, "
            f"{self.question_length}/{self.question_overlap}"
            f"{'' if self.precision == 'float32' else f'; {self.precision}'}"
        )


@dataclass(frozen=True, eq=False)
class Bench:
    """What all trainings have in common. ``trainable``: the tables' floats are trained too."""

    folder: Path
    tokenizer: Any
    recipe: Recipe
    trainable: bool
    device: torch.device

    def autocast(self) -> torch.autocast:
        """Products in the recipe's precision."""
        reduced = self.recipe.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=reduced)


def quiet() -> None:
    """Transformers says nothing of new heads, which every training has."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def measure(bench: Bench, task: Task, table: Table, seed: int) -> dict[str, Any]:
    """Train a model on ``task`` with ``table`` in place, and score it with the table stored again.

    The seed draws the head, the order of the examples and the dropout, alike for every table.

    Returns:
        ``figures`` and ``score`` of the table as it is stored after training, in as many bytes;
        ``unpacked_score`` before it was rounded to be stored; ``moved``, the squared change of the
        table by its power; ``steps``.
    """
    model = build(bench, task, seed)
    layer = table.place(model)
    layer.requires_grad_(bench.trainable)
    before = dense_of(layer)
    steps = _train(model, layer, bench, task, seed)
    power = float(np.square(before, dtype=np.float64).sum())
    moved = float(np.square(dense_of(layer) - before, dtype=np.float64).sum()) / max(power, 1e-30)
    figures = task.score(predict(model, task, bench))
    unpacked = figures["score"]
    if bench.trainable and not isinstance(table, Uncompressed):
        stored = table.pack(layer)
        if stored.nbytes != table.nbytes:
            raise RuntimeError(f"{table.nbytes:,} bytes became {stored.nbytes:,} by training")
        stored.place(model)
        figures = task.score(predict(model, task, bench))
    return {
        "score": figures.pop("score"),
        "unpacked_score": unpacked,
        "figures": figures,
        "moved": moved,
        "steps": steps,
    }


def build(bench: Bench, task: Task, seed: int) -> Any:
    """The model with a new head, float32, on the device.

    Raises:
        InputError: transformers knows no such head for it.
    """
    torch.manual_seed(seed)
    auto = getattr(transformers, task.auto)
    try:
        config = transformers.AutoConfig.from_pretrained(
            bench.folder, local_files_only=True, **task.options
        )
        if "start_logits" in task.outputs and hasattr(config, _ATTENTION_DROPOUT):
            setattr(config, _ATTENTION_DROPOUT, 0.0)  # over long texts, most of a CPU's time
        model = auto.from_pretrained(
            bench.folder, config=config, dtype=torch.float32, local_files_only=True
        )
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"{bench.folder} cannot learn {task.name} ({first}); give an encoder"
        ) from error
    return model.to(bench.device)


def _train(model: Any, layer: nn.Module, bench: Bench, task: Task, seed: int) -> int:
    """Train in place; the number of steps."""
    recipe, questions = bench.recipe, "start_logits" in task.outputs
    rate = recipe.learning_rate * (recipe.question_rate if questions else 1.0)
    epochs = recipe.epochs * task.passes
    steps = epochs * -(-len(task.train) // recipe.batch)
    groups = _groups(model, layer, rate)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
    schedule = transformers.get_linear_schedule_with_warmup(  # type: ignore[no-untyped-call]
        optimizer, round(recipe.warm_up * steps), steps
    )
    torch.manual_seed(seed)  # the dropout of every arm is the same
    model.train()
    for epoch in range(epochs):
        for batch in epoch_batches(task.train, recipe.batch, 1000 * seed + epoch):
            features = _collated([task.train[index] for index in batch], bench)
            with bench.autocast():
                loss = model(**features).loss
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            # Of those weights alone, as a table's gradient is as large as its codes happen to be.
            clip_grad_norm_(groups[0]["params"], _LARGEST_NORM)
            optimizer.step()
            schedule.step()
    return steps


def _groups(model: Any, layer: nn.Module, rate: float) -> list[dict[str, Any]]:
    """The weights beside the table at ``rate``; a table's floats at a rate by their size.

    Adam moves every number by about its rate, however small the number is. A decoder's floats are
    far smaller than the rows made of them: so each parameter moves by the same share of its size
    as the entries of the uncompressed table do, whose rate is that of the weights.
    """
    own = {id(parameter) for parameter in layer.parameters()}
    weights = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    size = float(np.sqrt(np.square(dense_of(layer)).mean()))
    groups: list[dict[str, Any]] = [{"params": weights, "lr": rate}]
    for parameter in layer.parameters():
        if parameter.requires_grad:
            own_size = float(parameter.detach().square().mean().sqrt())
            groups.append({"params": [parameter], "lr": rate * own_size / max(size, 1e-30)})
    return groups


def epoch_batches(features: Sequence[Feature], size: int, seed: int) -> list[list[int]]:
    """Indices of an epoch's batches, shuffled, with examples of about one length together."""
    draw = random.Random(seed)
    order = draw.sample(range(len(features)), len(features))
    groups = []
    for start in range(0, len(order), size * _POOL):
        near = sorted(
            order[start : start + size * _POOL], key=lambda index: len(features[index]["input_ids"])
        )
        groups += [near[at : at + size] for at in range(0, len(near), size)]
    draw.shuffle(groups)
    return groups


@torch.no_grad()
def predict(model: Any, task: Task, bench: Bench) -> list[Outputs]:
    """The outputs for each test feature, in their order."""
    model.eval()
    found: dict[int, Outputs] = {}
    for batch in _test_batches(task.test):
        features = _collated([task.test[index] for index in batch], bench)
        with bench.autocast():
            outputs = model(**features)
        values = {name: getattr(outputs, name).float().cpu().numpy() for name in task.outputs}
        for row, index in enumerate(batch):
            found[index] = {name: value[row] for name, value in values.items()}
    return [found[index] for index in range(len(task.test))]


def _test_batches(features: Sequence[Feature]) -> Iterator[list[int]]:
    order = sorted(range(len(features)), key=lambda index: len(features[index]["input_ids"]))
    for start in range(0, len(order), _TEST_BATCH):
        yield order[start : start + _TEST_BATCH]


def _collated(features: Sequence[Feature], bench: Bench) -> dict[str, torch.Tensor]:
    padded = bench.tokenizer.pad(list(features), padding="longest", return_tensors="pt")
    return {name: value.to(bench.device) for name, value in padded.items()}
