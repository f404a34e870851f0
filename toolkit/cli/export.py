"""``lighttoken export``: a model in, a checked bundle out."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from toolkit.bundle.manifest import TRAINED, Manifest
from toolkit.errors import InputError
from toolkit.extras import require

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
    trust_option,
)

_TRAINED_TOO = {  # how the report goes on
    "table": "",
    "norms": "; the model's LayerNorms and biases were trained too",
    "body": "; the rest of the model was trained too",
}
_EXAMPLE = """\b
Examples:
  lighttoken export sentence-transformers/all-MiniLM-L6-v2 minilm
  lighttoken export ./my-model small --ratio 50 --body int4
  lighttoken export ./my-model web --target webgpu --layout transformers-js
  lighttoken export model.onnx small --max-bytes 2000000
  lighttoken export model.onnx small --all-tables
  lighttoken export ./my-model small --ratio 25 --heal sentences.txt
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
    "--target",
    "place",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="Where it is to run: cpu, wasm, webgpu, cuda, xnnpack, qnn, nnapi or coreml.",
)
@click.option(
    "--decode",
    type=click.Choice(["function", "inline"]),
    help="Decode graph as a function of the model, or dissolved into it [default: the target's].",
)
@click.option(
    "--head",
    type=click.Choice(["packed", "nbits", "dense"]),
    help="What an output head reads that shares the table: it, 4 bits or float32 of its own "
    "[default: packed on the CPU, elsewhere nbits].",
)
@click.option(
    "--fuse/--no-fuse",
    default=None,
    help="Put each attention into one node of onnxruntime's: less memory, a faster load "
    "[default: --fuse on the CPU, unless inline].",
)
@click.option("--table", help="Name of the table to pack [default: the largest that ids look up]")
@click.option(
    "--all-tables",
    is_flag=True,
    help="Pack every table that ids look up, of 256 rows and a hundredth of the largest at least; "
    "--max-bytes is shared out by size.",
)
@click.option(
    "--body",
    type=click.Choice(["fp32", "fp16", "int8", "int4"]),
    default="fp32",
    show_default=True,
    help="Form of the weights beside the table.",
)
@click.option(
    "--body-block",
    type=click.Choice(["16", "32", "64", "128", "256"]),
    default="128",
    show_default=True,
    help="Numbers of an int4 body that share a scale: fewer are closer, and take more bytes.",
)
@click.option(
    "--layout",
    type=click.Choice(["flat", "transformers-js"]),
    default="flat",
    show_default=True,
    help="Of the bundle's folder; transformers-js has onnx/model.onnx, as that library wants it.",
)
@click.option(
    "--with-pooling",
    is_flag=True,
    help="Pool and normalise in the graph too, as output sentence_embedding.",
)
@click.option(
    "--with-past",
    is_flag=True,
    help="A decoder with a cache: takes and gives keys and values of the tokens before.",
)
@click.option("--batch", type=int, help="Fix the number of texts; with --sequence.")
@click.option("--sequence", type=int, help="Fix the number of tokens.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["onnx", "ort"]),
    default="onnx",
    show_default=True,
    help="ort: onnxruntime's own, with the operators that a minimal build needs.",
)
@training_options
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@trust_option
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    help="Text, one a line, to count tokens in and to round an int4 body by [default: the "
    "tokenizer's order]",
)
@click.option(
    "--packed",
    type=click.Path(path_type=Path),
    help="A packed table to use in place of compressing, as `compress` or training wrote it.",
)
@click.option(
    "--heal",
    type=click.Path(path_type=Path),
    help="Plain text, one a line, to fit the packed table to the model on; the same bytes.",
)
@click.option(
    "--heal-steps",
    type=int,
    default=250,
    show_default=True,
    help="Training steps of --heal, at most; 0 only chooses codes anew.",
)
@click.option(
    "--heal-train",
    type=click.Choice(TRAINED),
    default="table",
    show_default=True,
    help="What --heal trains: the table, the model's LayerNorms and biases too, or all of it.",
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
    place: str,
    decode: str | None,
    head: str | None,
    fuse: bool | None,
    table: str | None,
    all_tables: bool,
    body: str,
    body_block: str,
    batch: int | None,
    sequence: int | None,
    form: str,
    layout: str,
    with_pooling: bool,
    with_past: bool,
    seed: int,
    revision: str | None,
    trust_remote_code: bool,
    corpus: Path | None,
    packed: Path | None,
    heal: Path | None,
    heal_steps: int,
    heal_train: str,
    force: bool,
    as_json: bool,
) -> None:
    """Compress the token table of SOURCE and write the bundle OUT.

    SOURCE is a Hugging Face hub id, a folder written by save_pretrained, or an .onnx file.
    """
    if packed is not None and (ratio, max_bytes, min_cosine) != (None, None, None):
        raise InputError("--packed brings its own bytes; leave --ratio and its like out")
    budget = read_budget(ratio, max_bytes, min_cosine)
    config = config_of(method, effort, split_codebooks)
    require("export")
    from exporters import ExportOptions, export

    from .originals import remember

    options = ExportOptions(
        exporter=exporter,
        target=place,
        decode=decode,
        head=head,
        fuse=fuse,
        table=table,
        all_tables=all_tables,
        weights=body,
        group_size=int(body_block),
        batch=batch,
        sequence=sequence,
        format=form,
        structure=layout,
        with_pooling=with_pooling,
        with_past=with_past,
        method=method,
        seed=seed,
        revision=revision,
        trust_remote_code=trust_remote_code,
        corpus=corpus,
        config=config,
        packed=packed,
        heal=heal,
        heal_steps=heal_steps,
        heal_train=heal_train,
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
        "tables": [asdict(table) for table in manifest.tables],
        "tied_head": manifest.tied_head,
        "packed_heads": manifest.packed_heads,
        "target": manifest.target,
        "fused": manifest.fused,
        "healed": None if manifest.healed is None else asdict(manifest.healed),
        "body": manifest.body,
        "task": manifest.task,
        "model": manifest.model,
        "pooled": manifest.pooled,
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
    several = len(manifest.tables) > 1
    for each in manifest.tables:
        table.add_row(
            f"{each.name if several else 'token table'}, {each.rows:,} x {each.width}",
            size(each.dense_bytes),
            size(each.bytes),
            f"{each.dense_bytes / each.bytes:.1f}x",
        )
    table.add_row(
        "whole model",
        size(footprint.original_model_bytes),
        size(footprint.model_bytes),
        f"{footprint.original_model_bytes / footprint.model_bytes:.2f}x",
    )
    out.print(table)
    for each in manifest.tables:
        if each.original_bytes < each.dense_bytes:
            say(
                f"{each.name} stood in the original as {each.form}, {size(each.original_bytes)}: "
                f"now {each.original_bytes / each.bytes:.1f} times smaller (ratios are of float32)"
            )
    checked = " + ".join(f"{each.rows:,}" for each in manifest.tables)
    say(
        f"rewrite checked on all {checked} ids and on the whole model: "
        f"off by {max(parity.lookup, parity.rewrite):.2g} at most"
    )
    if (healed := manifest.healed) is not None:
        say(
            f"healed on {healed.texts:,} texts: the outputs' distance to the original's went from "
            f"{healed.before:.4f} to {healed.after:.4f} on texts held out"
            f"{_TRAINED_TOO.get(healed.trained, '')}"
        )
    if manifest.fused is not None:
        say(_fused(manifest.fused))
    if manifest.tied_head:
        say(
            "the output head shares the table and keeps it in float32, so the file hardly shrinks; "
            "--head packed compresses both"
        )
    if manifest.packed_heads:
        say("the output head shares the table and reads the packed one too")
    say(f"wrote {target} ({manifest.exporter} exporter, opset {manifest.opset})")


def _fused(count: int) -> str:
    if count:
        return f"attentions that are one node now: {count} (--no-fuse leaves them as they were)"
    return (
        "no attention was put into one node: none stands in a form that is known, or its values "
        "would differ"
    )
