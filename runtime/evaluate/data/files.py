"""What a user wants to measure by: which files, read for which task."""

from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import InputError

from ...tasks.tokenize import Text
from .labelled import Labelled, read_labelled
from .pairs import Pairs, read_pairs
from .rows import draw
from .squad import Questions, read_squad
from .texts import flat, read_running, read_texts

ENCODER, CLASSIFIER, ANSWERS = "feature-extraction", "text-classification", "question-answering"
MASKED = "fill-mask"
LANGUAGE = (MASKED, "text-generation")

NEEDS = {  # by measure: the tasks that it suits, and what these have
    "pairs": ((ENCODER,), "sentence vectors"),
    "probe": ((ENCODER,), "sentence vectors"),
    "classify": ((CLASSIFIER,), "a text classifier"),
    "qa": ((ANSWERS,), "a model that answers questions"),
    "text": (
        (ENCODER, CLASSIFIER, ANSWERS, *LANGUAGE),
        "an encoder, a classifier, a language model or one that answers questions",
    ),
}
TEXTS = 1000  # of a file without labels, unless a limit is given
TOKENS = 20_000  # of a language model's text, likewise
EXACT_TOKENS = 1000  # likewise, where each takes a run of its own

Given = str | Path
"""A path, or a data set of the hub as «name[/config]:split»."""


@dataclass(frozen=True)
class Files:
    """What to measure by; None for not.

    Attributes:
        pairs: sentences with the likeness that people gave them.
        probe: labelled texts to fit a linear probe to, and others to score it on.
        classify: labelled texts, or pairs of texts.
        text: any text, without labels.
        qa: questions with contexts and answers, as SQuAD has them.
        exact: mask each token of ``text`` alone, for pseudo-perplexity.
    """

    pairs: Given | None = None
    probe: tuple[Given, Given] | None = None
    classify: Given | None = None
    text: Given | None = None
    qa: Given | None = None
    exact: bool = False

    def names(self) -> dict[str, tuple[str, ...]]:
        """By measure: a file's name without its folders, a data set's as it was given."""
        return {
            measure: tuple(_name(one) for one in (given if isinstance(given, tuple) else (given,)))
            for measure in NEEDS
            if (given := getattr(self, measure)) is not None
        }

    def check(self, task: str, name: str) -> None:
        """Raise InputError for a measure that ``task`` does not have, or where none is asked for.

        ``name`` is the model's, for the message.
        """
        asked = [measure for measure in NEEDS if getattr(self, measure) is not None]
        fitting = [f"--{measure}" for measure, (tasks, _) in NEEDS.items() if task in tasks]
        if not fitting:
            known = ", ".join(dict.fromkeys(one for tasks, _ in NEEDS.values() for one in tasks))
            raise InputError(
                f"{name} is for {task}, which has no measure here; those that have are {known}"
            )
        if not asked:
            raise InputError(
                f"nothing to measure {name} by, a {task} model; give {' or '.join(fitting)}"
            )
        for measure in asked:
            tasks, what = NEEDS[measure]
            if task not in tasks:
                raise InputError(f"{name} is a {task} model; evaluate --{measure} needs {what}")
        if self.exact and task != MASKED:
            raise InputError(
                f"{name} is a {task} model; only masked models have a pseudo-perplexity"
            )


def _name(given: Given) -> str:
    """Without folders, which say nothing elsewhere; an owner of a data set of the hub stays."""
    return Path(given).name if Path(given).is_file() else str(given)


@dataclass(frozen=True)
class Data:
    """What :class:`Files` hold, read.

    ``texts`` are for models that take them one by one; ``running`` is the same in one, for language
    models, which read ``tokens`` of it, masked one by one if ``exact``. ``notes`` say what was
    drawn of what.
    """

    pairs: Pairs | None = None
    probe: tuple[Labelled, Labelled] | None = None
    labelled: Labelled | None = None
    texts: tuple[Text, ...] | None = None
    running: str | None = None
    tokens: int | None = None
    exact: bool = False
    questions: Questions | None = None
    notes: tuple[str, ...] = ()


def read_files(files: Files, task: str, *, limit: int | None = None, seed: int = 0) -> Data:
    """Read what is asked for.

    Args:
        files: see :class:`Files`.
        task: of the models; it decides how a text is read.
        limit: draw at most so many examples of each file, by ``seed``; of a language model's text
            read so many tokens, from its start. None takes all, but of ``files.text`` at most
            :data:`TEXTS`, and :data:`TOKENS` tokens, :data:`EXACT_TOKENS` if ``files.exact``.

    Raises:
        InputError, FormatError, MissingDependencyError: one line on the file that is amiss.
    """
    if limit is not None and limit < 2:
        raise InputError(f"limit must be at least 2, got {limit}")
    texts, running, notes = None, None, []
    tokens = limit or (EXACT_TOKENS if files.exact else TOKENS)
    if files.text is not None and task in LANGUAGE:
        running = read_running(files.text)
        notes.append(f"read at most {tokens:,} tokens of {files.text}")
    elif files.text is not None:
        found = read_texts(files.text)
        if task == ENCODER:
            found = flat(found)
        chosen = draw(len(found), limit or TEXTS, seed)
        texts = tuple(found[i] for i in chosen)
        if len(texts) < len(found):
            notes.append(f"drew {len(texts):,} of the {len(found):,} texts of {files.text}")
    probe = None if files.probe is None else _probe(files.probe, limit, seed)
    if probe is not None and (shared := len(set(probe[0].texts) & set(probe[1].texts))):
        notes.append(f"{shared:,} texts of the probe's test file are in its training file too")
    return Data(
        pairs=None if files.pairs is None else read_pairs(files.pairs).sample(limit, seed),
        probe=probe,
        labelled=None
        if files.classify is None
        else read_labelled(files.classify).sample(limit, seed),
        texts=texts,
        running=running,
        tokens=tokens,
        exact=files.exact,
        questions=None if files.qa is None else read_squad(files.qa).sample(limit, seed),
        notes=tuple(notes),
    )


def _probe(files: tuple[Given, Given], limit: int | None, seed: int) -> tuple[Labelled, Labelled]:
    train, test = (read_labelled(file).sample(limit, seed) for file in files)
    return train, test
