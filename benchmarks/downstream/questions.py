"""Questions about texts, in SQuAD's form, as a task."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from downstream.tasks import TEST, TRAIN, Feature, Outputs, Task, digest, find_file
from numpy.typing import NDArray

from runtime.evaluate.data.rows import draw
from runtime.evaluate.data.squad import read_squad
from runtime.evaluate.metrics.question_answering import exact_match, f1
from toolkit.errors import InputError

LONGEST_ANSWER = 30  # tokens
Places = list[tuple[int, int] | None]
_TEST_EVERY = 4  # of articles, where a folder has no files to train and test on
_FEW, _PASSES = 2000, 3  # so few questions are gone over so often in an epoch


@dataclass(frozen=True)
class Question:
    """One question; ``start`` is the first answer's first character in ``context``."""

    article: int
    question: str
    context: str
    answers: tuple[str, ...]
    start: int


@dataclass(frozen=True, eq=False)
class Questions(Task):
    """Spans of texts that answer questions.

    Attributes:
        asked: the test set.
        owner: for each test feature, a window on a context, the question it is of.
        places: for each test feature the characters [start, end) of its tokens, None for those
            that are not of the context.
    """

    asked: list[Question]
    owner: list[int]
    places: list[Places]
    auto: ClassVar[str] = "AutoModelForQuestionAnswering"
    outputs: ClassVar[tuple[str, ...]] = ("start_logits", "end_logits")

    @property
    def passes(self) -> int:  # type: ignore[override]
        """More where there is little to learn from."""
        return _PASSES if len(self.train) < _FEW else 1

    def score(self, found: Sequence[Outputs]) -> dict[str, float]:
        """Exact match and F1 (Rajpurkar et al. 2016, section 6.1); F1 is the one number."""
        best: dict[int, tuple[float, str]] = {}
        for outputs, owner, places in zip(found, self.owner, self.places, strict=True):
            span = best_span(outputs["start_logits"], outputs["end_logits"], places)
            if span is not None and (owner not in best or span[0] > best[owner][0]):
                best[owner] = span[0], self.asked[owner].context[span[1] : span[2]]
        answers = [best.get(number, (0.0, ""))[1] for number in range(len(self.asked))]
        figures = {}
        for name, metric in (("exact match", exact_match), ("F1", f1)):
            scores = [
                max(metric(text, own) for own in question.answers)
                for text, question in zip(answers, self.asked, strict=True)
            ]
            figures[name] = 100 * float(np.mean(scores))
        return figures | {"score": figures["F1"]}


def read_questions(
    folder: Path, tokenizer: Any, length: int, overlap: int, limit: int | None
) -> Questions:
    """Read a folder with train and dev files, or with one .json that is divided by article.

    Of one file every fourth article is for the test, so that no text is in both parts.

    Args:
        folder: .json files in the form of SQuAD 1.1.
        tokenizer: of transformers, a fast one.
        length: tokens of a window: question and a part of the context.
        overlap: tokens that neighbouring windows share.
        limit: questions to train on at most, drawn.

    Raises:
        InputError, FormatError: a file that is not there or amiss.
    """
    files, remark = sorted(folder.glob("*.json")), ""
    if len(files) == 1:
        remark = f"divided by article, one of {_TEST_EVERY} for the test"
        every = read_file(files[0])
        test = [one for one in every if one.article % _TEST_EVERY == _TEST_EVERY - 1]
        train = [one for one in every if one.article % _TEST_EVERY != _TEST_EVERY - 1]
        if not test:
            raise InputError(
                f"{files[0]} has fewer than {_TEST_EVERY} articles, too few to keep some for the "
                "test; give a train and a dev file"
            )
    else:
        files = [find_file(folder, words, (".json",)) for words in (TRAIN, TEST)]
        train, test = map(read_file, files)
    train = [train[index] for index in draw(len(train), limit, 0)]
    windows = _Windows(tokenizer, length, overlap)
    learnt, owner, places = windows.of(train)
    for feature, index, spans in zip(learnt, owner, places, strict=True):
        one = train[index]
        end = one.start + len(one.answers[0])
        feature["start_positions"], feature["end_positions"] = _tokens(spans, one.start, end)
    features, owner, places = windows.of(test)
    return Questions(folder.name, learnt, features, digest(files), remark, test, owner, places)


def read_file(path: Path) -> list[Question]:
    """The questions of a .json file that have an answer.

    Raises:
        InputError, FormatError: no such file, or not SQuAD's form.
    """
    read_squad(path)  # says in one line what is wrong with a file
    data = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(data, dict):
        raise InputError(f"{path} names no articles; give SQuAD's own form")
    found = []
    for number, article in enumerate(data["data"]):
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            for entry in paragraph["qas"]:
                answers = entry["answers"]
                if not answers or entry.get("is_impossible") is True:
                    continue
                texts = tuple(answer["text"] for answer in answers)
                start = answers[0].get("answer_start", context.find(texts[0]))
                found.append(Question(number, entry["question"], context, texts, start))
    return found


def best_span(
    start: NDArray[np.float32], end: NDArray[np.float32], places: Places
) -> tuple[float, int, int] | None:
    """Score and characters of the likeliest span (Devlin et al. 2019, section 4.2).

    At most :data:`LONGEST_ANSWER` tokens of the context; None for a window without any.
    """
    tokens = [index for index, place in enumerate(places) if place is not None]
    if not tokens:
        return None
    total = start[tokens][:, None] + end[tokens][None, :]
    allowed = np.triu(np.ones_like(total)) - np.triu(np.ones_like(total), LONGEST_ANSWER)
    total = np.where(allowed > 0, total, -np.inf)
    first, last = np.unravel_index(int(total.argmax()), total.shape)
    opening, closing = places[tokens[first]], places[tokens[last]]
    assert opening is not None
    assert closing is not None
    return float(total[first, last]), opening[0], closing[1]


def _tokens(places: Places, start: int, end: int) -> tuple[int, int]:
    """First and last token of an answer; the first of all, twice, where the window lacks it."""
    inside = [
        index
        for index, place in enumerate(places)
        if place is not None and place[0] < end and place[1] > start
    ]
    of_context = [place for place in places if place is not None]
    if not inside or of_context[0][0] > start or of_context[-1][1] < end:
        return 0, 0
    return inside[0], inside[-1]


@dataclass(frozen=True, eq=False)
class _Windows:
    """Cuts contexts into windows that share some tokens."""

    tokenizer: Any
    length: int
    overlap: int

    def of(self, questions: Sequence[Question]) -> tuple[list[Feature], list[int], list[Places]]:
        """Features, the question that each is of, and its tokens' characters in the context."""
        found = self.tokenizer(
            [one.question.strip() for one in questions],
            [one.context for one in questions],
            truncation="only_second",
            max_length=self.length,
            stride=self.overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        owner: list[int] = found.pop("overflow_to_sample_mapping")
        offsets = found.pop("offset_mapping")
        places = [
            [
                (place[0], place[1]) if origin == 1 else None
                for place, origin in zip(offsets[row], found.sequence_ids(row), strict=True)
            ]
            for row in range(len(owner))
        ]
        features = [{name: found[name][row] for name in found} for row in range(len(owner))]
        return features, owner, places
