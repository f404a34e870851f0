"""``lighttoken compress``: a matrix in, a packed table out."""

from pathlib import Path
from typing import Any

import click

from toolkit.allocate.budget import DEFAULT_RATIO, Budget
from toolkit.extras import require
from toolkit.files import check_apart, check_file, complete, write_aside

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
from .derived import export_option

_EXAMPLE = """\b
Examples:
  lighttoken compress table.npy table.lighttoken.safetensors
  lighttoken compress model.safetensors table.safetensors --ratio 50
"""


@click.command(epilog=_EXAMPLE)
@click.argument("matrix", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@budget_options
@click.option("--tensor", help="Tensor of a .safetensors file [default: the largest matrix].")
@effort_options
@export_option("method", "seed")
@click.option("--force", is_flag=True, help="Replace OUT if it is a file.")
@json_option
def command(
    matrix: Path,
    target: Path,
    ratio: float | None,
    max_bytes: int | None,
    min_cosine: float | None,
    method: str,
    effort: str,
    additive_codebooks: bool,
    tensor: str | None,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Compress MATRIX (.npy, or a tensor of a .safetensors file) and write OUT (.safetensors).

    Rows are assumed to be in order of frequency, as those of a vocabulary are.
    """
    budget = read_budget(ratio, max_bytes, min_cosine) or Budget(ratio=DEFAULT_RATIO)
    config = config_of(method, effort, additive_codebooks)
    require("export")
    check_file(target, replace=force)
    check_apart(target, matrix)
    from toolkit.methods.compress import check_matrix, compress
    from toolkit.table.matrix import read_matrix
    from toolkit.table.metrics import compare

    table = check_matrix(read_matrix(matrix, tensor))
    with progress("compressing") as report:
        embedding = compress(
            table,
            budget,
            method=method,
            seed=seed,
            config=config,
            progress=report,
        )
    quality = compare(table, embedding)
    with write_aside(target, replace=force) as aside:
        aside.write_bytes(embedding.to_bytes())
    complete.append(target)
    figures: dict[str, Any] = {
        "rows": embedding.rows,
        "width": embedding.width,
        "ratio": embedding.ratio,
        "bits_per_parameter": embedding.bits_per_parameter,
        "nbytes": embedding.nbytes,
        "dense_bytes": embedding.dense_nbytes,
        "relative_error": quality.relative_error,
        "mean_cosine": quality.mean_cosine,
        "bytes_by_part": embedding.bytes_by_part(),
    }
    if as_json:
        print_json(figures)
        return
    result = plain_table(f"{embedding.rows:,} x {embedding.width}", "before", "after", "")
    result.add_row(
        "bytes", size(embedding.dense_nbytes), size(embedding.nbytes), f"{embedding.ratio:.1f}x"
    )
    result.add_row("bits a parameter", "32", f"{embedding.bits_per_parameter:.2f}", "")
    result.add_row("relative squared error", "", f"{quality.relative_error:.4f}", "")
    result.add_row("mean cosine of a row", "", f"{quality.mean_cosine:.4f}", "")
    out.print(result)
    say(f"wrote {target}")
