"""The tables of the report, from the results alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

from downstream.results import STS, Row
from downstream.tables import METHODS, UNCOMPRESSED
from downstream.tasks import METRICS

from toolkit.errors import InputError

TASKS = (*METRICS, "squad", "xquad")
MODES = {
    "trainable": "tables trainable: codes fixed, every other number trained, then stored again",
    "frozen": "tables frozen: the rest of the model alone is trained",
}
_METRICS = {
    **{task: " and ".join(metrics) for task, metrics in METRICS.items()},
    "squad": "F1",
    "xquad": "F1",
}


@dataclass(frozen=True)
class Cell:
    """One task's score: mean and standard deviation over seeds, the latter None for one seed."""

    mean: float
    spread: float | None
    seeds: int

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.1f}"
        return f"{self.mean:.1f}{spread}"


@dataclass(frozen=True)
class Line:
    """One arm.

    Attributes:
        method: its name.
        asked: the ratio asked for, None for a method with a size of its own.
        ratio: float32 bytes over stored bytes.
        nbytes: stored.
        sts: Spearman x 100 before any training, None if not measured.
        cells: by task.
        average: of the tasks' means; None unless every task of the group is there.
        lost: what storing the table after training cost, the mean over trainings; None if nothing
            was packed or trained.
        kept: the average over the uncompressed model's, in percent; None where either is.
    """

    method: str
    asked: float | None
    ratio: float
    nbytes: int
    sts: float | None
    cells: dict[str, Cell]
    average: float | None
    lost: float | None
    kept: float | None = None


@dataclass(frozen=True)
class Group:
    """Arms of one model after the same training.

    Attributes:
        model: twelve digits that stand for it.
        table: the mode, of ``MODES``; "" before any training.
        recipe: of the training.
        tasks: that some arm was trained on.
        lines: one for each arm.
        remarks: what each task's data were.
        seconds: what all trainings took, one after another.
    """

    model: str
    table: str
    recipe: str
    tasks: tuple[str, ...]
    lines: tuple[Line, ...]
    remarks: tuple[str, ...]
    seconds: float


def summarise(rows: Sequence[Row]) -> list[Group]:
    """Results by model, mode and recipe; rows that failed are left out.

    Where arms were measured before any training alone, a group of all that were is the first.

    Raises:
        InputError: none that is whole.
    """
    done = [row for row in rows if "error" not in row]
    if not done:
        raise InputError("there are no results yet; run the benchmark with a model and data first")
    trained = [row for row in done if row["task"] != STS]
    keys = dict.fromkeys((row["model"], row["table"], row["recipe"]) for row in trained)
    groups = [_group(done, *key) for key in keys]
    stored = {row["stored"] for row in trained}
    alone = dict.fromkeys(row["model"] for row in done if row["stored"] not in stored)
    return [_group(done, model, "", "") for model in alone] + groups


def _group(rows: Sequence[Row], model: str, table: str, recipe: str) -> Group:
    of_model = [row for row in rows if row["model"] == model]
    before = {row["stored"]: row for row in of_model if row["task"] == STS}
    trained = [row for row in of_model if (row["table"], row["recipe"]) == (table, recipe)]
    trained = [row for row in trained if row["task"] != STS]
    names = {row["task"] for row in trained}
    tasks = tuple(sorted(names, key=lambda name: _place(name, TASKS)))
    stored = dict.fromkeys([row["stored"] for row in trained] or before)
    lines = [
        _line([row for row in trained if row["stored"] == name], before.get(name), tasks)
        for name in stored
    ]
    whole = next((one.average for one in lines if one.method == UNCOMPRESSED), None)
    if whole:
        lines = [
            replace(one, kept=None if one.average is None else 100 * one.average / whole)
            for one in lines
        ]
    lines.sort(key=lambda line: (_place(line.method, METHODS), line.asked or 0.0))
    remarks = {row["task"]: _remark(row) for row in trained}
    return Group(
        model,
        table,
        recipe,
        tasks,
        tuple(lines),
        tuple(remarks[task] for task in tasks),
        sum(row["seconds"] for row in trained),
    )


def only(
    rows: Sequence[Row],
    methods: Sequence[str] | None,
    ratios: Sequence[float] | None,
    tasks: Sequence[str] | None,
    seeds: int | None,
) -> list[Row]:
    """Rows of these methods, ratios, tasks and so many first seeds, None standing for all.

    Whatever the ratios, methods of one size stay; whatever the tasks and seeds, scores before any
    training.
    """
    return [
        row
        for row in rows
        if (methods is None or row["method"] in methods)
        and (ratios is None or row["ratio"] is None or row["ratio"] in ratios)
        and (tasks is None or row["task"] in (STS, *tasks))
        and (seeds is None or row["seed"] is None or row["seed"] < seeds)
    ]


