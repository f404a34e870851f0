"""Questions about a text to the span that answers them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.progress import Progress

from ..session import Session
from .batches import length_limit, run_rows
from .text_classification import softmax
from .tokenize import Tokenizer, Window
from .tokens import quoted

LENGTH, OVERLAP = 384, 128  # tokens of a window, and those that neighbours share: SQuAD's recipe
LONGEST_ANSWER = 30  # tokens
_KEPT = 20  # spans of a window, and of all windows, that are considered further
_START, _END = "start_logits", "end_logits"


@dataclass(frozen=True)
class Answer:
    """A span of the context, or no answer.

    Attributes:
        text: the context's characters from ``start`` to ``end``; "" for no answer.
        score: share of the probability among the spans that were considered, 0 .. 1.
        start: 0 for no answer.
        end: the same.
    """

    text: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class _Span:
    """Characters ``start`` .. ``end`` of the context; ``score``: sum of its two logits."""

    start: int
    end: int
    score: float


@dataclass(frozen=True, eq=False)
class QuestionAnswering:
    """The likeliest spans for each question (Devlin et al. 2019, sections 4.2 and 4.3).

    A span's score is the logit of its start plus that of its end. A context that is longer than the
    model reads is cut into windows that share 128 tokens, and the best of all windows counts. No
    answer scores what the first token does, the least of all windows.
    """

    session: Session
    tokenizer: Tokenizer

    def __call__(
        self,
        questions: Sequence[tuple[str, str]],
        top_k: int = 1,
        no_answer: bool = False,
        batch_size: int = 8,
        progress: Progress | None = None,
    ) -> list[tuple[Answer, ...]]:
        """For each (question, context), at most ``top_k`` answers, best first.

        ``no_answer``: «no answer» may be among them, for models that were trained to say so.

        Raises:
            InputError: no pair of texts, an empty one, a question that fills the window, ``top_k``
                or ``batch_size`` below 1.
        """
        if top_k < 1:
            raise InputError(f"top_k must be at least 1, got {top_k}")
        limit = length_limit(self.session, self.tokenizer)
        tokenizer = replace(self.tokenizer, max_length=min(LENGTH, limit or LENGTH))
        windows: list[Window] = []
        owner: list[int] = []
        for number, pair in enumerate(questions):
            _check(pair)
            found = tokenizer.windows((pair[0], pair[1]), OVERLAP)
            windows += found
            owner += [number] * len(found)
        spans: list[list[_Span]] = [[] for _ in questions]
        nothing = np.full(len(questions), np.inf)
        for batch in run_rows(
            self.session, tokenizer, windows, (_START, _END), batch_size, progress
        ):
            for row, index in enumerate(batch.index):
                start, end = (batch.outputs[name][row].astype(float) for name in (_START, _END))
                spans[owner[index]] += _spans(windows[index], start, end)
                nothing[owner[index]] = min(nothing[owner[index]], start[0] + end[0])
        return [
            _best(pair[1], found, none if no_answer else None, top_k)
            for pair, found, none in zip(questions, spans, nothing, strict=True)
        ]


def question_answering(session: Session, tokenizer: Tokenizer) -> QuestionAnswering:
    """Join a session and a tokenizer.

    Raises:
        InputError: a graph without start_logits and end_logits.
    """
    names = [info.name for info in session.outputs]
    if not {_START, _END}.issubset(names):
        raise InputError(
            f"{session.path} gives {', '.join(names)}; question-answering needs {_START} and "
            f"{_END}: open it with the task it was exported for"
        )
    return QuestionAnswering(session, tokenizer)


def _check(pair: Any) -> None:
    if not (isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2):
        raise InputError(
            f"{quoted(pair)} is no question with its context; give (question, context)"
        )
    for text, what in zip(pair, ("question", "context"), strict=True):
        if not (isinstance(text, str) and text.strip()):
            raise InputError(f"the {what} {quoted(text)} is empty or no text; give one with words")


def _spans(window: Window, start: NDArray[Any], end: NDArray[Any]) -> list[_Span]:
    """The best spans of the context in one window; logits [length], padding behind."""
    places = [i for i, origin in enumerate(window.texts) if origin == 1]
    n = len(places)
    if n == 0:  # nothing that the tokenizer has a token for
        return []
    score = np.full((n, min(n, LONGEST_ANSWER)), -np.inf)  # [first token, tokens after it]
    for more in range(score.shape[1]):
        score[: n - more, more] = start[places[: n - more]] + end[places[more:]]
    best = np.argsort(-score, axis=None, kind="stable")[:_KEPT]
    found = []
    for first, more in zip(*np.unravel_index(best, score.shape), strict=True):
        if np.isfinite(score[first, more]):
            characters = window.offsets[places[first]][0], window.offsets[places[first + more]][1]
            found.append(_Span(*characters, float(score[first, more])))
    return found


def _best(
    context: str, spans: list[_Span], nothing: float | None, top_k: int
) -> tuple[Answer, ...]:
    """The answers, each span once; ``nothing``: the score of no answer, None to leave it out."""
    scores: dict[tuple[int, int], float] = {}
    for span in spans:
        start, end = _trimmed(context, span.start, span.end)
        if start < end:
            scores[start, end] = max(span.score, scores.get((start, end), -np.inf))
    if nothing is not None:
        scores[0, 0] = nothing
    order = sorted(scores, key=lambda key: -scores[key])[:_KEPT]
    if not order:
        return ()
    shares = softmax(np.array([scores[key] for key in order]))
    return tuple(
        Answer(context[start:end], float(share), start, end)
        for (start, end), share in zip(order[:top_k], shares, strict=False)
    )


def _trimmed(context: str, start: int, end: int) -> tuple[int, int]:
    """Without the spaces that some tokenizers count to a token."""
    text = context[start:end]
    start += len(text) - len(text.lstrip())
    return start, start + len(text.strip())
