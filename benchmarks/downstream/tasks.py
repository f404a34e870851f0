"""GLUE's classification tasks: what is read, how answers are scored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from runtime.evaluate.data.labelled import Labelled, read_labelled
from toolkit.errors import InputError
from toolkit.files import sha256

Feature = dict[str, Any]  # what the tokenizer gave for one text, and what is to be learnt of it
Outputs = dict[str, NDArray[np.float32]]  # of one feature; padding may follow
Metric = Callable[[Sequence[int], Sequence[int]], float]

TRAIN, TEST = ("train",), ("dev", "val", "test")
SUFFIXES = (".tsv", ".csv", ".jsonl")


def _accuracy(labels: Sequence[int], found: Sequence[int]) -> float:
    return float(accuracy_score(labels, found))


def _f1(labels: Sequence[int], found: Sequence[int]) -> float:
    return float(f1_score(labels, found, zero_division=0.0))


def _matthews(labels: Sequence[int], found: Sequence[int]) -> float:
    return float(matthews_corrcoef(labels, found))


# As GLUE has them (Wang et al. 2019, table 1); a task with two counts with their mean.
METRICS: dict[str, dict[str, Metric]] = {
    "sst2": {"accuracy": _accuracy},
    "mrpc": {"accuracy": _accuracy, "F1": _f1},
    "rte": {"accuracy": _accuracy},
    "cola": {"Matthews": _matthews},
}


@dataclass(frozen=True, eq=False)
class Task(ABC):
    """A task, tokenized.

    Attributes:
        name: of its folder.
        train: features with what is to be learnt.
        test: features without.
        data: hex digest of its files.
        remark: on how the data are divided, "" for as they come.
        passes: over the examples in an epoch.
    """

    name: str
    train: list[Feature]
    test: list[Feature]
    data: str
    remark: str
    auto: ClassVar[str]  # the class of transformers that builds the model
    outputs: ClassVar[tuple[str, ...]]  # those of the model that are scored
    passes: ClassVar[int] = 1
    options: ClassVar[dict[str, Any]] = {}  # what the model's configuration needs to know

    @abstractmethod
    def score(self, found: Sequence[Outputs]) -> dict[str, float]:
        """Each metric times 100; ``score`` is the task's one number."""


@dataclass(frozen=True, eq=False)
class Classification(Task):
    """Texts or pairs of two classes; ``labels``: the test set's, as class numbers."""

    labels: tuple[int, ...]
    auto: ClassVar[str] = "AutoModelForSequenceClassification"
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    options: ClassVar[dict[str, Any]] = {"num_labels": 2}

    def score(self, found: Sequence[Outputs]) -> dict[str, float]:
        likeliest = [int(outputs["logits"].argmax()) for outputs in found]
        metrics = METRICS[self.name].items()
        figures = {name: 100 * metric(self.labels, likeliest) for name, metric in metrics}
        return figures | {"score": float(np.mean(list(figures.values())))}


def read_classification(
    folder: Path, tokenizer: Any, length: int, limit: int | None
) -> Classification:
    """Read the train and dev files of a folder that bears a task's name.

    Args:
        folder: with one file named train and one named dev, val or test, as GLUE has them.
        tokenizer: of transformers.
        length: tokens that a text, or a pair, is cut to.
        limit: training examples at most, drawn; the same whatever the seed of a run.

    Raises:
        InputError, FormatError: a file that is not there, more than one, or one that is amiss.
    """
    train_file, test_file = (find_file(folder, words, SUFFIXES) for words in (TRAIN, TEST))
    train, test = read_labelled(train_file).sample(limit, seed=0), read_labelled(test_file)
    classes = train.classes or tuple(sorted(set(train.labels)))
    numbers = {label: number for number, label in enumerate(classes)}
    if strange := sorted(set(test.labels) - set(numbers)):
        raise InputError(
            f"{test_file} has label {strange[0]!r}, which {train_file.name} has not; "
            "give both of one task"
        )
    if len(classes) != 2:
        raise InputError(
            f"{train_file} has {len(classes)} labels ({', '.join(classes[:5])}) where "
            f"{folder.name} has two; check its columns"
        )
    learnt = [
        feature | {"labels": numbers[label]}
        for feature, label in zip(_features(train, tokenizer, length), train.labels, strict=True)
    ]
    return Classification(
        folder.name,
        learnt,
        _features(test, tokenizer, length),
        digest((train_file, test_file)),
        "",
        tuple(numbers[label] for label in test.labels),
    )


def find_file(folder: Path, words: Sequence[str], suffixes: Sequence[str]) -> Path:
    """The one file of ``folder`` whose name has the first of ``words`` that any name has.

    Raises:
        InputError: none, or several.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in suffixes)
    found: list[Path] = []
    for word in words:
        found = [path for path in files if word in path.stem.lower()]
        if found:
            break
    if len(found) != 1:
        raise InputError(
            f"{folder} has {len(found) or 'no'} files named {' or '.join(words)} "
            f"({', '.join(suffixes)}); it needs one"
        )
    return found[0]


def digest(files: Iterable[Path]) -> str:
    """Twelve hex digits that stand for the files' contents."""
    return sha256_of("".join(map(sha256, files)).encode()).hexdigest()[:12]


def _features(labelled: Labelled, tokenizer: Any, length: int) -> list[Feature]:
    pairs = [text if isinstance(text, tuple) else (text,) for text in labelled.texts]
    columns = [list(column) for column in zip(*pairs, strict=True)]
    found = tokenizer(*columns, truncation=True, max_length=length)
    return [{name: found[name][row] for name in found} for row in range(len(labelled))]
