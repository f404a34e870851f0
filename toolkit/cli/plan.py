"""``lighttoken plan``: what each ratio would buy, before anyone waits."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from toolkit.errors import BudgetError, InputError

from .console import json_option, out, plain_table, print_json, progress, say, size

_DEFAULT_RATIOS = "8,10,16,25,50,103"
_EXAMPLE = """\b
Examples:
  lighttoken plan sentence-transformers/all-MiniLM-L6-v2
  lighttoken plan ./my-model --ratios 20,25,30
"""


@dataclass(frozen=True)
class Offer:
    """What a ratio buys; ``cosine`` and ``error`` are expected, not measured."""

    ratio: float
    nbytes: int
    bits_per_parameter: float
    rank: int
    bits: int
    tiers: tuple[int, ...]
    error: float
    cosine: float


@click.command(epilog=_EXAMPLE)
@click.argument("source")
@click.option("--ratios", default=_DEFAULT_RATIOS, show_default=True, help="Separated by commas.")
@click.option("--corpus", type=click.Path(path_type=Path), help="Text to count tokens in.")
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@json_option
def command(
    source: str, ratios: str, corpus: Path | None, revision: str | None, as_json: bool
) -> None:
    """Show the frontier of SOURCE's token table: bytes against expected quality.

    SOURCE is what `export` takes, or a matrix (.npy, .safetensors). Nothing is trained: the figures
    come from the table's spectrum and the frequencies of its tokens.
    """
    wanted = _read_ratios(ratios)
    from exporters import read_table
    from exporters.export import importance_of
    from toolkit.compress import check_matrix, covariance_spectrum
    from toolkit.importance import check_importance

    with progress("reading the table") as report:
        found = read_table(source, revision)
        table = check_matrix(found.values)
        importance = importance_of(found.tokenizer, len(table), corpus)
        weights = check_importance(importance, len(table))
        report(0.5, "planning")
        spectrum = covariance_spectrum(table)
        mean_energy = float((table.mean(axis=0) ** 2).sum())
        offers = []
        refusal = None
        for ratio in wanted:
            try:
                offers.append(_offer(spectrum, weights, ratio, mean_energy))
            except BudgetError as error:
                refusal = error
    if not offers and refusal is not None:
        raise refusal
    if as_json:
        rows, width = table.shape
        data: dict[str, Any] = {"rows": rows, "width": width, "dense_bytes": rows * width * 4}
        print_json({**data, "offers": [asdict(offer) for offer in offers]})
        return
    columns = ("ratio", "bytes", "bits a parameter", "expected cosine", "bits a row", "more for")
    view = plain_table(*columns, title=f"{len(table):,} x {table.shape[1]}")
    for offer in offers:
        view.add_row(
            f"{offer.ratio:g}",
            size(offer.nbytes),
            f"{offer.bits_per_parameter:.2f}",
            f"{offer.cosine:.3f}",
            f"{offer.bits}" + (f" + rank {offer.rank}" if offer.rank else ""),
            " / ".join(f"{rows:,}" for rows in offer.tiers) or "-",
        )
    out.print(view)
    say("expected cosine of a row to its decoded form, rows weighted by frequency; the last column")
    say(f"counts the likeliest rows that get {table.shape[1]} bits more, once, twice, …")
    if refusal is not None:
        say(f"left out: {refusal}")


def _offer(spectrum: Any, weights: Any, ratio: float, mean_energy: float) -> Offer:
    from toolkit.budget import Budget
    from toolkit.compress import best_layout

    layout = best_layout(spectrum, weights, Budget(ratio=ratio))[0]
    variance = float(spectrum.sum())
    lost = layout.expected_error * variance / max(variance + mean_energy, 1e-30)
    return Offer(
        ratio=ratio,
        nbytes=layout.nbytes,
        bits_per_parameter=8 * layout.nbytes / (len(weights) * len(spectrum)),
        rank=layout.rank,
        bits=layout.bits,
        tiers=layout.tiers,
        error=layout.expected_error,
        # A least-squares approximation is orthogonal to its error: cos**2 = 1 - lost share.
        cosine=max(0.0, 1.0 - lost) ** 0.5,
    )


def _read_ratios(text: str) -> list[float]:
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--ratios takes numbers separated by commas, got {text!r}") from error
    from toolkit.budget import Budget

    for ratio in ratios:
        Budget(ratio=ratio)  # refuses what is no ratio
    return ratios
