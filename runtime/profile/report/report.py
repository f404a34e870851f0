"""The figures of a profile, as data. ``to_dict`` of a report is the JSON that users keep."""

import dataclasses
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil  # type: ignore[import-untyped,unused-ignore]

from ..placement.placement import Placement
from ..predict.predict import Prediction


@dataclass(frozen=True)
class Environment:
    """A machine and what runs on it; empty or 0 where it does not tell."""

    system: str
    machine: str
    cores: int
    memory_bytes: int
    python: str = ""
    numpy: str = ""
    onnxruntime: str = ""

    @classmethod
    def here(cls) -> "Environment":
        """This machine."""
        return cls(
            system=platform.platform(),
            machine=_processor(),
            cores=psutil.cpu_count() or 1,
            memory_bytes=psutil.virtual_memory().total,
            python=platform.python_version(),
            numpy=np.__version__,
            onnxruntime=onnxruntime.__version__,
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


SCHEMA = 2
"""Rises when a reader of ``to_dict()`` could misread a newer report."""

MEASURED, FUNCTION_ONLY, WRONG, FAILED = "measured", "function only", "wrong values", "failed"

_MEMORY_KINDS = {
    "rss": "RSS",
    "own": "without libraries' pages",
    "uss": "USS",
    "pss": "PSS",
    "anonymous": "anonymous",
    "mapped": "the model's mapped files",
    "library": "libraries",
}
_STAGES = {
    "before": "memory of the bare runtime",
    "load": "memory after load",
    "first": "memory after first run",
    "steady": "memory in use",
}


@dataclass(frozen=True)
class Metric:
    """A row of the report. ``unit`` is bytes, ms, mJ, tokens/s, bytes/s or share."""

    name: str
    label: str
    unit: str


def metrics(grid: Sequence[tuple[int, int]]) -> tuple[Metric, ...]:
    """Every metric, in reading order, of a profile at these (texts, tokens).

    Memory is above the bare runtime: a session of an empty model, which is the stage ``before``.
    RSS has the pages of libraries' code too that a model is the first to touch (``library``);
    ``own`` is without them: the model's bytes, and what the runtime allocates for it.
    «Cold» is from files that are not in the page cache. What a decoder reads for a token is counted
    from its files, see :mod:`..step_bytes`; its share of a copy's bandwidth is those bytes a second
    over the bytes a second that a copy reads and writes, in the same process and as many threads.
    """
    lengths = tuple(dict.fromkeys(length for _, length in grid))
    return (
        Metric("disk_bytes", "on disk", "bytes"),
        Metric("download_bytes", "to download, gzip", "bytes"),
        Metric("load_ms", "load", "ms"),
        Metric("first_result_ms", "load and first result", "ms"),
        Metric("cold_load_ms", "load, cold", "ms"),
        Metric("cold_first_result_ms", "load and first result, cold", "ms"),
        *(
            Metric(f"{stage}_{kind}_bytes", f"{label} ({what})", "bytes")
            for stage, label in _STAGES.items()
            for kind, what in _MEMORY_KINDS.items()
        ),
        Metric("load_peak_rss_bytes", "memory peak of the load (RSS)", "bytes"),
        Metric("peak_rss_bytes", "memory peak (RSS)", "bytes"),
        Metric("peak_process_rss_bytes", "memory peak of the process (RSS)", "bytes"),
        Metric("unmapped_load_rss_bytes", "memory after load, nothing mapped (RSS)", "bytes"),
        Metric("unmapped_peak_rss_bytes", "memory peak, nothing mapped (RSS)", "bytes"),
        Metric("before_wasm_heap_bytes", "wasm heap of the bare runtime", "bytes"),
        Metric("before_page_bytes", "page's memory with the bare runtime", "bytes"),
        Metric("load_wasm_heap_bytes", "wasm heap after load", "bytes"),
        Metric("load_page_bytes", "page's memory after load", "bytes"),
        Metric("steady_wasm_heap_bytes", "wasm heap in use", "bytes"),
        Metric("steady_page_bytes", "page's memory in use", "bytes"),
        Metric("arena_total_bytes", "onnxruntime's arena, allocated", "bytes"),
        Metric("arena_used_bytes", "onnxruntime's arena, most in use", "bytes"),
        Metric("initializer_bytes", "initialisers after optimisation", "bytes"),
        Metric("embedding_initializer_bytes", "of these, the embedding layer's", "bytes"),
        *(metric for length in lengths for metric in _writing(length)),
        Metric("step_table_bytes", "read for a token: the table", "bytes"),
        Metric("step_weights_bytes", "read for a token: other weights", "bytes"),
        Metric("step_cache_bytes", "read for a token: the cache, each token", "bytes"),
        Metric("copy_bytes_s", "a plain copy in memory", "bytes/s"),
        *(
            metric
            for batch, length in grid
            for at, where in [(f"{batch}x{length}", f"{batch} x {length} tokens")]
            for metric in (
                *(
                    Metric(f"latency_{at}_p{share}_ms", f"latency, {where}, p{share}", "ms")
                    for share in (50, 95, 99)
                ),
                Metric(f"throughput_{at}_tokens_s", f"throughput, {where}", "tokens/s"),
                Metric(f"energy_{at}_mj", f"energy a call, {where}", "mJ"),
                Metric(f"embedding_{at}_share", f"embedding's share of the time, {where}", "share"),
            )
        ),
    )


def _writing(length: int) -> tuple[Metric, ...]:
    """Of a decoder, after a prompt of so many tokens."""
    after = f"after {length} tokens"
    name = f"writing_{length}"
    return (
        Metric(f"first_token_{length}_ms", f"first token {after}", "ms"),
        Metric(f"{name}_tokens_s", f"writing {after}", "tokens/s"),
        Metric(f"{name}_read_bytes", f"read for a token, {after}", "bytes"),
        Metric(f"{name}_bandwidth_share", f"of a copy's bandwidth, {after}", "share"),
        Metric(f"{name}_rss_bytes", f"memory {after} (RSS)", "bytes"),
        Metric(f"{name}_peak_rss_bytes", f"memory peak, {after} (RSS)", "bytes"),
        Metric(f"{name}_embedding_share", f"look-up's share of the time, {after}", "share"),
        Metric(f"energy_text_{length}_mj", f"energy of a text {after}", "mJ"),
    )


@dataclass(frozen=True)
class Statistic:
    """One metric over the processes: ``values`` in the order of the rounds."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Statistic":
        """Median and range of at least one value."""
        return cls(statistics.median(values), min(values), max(values), tuple(values))


@dataclass(frozen=True)
class Subject:
    """A model.

    Attributes:
        parts: bytes of its files by what they are for: ``token table``, ``other tables``,
            ``output head`` where it is a matrix of its own, ``weights``, ``graph``; they add up to
            the bytes on disk.
    """

    name: str
    path: str
    parts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class OutputCheck:
    """How far outputs are from those of the same file on the CPU.

    Attributes:
        error: root mean square of the difference over that of the outputs; None where an output is
            missing, of another shape, or not a number.
        limit: the most that this place is allowed.
    """

    error: float | None
    limit: float

    @property
    def right(self) -> bool:
        """Whether the outputs are the model's."""
        return self.error is not None and self.error <= self.limit


@dataclass(frozen=True)
class Timeline:
    """A process's resident memory, seen from outside.

    Attributes:
        points: (ms since the start of the load, RSS in bytes above the bare runtime).
        marks: (ms, the stage that ended then).
    """

    points: tuple[tuple[float, float], ...]
    marks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Measurement:
    """One model in one place.

    Attributes:
        subject: the model's name.
        place: a word of :data:`.places.PLACES`.
        status: :data:`MEASURED`; :data:`FUNCTION_ONLY`, where times would mean nothing;
            :data:`WRONG`, then nothing was timed; :data:`FAILED`.
        note: one line: why, or what to know of these figures. May be empty.
        runtime: the runtime's name and version.
        figures: by metric; one that the place does not tell is absent.
        environment: of figures that were taken on another machine.
    """

    subject: str
    place: str
    status: str
    note: str = ""
    runtime: str = ""
    figures: dict[str, Statistic] = field(default_factory=dict)
    parity: OutputCheck | None = None
    placement: Placement | None = None
    timeline: Timeline | None = None
    environment: Environment | None = None


@dataclass(frozen=True)
class Comparison:
    """The first model over another one, in one place: 0.25 is a quarter of its cost.

    Attributes:
        against: the other model's name.
        ratios: by metric, the median over the rounds of the ratio within one round. Adjacent
            processes share the machine's mood, so this varies less than a ratio of medians.
            Absent where the other model's figure is not positive.
    """

    place: str
    against: str
    ratios: dict[str, float]

    @classmethod
    def of(cls, first: Measurement, other: Measurement) -> "Comparison":
        """Compare two measurements of one run in one place."""
        ratios = {}
        for name in first.figures.keys() & other.figures.keys():
            rounds = zip(first.figures[name].values, other.figures[name].values, strict=False)
            shares = [ours / theirs for ours, theirs in rounds if theirs > 0]
            if shares:
                ratios[name] = statistics.median(shares)
        return cls(first.place, other.subject, dict(sorted(ratios.items())))


@dataclass(frozen=True)
class ProfileReport:
    """What models cost, in each place.

    Attributes:
        subjects: the bundle, then the models beside it in the order given.
        places: in the order given.
        measurements: by place, then by subject.
        comparisons: the bundle over each other model, where both were measured.
        predictions: of providers that are not here. Never measured.
        grid: (texts, tokens) of the calls.
        runs: timed calls a point in each process.
        repeats: processes a model and measure, one a round.
        tokens: that a decoder wrote after each prompt; then ``runs`` are texts.
        text_tokens: tokens of the real text that was fed; 0 where ids were drawn at random.
    """

    subjects: tuple[Subject, ...]
    places: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]
    environment: Environment
    threads: int
    grid: tuple[tuple[int, int], ...]
    runs: int
    repeats: int
    text_tokens: int
    predictions: tuple[Prediction, ...] = ()
    tokens: int = 0
    kind: str = "lighttoken profile"
    schema: int = SCHEMA

    def measurement(self, subject: str, place: str) -> Measurement | None:
        """That model there; None if it was not asked for."""
        for one in self.measurements:
            if (one.subject, one.place) == (subject, place):
                return one
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return dataclasses.asdict(self)
