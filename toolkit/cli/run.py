"""``lighttoken run``: text in, something a person wants out."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .console import json_option, no_op_option, out, plain_table, print_json, say

if TYPE_CHECKING:
    from runtime import FeatureExtraction, FillMask, TextClassification

_EXAMPLE = """\b
Examples:
  lighttoken run minilm "A cat sleeps." "A kitten naps." "Stocks fell."
  lighttoken run bert "Paris is the [MASK] of France."
  lighttoken run sentiment "What a lovely film."
"""
_LABEL_WIDTH = 44


@click.command(epilog=_EXAMPLE)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, required=True)
@click.option("--provider", default="cpu", show_default=True, help="Execution provider.")
@no_op_option
@json_option
def command(
    bundle: Path, texts: tuple[str, ...], provider: str, no_op: bool, as_json: bool
) -> None:
    """Run TEXTS through BUNDLE.

    Prints cosines between the sentences, the filled masks, or the labels, by the model's task.
    """
    from runtime import FeatureExtraction, FillMask, open_pipeline

    pipeline = open_pipeline(bundle, provider, op=not no_op)
    if isinstance(pipeline, FeatureExtraction):
        _vectors(pipeline, texts, as_json)
    elif isinstance(pipeline, FillMask):
        _masks(pipeline, texts, as_json)
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
        table.add_row(f"({i + 1}) {_short(text)}", *(f"{c:.3f}" for c in cosines[i]))
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


def _labels(pipeline: "TextClassification", texts: tuple[str, ...], as_json: bool) -> None:
    results = pipeline(list(texts))
    if as_json:
        pairs = zip(texts, results, strict=True)
        rows: list[dict[str, Any]] = [{"text": text, **asdict(result)} for text, result in pairs]
        print_json(rows)
        return
    table = plain_table("text", "label", "score")
    for text, result in zip(texts, results, strict=True):
        table.add_row(_short(text), result.label, f"{result.score:.3f}")
    out.print(table)


def _short(text: str) -> str:
    from rich.markup import escape

    line = " ".join(text.split())
    return escape(line if len(line) <= _LABEL_WIDTH else line[: _LABEL_WIDTH - 1] + "…")
