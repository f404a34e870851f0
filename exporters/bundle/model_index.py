"""Figures of an evaluation as the ``model-index`` of a card, which the Hugging Face hub shows.

The form is the hub's: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.bundle.manifest import MANIFEST_NAME
from toolkit.errors import InputError
from toolkit.files import sha256
from toolkit.json_files import read_json, to_dataclass
from toolkit.visible import visible

_SCHEMA = 1
_TASKS = {  # by measure, the hub's word for what is scored; else the model's own task
    "pairs": "sentence-similarity",
    "probe": "text-classification",
    "classify": "text-classification",
    "qa": "question-answering",
}
_METRICS = {"Spearman": "spearman_cosine", "Pearson": "pearson_cosine"}
_AGAIN = "give what `lighttoken evaluate BUNDLE ... --json` prints"


@dataclass(frozen=True)
class Score:
    """A figure's value; None where it is no number."""

    value: float | None


@dataclass(frozen=True)
class Scored:
    """One metric of one model, by one measure."""

    measure: str
    metric: str
    model: str
    score: Score


@dataclass(frozen=True)
class Evaluation:
    """What ``lighttoken evaluate BUNDLE --json`` wrote, as far as a card shows it.

    Attributes:
        schema: of the file.
        task: of the models, in the hub's words.
        packed: the bundle's name among the models of ``figures``.
        manifest: sha256 of its manifest.
        data: by measure, the data that were read.
        models: names and more, the original first.
    """

    schema: int
    task: str
    packed: str | None
    manifest: str | None
    data: dict[str, tuple[str, ...]]
    models: tuple[dict[str, Any], ...]
    figures: tuple[Scored, ...]

    def rows(self) -> Iterator[tuple[Scored, float | None]]:
        """The bundle's own figures, each with the original's of the same metric."""
        first = self.models[0].get("name") if self.models else None
        of_original = {
            (each.measure, each.metric): each.score.value
            for each in self.figures
            if each.model == first
        }
        for each in self.figures:
            if each.model == self.packed and each.score.value is not None:
                yield each, of_original.get((each.measure, each.metric))


def read_evaluation(path: Path, bundle: Path) -> Evaluation:
    """The evaluation in ``path``, held to be one of ``bundle``.

    Raises:
        InputError: no such file, or of another bundle than this.
        FormatError: it is not what ``evaluate --json`` writes.
    """
    if not path.is_file():
        raise InputError(f"no file {path}; {_AGAIN}")
    found = to_dataclass(Evaluation, read_json(path, remedy=_AGAIN), path.name)
    if found.schema != _SCHEMA:
        raise InputError(f"{path} is of schema {found.schema}, not {_SCHEMA}; {_AGAIN}")
    if found.manifest != sha256(bundle / MANIFEST_NAME):
        of = visible(found.packed or "a table")
        raise InputError(f"{path} is an evaluation of {of}, not of {bundle} as it is; {_AGAIN}")
    if next(found.rows(), None) is None:
        raise InputError(f"{path} has no figure of {bundle}; {_AGAIN}")
    return found


def with_model_index(card: str, evaluation: Evaluation) -> str:
    """A card's text with the evaluation in its front matter.

    ``metric_name`` says what the original reaches by the same measure. Correlations and shares are
    times 100, as everywhere in an evaluation.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    parsed = ModelCard(card)
    heading = re.search(r"^# (.+)$", parsed.text, re.MULTILINE)
    results = []
    for each, of in evaluation.rows():
        # The last of a measure's files is the one that is scored.
        names = evaluation.data.get(each.measure) or ("unknown",)
        data_set, _, split = names[-1].partition(":")
        results.append(
            EvalResult(
                task_type=_TASKS.get(each.measure, evaluation.task),
                dataset_type=data_set,
                dataset_name=data_set,
                dataset_split=split or None,
                metric_type=_METRICS.get(each.metric, each.metric.lower().replace(" ", "_")),
                metric_value=each.score.value,
                metric_name=each.metric if of is None else f"{each.metric} (original: {of:.4g})",
            )
        )
    told = {key: value for key, value in vars(parsed.data).items() if value is not None}
    name = heading[1] if heading else "bundle"
    parsed.data = ModelCardData(model_name=name, eval_results=results, **told)
    return str(parsed)
