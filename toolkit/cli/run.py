"""``lighttoken run``: text in, something a person wants out."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from toolkit import limits
from toolkit.errors import InputError
from toolkit.json_files import parse_json
from toolkit.lines import argument_text, read_stream

from .console import err, json_option, no_op_option, out, plain_table, print_json, say, whole
from .output import write as show

if TYPE_CHECKING:
    from runtime import (
        FeatureExtraction,
        FillMask,
        LateInteraction,
        MultipleChoice,
        SparseEncoding,
        TextClassification,
        TextRanking,
        TokenClassification,
    )
    from runtime.tasks.multiple_choice import Choice
    from runtime.tasks.question_answering import QuestionAnswering
    from runtime.tasks.text_generation import Generated
    from runtime.tasks.text_ranking import RankedPassage

_EXAMPLE = """\b
Examples:
  lighttoken run minilm "A cat sleeps." "A kitten naps." "Stocks fell."
  lighttoken run bert "Paris is the [MASK] of France."
  lighttoken run sentiment "What a lovely film."
  lighttoken run names "Ada Lovelace lived in London."
  lighttoken run reranker "Who sleeps?" "A cat sleeps." "Stocks fell."
  lighttoken run colbert "Who sleeps?" "A cat sleeps." "Stocks fell."
  lighttoken run answers "Who sleeps?" "A cat sleeps by the river."
  cat texts.txt | lighttoken run minilm -
  lighttoken run gemma "The lighthouse keeper" --max-tokens 60
  lighttoken run whisper speech.wav
  lighttoken run translator "A cat sleeps by the river."
  lighttoken run gemma "Once upon a time" --temperature 0.8 --top-p 0.95 --seed 7
