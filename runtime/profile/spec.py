"""What one measuring process is told to do."""

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerSpec:
    """One process's task.

    Attributes:
        model: absolute path of the ``.onnx`` file.
        ids_input: name of the input for token ids; None to find it by its name.
        rows: vocabulary, where known.
        lengths: tokens a text; the first is that of the first result.
        runs: timed calls a length, after ``warmup`` untimed ones.
        op: use the native kernel where it is built.
        stream: token ids of real text, fed in order and over again; empty to draw ids instead.
    """

    model: str
    provider: str
    threads: int
    lengths: tuple[int, ...]
    runs: int
    warmup: int
    ids_input: str | None = None
    rows: int | None = None
    batch: int = 1
    op: bool = True
    stream: tuple[int, ...] = ()
    seed: int = 0

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "WorkerSpec":
        """Inverse of :meth:`to_json`."""
        data = json.loads(text)
        return cls(**{**data, "lengths": tuple(data["lengths"]), "stream": tuple(data["stream"])})
