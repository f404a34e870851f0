"""``lighttoken export``: a model in, a checked bundle out."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from exporters.options import STOCK, ExportOptions
from toolkit.allocate.budget import Budget
from toolkit.bundle.manifest import Manifest, StoredTable
from toolkit.errors import InputError
from toolkit.extras import require

from .console import (
    budget_options,
    config_of,
    effort_options,
    json_option,
    out,
    plain_table,
    print_json,
    progress,
    read_budget,
    say,
    size,
)
from .derived import export_options

_TRAINED_TOO = {  # how the report goes on
    "table": "",
    "norms": "; the model's LayerNorms and biases were trained too",
    "body": "; the rest of the model was trained too",
}
_OWN_TEXTS = {True: " that it wrote", False: " of drawn tokens"}  # by whether it writes
_EXAMPLE = """\b
Examples:
  lighttoken export sentence-transformers/all-MiniLM-L6-v2 minilm
  lighttoken export ./my-model small --ratio 50 --weights int4
  lighttoken export ./my-model web --target webgpu --structure transformers-js
  lighttoken export model.onnx small --max-bytes 2000000
  lighttoken export model.onnx small --all-tables
  lighttoken export ./my-model small --ratio 25 --heal sentences.txt
"""


@click.command(epilog=_EXAMPLE)
@click.argument("source")
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@budget_options
@effort_options
@export_options
@click.option(
    "--force", is_flag=True, help="Replace OUT, if it is a bundle that holds nothing else."
)
@json_option
def command(source: str, folder: Path, force: bool, as_json: bool, **asked: Any) -> None:
    """Compress the token table of SOURCE and write the bundle OUT.

    SOURCE is a Hugging Face hub id, a folder written by save_pretrained, or an .onnx file.
    """
    budget, options = read_options(**asked)
    require("export")
    from exporters import export
    from exporters.comparisons.originals import remember
    from runtime.native import find as find_kernel

    notes: list[str] = []
    with progress("exporting") as report:
        manifest = export(
            source,
            folder,
            budget,
            options=options,
            force=force,
            kernel=find_kernel().path,
            progress=report,
            tell=notes.append,
        )
    remember(manifest.source, source)
    if as_json:
        print_json(summary(manifest) | {"notes": notes})
    else:
        print_export(manifest, folder)
        if options.max_model_bytes is not None:
            say(_shared(manifest, options.max_model_bytes))
        for note in notes:
            say(f"note: {note}")


def read_options(
    *,
    ratio: float | None,
    max_bytes: int | None,
    min_cosine: float | None,
    effort: str,
    additive_codebooks: bool,
    **asked: Any,
) -> tuple[Budget | None, ExportOptions]:
    """What the options of the command ask for, by their names; None for the usual budget.

    Raises:
        InputError: values that are none, and options that exclude each other.
    """
    if asked["packed"] is not None and (ratio, max_bytes, min_cosine) != (None, None, None):
        raise InputError("--packed has its own size; leave --ratio, --max-bytes, --min-cosine out")
    budget = read_budget(ratio, max_bytes, min_cosine)
    config = config_of(asked["method"], effort, additive_codebooks)
    return budget, ExportOptions(**asked, config=config)


def summary(manifest: Manifest) -> dict[str, Any]:
    """The figures of an export, flat."""
    footprint, parity = manifest.footprint, manifest.parity
    return {
        "ratio": footprint.ratio,
        "bits_per_parameter": footprint.bits_per_parameter,
        "embedding_bytes": footprint.embedding_bytes,
        "graph_bytes": footprint.graph_bytes,
        "ratio_with_graph": footprint.ratio_with_graph,
        "dense_bytes": footprint.dense_bytes,
        "model_bytes": footprint.model_bytes,
        "original_model_bytes": footprint.original_model_bytes,
        "parity_max_abs_error": max(parity.lookup, parity.rewrite),
        "compression_max_abs_error": parity.compression,
        "kernel_max_abs_error": parity.kernel,
        "table": manifest.table,
        "rows": manifest.rows,
        "width": manifest.width,
        "tables": [asdict(table) for table in manifest.tables],
        "heads": [asdict(head) for head in manifest.heads],
        "further": [asdict(further) for further in manifest.further],
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
        "method": manifest.method,
        "opset": manifest.opset,
        "source": manifest.source.name,
        "source_sha256": manifest.source.sha256,
    }


def print_export(manifest: Manifest, target: Path) -> None:
    """The same for people."""
    footprint, parity = manifest.footprint, manifest.parity
    table = plain_table("", "before", "after", "")

    def packed(each: StoredTable, name: str, place: str = "") -> None:
        table.add_row(
            f"{name}{each.rows:,} x {each.width}{place}",
            size(each.dense_bytes),
            size(each.bytes),
            f"{each.dense_bytes / each.bytes:.1f}x",
        )

    several = len(manifest.tables) > 1
    for each in manifest.tables:
        packed(each, f"{each.name if several else 'token table'}, ")
    for head in manifest.heads:
        packed(head, f"output head {head.name}, " if len(manifest.heads) > 1 else "output head, ")
    for further in manifest.further:
        for each in further.tables:
            packed(each, "", f" in {further.model}")
        for head in further.heads:
            packed(head, "output head, ", f" in {further.model}")
    table.add_row(
        "what decodes it in the graph",
        "",
        size(footprint.graph_bytes),
        f"{footprint.ratio_with_graph:.1f}x with it",
    )
    files = 1 + len(manifest.further)
    table.add_row(
        "whole model" if files == 1 else f"whole model, {files} files",
        size(footprint.original_model_bytes),
        size(footprint.model_bytes),
        f"{footprint.original_model_bytes / footprint.model_bytes:.2f}x",
    )
    out.print(table)
    for each in (*manifest.tables, *manifest.heads):
        if each.original_bytes < each.dense_bytes:
            say(
                f"the original stores {each.name} as {each.form}, {size(each.original_bytes)}: now "
                f"{each.original_bytes / each.bytes:.1f} times smaller (ratios are to float32)"
            )
    checked = " + ".join(f"{each.rows:,}" for each in manifest.tables)
    whole = "and on the whole model" if parity.whole else "alone"
    say(
        f"rewrite checked on all {checked} ids {whole}: "
        f"off by {max(parity.lookup, parity.rewrite):.2g} at most"
        + ("" if parity.kernel is None else f"; the native kernel by {parity.kernel:.2g}")
    )
    if (healed := manifest.healed) is not None:
        writes = manifest.task == "text-generation"
        what = "the next token's divergence" if writes else "the outputs' distance"
        what += " from the original's" if writes else " to the original's"
        say(
            f"healed on {healed.texts:,} texts{_OWN_TEXTS[writes] if healed.own else ''}: {what} "
            f"went from "
            f"{healed.before:.4f} to {healed.after:.4f} on held-out texts"
            f"{_TRAINED_TOO.get(healed.trained, '')}"
        )
    if manifest.fused is not None:
        say(_fused(manifest.fused))
    if manifest.decode == STOCK:
        say(f"{manifest.method}, in onnxruntime's own operators")
    if manifest.tied_head:
        say(
            "the output head shares the table and keeps it in float32, so the file hardly shrinks; "
            "--head packed compresses both"
        )
    if manifest.packed_heads:
        say("the output head shares the table and reads the packed one too")
    if manifest.heads:
        say(
            "the output head is a matrix of its own, packed beside the table: --head-ratio says "
            "how small, --head dense keeps it"
        )
    say(f"wrote {target} ({manifest.exporter} exporter, opset {manifest.opset})")


def _shared(manifest: Manifest, most: int) -> str:
    """What a budget for the whole model went to."""
    form = {"fp32": "float32"}.get(manifest.body, manifest.body)
    groups = f" in groups of {manifest.body_block}" if manifest.body_block else ""
    return (
        f"of {size(most)} the table got {size(manifest.footprint.embedding_bytes)}; the other "
        f"weights are {form}{groups}: of the forms that fit, the nearest to the original"
    )


def _fused(count: int) -> str:
    if count:
        return f"fused attentions: {count} (--no-fuse leaves them as they were)"
    return "no attention was fused: none has a form that is known, or the values would differ"
