"""``lighttoken plan``: what each ratio would buy, before anyone waits."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from exporters.options import ExportOptions
from toolkit.allocate.budget import DECODER_RATIO, Budget
from toolkit.allocate.candidates import Spectrum
from toolkit.allocate.importance import check_importance
from toolkit.allocate.spectrum import measure_spectra
from toolkit.errors import BudgetError, InputError
from toolkit.extras import require
from toolkit.lines import check_texts
from toolkit.methods.compress import best_allocation, check_matrix
from toolkit.methods.config import LightTokenConfig
from toolkit.table.components import Float32
from toolkit.table.grouped import BITS, GroupedCode

from .console import json_option, out, plain_table, print_json, progress, say, size
from .derived import export_option

if TYPE_CHECKING:
    from exporters.vocabulary.choose import Choice

_STOCK = tuple(GroupedCode(bits) for bits in reversed(BITS))
_DEFAULT_RATIOS = "8,10,16,25,50,103"
_EXAMPLE = """\b
Examples:
  lighttoken plan sentence-transformers/all-MiniLM-L6-v2
  lighttoken plan ./my-model --ratios 20,25,30
  lighttoken plan intfloat/multilingual-e5-small --languages de,en
"""


@dataclass(frozen=True)
class Offer:
    """What a ratio buys; ``cosine`` and ``error`` are expected, not measured.

    Attributes:
        bytes_per_row: bytes of a row's code, and of its length where that is stored.
        row_counts: rows that get more, once, twice and so on.
        covered: rows that have a code; the others share one vector.
    """

    ratio: float
    nbytes: int
    bits_per_parameter: float
    bytes_per_row: int
    row_counts: tuple[int, ...]
    covered: int
    error: float
    cosine: float


@dataclass(frozen=True)
class Plan:
    """What the ratios buy for one matrix; ``refusal`` says why some are left out."""

    rows: int
    width: int
    offers: tuple[Offer, ...]
    refusal: BudgetError | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        data = {"rows": self.rows, "width": self.width, "dense_bytes": self.rows * self.width * 4}
        stock = [{**asdict(code), "nbytes": code.nbytes(self.rows, self.width)} for code in _STOCK]
        return {**data, "offers": [asdict(offer) for offer in self.offers], "stock": stock}

    def stock(self) -> str:
        """What stock operators hold it in, for people."""
        dense = 4 * self.rows * self.width
        return ", ".join(
            f"int{code.bits} {dense / code.nbytes(self.rows, self.width):.1f}x" for code in _STOCK
        )


@click.command(epilog=_EXAMPLE)
@click.argument("source")
@click.option(
    "--ratios",
    default=_DEFAULT_RATIOS,
    show_default=True,
    help="Ratios to plan for, separated by commas.",
)
@click.option(
    "--corpus",
    type=click.Path(path_type=Path),
    help="Text file, one text a line, to count tokens in.",
)
@export_option("languages", "vocabulary", "revision")
@json_option
def command(
    source: str,
    ratios: str,
    corpus: Path | None,
    languages: str | None,
    vocabulary: Path | None,
    revision: str | None,
    as_json: bool,
) -> None:
    """Show what each ratio gives for SOURCE's token table: bytes and expected quality.

    An output head that is a matrix of its own is shown beside it. With --languages the table has
    the tokens of these alone, and what each of them takes is shown too.

    SOURCE is what `export` takes, or a matrix (.npy, .safetensors). Nothing is trained: the figures
    come from the table's spectrum and the frequencies of its tokens.
    """
    wanted = _read_ratios(ratios)
    options = ExportOptions(languages=languages, vocabulary=vocabulary)
    if options.cuts and corpus is not None:
        raise InputError(
            f"--corpus {corpus} is counted in the whole vocabulary; leave it out, or --languages "
            "and --vocabulary"
        )
    require("export")
    from exporters import read_table
    from exporters.sources.prior import importance_of

    choice = None
    with progress("reading the table") as report:
        found = read_table(source, revision)
        if options.cuts:
            report(0.5, "choosing tokens")
            choice = _chosen(options, found.tokenizer.parent, len(found.values))
            found = replace(
                found,
                values=found.values[choice.kept],
                head=None if found.head is None else found.head[choice.kept],
            )
        matrices = [found.values] if found.head is None else [found.values, found.head]
        plans = []
        for number, values in enumerate(matrices):
            report((1 + number) / (1 + len(matrices)), "planning")
            table = check_matrix(values)
            shares = None if choice is None else choice.importance
            tokenizer = found.tokenizer if choice is None else Path()
            importance = importance_of(tokenizer, len(table), corpus, shares=shares)
            plans.append(_plan(table, check_importance(importance, len(table)), wanted))
    plan = plans[0]
    if not plan.offers and plan.refusal is not None:
        raise plan.refusal
    if as_json:
        data = plan.to_dict()
        data |= {} if found.head is None else {"head": plans[1].to_dict()}
        data |= {} if choice is None else {"languages": _languages(choice)}
        print_json(data)
        return
    if choice is not None:
        _show_languages(choice)
    for name, each in zip(("token table, ", "output head of its own, "), plans, strict=False):
        _show(each, "" if found.head is None else name)
    say("expected cosine of a row to its decoded form, rows weighted by frequency; last column:")
    say(f"how many frequent rows get {-(-plan.width // 8)} bytes more, once, twice, …")
    say(f"in stock operators (--decode stock): {plan.stock()}")
    if found.head is not None:
        say("the head's size is asked for with --head-ratio, the table's with --ratio")
    if found.task == "text-generation":
        say(
            f"this is a decoder: `export` takes {DECODER_RATIO:g}x by default and measures what "
            "matters on the model's own text, which keeps more than this says (docs/decoders.md)"
        )
    for refusal in {str(each.refusal) for each in plans if each.refusal is not None}:
        say(f"left out: {refusal}")


def _chosen(options: ExportOptions, folder: Path, rows: int) -> "Choice":
    """The tokens that stay of a model in ``folder``."""
    from exporters.vocabulary.choose import Wanted, choose_tokens

    if options.vocabulary is not None:
        check_texts(options.vocabulary)
    choice = choose_tokens(folder, Wanted(options.language_codes, options.vocabulary))
    if choice.kept[-1] >= rows:
        raise InputError(
            f"the tokenizer in {folder} has token {choice.kept[-1]:,}, the table {rows:,} rows; "
            "give the model that the tokenizer is of"
        )
    return choice


def _languages(choice: "Choice") -> dict[str, dict[str, int]]:
    """Of each language the tokens that it needs, and those that it alone needs."""
    return {
        language: {"tokens": count, "alone": choice.alone[language]}
        for language, count in choice.by_language.items()
    }


def _show_languages(choice: "Choice") -> None:
    """The same as a table."""
    view = plain_table(
        "language", "tokens", "that it alone needs", title=f"{len(choice.kept):,} tokens stay"
    )
    for language, counts in _languages(choice).items():
        view.add_row(language, f"{counts['tokens']:,}", f"{counts['alone']:,}")
    out.print(view)


def _plan(table: Float32, weights: NDArray[np.float64], ratios: list[float]) -> Plan:
    """Offers for a table of these values, whose rows weigh so much."""
    spectra = measure_spectra(table, LightTokenConfig())
    centred = _centred_share(table)
    offers, refusal = [], None
    for ratio in ratios:
        try:
            offers.append(_offer(spectra, weights, ratio, centred))
        except BudgetError as error:
            refusal = error
    rows, width = table.shape
    return Plan(rows, width, tuple(offers), refusal)


def _show(plan: Plan, name: str) -> None:
    """The offers as a table."""
    columns = ("ratio", "bytes", "bits a parameter", "expected cosine", "bytes a row", "more for")
    view = plain_table(*columns, title=f"{name}{plan.rows:,} x {plan.width}")
    for offer in plan.offers:
        view.add_row(
            f"{offer.ratio:g}",
            size(offer.nbytes),
            f"{offer.bits_per_parameter:.2f}",
            f"{offer.cosine:.3f}",
            f"{offer.bytes_per_row}",
            " / ".join(f"{rows:,}" for rows in offer.row_counts) or "-",
        )
    out.print(view)


def _offer(
    spectra: list[Spectrum], weights: NDArray[np.float64], ratio: float, centred: float
) -> Offer:
    allocation = best_allocation(spectra, weights, Budget(ratio=ratio))[0]
    rows, width = len(weights), len(spectra[0].variances)
    return Offer(
        ratio=ratio,
        nbytes=allocation.nbytes,
        bits_per_parameter=8 * allocation.nbytes / (rows * width),
        bytes_per_row=allocation.bytes_per_row(width),
        row_counts=allocation.row_counts,
        covered=allocation.covered,
        error=allocation.expected_error,
        # A least-squares approximation is orthogonal to its error: cos**2 = 1 - lost share.
        cosine=max(0.0, 1.0 - allocation.expected_error * centred) ** 0.5,
    )


def _centred_share(table: NDArray[np.float32]) -> float:
    """Share of the rows' energy that is left once their mean, which is stored, is taken away."""
    energy = float(np.einsum("ij,ij->i", table, table).mean(dtype=np.float64))
    mean_energy = float((table.mean(axis=0, dtype=np.float64) ** 2).sum())
    return max(0.0, energy - mean_energy) / max(energy, 1e-30)


def _read_ratios(text: str) -> list[float]:
    try:
        ratios = [float(subquantizer) for subquantizer in text.split(",")]
    except ValueError as error:
        raise InputError(f"--ratios takes numbers separated by commas, got {text!r}") from error
    for ratio in ratios:
        Budget(ratio=ratio)  # refuses what is no ratio
    return ratios
