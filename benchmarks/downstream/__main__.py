"""What a compressed token table costs after fine-tuning, beside the same model uncompressed.

Example:
    python benchmarks/downstream MODEL DATA --out results.jsonl --heal-text corpus.txt
    python benchmarks/downstream --report --ratios 25 --out results.jsonl

MODEL is a folder with an encoder. DATA has a folder for each task, those of sst2, mrpc, rte, cola,
squad and xquad that are there, and stsb/ for the score before any training: train and dev files as
GLUE and SQuAD have them. The packed table is in its place during training, its codes fixed; it is
stored again in as many bytes after it, and that table is scored. Two modes: `--table trainable`
trains the floats of every arm's table, the uncompressed one's whole; `--table frozen` none. Heads,
order of the data and dropout are the same in every arm.

Each training adds a line to --out; a run that is started again does what is missing. The learning
rate is one for all arms. --quick: the arms at 25x (int4 is not), one seed, two epochs, in bfloat16
where the processor has it, a training on each core.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table as RichTable

sys.path.insert(0, str(Path(__file__).parents[1]))

from downstream import report
from downstream.results import Row, read_results
from downstream.run import Run, fitted, open_model
from downstream.tables import HEALED, INT4, METHODS, Tables, list_arms
from downstream.train import Bench, Recipe
from one_line import run

from toolkit.errors import InputError
from toolkit.files import write_aside
from toolkit.finetune.batches import has_bfloat16

_RATIOS, _SEEDS = "5,10,25,103", 3
_QUICK, _QUICK_RATIO = Recipe(epochs=2), "25"
_MOST_PROCESSES = 4  # of --quick: a training takes some gigabytes

err = Console(stderr=True, highlight=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), default="downstream.jsonl", show_default=True
)
@click.option("--work", type=click.Path(path_type=Path), default="downstream_work",
              show_default=True, help="Folder that packed tables are kept in.")  # fmt: skip
@click.option(
    "--methods",
    help=f"Of {', '.join(METHODS)}; all by default, the last one with --heal-text, int4 without "
    "--quick.",
)
@click.option("--ratios", help=f"float32 over packed.  [default: {_RATIOS}]")
@click.option("--tasks", help="Of the folders of DATA; all by default.")
@click.option(
    "--seeds",
    type=click.IntRange(min=0),
    help=f"Trainings of each arm; 0: only scores before any.  [default: {_SEEDS}]",
)
@click.option("--table", type=click.Choice(list(report.MODES)), default="trainable",
              show_default=True)  # fmt: skip
@click.option("--learning-rate", type=float, help=f"[default: {Recipe().learning_rate:g}]")
@click.option("--epochs", type=int, help=f"[default: {Recipe().epochs}]")
@click.option("--limit", type=int, help="Examples to train on, at most.")
@click.option("--heal-text", type=click.Path(path_type=Path), help="One text a line.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]),
              help="Of the models' products; processors with bfloat16 train two to three times "
              "as fast by it.  [default: float32]")  # fmt: skip
@click.option("--processes", type=click.IntRange(min=1),
              help="Trainings at a time, on a share of the cores each.  [default: 1]")  # fmt: skip
@click.option("--quick", is_flag=True, help="An hour on two cores: 25x, one seed, two epochs.")
@click.option(
    "--report",
    "only_report",
    is_flag=True,
    help="Only show what --out holds, or of it --methods, --ratios, --tasks, --seeds.",
)
def command(
    model: Path | None,
    data: Path | None,
    out: Path,
    work: Path,
    methods: str | None,
    ratios: str | None,
    tasks: str | None,
    seeds: int | None,
    table: str,
    learning_rate: float | None,
    epochs: int | None,
    limit: int | None,
    heal_text: Path | None,
    precision: str | None,
    processes: int | None,
    quick: bool,
    only_report: bool,
) -> None:
    """Fine-tune MODEL on the tasks of DATA with its token table compressed in several ways."""
    if quick:
        ratios = ratios or _QUICK_RATIO
        seeds = 1 if seeds is None else seeds
    if only_report:
        rows = report.only(
            read_results(out),
            _methods(methods, quick) if methods or quick else None,
            _ratios(ratios) if ratios else None,
            _known(tasks, report.TASKS, "--tasks") if tasks else None,
            seeds,
        )
        show(rows, out)
        return
    if model is None or data is None:
        raise InputError("MODEL and DATA are missing; give both, or --report")
    if not out.parent.is_dir():
        raise InputError(f"folder {out.parent} is not here; create it first")
    given: dict[str, Any] = {"learning_rate": learning_rate, "epochs": epochs, "limit": limit}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if not 0 < value < float("inf"):
            raise InputError(f"--{name.replace('_', '-')} must be above 0, got {value:g}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if precision is None and quick and has_bfloat16(device.type):
        precision = "bfloat16"
    if processes is None:
        alone = device.type == "cuda" or not quick
        processes = 1 if alone else min(os.cpu_count() or 1, _MOST_PROCESSES)
    recipe = replace(_QUICK if quick else Recipe(), precision=precision or "float32", **given)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer, dense, longest = open_model(model)
    recipe = fitted(recipe, longest)
    chosen = _methods(methods, quick)
    if methods is None and heal_text is None:
        chosen.remove(HEALED)
    trainings = Run(
        Bench(model, tokenizer, recipe, table == "trainable", device),
        Tables(model, dense, work, heal_text),
        tuple(list_arms(chosen, _ratios(ratios or _RATIOS))),
        data,
        _tasks(tasks, data),
        _SEEDS if seeds is None else seeds,
        processes,
    )
    err.print(f"{report.MODES[table]}; {recipe}; {device}", markup=False, soft_wrap=True)
    trainings.go(out, lambda line: err.print(line, markup=False, soft_wrap=True))
    show(read_results(out), out)


def show(rows: list[Row], out: Path) -> None:
    """The tables on stdout and beside ``out``, and the picture if matplotlib is there."""
    groups = report.summarise(rows)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    for group in groups:
        table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in report.titles(group):
            table.add_column(title, justify="left" if title == "method" else "right")
        for line in group.lines:
            table.add_row(*report.cells(line, group))
        console.print(report.heading(group), markup=False)
        console.print(table)
        console.print("\n".join(report.notes(group)) + "\n", markup=False)
    for row in rows:
        if "error" in row:
            console.print(f"{row['task']}, {row['arm']}: {row['error']}", markup=False)
    with write_aside(out.with_suffix(".md")) as aside:
        aside.write_text(report.markdown(groups), encoding="utf-8")
    try:
        from downstream.picture import draw
    except ImportError:
        err.print("no picture: matplotlib is missing, pip install -e '.[bench]'", markup=False)
        return
    draw(groups, out)


def _methods(names: str | None, quick: bool) -> list[str]:
    if names is None:
        return [name for name in METHODS if not quick or name != INT4]  # which is not at 25x
    return _known(names, METHODS, "--methods")


def _ratios(text: str) -> list[float]:
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--ratios {text!r} are no numbers; write 10,25,50") from error
    if not all(1 <= ratio < float("inf") for ratio in ratios):
        raise InputError(f"--ratios {text!r} must all be from 1 up")
    return sorted(set(ratios))


def _tasks(names: str | None, data: Path) -> tuple[str, ...]:
    there = [name for name in report.TASKS if (data / name).is_dir()]
    if not there:
        raise InputError(f"{data} has no folder of {', '.join(report.TASKS)}; name another")
    if names is not None:
        return tuple(_known(names, there, "--tasks"))
    return tuple(there)


def _known(names: str, known: list[str] | tuple[str, ...], option: str) -> list[str]:
    chosen = [name.strip() for name in names.split(",")]
    for name in chosen:
        if name not in known:
            raise InputError(f"{option} has {name!r}, which is none of {', '.join(known)}")
    return list(dict.fromkeys(chosen))


def main(arguments: list[str] | None = None) -> int:
    """Run; an error that a user can cause is one line on stderr and exit code 2."""
    return run(command, str(Path(__file__).parent), arguments, kept="trainings")


if __name__ == "__main__":
    sys.exit(main())
