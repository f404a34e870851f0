"""All of an evaluation as data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .figures import SCHEMA, Figure
from .model import EvaluatedModel


@dataclass(frozen=True)
class Model:
    """A model that was evaluated. ``nbytes``: of graph and weights, None if unknown."""

    name: str
    nbytes: int | None


@dataclass(frozen=True)
class EvaluationReport:
    """Figures of models of one task.

    Attributes:
        task: in the Hugging Face hub's words.
        models: the original first.
        figures: by measure, then metric, then model.
        notes: what a reader should know, a sentence each.
        resamples: of the bootstrap.
        seed: of the bootstrap, of what was drawn from the files, and of masks.
        data: by measure, the names of the files or data sets that it read.
        packed: the name of the bundle among ``models``; None where a table was evaluated.
        manifest: sha256 of the bundle's manifest, so that figures can be held to their bundle.
    """

    task: str
    models: tuple[Model, ...]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]
    resamples: int
    seed: int
    data: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packed: str | None = None
    manifest: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON; ``schema`` is :data:`figures.SCHEMA`."""
        return {
            "schema": SCHEMA,
            "task": self.task,
            "data": {measure: list(names) for measure, names in self.data.items()},
            "packed": self.packed,
            "manifest": self.manifest,
            "resamples": self.resamples,
            "seed": self.seed,
            "models": [asdict(model) for model in self.models],
            "figures": [figure.to_dict() for figure in self.figures],
            "notes": list(self.notes),
        }


def models_of(models: Sequence[EvaluatedModel]) -> tuple[Model, ...]:
    """Names and bytes."""
    return tuple(Model(model.name, model.nbytes) for model in models)
