"""Questions about texts with their answers, in SQuAD's forms."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import FormatError, InputError
from toolkit.json_files import load_json, parse_json

from .hub import data_set, is_data_set
from .rows import draw

_SUFFIXES = (".json", ".jsonl")
_LINE = '{"question": ..., "context": ..., "answers": [...]}'

Row = tuple[str, str, tuple[str, ...]]  # question, context, answers


@dataclass(frozen=True)
class Questions:
    """All three have one length. ``answers``: what people answered, () where there is no answer."""

    questions: tuple[str, ...]
    contexts: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def unanswerable(self) -> int:
        """How many have no answer."""
        return sum(not answers for answers in self.answers)

    def sample(self, limit: int | None, seed: int) -> "Questions":
        """At most ``limit`` of them, drawn without replacement, in the order that they had."""
        chosen = draw(len(self), limit, seed)
        return Questions(
            tuple(self.questions[i] for i in chosen),
            tuple(self.contexts[i] for i in chosen),
            tuple(self.answers[i] for i in chosen),
        )


def read_squad(path: str | Path) -> Questions:
    """Read ``.json`` as SQuAD has it, 1.1 or 2.0, ``.jsonl``, or a data set of the hub.

    A line of jsonl is an object with question, context and answers: a list of texts, or of objects
    with a text, or an object with a list of texts (as data sets of the hub have them); an empty
    list where the context has no answer. A json file of such objects in a list will do too.

    Raises:
        InputError: no such file, another suffix, or no question in it.
        FormatError: what is not in one of these forms; the message says where it stands.
        MissingDependencyError: a data set where the package datasets or the hub is not there.
    """
    given, path = str(path), Path(path)
    if path.is_file() and path.suffix.lower() in _SUFFIXES:
        try:
            rows = list(_read_lines(path) if path.suffix.lower() == ".jsonl" else _read_json(path))
        except UnicodeDecodeError as error:
            raise FormatError(f"{path} is not UTF-8 ({error}); convert it") from error
    elif path.is_file():
        raise InputError(f"{path} has suffix {path.suffix!r}; use {', '.join(_SUFFIXES)}")
    elif is_data_set(given):
        rows = [_flat(row, f"{given} row {n}") for n, row in enumerate(data_set(given).rows)]
    else:
        raise InputError(f"{path} is not here; give a .json or .jsonl file of questions")
    if not rows:
        raise InputError(f"{path} holds no questions; give one in SQuAD's form")
    return Questions(*zip(*rows, strict=True))


def _read_json(path: Path) -> Iterator[Row]:
    try:
        data = load_json(path, strict=True)
    except ValueError as error:
        raise FormatError(f"{path} is no JSON ({error}); download it again") from error
    if isinstance(data, list):
        for n, entry in enumerate(data):
            yield _flat(entry, f"{path} [{n}]")
        return
    for a, article in enumerate(_list(data, "data", str(path))):
        of_article = f"{path} data[{a}]"
        for p, paragraph in enumerate(_list(article, "paragraphs", of_article)):
            of_paragraph = f"{of_article}.paragraphs[{p}]"
            context = _text(paragraph, "context", of_paragraph)
            for q, entry in enumerate(_list(paragraph, "qas", of_paragraph)):
                where = f"{of_paragraph}.qas[{q}]"
                yield _text(entry, "question", where), context, _answers(entry, where)


def _read_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path} line {number}"
                try:
                    entry = parse_json(line, strict=True)
                except ValueError as error:
                    raise FormatError(f"{where} is no JSON ({error}); correct it") from error
                yield _flat(entry, where)


def _flat(entry: Any, where: str) -> Row:
    return _text(entry, "question", where), _text(entry, "context", where), _answers(entry, where)


def _answers(entry: Mapping[str, Any], where: str) -> tuple[str, ...]:
    # SQuAD 2.0 lists plausible answers to questions that have none; they do not count.
    if entry.get("is_impossible") is True:
        return ()
    found = entry.get("answers")
    if isinstance(found, Mapping):
        found = found.get("text")
    if not isinstance(found, list):
        raise FormatError(f"{where} has no list of answers; write {_LINE}")
    texts = []
    for answer in found:
        text = answer.get("text") if isinstance(answer, Mapping) else answer
        if not (isinstance(text, str) and text.strip()):
            raise FormatError(f"{where} has {text!r} for an answer; write a text, or none at all")
        texts.append(text)
    return tuple(texts)


def _text(entry: Any, name: str, where: str) -> str:
    value = entry.get(name) if isinstance(entry, Mapping) else None
    if not (isinstance(value, str) and value.strip()):
        raise FormatError(f"{where} has no {name}, or an empty one; write {_LINE}")
    return value


def _list(entry: Any, name: str, where: str) -> list[Any]:
    value = entry.get(name) if isinstance(entry, Mapping) else None
    if not isinstance(value, list):
        raise FormatError(f"{where} has no list {name!r}; give SQuAD's form, or jsonl of {_LINE}")
    return value
