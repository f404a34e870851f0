"""How far a decoder's packed table is from what any code of its size could reach.

Example:
    lighttoken export ./gemma-3-270m gemma --ratio 16
    python benchmarks/decoder_bound.py ./gemma-3-270m gemma

The error of row v counts p(v) e' M e, as for compression itself (`toolkit/finetune/
decoder_statistics.py`), summed over rows, over the same sum of the rows themselves around their
mean. The bound is that of Gaussian rows: rows are put into classes by p(v), each class has the
covariance of its rows, and bits are shared out by reverse water-filling over all rows and
directions (Cover and Thomas, Elements of Information Theory, section 10.3.3). No code for Gaussian
rows of these covariances has a smaller error. Real rows are not Gaussian, so a code that knew
how they differ could do better, and none of finite length reaches the bound.
"""

import sys
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from one_line import run

from exporters.decoders import decoder_statistics
from exporters.sources.facts import TOKENIZER, read_facts
from exporters.sources.prior import special_tokens
from exporters.sources.source import LoadedModel, read_table
from toolkit.bundle.manifest import Source, read_manifest
from toolkit.graph.rows import packed_rows

_CLASSES = 32
_STEPS = 200  # of the search for the water's level

Float64 = NDArray[np.float64]


def spectra(table: Float64, importance: Float64, metric: Float64) -> tuple[Float64, Float64]:
    """Variances [classes, d] of the rows of each class in the metric, and each row's weight.

    Weights and sizes of the classes come as [classes, 2].
    """
    root = np.linalg.cholesky(metric)
    mean = importance @ table / importance.sum()
    classes = np.array_split(np.argsort(-importance), _CLASSES)
    variances, sizes = [], []
    for rows in classes:
        centred = (table[rows] - mean) @ root
        variances.append(np.linalg.eigvalsh(centred.T @ centred / len(rows)).clip(1e-300))
        sizes.append((importance[rows].mean(), len(rows)))
    return np.array(variances), np.array(sizes)


def least_error(variances: Float64, sizes: Float64, bits: float) -> float:
    """The weighted error that ``bits`` for all rows together leave, of the rows' own."""
    weights, counts = sizes[:, :1], sizes[:, 1:]
    low, high = -200.0, np.log2((weights * variances).max())
    for _ in range(_STEPS):
        level = (low + high) / 2
        spent = (counts * (np.log2(weights * variances) - level).clip(0)).sum() / 2
        low, high = (level, high) if spent > bits else (low, level)
    left = np.minimum(weights * variances, 2.0**high)
    return float((counts * left).sum() / (counts * weights * variances).sum())


def weighted_error(table: Float64, packed: Float64, importance: Float64, metric: Float64) -> float:
    """The same of a packed table."""
    root = np.linalg.cholesky(metric)
    mean = importance @ table / importance.sum()
    lost = ((((packed - table) @ root) ** 2).sum(1) * importance).sum()
    return float(lost / ((((table - mean) @ root) ** 2).sum(1) * importance).sum())


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("bundle", type=click.Path(path_type=Path))
def command(folder: Path, bundle: Path) -> None:
    """Error of the packed table in BUNDLE, made from FOLDER, beside the Gaussian bound."""
    manifest = read_manifest(bundle)
    loaded = LoadedModel(folder, folder, read_facts(folder), Source(folder.name, "folder", ""), "")
    found = decoder_statistics(loaded)
    importance = found.importance(special_tokens(folder / TOKENIZER))
    metric = found.metric(head=True)
    table = read_table(str(folder)).values.astype(np.float64)
    packed = packed_rows(bundle / manifest.model, manifest.rows).astype(np.float64)
    ours = weighted_error(table, packed, importance, metric)
    variances, sizes = spectra(table, importance, metric)
    bits = 8.0 * manifest.footprint.embedding_bytes
    bound = least_error(variances, sizes, bits)
    click.echo("| bits a parameter | weighted error | Gaussian bound | times the bound |")
    click.echo("|--:|--:|--:|--:|")
    click.echo(f"| {bits / table.size:.2f} | {ours:.4f} | {bound:.4f} | {ours / bound:.2f} |")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run(command, __file__, arguments, kept="tables")


if __name__ == "__main__":
    sys.exit(main())
