"""The figures of a profile, as data."""

import dataclasses
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil  # type: ignore[import-untyped,unused-ignore]

SCHEMA = 1
"""Rises when a reader of ``to_dict()`` could misread a newer report."""


@dataclass(frozen=True)
class Metric:
    """A row of the report. ``unit`` is bytes or ms."""

    name: str
    label: str
    unit: str


def metrics(lengths: Sequence[int]) -> tuple[Metric, ...]:
    """Every metric, in reading order, of a profile at these text lengths (tokens)."""
    return (
        Metric("disk_bytes", "on disk", "bytes"),
        Metric("load_ms", "load", "ms"),
        Metric("first_result_ms", "load and first result", "ms"),
        Metric("load_rss_bytes", "memory after load (RSS)", "bytes"),
        Metric("load_uss_bytes", "memory after load (USS)", "bytes"),
        Metric("load_pss_bytes", "memory after load (PSS)", "bytes"),
        Metric("load_anonymous_bytes", "memory after load (anonymous)", "bytes"),
        Metric("steady_rss_bytes", "memory in use (RSS)", "bytes"),
        Metric("steady_uss_bytes", "memory in use (USS)", "bytes"),
        Metric("steady_pss_bytes", "memory in use (PSS)", "bytes"),
        Metric("steady_anonymous_bytes", "memory in use (anonymous)", "bytes"),
        Metric("peak_rss_bytes", "memory peak (RSS)", "bytes"),
        *(
            Metric(f"latency_{length}_p{share}_ms", f"latency, {length} tokens, p{share}", "ms")
            for length in lengths
            for share in (50, 95)
        ),
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
class ModelProfile:
    """One model's figures by metric name; a metric that the system does not tell is absent."""

    name: str
    path: str
    figures: dict[str, Statistic]


@dataclass(frozen=True)
class Comparison:
    """The bundle over another model: 0.25 is a quarter of its cost.

    Attributes:
        against: the other model's name.
        ratios: by metric, the median over the rounds of the ratio within one round. Adjacent
            processes share the machine's mood, so this varies less than a ratio of medians.
            Absent where the other model's figure is not positive.
    """

    against: str
    ratios: dict[str, float]

    @classmethod
    def of(cls, bundle: ModelProfile, other: ModelProfile) -> "Comparison":
        """Compare two profiles of one run."""
        ratios = {}
        for name in bundle.figures.keys() & other.figures.keys():
            rounds = zip(bundle.figures[name].values, other.figures[name].values, strict=True)
            shares = [ours / theirs for ours, theirs in rounds if theirs > 0]
            if shares:
                ratios[name] = statistics.median(shares)
        return cls(other.name, dict(sorted(ratios.items())))


@dataclass(frozen=True)
class Environment:
    """Where and how the figures were taken."""

    system: str
    machine: str
    cores: int
    memory_bytes: int
    python: str
    numpy: str
    onnxruntime: str

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


@dataclass(frozen=True)
class ProfileReport:
    """A bundle's cost beside that of other models.

    Attributes:
        bundle: the model profiled.
        against: the models beside it, in the order given.
        comparisons: the bundle over each of them, in the same order.
        lengths: tokens a text.
        batch: texts a call.
        runs: timed calls a length in each process.
        repeats: processes a model, one a round.
        text_tokens: tokens of the real text that was fed; 0 where ids were drawn at random.
    """

    bundle: ModelProfile
    against: tuple[ModelProfile, ...]
    comparisons: tuple[Comparison, ...]
    environment: Environment
    provider: str
    threads: int
    lengths: tuple[int, ...]
    batch: int
    runs: int
    repeats: int
    text_tokens: int
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return dataclasses.asdict(self)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
