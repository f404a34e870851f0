"""What one look at a running model tells of its nodes."""

from dataclasses import dataclass, field

from .job import Answer
from .placement import Placement
from .places import Place
from .subjects import Model


@dataclass(frozen=True)
class Structure:
    """Where nodes run, and figures of which there is one a model, not one a round."""

    placement: Placement | None = None
    figures: dict[str, float] = field(default_factory=dict)


def examine(model: Model, place: Place, point: tuple[int, int], answer: Answer) -> Structure:
    """From the answer to the measure ``places``, taken at ``point`` of the grid."""
    return Structure(None, dict(answer.figures))
