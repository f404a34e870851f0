"""What a provider that is not here would take, by a table of the operators that it supports."""

from dataclasses import dataclass

from .placement import Island


@dataclass(frozen=True)
class Refusal:
    """Nodes that a provider would leave to the CPU, and why.

    Attributes:
        operator: with its domain, but for ONNX's own.
        reason: one line.
        count: nodes.
    """

    operator: str
    reason: str
    count: int


@dataclass(frozen=True)
class Prediction:
    """A prediction from documents; nothing was run.

    Attributes:
        place: a word of :data:`.op_support.SUPPORT`.
        subject: the model's name.
        provider: onnxruntime's name.
        source: where the table of operators is from.
        date: of that source, ISO 8601.
        taken: nodes that it would take, by operator.
        refused: nodes that it would not, shape arithmetic excepted.
        shape_nodes: nodes of shape arithmetic that it would leave to the CPU.
        islands: of both providers, the largest first.
        crossing_tensors: as in a :class:`.placement.Placement`; likewise the next two.
        advice: what to change, a line each.
    """

    place: str
    subject: str
    provider: str
    source: str
    date: str
    taken: dict[str, int]
    refused: tuple[Refusal, ...]
    shape_nodes: int
    islands: tuple[Island, ...]
    crossing_tensors: int
    crossing_bytes: int
    crossing_unsized: int
    advice: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What a reader has to know before anything else."""
        return f"predicted from a table of {self.date}, nothing was run"
