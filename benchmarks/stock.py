"""What a table of stock operators costs a sentence encoder, rounded to nearest and by us.

    python benchmarks/stock.py MODEL pairs.csv --bits 4 --bits 2 --group-size 32 --ratio 25

The model's token table is replaced by integers with scales, as `lighttoken export --decode stock`
writes them, and by packed tables of ours at each --ratio. Printed for each: bytes, how many times
smaller than float32, the rows' squared error over their spread, Spearman x 100 of the scored pairs
(`left, right, score`), and the mean cosine of sentence vectors to those of the model as it is.
"""

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from sentences import judge, open_reference

from exporters import read_table
from exporters.sources.prior import importance_of
from toolkit import Budget, compress
from toolkit.methods.compress import check_matrix
from toolkit.methods.grouped import nearest, round_table
from toolkit.table.components import Float32
from toolkit.table.grouped import BITS, GROUP_SIZES, GroupedCode
from toolkit.table.metrics import compare


@click.command(help=__doc__)
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("pairs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--bits", "every_bits", type=click.Choice([str(bits) for bits in BITS]), multiple=True
)
@click.option(
    "--group-size", "sizes", type=click.Choice([str(size) for size in GROUP_SIZES]), multiple=True
)
@click.option("--ratio", "ratios", type=float, multiple=True)
@click.option("--limit", type=int, help="Pairs of the file, the first ones; all without it.")
def main(
    model: Path,
    pairs: Path,
    every_bits: tuple[str, ...],
    sizes: tuple[str, ...],
    ratios: tuple[float, ...],
    limit: int | None,
) -> None:
    found = read_table(str(model), None)
    table = check_matrix(found.values)
    reference = open_reference(pairs, model, table, limit)
    dense = table.nbytes
    click.echo("| table | bytes | times smaller | bits a parameter | error | Spearman | cosine |")
    click.echo(f"|---|{'--:|' * 6}")
    click.echo(f"| float32 | {dense:,} | 1.0 | 32.00 | 0 | {reference.spearman:.2f} | 1 |")
    codes = [GroupedCode(int(bits), int(size)) for bits in every_bits for size in sizes]
    importance = importance_of(found.tokenizer, len(table), None)
    for name, nbytes, decoded in (
        *_stock(table, codes),
        *_packed(table, ratios, importance),
    ):
        spearman, cosine = judge(reference, decoded)
        error = compare(table, decoded).relative_error
        ratio, bits = f"{dense / nbytes:.1f}", f"{8 * nbytes / table.size:.2f}"
        figures = f"{error:.4f} | {spearman:.2f} | {cosine:.4f}"
        click.echo(f"| {name} | {nbytes:,} | {ratio} | {bits} | {figures} |")


def _stock(table: Float32, codes: list[GroupedCode]) -> Iterator[tuple[str, int, Float32]]:
    for code in codes:
        nbytes = code.nbytes(*table.shape)
        yield f"stock {code}, nearest", nbytes, nearest(table, code).dense()
        yield f"stock {code}, ours", nbytes, round_table(table, code).dense()


def _packed(
    table: Float32, ratios: tuple[float, ...], importance: np.ndarray | None
) -> Iterator[tuple[str, int, Float32]]:
    for ratio in ratios:
        packed = compress(table, Budget(ratio=ratio), importance=importance)
        yield f"LightToken {ratio:g}x", packed.nbytes, packed.dense()


if __name__ == "__main__":
    main()
