"""The order of a run: what is measured, and what is done already."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from downstream.arms import Float32
from downstream.pool import Job, work_through
from downstream.questions import read_questions
from downstream.results import STS, Row, append, key, read_results
from downstream.tables import Arm, Tables
from downstream.tasks import METRICS, SUFFIXES, Task, digest, find_file, read_classification
from downstream.train import Bench, Recipe, measure, quiet
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
        processes: that measure at a time, each with its share of the processor's cores.
    """

    bench: Bench
    tables: Tables
    arms: tuple[Arm, ...]
    data: Path
    tasks: tuple[str, ...]
    seeds: int
    processes: int = 1

    def go(self, out: Path, tell: Tell) -> None:
        """Measure what the file ``out`` does not hold and add it, a line each.

        What goes wrong with an arm becomes a line too, and is tried again by the next run.

        Raises:
            InputError, FormatError: data that are amiss, or a healed arm without a text.
        """
        done = {key(row) for row in read_results(out) if "error" not in row}
        left = [(job, row) for job, row in self._jobs() if key(row) not in done]
        rows = dict(left)
        for job, figures in work_through(self, list(rows)):
            row = rows[job] | figures
            append(out, row)
            seed = "" if job.seed is None else f", seed {job.seed}"
            said = row["error"] if "error" in row else f"{row['score']:.2f}"
            tell(f"{row['task']}, {row['arm']}{seed}: {said} ({row['seconds']:.0f} s)")

    def prepare(self, arm: Arm) -> None:
        """Make and keep an arm's table; if that fails, its jobs will say so."""
        with suppress(LightTokenError, RuntimeError):
            self.tables.make(arm)

    def do(self, job: Job) -> Row:
        """What a job's row lacks: its figures, or what went wrong."""
        started = time.perf_counter()
        try:
            found = self._figures(job)
        except (LightTokenError, RuntimeError) as error:  # one arm's trouble is its own
            found = {"error": " ".join(str(error).split())}
        return found | {"seconds": time.perf_counter() - started}

    def _figures(self, job: Job) -> Row:
        table = self.tables.make(job.arm)
        size = {"nbytes": table.nbytes, "stored_ratio": self.tables.dense.nbytes / table.nbytes}
        if job.task is None or job.seed is None:
            score, cosine = judge(self._reference, table.dense())
            return size | {"score": score, "sentence_cosine": cosine}
        return size | measure(self.bench, self._tasks[job.task], table, job.seed)

    def _jobs(self) -> Iterator[tuple[Job, Row]]:
        """All that a run is to measure, each with its row but for the figures.

        Before any training; then all arms of a task, task by task, then the next seed.
        """
        if self._pairs is not None:
            same = {"task": STS, "data": digest([self._pairs])}
            for arm in self.arms:
                yield Job(arm), self._row(arm, seed=None, table=None, recipe=None) | same
        mode = "trainable" if self.bench.trainable else "frozen"
        for seed in range(self.seeds):
            for task in self._tasks.values():
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
                    yield Job(arm, task.name, seed), row | same

    def _row(self, arm: Arm, **what: Any) -> Row:
        names = {"model": self.tables.digest, "arm": str(arm), "method": arm.method}
        return names | {"ratio": arm.ratio, "stored": self.tables.name(arm)} | what

    @cached_property
    def _pairs(self) -> Path | None:
        folder = self.data / _STS_FOLDER
        return find_file(folder, _STS_FILES, SUFFIXES) if folder.is_dir() else None

    @cached_property
    def _reference(self) -> Reference:
        assert self._pairs is not None
        return open_reference(self._pairs, self.bench.folder, self.tables.dense)

    @cached_property
    def _tasks(self) -> dict[str, Task]:
        return {name: self._read(self.data / name) for name in self.tasks}

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

    quiet()
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
