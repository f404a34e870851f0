"""``lighttoken export``: a model in, a checked bundle out."""

from pathlib import Path
from typing import Any

import click

from toolkit.manifest import Manifest

from .console import (
    budget_options,
    config_of,
    json_option,
    out,
    plain_table,
    print_json,
    progress,
    read_budget,
    say,
    size,
    training_options,
)

_EXAMPLE = """\b
Examples:
  lighttoken export sentence-transformers/all-MiniLM-L6-v2 minilm
  lighttoken export ./my-model small --ratio 50
  lighttoken export model.onnx small --max-bytes 2000000
"""


@click.command(epilog=_EXAMPLE)
@click.argument("source")
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@budget_options
@click.option(
    "--exporter",
    type=click.Choice(["auto", "dynamo", "optimum"]),
    default="auto",
    show_default=True,
    help="How a model that is not ONNX yet becomes it.",
)
@click.option(
    "--decode",
    type=click.Choice(["function", "inline"]),
    default="function",
    show_default=True,
    help="Decode graph as a function of the model, or dissolved into it.",
)
@click.option(
    "--head",
    type=click.Choice(["packed", "dense"]),
    default="packed",
    show_default=True,
    help="What an output head reads that shares the table; for a packed one codebooks are split.",
)
@training_options
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    help="Text, one a line, to count tokens in [default: the tokenizer's order]",
)
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@json_option
def command(
    source: str,
    target: Path,
    ratio: float | None,
    max_bytes: int | None,
    min_cosine: float | None,
    method: str,
    effort: str,
    split_codebooks: bool,
    exporter: str,
    decode: str,
    head: str,
    seed: int,
    revision: str | None,
    corpus: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Compress the token table of SOURCE and write the bundle OUT.

    SOURCE is a Hugging Face hub id, a folder written by save_pretrained, or an .onnx file.
    """
    budget = read_budget(ratio, max_bytes, min_cosine)
    config = config_of(method, effort, split_codebooks)
    from exporters import ExportOptions, export

    from .originals import remember

    options = ExportOptions(
        exporter=exporter,
        decode=decode,
        head=head,
        method=method,
        seed=seed,
        revision=revision,
        corpus=corpus,
        config=config,
    )
    with progress("exporting") as report:
        manifest = export(source, target, budget, options=options, force=force, progress=report)
    remember(manifest.source, source)
    if as_json:
        print_json(summary(manifest))
    else:
        print_export(manifest, target)


def summary(manifest: Manifest) -> dict[str, Any]:
    """The figures of an export, flat."""
    footprint, parity = manifest.footprint, manifest.parity
    return {
        "ratio": footprint.ratio,
        "bits_per_parameter": footprint.bits_per_parameter,
        "embedding_bytes": footprint.embedding_bytes,
        "dense_bytes": footprint.dense_bytes,
        "model_bytes": footprint.model_bytes,
        "original_model_bytes": footprint.original_model_bytes,
        "parity_max_abs_error": max(parity.lookup, parity.rewrite),
        "compression_max_abs_error": parity.compression,
        "table": manifest.table,
        "rows": manifest.rows,
        "width": manifest.width,
        "tied_head": manifest.tied_head,
        "packed_heads": manifest.packed_heads,
        "task": manifest.task,
        "exporter": manifest.exporter,
        "decode": manifest.decode,
        "opset": manifest.opset,
        "source": manifest.source.name,
        "source_sha256": manifest.source.sha256,
    }


def print_export(manifest: Manifest, target: Path) -> None:
    """The same for people."""
    footprint, parity = manifest.footprint, manifest.parity
    table = plain_table("", "before", "after", "")
    table.add_row(
        f"token table, {manifest.rows:,} x {manifest.width}",
        size(footprint.dense_bytes),
        size(footprint.embedding_bytes),
        f"{footprint.ratio:.1f}x",
    )
    table.add_row(
        "whole model",
        size(footprint.original_model_bytes),
        size(footprint.model_bytes),
        f"{footprint.original_model_bytes / footprint.model_bytes:.2f}x",
    )
    out.print(table)
    say(
        f"rewrite checked on all {manifest.rows:,} ids and on the whole model: "
        f"off by {max(parity.lookup, parity.rewrite):.2g} at most"
    )
    if manifest.tied_head:
        say(
            "the output head shares the table and keeps it in float32, so the file hardly shrinks; "
            "--head packed compresses both"
        )
    if manifest.packed_heads:
        say("the output head shares the table and reads the packed one too")
    say(f"wrote {target} ({manifest.exporter} exporter, opset {manifest.opset})")
