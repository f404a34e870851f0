"""Plan the measuring processes of a profile, run them in turn, gather their figures."""

import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from toolkit.errors import InputError
from toolkit.progress import Progress

from ...tasks.tokenize import open_tokenizer
from ..model import Model, read_models
from ..places import PLACES, find_place
from ..report.report import FAILED, Comparison, Environment, Measurement, ProfileReport
from .cell import Cell
from .disk import read_afresh
from .job import Job
from .launch import Launcher

TOKENS = 32
"""What a decoder writes after each prompt, unless something else is asked for."""
_RUNS = {(False, False): 50, (False, True): 10, (True, False): 3, (True, True): 1}
_MOST_TOKENS = 100_000  # of the texts; they travel to each process


def profile(
    bundle: str | Path,
    against: Sequence[str | Path] = (),
    *,
    places: Sequence[str] = ("cpu",),
    lengths: Sequence[int] | None = None,
    batches: Sequence[int] = (1,),
    texts: Sequence[str] = (),
    runs: int | None = None,
    quick: bool = False,
    tokens: int = TOKENS,
    warmup: int = 5,
    repeats: int = 5,
    threads: int = 1,
    op: bool = True,
    timeout_s: float = 600.0,
    progress: Progress | None = None,
) -> ProfileReport:
    """Measure ``bundle`` beside the models in ``against``, in each of ``places``.

    Each measure (time, time from files that are not cached, memory, memory with nothing mapped)
    has a fresh process. A round takes every measure of every model once; rounds go forth and back
    (A B, B A, A B), so that a drift of the machine burdens all alike. Before anything is timed, a
    model's outputs in a place are compared with those that the same file gives on the CPU. What
    fails in one place is told there, and the rest goes on.

    Args:
        bundle: a bundle folder, or an ``.onnx`` or ``.ort`` file.
        against: more of them; comparisons are of the first with each of these.
        places: words of :data:`.places.PLACES`.
        lengths: tokens a text; None for 8 and 128, of a decoder 32 and 512.
        batches: texts a call; each is measured with each length. A decoder writes one text.
        texts: real text to feed, cut into pieces of these lengths with the tokenizer of the first
            bundle; without any, ids are drawn as :func:`toolkit.bundle.feeds.draw_ids` says.
        runs: timed calls at each (batch, length), of a decoder texts; None for 50 calls, 3 texts.
        quick: then for 10 calls, 1 text.
        tokens: what a decoder with a cache writes after each prompt of these lengths.
        warmup: untimed calls before them.
        repeats: rounds.
        threads: threads that one operator may use.
        op: use the native kernel on the CPU, where it is built.
        timeout_s: seconds after which one process is given up.
        progress: called after each process.

    Raises:
        InputError: a number out of range, an unknown place, no model at a path, or nothing could
            be measured at all (one line says why).
        FormatError: a damaged bundle or model.
    """
    places = _known(places)
    models = read_models([Path(bundle), *map(Path, against)])
    writes = models[0].writes
    lengths = lengths if lengths is not None else ((32, 512) if writes else (8, 128))
    if runs is None:
        runs = _RUNS[writes, quick]
    counts = {"runs": runs, "repeats": repeats, "threads": threads, "tokens": tokens}
    _check(lengths, batches, **counts, warmup=warmup)
    _check_room(models, lengths, batches, tokens)
    grid = tuple(dict.fromkeys(itertools.product(batches, lengths)))
    rows = [model.rows for model in models if model.rows]
    stream = _stream(texts, models) if texts else ()
    task = Job(
        measure="",
        model="",
        provider="",
        grid=grid,
        runs=runs,
        warmup=warmup,
        threads=threads,
        rows=min(rows, default=0),  # every model gets ids that all of them know
        stream=stream,
        tokens=tokens,
    )
    cells: list[Cell] = []
    unreachable: list[Measurement] = []
    for word in places:
        try:
            place = find_place(word)
        except InputError as error:
            unreachable += [Measurement(m.name, word, FAILED, str(error)) for m in models]
        else:
            cells += [Cell(model, place, task, op=op) for model in models]
    for model in models:
        read_afresh(model.files)
    with Launcher(timeout_s) as launcher:
        _run(_steps(cells, launcher, repeats), progress)

    by_place = {word: index for index, word in enumerate(places)}
    measured = [cell.measurement() for cell in cells]
    everything = sorted((*measured, *unreachable), key=lambda one: by_place[one.place])
    if all(one.status == FAILED for one in everything):
        raise InputError(everything[0].note)
    return ProfileReport(
        subjects=tuple(model.describe() for model in models),
        places=places,
        measurements=tuple(everything),
        comparisons=tuple(_comparisons(everything, models)),
        environment=Environment.here(),
        threads=threads,
        grid=grid,
        runs=runs,
        repeats=repeats,
        text_tokens=len(stream),
        tokens=tokens if any(cell.writes for cell in cells) else 0,
    )


