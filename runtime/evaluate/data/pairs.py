"""Files of sentence pairs that people scored for likeness (STS)."""

import math
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import FormatError

from .rows import Columns, Row, draw, need_text, read_rows

LEFT = ("sentence1", "sentence_1", "text1", "left", "question1", "premise", "#1 string", "question")
RIGHT = ("sentence2", "sentence_2", "text2", "right", "question2", "hypothesis", "#2 string",
         "sentence")  # fmt: skip
_SCORE = ("score", "label", "similarity", "similarity_score", "relatedness_score", "gold")

_COLUMNS = Columns(
    {"left": LEFT, "right": RIGHT, "score": _SCORE},
    {3: (0, 1, 2)},
    "sentence1, sentence2, score",
    '{"sentence1": ..., "sentence2": ..., "score": ...}',
)


@dataclass(frozen=True)
class Pairs:
    """Pairs with their human scores; all three have one length. Any scale will do."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    scores: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def sample(self, limit: int | None, seed: int) -> "Pairs":
        """At most ``limit`` of them, drawn without replacement, in the order that they had."""
        chosen = draw(len(self), limit, seed)
        return Pairs(
            tuple(self.left[i] for i in chosen),
            tuple(self.right[i] for i in chosen),
            tuple(self.scores[i] for i in chosen),
        )


def read_pairs(path: str | Path) -> Pairs:
    """Read sentence, sentence, score: ``.csv``, ``.tsv``, ``.jsonl``, or a data set of the hub.

    A csv or tsv file may start with a header that names the columns (sentence1, sentence2,
    score), among others. In tsv files quotes are plain characters, as in GLUE. A jsonl line is
    an object with these names, or a list of three.

    Raises:
        InputError: no such file, another suffix, or no pair in it.
        FormatError: a row that is no pair with a score; its line is named.
        MissingDependencyError: a data set where the package datasets or the hub is not there.
    """
    rows = [_checked(row) for row in read_rows(path, [_COLUMNS], "pairs")]
    return Pairs(*zip(*rows, strict=True))


def _checked(row: Row) -> tuple[str, str, float]:
    left, right = need_text(row, "left"), need_text(row, "right")
    score = row.values["score"]
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise FormatError(
            f"{row.place}: score {score!r} is no number; correct it, or name the columns "
            "sentence1, sentence2, score in the first line"
        )
    return left, right, number
