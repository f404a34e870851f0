"""Plan the measuring processes of a profile, run them in turn, gather their figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.errors import InputError
from toolkit.manifest import read_manifest, verify_files
from toolkit.progress import Progress

from ..providers import provider_names
from ..tokenize import open_tokenizer
from .disk import model_files, read_afresh
from .launch import launch
from .report import Comparison, Environment, ModelProfile, ProfileReport, Statistic, metrics
from .spec import WorkerSpec

_MOST_TOKENS = 100_000  # of the texts; they travel to each process


@dataclass(frozen=True)
class _Subject:
    """A model to measure: its display name, files, and the process's task."""

    name: str
    files: tuple[Path, ...]
    spec: WorkerSpec


def profile(
    bundle: str | Path,
    against: Sequence[str | Path] = (),
    *,
    lengths: Sequence[int] = (8, 128),
    texts: Sequence[str] = (),
    batch: int = 1,
    runs: int = 50,
    warmup: int = 5,
    repeats: int = 5,
    threads: int = 1,
    provider: str = "cpu",
    op: bool = True,
    timeout_s: float = 600.0,
    progress: Progress | None = None,
) -> ProfileReport:
    """Measure ``bundle`` beside the models in ``against``.

    Each measurement has its own fresh process. A round measures every model once; rounds go
    forth and back (A B, B A, A B), so that a drift of the machine burdens all alike. All model
    files are read before, in the same way, so that every load finds them in the page cache.

    Args:
        bundle: a bundle folder or an ``.onnx`` file.
        against: more of them; the first is the one that reports compare with.
        lengths: tokens a text, each timed by itself.
        texts: real text to feed, cut into pieces of these lengths with the tokenizer of the first
            bundle; without any, ids are drawn as :func:`runtime.feeds.draw_ids` says.
        batch: texts a call.
        runs: timed calls a length.
        warmup: untimed calls before them.
        repeats: rounds.
        threads: threads that one operator may use.
        provider: a word of :data:`runtime.providers.PROVIDERS`.
        op: use the native kernel where it is built.
        timeout_s: seconds after which one process is given up.
        progress: called after each process.

    Raises:
        InputError: a number out of range, or a process that failed (one line says why).
        FormatError: a damaged bundle or model.
    """
    numbers = {"batch": batch, "runs": runs, "repeats": repeats, "threads": threads}
    for name, number in {**numbers, **{f"length {n}": n for n in lengths}}.items():
        if number < 1:
            raise InputError(f"{name} must be at least 1, got {number}")
    if warmup < 0:
        raise InputError(f"warmup must not be negative, got {warmup}")
    if not lengths:
        raise InputError("no text length given; give for example 8 and 128 tokens")
    provider_names(provider)

    lengths = tuple(dict.fromkeys(lengths))
    task = WorkerSpec("", provider, threads, lengths, runs, warmup, batch=batch, op=op)
    paths = [Path(bundle), *map(Path, against)]
    if texts:
        task = replace(task, stream=_stream(texts, paths))
    subjects = _subjects(paths, task)
    for subject in subjects:
        read_afresh(subject.files)
    rounds = _run_rounds(subjects, repeats, timeout_s, progress)
    profiles = [
        _gather(subject, taken, lengths) for subject, taken in zip(subjects, rounds, strict=True)
    ]
    return ProfileReport(
        bundle=profiles[0],
        against=tuple(profiles[1:]),
        comparisons=tuple(Comparison.of(profiles[0], other) for other in profiles[1:]),
        environment=Environment.here(),
        provider=provider,
        threads=threads,
        lengths=lengths,
        batch=batch,
        runs=runs,
        repeats=repeats,
        text_tokens=len(task.stream),
    )


def _subjects(paths: Sequence[Path], task: WorkerSpec) -> list[_Subject]:
    """What to measure. A bundle's vocabulary bounds the ids for every model beside it."""
    names = _names(paths)
    found: list[_Subject] = []
    rows: int | None = None
    for path, name in zip(paths, names, strict=True):
        ids_input = None
        if path.is_dir():
            manifest = read_manifest(path)
            verify_files(path, manifest)
            ids_input = manifest.ids_input
            rows = manifest.rows if rows is None else min(rows, manifest.rows)
            path = path / manifest.model
        if not path.is_file():
            raise InputError(f"{path} is not here; give a bundle folder or an .onnx file")
        spec = replace(task, model=str(path.resolve()), ids_input=ids_input)
        found.append(_Subject(name, model_files(path), spec))
    return [replace(subject, spec=replace(subject.spec, rows=rows)) for subject in found]


def _stream(texts: Sequence[str], paths: Sequence[Path]) -> tuple[int, ...]:
    """Token ids of all texts, one after another."""
    folder = next((path for path in paths if path.is_dir()), None)
    if folder is None:
        raise InputError("texts need a tokenizer, and no bundle is among the models; add one")
    rows = open_tokenizer(folder).split(texts)
    ids = [token for row in rows for token in row.ids][:_MOST_TOKENS]
    if not ids:
        raise InputError(f"the {len(texts)} texts hold no token; give texts with words")
    return tuple(ids)


def _names(paths: Sequence[Path]) -> list[str]:
    """Last part of each path; with its folder where two would be the same."""
    short = [path.resolve().name for path in paths]
    return [
        name if short.count(name) == 1 else f"{path.resolve().parent.name}/{name}"
        for name, path in zip(short, paths, strict=True)
    ]


def _run_rounds(
    subjects: Sequence[_Subject], repeats: int, timeout_s: float, progress: Progress | None
) -> list[list[dict[str, float | None]]]:
    """Figures of each subject in each round."""
    taken: list[list[dict[str, float | None]]] = [[] for _ in subjects]
    total, done = repeats * len(subjects), 0
    for number in range(repeats):
        order = range(len(subjects))
        for index in order if number % 2 == 0 else reversed(order):
            taken[index].append(launch(subjects[index].spec, timeout_s))
            done += 1
            if progress is not None:
                progress(done / total, f"measuring {subjects[index].name}")
    return taken


def _gather(
    subject: _Subject, taken: list[dict[str, float | None]], lengths: tuple[int, ...]
) -> ModelProfile:
    disk = float(sum(file.stat().st_size for file in subject.files))
    figures = {"disk_bytes": Statistic.of([disk] * len(taken))}
    for metric in metrics(lengths)[1:]:
        values = [figure for one in taken if (figure := one[metric.name]) is not None]
        if len(values) == len(taken):
            figures[metric.name] = Statistic.of(values)
    return ModelProfile(subject.name, subject.spec.model, figures)
