"""Perplexity against bytes of a decoder's table: the picture of what decoder_table.py printed.

Example:
    python benchmarks/decoder_picture.py docs/decoders.md docs/decoder-table.svg

Reads the rows of every Markdown table that has the columns of decoder_table.py, whatever else the
file holds.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import click
import matplotlib as mpl
from one_line import run

from toolkit.errors import InputError

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

_HEADER = "| table | bits a parameter | input | head | both |"
_TOP = 1.9  # of the uncompressed perplexity: what is above leaves the picture
# Okabe & Ito's colours, told apart by colour-blind readers; shapes tell the same once more.
_SERIES = {
    "nearest": ("#000000", "d", "rounded to the nearest, groups of 32"),
    "GGUF": ("#0072B2", "s", "GGUF"),
    "LightToken": ("#D55E00", "o", "LightToken, no text"),
    "healed": ("#D55E00", "*", "LightToken, healed"),
}


@dataclass(frozen=True)
class Point:
    """One table: its series, name, bits a parameter, perplexity as input and head."""

    series: str
    name: str
    bits: float
    perplexity: float


def read(text: str) -> tuple[float, list[Point]]:
    """The uncompressed model's perplexity, and all tables."""
    points, uncompressed, inside = [], None, False
    for line in text.splitlines():
        inside = line.startswith("|") and (inside or line.startswith(_HEADER))
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if not inside or len(cells) < 5 or not cells[1].replace(".", "").isdigit():
            continue
        name, bits, perplexity = cells[0], float(cells[1]), float(cells[4])
        series = [key for key in _SERIES if key in name]
        if series:
            points.append(Point(series[-1], name, bits, perplexity))
        else:
            uncompressed = perplexity
    if uncompressed is None or not points:
        raise InputError(f"no table with the columns {_HEADER} is in that file")
    return uncompressed, points


def draw(uncompressed: float, points: list[Point], path: Path) -> None:
    """Write the picture; its suffix says in which format."""
    style = {"font.size": 10, "svg.hashsalt": "lighttoken", "svg.fonttype": "path"}
    with mpl.rc_context(style):
        figure, axis = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
        axis.axhline(uncompressed, color="#6b6b6b", lw=1, ls=":")
        axis.annotate(
            f"float32: {uncompressed:.2f}",
            (0.01, uncompressed),
            (0, 4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="left",
            color="#6b6b6b",
            fontsize=9,
        )
        for key, (colour, marker, label) in _SERIES.items():
            own = sorted((p.bits, p.perplexity) for p in points if p.series == key)
            if own:
                axis.plot(
                    *zip(*own, strict=True),
                    color=colour,
                    marker=marker,
                    label=label,
                    lw=1.6,
                    ms=10 if marker == "*" else 6,
                    ls="--" if key == "healed" else "-",
                )
        axis.set(
            xscale="log",
            xlabel="bits a parameter of the table, and ratio to float32",
            ylabel="perplexity",
            ylim=(uncompressed * 0.97, uncompressed * _TOP),
        )
        low, high = (f(p.bits for p in points) for f in (min, max))
        axis.set_xlim(low * 0.85, high * 1.15)
        ticks = [t for t in (1.28, 2, 2.67, 4, 5, 8.5) if low * 0.85 <= t <= high * 1.15]
        axis.xaxis.set_major_locator(FixedLocator(ticks))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda bits, _: f"{bits:g}\n{32 / bits:.0f}x"))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#e4e4e4", lw=0.6)
        axis.set_axisbelow(True)
        axis.legend(frameon=False, fontsize=9)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
        plt.close(figure)


@click.command()
@click.argument("tables", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("picture", type=click.Path(path_type=Path))
def command(tables: Path, picture: Path) -> None:
    """Draw the tables in the file TABLES to PICTURE (.svg or .png)."""
    draw(*read(tables.read_text(encoding="utf-8")), picture)
    click.echo(f"wrote {picture}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run(command, __file__, arguments, kept="pictures")


if __name__ == "__main__":
    sys.exit(main())