"""
_QUERY = '{"query": "...", "passages": ["...", "..."]}'
_PROMPT = '{"prompt": "...", "choices": ["...", "..."]}'
_QUESTION = '{"question": "...", "context": "..."}'
_SPACES = re.compile(r"[ \t\r\n]+")  # other white space, such as U+2028, is shown
_LABEL_WIDTH = 44
_TERMS = 12  # of a text that are shown
_DIGITS, _SUM_DIGITS = 3, 4  # of a score, and of one that sums over a query's tokens


@click.command(epilog=_EXAMPLE)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, required=True)
@click.option("--provider", default="cpu", show_default=True, help="Execution provider.")
@click.option("--threads", type=whole(limits.THREADS), help="Threads of one operator.")
@no_op_option
@click.option(
    "--max-tokens",
    type=whole(limits.TOKENS),
    help="Decoders: tokens to write, at most [default: 256].",
)
@click.option(
    "--temperature",
    type=float,
    default=0.0,
    show_default=True,
    help="Decoders: above 0 tokens are drawn; 0 takes the likeliest.",
)
@click.option(
    "--top-k",
    type=whole(limits.LISTED),
    default=0,
    help="Decoders: draw from so many of the likeliest.",
)
@click.option(
    "--top-p",
    type=float,
    default=1.0,
    help="Decoders: draw from the likeliest that have this share together.",
)
@click.option(
    "--seed", type=whole(limits.SEED), default=0, help="Decoders: equal seeds draw equal texts."
)
@click.option("--stop", multiple=True, help="Decoders: a text that ends the text; repeatable.")
@click.option(
    "--chat/--no-chat",
    default=None,
    help="Decoders: put the prompt into the tokenizer's chat template [default: if it has one].",
)
@click.option(
    "--language",
    help="Speech: the language spoken. Translation: the one to write, as the tokenizer names it.",
)
@json_option
def command(
    bundle: Path,
    texts: tuple[str, ...],
    provider: str,
    threads: int | None,
    no_op: bool,
    max_tokens: int | None,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    stop: tuple[str, ...],
    chat: bool | None,
    language: str | None,
    as_json: bool,
) -> None:
    """Run TEXTS through BUNDLE; - takes them from standard input, a line each.

    Prints cosines between the sentences, the filled masks, weighted terms, the labels of texts or
    of words, the answers, passages by how well they fit, what a decoder writes after each text, its
    translation, or what is said in each recording, by the model's task. Of speech models TEXTS are
    files of recordings. For answers give a question and its context, or one or more TEXTS that are
    {"question": "...", "context": "..."}; to a reranker or a ColBERT model a query and its
    passages, or {"query": "...", "passages": ["...", "..."]}; to a multiple-choice model a prompt
    and its choices, or {"prompt": "...", "choices": ["...", "..."]}.
    """
    from runtime import (
        FeatureExtraction,
        FillMask,
        LateInteraction,
        MultipleChoice,
        Sampling,
        SparseEncoding,
        SpeechRecognition,
        TextGeneration,
        TextRanking,
        TextToText,
        TokenClassification,
        open_pipeline,
    )
    from runtime.tasks.question_answering import QuestionAnswering

    sampling = Sampling(temperature, top_k, top_p, seed)
    if texts == ("-",):
        texts = tuple(read_stream(sys.stdin))
    pipeline = open_pipeline(bundle, provider, threads=threads, op=not no_op)
    if not isinstance(pipeline, SpeechRecognition):  # which takes names of files
        texts, stop = tuple(map(argument_text, texts)), tuple(map(argument_text, stop))
    if isinstance(pipeline, TextGeneration):
        write = partial(pipeline, sampling=sampling, max_tokens=max_tokens, stop=stop, chat=chat)
        _written(write, texts, as_json)
    elif isinstance(pipeline, SpeechRecognition | TextToText):
        written = pipeline(texts, max_tokens=max_tokens, language=language)
        _texts(texts, written, as_json)
    elif isinstance(pipeline, QuestionAnswering):
        _answers(pipeline, texts, as_json)
    elif isinstance(pipeline, FeatureExtraction):
        _vectors(pipeline, texts, as_json)
    elif isinstance(pipeline, SparseEncoding):
        _terms(pipeline, texts, as_json)
    elif isinstance(pipeline, FillMask):
        _masks(pipeline, texts, as_json)
    elif isinstance(pipeline, TokenClassification):
        _spans(pipeline, texts, as_json)
    elif isinstance(pipeline, TextRanking | LateInteraction):
        _ranked(pipeline, texts, as_json)
    elif isinstance(pipeline, MultipleChoice):
        _chosen(pipeline, texts, as_json)
    else:
        _labels(pipeline, texts, as_json)


def _vectors(pipeline: "FeatureExtraction", texts: tuple[str, ...], as_json: bool) -> None:
    vectors = pipeline(list(texts))
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    if as_json:
        print_json({"texts": list(texts), "vectors": vectors.tolist(), "cosines": cosines.tolist()})
        return
    if len(texts) == 1:
        head = ", ".join(f"{value:.4f}" for value in vectors[0][:6])
        say(f"{vectors.shape[1]} values: {head}, …")
        say("give two sentences or more to see how alike they are")
        return
    table = plain_table("cosine", *(f"({i + 1})" for i in range(len(texts))))
    for i, text in enumerate(texts):
        table.add_row(f"({i + 1}) {_plain(text)}", *(f"{c:.3f}" for c in cosines[i]))
    out.print(table)


def _masks(pipeline: "FillMask", texts: tuple[str, ...], as_json: bool) -> None:
    results = pipeline(list(texts))
    if as_json:
        pairs = zip(texts, results, strict=True)
        print_json([{"text": text, "masks": [asdict(m) for m in masks]} for text, masks in pairs])
        return
    for text, masks in zip(texts, results, strict=True):
        say(text)
        for mask in masks:
            best = ", ".join(f"{c.token} {c.score:.1%}" for c in mask.candidates)
            say(f"  {best}")


def _terms(pipeline: "SparseEncoding", texts: tuple[str, ...], as_json: bool) -> None:
    results = pipeline(list(texts))
    if as_json:
        pairs = zip(texts, results, strict=True)
        print_json([{"text": text, "terms": [asdict(t) for t in terms]} for text, terms in pairs])
        return
    for text, terms in zip(texts, results, strict=True):
        say(text)
        best = ", ".join(f"{t.token} {t.weight:.2f}" for t in terms[:_TERMS])
        more = f", and {len(terms) - _TERMS} more" if len(terms) > _TERMS else ""
        say(f"  {best or 'no term has a weight'}{more}")


def _labels(pipeline: "TextClassification", texts: tuple[str, ...], as_json: bool) -> None:
    results = pipeline(list(texts))
    if as_json:
        pairs = zip(texts, results, strict=True)
        rows: list[dict[str, Any]] = [{"text": text, **asdict(result)} for text, result in pairs]
        print_json(rows)
        return
    table = plain_table("text", "label", "score")
    for text, result in zip(texts, results, strict=True):
        table.add_row(_plain(text), result.label, f"{result.score:.3f}")
    out.print(table)


def _spans(pipeline: "TokenClassification", texts: tuple[str, ...], as_json: bool) -> None:
    results = pipeline(list(texts))
    if as_json:
        pairs = zip(texts, results, strict=True)
        print_json([{"text": text, "spans": [asdict(s) for s in spans]} for text, spans in pairs])
        return
    for text, spans in zip(texts, results, strict=True):
        say(text)
        for span in spans:
            say(f"  {span.label}: {_plain(span.text)} {span.score:.1%}")
        if not spans:
            say("  no word has a label")


def _ranked(
    pipeline: "TextRanking | LateInteraction", texts: tuple[str, ...], as_json: bool
) -> None:
    from runtime import LateInteraction

    queries = _with_several(texts, "query", "passages", _QUERY)
    digits = _SUM_DIGITS if isinstance(pipeline, LateInteraction) else _DIGITS
    _ordered("query", "passages", queries, pipeline(queries), as_json, digits)


def _chosen(pipeline: "MultipleChoice", texts: tuple[str, ...], as_json: bool) -> None:
    prompts = _with_several(texts, "prompt", "choices", _PROMPT)
    _ordered("prompt", "choices", prompts, pipeline(prompts), as_json)


def _ordered(
    one: str,
    several: str,
    given: list[tuple[str, tuple[str, ...]]],
    results: "Sequence[tuple[RankedPassage | Choice, ...]]",
    as_json: bool,
    digits: int = _DIGITS,
) -> None:
    """Texts that belong to another one, the best first."""
    pairs = list(zip((text for text, _ in given), results, strict=True))
    if as_json:
        print_json([{one: text, several: [asdict(e) for e in found]} for text, found in pairs])
        return
    for text, found in pairs:
        table = plain_table(_plain(text), "score")
        for each in found:
            table.add_row(f"({each.place + 1}) {_plain(each.text)}", f"{each.score:.{digits}g}")
        out.print(table)


def _answers(pipeline: "QuestionAnswering", texts: tuple[str, ...], as_json: bool) -> None:
    questions = _questions(texts)
    results = pipeline(questions, top_k=3)
    if as_json:
        print_json(
            [
                {"question": question, "context": context, "answers": [asdict(a) for a in answers]}
                for (question, context), answers in zip(questions, results, strict=True)
            ]
        )
        return
    for (question, _), answers in zip(questions, results, strict=True):
        say(question)
        say("  " + (", ".join(f"{_plain(a.text)} {a.score:.1%}" for a in answers) or "no answer"))


def _written(write: "Callable[..., Generated]", texts: tuple[str, ...], as_json: bool) -> None:
    """What a decoder writes, as it writes it; speed goes to standard error."""
    if as_json:
        print_json([{"prompt": text, **asdict(write(text))} for text in texts])
        return
    for text in texts:
        show(text)
        found = write(text, on_text=show)
        show("\n")
        rate = found.tokens_per_second
        speed = "" if rate is None else f", {rate:.1f} tokens a second"
        err.print(
            f"{found.prompt_tokens} tokens read, {len(found.tokens)} written: first after "
            f"{found.first_token_s * 1000:.0f} ms{speed}"
        )


def _texts(given: tuple[str, ...], written: list[str], as_json: bool) -> None:
    """What an encoder-decoder wrote; the text alone, so that it can be piped."""
    if as_json:
        pairs = zip(given, written, strict=True)
        print_json([{"input": source, "text": text} for source, text in pairs])
        return
    for text in written:
        show(f"{text}\n")


def _questions(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Two plain texts are a question and its context; else each is a JSON object of both."""
    if len(texts) == 2 and not any(text.lstrip().startswith("{") for text in texts):
        return [(texts[0], texts[1])]
    found = []
    for text in texts:
        entry = _object(text, {"question", "context"})
        if not entry:
            raise InputError(
                f"{_plain(text)} is no question with its context; give the two, or {_QUESTION}"
            )
        found.append((entry["question"], entry["context"]))
    return found


def _with_several(
    texts: tuple[str, ...], one: str, several: str, form: str
) -> list[tuple[str, tuple[str, ...]]]:
    """Plain texts are ``one`` and ``several`` that belong to it; else each is a JSON object."""
    if len(texts) > 1 and not any(text.lstrip().startswith("{") for text in texts):
        return [(texts[0], texts[1:])]
    found = []
    for text in texts:
        entry = _object(text, {one, several})
        rest = entry.get(several)
        if not isinstance(rest, list):
            raise InputError(f"{_plain(text)} is no {one} with its {several}; give them, or {form}")
        found.append((entry[one], tuple(rest)))
    return found


def _object(text: str, keys: set[str]) -> dict[str, Any]:
    """A JSON object that has ``keys``; an empty one for anything else."""
    try:
        entry = parse_json(text)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) and keys <= entry.keys() else {}


def _plain(text: str) -> str:
    line = _SPACES.sub(" ", text).strip(" ")
    return line if len(line) <= _LABEL_WIDTH else line[: _LABEL_WIDTH - 1] + "…"
