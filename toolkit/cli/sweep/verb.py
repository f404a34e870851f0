"""``lighttoken sweep``: a plan in, a table, its figures and a picture out."""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from toolkit import files
from toolkit.errors import InputError
from toolkit.extras import require
from toolkit.files import write_aside
from toolkit.jobs import BACKENDS, Workers, run_jobs
from toolkit.json_text import json_text
from toolkit.limits import WORKERS
from toolkit.progress import Progress

from ..console import err, json_option, out, print_json, progress, say, whole
from .cells import Cell, cells_of, count_of
from .plan import read_plan
from .results import SCHEMA, CellResult, Store

_TABLE, _FIGURES, _PICTURE = "sweep.md", "sweep.json", "sweep.svg"
_EXAMPLE = """\b
Examples:
  lighttoken sweep plan.yaml results
  lighttoken sweep plan.yaml results --workers 4 --keep
  lighttoken sweep plan.toml results --backend dask --scheduler tcp://10.0.0.1:8786
"""


@click.command(epilog=_EXAMPLE)
@click.argument("plan", type=click.Path(path_type=Path))
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--workers",
    type=whole(WORKERS),
    default=1,
    show_default=True,
    help="Cells at a time, each in a process of its own; 1 for this process.",
)
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="loky",
    show_default=True,
    help="What starts the workers: loky on this machine, dask and ray on several.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Of a dask scheduler or a ray cluster that is there [default: one on this machine].",
)
@click.option(
    "--keep", is_flag=True, help="Keep the bundles, in OUT/bundles; else only their figures stay."
)
@json_option
def command(
    plan: Path,
    folder: Path,
    workers: int,
    backend: str,
    scheduler: str | None,
    keep: bool,
    as_json: bool,
) -> None:
    """Export and evaluate what PLAN lists, on several workers, and show all results together.

    PLAN is a .yaml or .toml file: `models` is a list of sources, `export` has options of `export`
    whose lists of values are crossed, `evaluate` has options of `evaluate`. All of it is checked
    before anything runs. OUT keeps the figures of each cell: a second call runs only what is
    missing or failed. At the end OUT has a table (sweep.md), all figures (sweep.json) and a
    picture (sweep.svg).
    """
    require("export")
    require("sweep")
    asked = Workers(workers, backend, scheduler)
    store = Store(folder)
    wanted = read_plan(plan)
    with progress("reading the plan") as report:
        cells = cells_of(wanted, report)
    if (again := count_of(wanted) - len(cells)) > 0:
        err.print(f"{again} cells repeat others, which are run once")
    with store.held():
        with progress("running cells") as report:
            results = _run(cells, store, asked, keep=keep, progress=report)
        data = _data(results)
        drawn = _write(data, results, folder)
    if as_json:
        print_json(data)
    else:
        _show(results, folder, drawn)
    failed = sum(one.error is not None for one in results)
    if failed:
        raise InputError(
            f"{failed} of {len(results)} cells failed; read why in {folder / _TABLE}, and run "
            "again to try these alone"
        )


def _run(
    cells: Sequence[Cell], store: Store, workers: Workers, *, keep: bool, progress: Progress
) -> list[CellResult]:
    """Every cell's result, in the order of ``cells``; each is kept as soon as it is there."""
    from .worker import DIED, run_cell

    found = store.done(cells, with_bundles=keep)
    missing = [cell for cell in cells if cell.identity not in found]
    if found:
        err.print(f"{len(found)} of {len(cells)} cells are there from before")

    def part_done(share: float, what: str) -> None:
        progress((len(found) + share) / len(cells), what)

    def died(cell: Cell) -> CellResult:
        return CellResult.of(cell).failed(DIED)

    bundles = store.bundles().absolute() if keep else None
    shared = (bundles, _threads(workers), part_done if workers.here else None)
    _note(len(found), len(cells), store)
    part_done(0.0, "running cells")
    with closing(run_jobs(run_cell, missing, workers, shared=shared, died=died)) as results:
        for result in results:
            store.write(result)
            found[result.identity] = result
            _note(len(found), len(cells), store)
            part_done(0.0, "running cells")
            err.print(f"{len(found)}/{len(cells)} {result.name}: {_told(result)}", soft_wrap=True)
    return [found[cell.identity] for cell in cells]


def _note(done: int, count: int, store: Store) -> None:
    """What an end by Ctrl-C would leave."""
    files.kept.append(f"{store.folder} has {done} of {count} cells, run again to go on")


def _told(result: CellResult) -> str:
    return result.error or f"done in {result.seconds:.0f} s"


def _threads(workers: Workers) -> int | None:
    """Of each evaluation: workers on one machine share its cores."""
    if workers.here or workers.scheduler is not None:
        return None
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, cores // workers.count)


def _data(results: Sequence[CellResult]) -> dict[str, Any]:
    """All figures, for JSON."""
    return {
        "kind": "lighttoken sweep",
        "schema": SCHEMA,
        "version": version("lighttoken"),
        "cells": [asdict(result) for result in results],
    }


def _write(data: dict[str, Any], results: Sequence[CellResult], folder: Path) -> bool:
    """Table, figures and picture; whether there was anything to draw."""
    from .picture import draw
    from .rows import markdown, overview

    view = overview(results)
    drawn = draw(view, folder / _PICTURE)
    if not drawn:  # one of an earlier plan would be taken for this one's
        (folder / _PICTURE).unlink(missing_ok=True)
    texts = {_FIGURES: json_text(data) + "\n", _TABLE: markdown(view, _PICTURE if drawn else None)}
    for name, text in texts.items():
        with write_aside(folder / name) as aside:
            aside.write_text(text, encoding="utf-8")
    return drawn


def _show(results: Sequence[CellResult], folder: Path, drawn: bool) -> None:
    from .rows import name_of, overview, terminal_table

    view = overview(results)
    if len(view.failed) < len(view.rows):
        out.print(terminal_table(view))
    if view.constant:
        say(f"everywhere: {', '.join(f'{key}={value}' for key, value in view.constant.items())}")
    for row in view.failed:
        say(f"failed: {name_of(row)}: {row.error}")
    names = [_TABLE, _FIGURES, *([_PICTURE] if drawn else [])]
    say(f"wrote {', '.join(str(folder / name) for name in names)}")