def _place(name: str, known: Sequence[str]) -> int:
    return known.index(name) if name in known else len(known)


def _line(rows: Sequence[Row], before: Row | None, tasks: Sequence[str]) -> Line:
    first = rows[0] if rows else before
    assert first is not None
    cells = {}
    for task in tasks:
        scores = [float(row["score"]) for row in rows if row["task"] == task]
        if scores:
            spread = stdev(scores) if len(scores) > 1 else None
            cells[task] = Cell(mean(scores), spread, len(scores))
    changed = first["method"] != UNCOMPRESSED
    packed = [row for row in rows if changed and row["table"] == "trainable"]
    return Line(
        first["method"],
        first["ratio"],
        first["stored_ratio"],
        first["nbytes"],
        None if before is None else before["score"],
        cells,
        mean(cell.mean for cell in cells.values()) if tasks and len(cells) == len(tasks) else None,
        mean(row["unpacked_score"] - row["score"] for row in packed) if packed else None,
    )


def _remark(row: Row) -> str:
    divided = f", {row['remark']}" if row["remark"] else ""
    metric = _METRICS.get(row["task"], "")
    figure = f"mean of {metric}" if " and " in metric else metric
    return (
        f"{row['task']}: {figure}, {row['train']:,} to train on, {row['test']:,} to test{divided}"
    )


def titles(group: Group) -> list[str]:
    """Of the columns that some line fills."""
    own = ["method", "ratio", "bytes"]
    own += ["STS before"] if any(line.sts is not None for line in group.lines) else []
    own += list(group.tasks)
    own += ["average"] if group.tasks else []
    own += ["kept"] if any(line.kept is not None for line in group.lines) else []
    lost = any(line.lost is not None for line in group.lines)
    return own + (["lost by storing"] if lost else [])


def cells(line: Line, group: Group) -> list[str]:
    """A line's texts, in the order of :func:`titles`; "" for what was not measured."""
    texts = {
        "method": line.method,
        "ratio": f"{line.ratio:.1f}x",
        "bytes": f"{line.nbytes:,}",
        "STS before": "" if line.sts is None else f"{line.sts:.1f}",
        "average": "" if line.average is None else f"{line.average:.1f}",
        "kept": "" if line.kept is None else f"{line.kept:.1f}%",
        "lost by storing": "" if line.lost is None else f"{line.lost:.2f}",
    }
    several = len(_seeds(group)) > 1
    for task in group.tasks:
        cell = line.cells.get(task)
        texts[task] = "" if cell is None else f"{cell} ({cell.seeds})" if several else str(cell)
    return [texts[title] for title in titles(group)]


def heading(group: Group) -> str:
    """What was done to the models of a group."""
    if not group.tasks:
        return "before any training"
    return f"{MODES.get(group.table, group.table)}; {group.recipe}"


def _seeds(group: Group) -> list[int]:
    """How many there are, of a task and arm; more than one number where a run is not at its end."""
    return sorted({cell.seeds for line in group.lines for cell in line.cells.values()})


def notes(group: Group) -> list[str]:
    """What the figures are, of what, and what they took."""
    seeds = _seeds(group)
    if not seeds:
        return []
    many = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    in_brackets = ", in brackets how many" if len(seeds) > 1 else ""
    said = (
        f"Scores x 100, mean ± standard deviation over {many} seeds{in_brackets}; average of the "
        "tasks' means"
    )
    if len(seeds) == 1 and seeds[0] == 1:
        said = "Scores x 100, one seed; average of the tasks"
    count = sum(cell.seeds for line in group.lines for cell in line.cells.values())
    trainings = f"{count} trainings" if count > 1 else "1 training"
    took = f"{trainings}, {group.seconds / 60:.0f} minutes one after another"
    return [f"{said}.", *(f"{remark}." for remark in group.remarks), f"{took}."]


def markdown(groups: Iterable[Group]) -> str:
    """The tables for a page."""
    parts = []
    for group in groups:
        rule = ["---"] + ["--:"] * (len(titles(group)) - 1)
        lines = [titles(group), rule, *(cells(line, group) for line in group.lines)]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        said = "".join(f"- {note}\n" for note in notes(group))
        heads = heading(group)
        parts.append(f"**{heads[0].upper()}{heads[1:]}**\n\n{table}\n{said}")
    return "\n".join(parts)
