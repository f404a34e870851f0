"""What one measuring process is told to do, and what it answers.

Both cross process borders as JSON, to processes that may have no LightToken: another Python, a
browser, a program on a phone. So these are plain data.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

MEASURES = ("values", "time", "write", "cold", "memory", "places")


@dataclass(frozen=True)
class Job:
    """One process's task.

    Attributes:
        measure: what is asked, one of :data:`MEASURES`. ``values``: outputs for :attr:`ids`.
            ``time``: load, first result, latency and throughput at every point of the grid.
            ``write``: load, first token and tokens a second of a decoder, after prompts of each
            length of the grid, and the speed of a copy in memory.
            ``cold``: load and first result alone; the caller has dropped the files from the page
            cache. ``memory``: what the process holds, stage by stage. ``places``: which provider
            takes which node, what each node costs, the runtime's own statistics.
        model: absolute path of the model file.
        data: names of its external data files, relative to the model's folder.
        provider: onnxruntime's name of the execution provider; in browsers ``wasm`` or ``webgpu``.
        settings: that provider's options.
        plugin: module of a provider that comes as a plugin (``onnxruntime_qnn``), else empty.
        library: path of a library of custom operators, else empty.
        threads: threads that one operator may use.
        load: ``path``, so that the runtime may map files into memory, or ``bytes``, read before.
        dimensions: symbolic dimensions that are fixed at load, by name.
        grid: (texts, tokens) of the calls; the first is that of the first result.
        runs: timed calls a point, after ``warmup`` untimed ones; texts, where ``tokens`` are
            written.
        tokens: written after each prompt by a decoder with a cache; 0 for a model that is called
            once a text.
        ids_input: name of the input for token ids; empty to find it by its name.
        rows: vocabulary; 0 where unknown.
        ids: token ids of the call whose outputs are compared; [texts][tokens].
        stream: token ids of real text, fed in order and over again; empty to draw ids instead.
    """

    measure: str
    model: str
    provider: str
    grid: tuple[tuple[int, int], ...]
    runs: int
    warmup: int
    tokens: int = 0
    threads: int = 1
    data: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    plugin: str = ""
    library: str = ""
    load: str = "path"
    dimensions: dict[str, int] = field(default_factory=dict)
    ids_input: str = ""
    rows: int = 0
    ids: tuple[tuple[int, ...], ...] = ()
    stream: tuple[int, ...] = ()
    seed: int = 0

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Job":
        """From parsed JSON, whose lists become tuples."""
        lists = {
            "grid": tuple((batch, length) for batch, length in data["grid"]),
            "ids": tuple(tuple(row) for row in data.get("ids", ())),
            "data": tuple(data.get("data", ())),
            "stream": tuple(data.get("stream", ())),
        }
        return cls(**{**data, **lists})


@dataclass(frozen=True)
class Answer:
    """What a measuring process found.

    Attributes:
        runtime: its name and version, as ``onnxruntime 1.31.1``.
        figures: numbers by the names of :func:`.report.metrics`; what the system does not tell is
            absent.
        outputs: for ``values``, by name: ``dims`` and ``data``, float32 little-endian in base64.
        marks: when a stage ended, in seconds of the system's monotonic clock: ``[t, stage]``.
        facts: whatever else a measure gives; for ``places`` see :mod:`.placement`.
    """

    runtime: str
    figures: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    marks: tuple[tuple[float, str], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Answer":
        """From parsed JSON; unknown keys are ignored, so that newer workers can be read."""
        known = {key: data[key] for key in data.keys() & {f.name for f in dataclasses.fields(cls)}}
        known["figures"] = {k: v for k, v in data.get("figures", {}).items() if v is not None}
        known["marks"] = tuple((float(at), str(stage)) for at, stage in data.get("marks", ()))
        return cls(**known)
