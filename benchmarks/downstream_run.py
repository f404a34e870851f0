"""The order of a run of benchmarks/downstream.py: what is measured, and what is done already."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from downstream_arms import Float32, Table
from downstream_questions import read_questions
from downstream_results import STS, Row, append, key, read_results
from downstream_tables import Arm, Tables
from downstream_tasks import METRICS, SUFFIXES, Task, digest, find_file, read_classification
from downstream_train import Bench, Recipe, measure
from sentences import Reference, judge, open_reference

from toolkit.errors import InputError, LightTokenError

_STS_FOLDER, _STS_FILES = "stsb", ("en-dev", "dev")

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Run:
    """What is asked for.

    Attributes:
        bench: model, recipe, mode.
        tables: makes the arms' tables.
        arms: compared with each other.
        data: folder with one for each task.
        tasks: names of the folders.
        seeds: trainings of each arm on each task.
    """

    bench: Bench
    tables: Tables
    arms: tuple[Arm, ...]
    data: Path
    tasks: tuple[str, ...]
    seeds: int

    def go(self, out: Path, tell: Tell) -> None:
        """Measure what the file ``out`` does not hold and add it, a line each.

        What goes wrong with an arm becomes a line too, and is tried again by the next run.

        Raises:
            InputError, FormatError: data that are amiss, or a healed arm without a text.
        """
        done = {key(row) for row in read_results(out) if "error" not in row}
        for row, figures in [*self._before(), *self._after()]:
            if key(row) in done:
                continue
            started = time.perf_counter()
            try:
                row |= figures()
            except (LightTokenError, RuntimeError) as error:  # one arm's trouble is its own
                row["error"] = " ".join(str(error).split())
            append(out, row)
            seed = "" if row["seed"] is None else f", seed {row['seed']}"
            said = row["error"] if "error" in row else f"{row['score']:.2f}"
            seconds = time.perf_counter() - started
            tell(f"{row['task']}, {row['arm']}{seed}: {said} ({seconds:.0f} s)")

    def _before(self) -> Iterator[tuple[Row, Callable[[], Row]]]:
        """Rows of the score before any training, without their figures, and what gives these."""
        if self._pairs is None:
            return
        same = {"task": STS, "data": digest([self._pairs])}
        for arm in self.arms:
            row = self._row(arm, seed=None, table=None, recipe=None) | same
            yield row, lambda arm=arm: self._judge(self.tables.make(arm))  # type: ignore[misc]

    def _after(self) -> Iterator[tuple[Row, Callable[[], Row]]]:
        """The same of the trainings: all arms of a task, task by task, then the next seed."""
        tasks = [self._read(self.data / name) for name in self.tasks]
        mode = "trainable" if self.bench.trainable else "frozen"
        for seed in range(self.seeds):
            for task in tasks:
                same = {
                    "task": task.name,
                    "data": task.data,
                    "train": len(task.train),
                    "test": len(task.test),
                    "remark": task.remark,
                    "device": str(self.bench.device),
                }
                for arm in self.arms:
                    row = self._row(arm, seed=seed, table=mode, recipe=str(self.bench.recipe))
                    yield (
                        row | same,
                        lambda arm=arm, task=task, seed=seed: self._train(  # type: ignore[misc]
                            task, self.tables.make(arm), seed
                        ),
                    )

    def _row(self, arm: Arm, **what: Any) -> Row:
        names = {"model": self.tables.digest, "arm": str(arm), "method": arm.method}
        return names | {"ratio": arm.ratio, "stored": self.tables.name(arm)} | what

    def _judge(self, table: Table) -> Row:
        score, cosine = judge(self._reference, table.dense())
        return self._size(table) | {"score": score, "sentence_cosine": cosine}

    def _train(self, task: Task, table: Table, seed: int) -> Row:
        return self._size(table) | measure(self.bench, task, table, seed)

    def _size(self, table: Table) -> Row:
        return {
            "nbytes": table.nbytes,
            "stored_ratio": self.tables.dense.nbytes / table.nbytes,
        }

    @cached_property
    def _pairs(self) -> Path | None:
        folder = self.data / _STS_FOLDER
        return find_file(folder, _STS_FILES, SUFFIXES) if folder.is_dir() else None

    @cached_property
    def _reference(self) -> Reference:
        assert self._pairs is not None
        return open_reference(self._pairs, self.bench.folder, self.tables.dense)

    def _read(self, folder: Path) -> Task:
        recipe, tokenizer = self.bench.recipe, self.bench.tokenizer
        if folder.name in METRICS:
            return read_classification(folder, tokenizer, recipe.length, recipe.limit)
        window, overlap = recipe.question_length, recipe.question_overlap
        return read_questions(folder, tokenizer, window, overlap, recipe.limit)


def open_model(folder: Path) -> tuple[Any, Float32, int]:
    """Tokenizer, table [V, d], and the most tokens that the model reads.

    Raises:
        InputError: no model folder, or a tokenizer that cannot pad.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(  # type: ignore[no-untyped-call]
            folder, local_files_only=True
        )
        model = AutoModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{folder} is no model folder ({first}); name one") from error
    if tokenizer.pad_token_id is None:
        raise InputError(f"the tokenizer of {folder} cannot pad; give an encoder")
    dense = model.get_input_embeddings().weight.detach().float().numpy().copy()
    return tokenizer, dense, int(getattr(model.config, "max_position_embeddings", 0) or 10**6)


def fitted(recipe: Recipe, longest: int) -> Recipe:
    """The recipe with no text longer than the model reads."""
    window = min(recipe.question_length, longest)
    return replace(
        recipe,
        length=min(recipe.length, longest),
        question_length=window,
        question_overlap=min(recipe.question_overlap, window // 3),
    )
