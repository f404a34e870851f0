"""Labelled texts, single or in pairs, in the forms that GLUE and other collections have."""

from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import FormatError

from ...tasks.tokenize import Text
from .pairs import LEFT, RIGHT
from .rows import Columns, Row, draw, need_text, read_rows

TEXT = ("text", "sentence", "content", "review", "utterance", "query", "question", "title")
_LABEL = ("gold_label", "label", "category", "intent", "class", "sentiment", "target", "quality",
          "is_duplicate", "label_text")  # fmt: skip

_PAIR = Columns(
    {"left": LEFT, "right": RIGHT, "label": _LABEL},
    {3: (0, 1, 2)},
    "sentence1, sentence2, label",
    '{"sentence1": ..., "sentence2": ..., "label": ...}',
)
_SINGLE = Columns(
    {"text": TEXT, "label": _LABEL},
    # Of four columns, as in CoLA: source, label, the authors' mark, sentence.
    {2: (0, 1), 4: (3, 1)},
    "text, label",
    '{"text": ..., "label": ...}',
)
_UNKNOWN = "-1"  # what data sets of the hub have for labels that were kept back


@dataclass(frozen=True)
class Labelled:
    """Texts, or pairs of texts, and a label for each, as it is called in the file.

    ``classes``: all labels in the order of their numbers where the data say so, else ().
    """

    texts: tuple[Text, ...]
    labels: tuple[str, ...]
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, limit: int | None, seed: int) -> "Labelled":
        """At most ``limit`` of them, drawn without replacement, in the order that they had."""
        chosen = draw(len(self), limit, seed)
        texts = tuple(self.texts[i] for i in chosen)
        return Labelled(texts, tuple(self.labels[i] for i in chosen), self.classes)


def read_labelled(path: str | Path) -> Labelled:
    """Read text, label, or text, text, label: ``.csv``, ``.tsv``, ``.jsonl``, or a data set.

    A header may name the columns: text, sentence, ... and label, category, ...; sentence1,
    sentence2, question1, ... for pairs; others, such as an index, are passed over. Without a header
    two columns are text and label, three are text, text and label, and four are CoLA's: source,
    label, mark, sentence.

    Raises:
        InputError: no such file, another suffix, or nothing in it.
        FormatError: a row without text or label; its line is named.
        MissingDependencyError: a data set where the package datasets or the hub is not there.
    """
    rows = read_rows(path, [_PAIR, _SINGLE], "labelled texts")
    pairs = "left" in rows[0].values
    texts: list[Text] = []
    for row in rows:
        if ("left" in row.values) != pairs:
            raise FormatError(f"{row.place}: single texts and pairs are mixed; split the file")
        texts.append(
            (need_text(row, "left"), need_text(row, "right")) if pairs else need_text(row, "text")
        )
    return Labelled(tuple(texts), tuple(map(_label, rows)), rows[0].classes)


def _label(row: Row) -> str:
    value = row.values["label"]
    if isinstance(value, bool):
        value = int(value)
    text = str(value).strip() if isinstance(value, str | int) else ""
    if not text or text == _UNKNOWN:
        raise FormatError(
            f"{row.place}: label {value!r} is none; remove the line, or take a split with labels"
        )
    if row.classes and isinstance(value, int) and value < len(row.classes):
        return row.classes[value]
    return text
