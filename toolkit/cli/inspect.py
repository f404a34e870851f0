"""``lighttoken inspect``: where a model's bytes are and who reads its tables."""

from dataclasses import asdict
from pathlib import Path

import click

from exporters.options import STOCK
from toolkit import limits
from toolkit.bundle.manifest import MANIFEST_NAME, read_manifest, verify_files

from .console import json_option, out, plain_table, print_json, say, size, whole

_EXAMPLE = """\b
Examples:
  lighttoken inspect minilm
  lighttoken inspect model.onnx --top 20
"""


@click.command(epilog=_EXAMPLE)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--top",
    type=whole(limits.LISTED),
    default=8,
    show_default=True,
    help="Largest tensors to list.",
)
@json_option
def command(model: Path, top: int, as_json: bool) -> None:
    """Show the largest tensors of MODEL, its token tables, and which nodes use them.

    MODEL is a bundle, or any .onnx file. Of a bundle everything is counted again, and a manifest
    that says something else is refused.
    """
    from exporters import inspect_model
    from exporters.inspect import check_figures, without_packed

    manifest = None
    path = model
    if model.is_dir() or (model / MANIFEST_NAME).is_file():
        manifest = read_manifest(model)
        verify_files(model, manifest)
        path = model / manifest.model
    found = inspect_model(path)
    if manifest is not None:
        check_figures(manifest, found)
        found = without_packed(found, manifest)
    if as_json:
        data = asdict(found)
        data["manifest"] = asdict(manifest) if manifest else None
        print_json(data)
        return
    say(
        f"{path}: {size(found.model_bytes)}, {found.nodes} nodes, opset {found.opset}",
    )
    if manifest is not None:
        footprint = manifest.footprint
        say(
            f"packed from {manifest.source.name} ({manifest.task}): {manifest.table}, "
            f"{size(footprint.dense_bytes)} -> {size(footprint.embedding_bytes)}, "
            f"{footprint.ratio:.1f}x, {footprint.bits_per_parameter:.2f} bits a parameter",
        )
        if manifest.decode == STOCK:
            say(f"{manifest.method}, in onnxruntime's own operators")
        if footprint.graph_bytes:
            say(
                f"{size(footprint.graph_bytes)} of the graph decode it: "
                f"{footprint.ratio_with_graph:.1f}x with them"
            )
        for head in manifest.heads:
            bits = 8 * head.bytes / (head.rows * head.width)
            say(
                f"output head of its own: {head.name}, {size(head.dense_bytes)} -> "
                f"{size(head.bytes)}, {head.dense_bytes / head.bytes:.1f}x, {bits:.2f} bits a "
                "parameter"
            )
        for further in manifest.further:
            packed_there = (*further.tables, *further.heads)
            held = ", ".join(f"{each.name} packed to {size(each.bytes)}" for each in packed_there)
            say(
                f"{further.model}: {size(further.model_bytes)}, was "
                f"{size(further.original_model_bytes)}; {held or 'it looks nothing up'}"
            )
        if len(manifest.tables) > 1:
            packed = plain_table(
                "packed tables", "rows x width", "float32", "packed", "in the original"
            )
            for entry in manifest.tables:
                packed.add_row(
                    entry.name,
                    f"{entry.rows:,} x {entry.width}",
                    size(entry.dense_bytes),
                    size(entry.bytes),
                    entry.form,
                )
            say()
            out.print(packed)
    if found.tables:
        tables = plain_table(
            "dense tables", "rows x width", "stored as", "bytes", "ids from", "also read by"
        )
        for table in found.tables:
            tables.add_row(
                table.name,
                f"{table.rows:,} x {table.width}",
                table.form,
                size(table.nbytes),
                table.ids_input,
                ", ".join(table.others) or "-",
            )
        say()
        out.print(tables)
    if found.heads:
        heads = plain_table("dense output heads", "rows x width", "stored as", "bytes")
        for each in found.heads:
            shape = f"{each.rows:,} x {each.width}"
            heads.add_row(each.name, shape, each.form, size(each.nbytes))
        say()
        out.print(heads)
    parts = plain_table("largest tensors", "shape", "type", "bytes", "share")
    for part in found.parts[:top]:
        parts.add_row(
            part.name,
            " x ".join(f"{dim:,}" for dim in part.shape) or "scalar",
            part.dtype.lower(),
            size(part.nbytes),
            f"{part.nbytes / found.model_bytes:.1%}",
        )
    rest = sum(part.nbytes for part in found.parts[top:])
    if rest:
        count = len(found.parts) - top
        parts.add_row(f"{count} more", "", "", size(rest), f"{rest / found.model_bytes:.1%}")
    parts.add_row(
        "graph", "", "", size(found.graph_bytes), f"{found.graph_bytes / found.model_bytes:.1%}"
    )
    say()
    out.print(parts)