_Step = tuple[str, Callable[[], object]]


def _steps(cells: Sequence[Cell], launcher: Launcher, repeats: int) -> list[_Step]:
    """Every process to start, in order, and a word for what it does."""
    steps: list[_Step] = []
    for cell in cells:
        steps.append((f"{cell}: values", functools.partial(cell.check, launcher)))
    for number in range(repeats):
        for word in dict.fromkeys(cell.place.word for cell in cells):
            there = [cell for cell in cells if cell.place.word == word]
            order = there if number % 2 == 0 else there[::-1]
            for measure in ("time", "memory", "unmapped", "cold"):
                steps += [
                    (f"{cell}: {measure}", functools.partial(cell.take, launcher, measure))
                    for cell in order
                    if measure in cell.place.measures
                ]
            steps += [(f"{cell}: round", cell.end_round) for cell in order]
    for cell in cells:
        if "places" in cell.place.measures:
            steps.append((f"{cell}: nodes", functools.partial(cell.examine, launcher)))
    return steps


def _run(steps: Sequence[_Step], progress: Progress | None) -> None:
    for number, (what, step) in enumerate(steps):
        if progress is not None:
            progress(number / len(steps), what)
        step()
    if progress is not None:
        progress(1.0, "done")


def _comparisons(measured: Sequence[Measurement], models: Sequence[Model]) -> list[Comparison]:
    """The first model with each other one, place by place, where both have figures."""
    by_name = {(one.place, one.subject): one for one in measured if one.figures}
    return [
        Comparison.of(by_name[place, models[0].name], by_name[place, other.name])
        for place in dict.fromkeys(one.place for one in measured)
        for other in models[1:]
        if {(place, models[0].name), (place, other.name)} <= by_name.keys()
    ]


def _check(lengths: Sequence[int], batches: Sequence[int], **numbers: int) -> None:
    for what, many, example in (("text length", lengths, "8"), ("batch size", batches, "1")):
        if not many:
            raise InputError(f"no {what} given; give for example {example}")
    sizes = {**{f"length {n}": n for n in lengths}, **{f"batch {n}": n for n in batches}}
    for name, number in {**numbers, **sizes}.items():
        least = 0 if name == "warmup" else 1
        if number < least:
            raise InputError(f"{name} must be at least {least}, got {number}")


def _check_room(
    models: Sequence[Model], lengths: Sequence[int], batches: Sequence[int], tokens: int
) -> None:
    """Whether decoders have room for the texts that they are to write."""
    for model in models:
        if not model.writes:
            continue
        if set(batches) != {1}:
            raise InputError(
                f"{model.name} is a decoder, which is measured with one text at a time; got batch "
                f"{max(batches)}, leave it out"
            )
        limit = model.manifest.max_length if model.manifest is not None else None
        if limit is not None and max(lengths) + tokens > limit:
            raise InputError(
                f"a prompt of {max(lengths)} tokens and {tokens} more are {max(lengths) + tokens}, "
                f"and {model.name} has room for {limit}; give smaller --length or --tokens"
            )


def _known(places: Sequence[str]) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.lower() for word in places))
    if not words:
        raise InputError("no place given; give for example cpu")
    for word in words:
        if word not in PLACES:
            raise InputError(f"place {word!r} is unknown; there are {', '.join(PLACES)}")
    return words


def _stream(texts: Sequence[str], models: Sequence[Model]) -> tuple[int, ...]:
    """Token ids of all texts, one after another."""
    folder = next((m.path.parent for m in models if m.manifest is not None), None)
    if folder is None:
        raise InputError("texts need a tokenizer, and no bundle is among the models; add one")
    rows = open_tokenizer(folder).split(texts)
    ids = [token for row in rows for token in row.ids][:_MOST_TOKENS]
    if not ids:
        raise InputError(f"the {len(texts)} texts hold no token; give texts with words")
    return tuple(ids)
