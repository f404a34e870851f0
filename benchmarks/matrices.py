"""LightToken against data-free rivals on matrices of many kinds, at equal bytes, in one run.

Example:
    python benchmarks/matrices.py --ratios 10,25,50 --out matrices

Two figures a matrix: squared error with every row alike (LightToken is then told that rows matter
alike), and with rows by frequency (LightToken's default: ids stand in order of frequency). Each
beside the best rival's. Headers count for LightToken and SVD, whose files are ours, and for nobody
else.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))

from quality import measure
from rivals.codebooks import Product, Residual
from rivals.registry import Toolkit
from rivals.result import Float32, Rival
from rivals.rotation import rotation_quantizer

from toolkit.allocate.importance import zipf_prior
from toolkit.files import write_aside

ROWS, WIDTH = 8192, 256
_RIVALS: dict[str, Rival] = {
    "rotation": rotation_quantizer,
    "pq": Product(),
    "rvq": Residual(),
    "svd": Toolkit("svd"),
}


def _normal(rows: int, width: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def _decaying(rows: int = ROWS, width: int = WIDTH) -> Float32:
    """Variances that fall as 1 / i, in random directions."""
    directions = np.linalg.qr(_normal(width, width, 1))[0]
    return _normal(rows, width) * np.arange(1, width + 1, dtype=np.float32) ** -0.5 @ directions


def _lengths(spread: float) -> Float32:
    return np.exp(spread * _normal(ROWS, 1, 2))


def _by_rank() -> Float32:
    return np.arange(1, ROWS + 1, dtype=np.float32)[:, None] ** 0.3


def _outlier_columns() -> Float32:
    large = np.arange(WIDTH) % 97 == 5
    return _decaying() * np.where(large, 30, 1) + 20 * large


def _clusters() -> Float32:
    members = np.random.default_rng(3).integers(0, 64, ROWS)
    return 1.5 * _normal(64, WIDTH, 4)[members] + _normal(ROWS, WIDTH)


def _mostly_unused() -> Float32:
    """Four rows of ten are one vector and a little noise."""
    unused = np.random.default_rng(5).random((ROWS, 1)) < 0.4
    return np.where(unused, _normal(1, WIDTH, 6) + 0.01 * _normal(ROWS, WIDTH, 7), 5 * _decaying())


def _heavy_tails() -> Float32:
    return np.random.default_rng(8).standard_t(3, (ROWS, WIDTH)).astype(np.float32)


MATRICES: dict[str, Callable[[], Float32]] = {
    "flat spectrum": lambda: _normal(ROWS, WIDTH),
    "falling spectrum": _decaying,
    "heavy tails in each entry": _heavy_tails,
    "lengths differ": lambda: _decaying() * _lengths(0.6),
    "rare rows longer": lambda: _decaying() * _by_rank(),
    "64 clusters": _clusters,
    "outlier columns": _outlier_columns,
    "40% of rows unused": _mostly_unused,
    "small (512 x 64)": lambda: _decaying(512, 64),
    "wide (4096 x 1024)": lambda: _decaying(4096, 1024),
}


@dataclass(frozen=True)
class Outcome:
    """LightToken and its best rival on one matrix at one ratio; squared errors are relative."""

    matrix: str
    ratio: float
    error: float
    rival_error: float
    rival: str
    weighted_error: float
    rival_weighted_error: float
    weighted_rival: str


def contest(name: str, table: Float32, ratio: float, seed: int) -> Outcome:
    """Run all methods at ``ratio`` and keep the best rival of each column."""
    allowed = int(table.size * 4 / ratio)
    weights = zipf_prior(len(table))
    alike = np.ones(len(table))

    def errors(rival: Rival) -> tuple[float, float]:
        result = rival(table, allowed, seed)
        if result.nbytes > allowed:
            raise RuntimeError(f"took {result.nbytes:,} bytes where {allowed:,} were allowed")
        quality = measure(table, result.decoded, weights)
        return quality.relative_error, quality.weighted_error

    found = {}
    for rival_name, rival in _RIVALS.items():
        try:
            found[rival_name] = errors(rival)
        except ValueError:  # no setting of it fits
            continue
    plain = min(found, key=lambda rival_name: found[rival_name][0])
    weighted = min(found, key=lambda rival_name: found[rival_name][1])
    return Outcome(
        matrix=name,
        ratio=ratio,
        error=errors(Toolkit("lighttoken", alike))[0],
        rival_error=found[plain][0],
        rival=plain,
        weighted_error=errors(Toolkit("lighttoken"))[1],
        rival_weighted_error=found[weighted][1],
        weighted_rival=weighted,
    )


def markdown(outcomes: list[Outcome]) -> str:
    """A row for each contest."""
    lines = [
        "| matrix | ratio | error | best rival | by frequency | best rival |",
        "|---|--:|--:|---|--:|---|",
    ]
    lines += [
        f"| {o.matrix} | {o.ratio:g}x | {o.error:.3f} | {o.rival_error:.3f} {o.rival} "
        f"| {o.weighted_error:.3f} | {o.rival_weighted_error:.3f} {o.weighted_rival} |"
        for o in outcomes
    ]
    return "\n".join(lines) + "\n"


def _save(outcomes: list[Outcome], folder: Path) -> None:
    with write_aside(folder / "matrices.json") as aside:
        text = json.dumps([asdict(outcome) for outcome in outcomes], indent=1)
        aside.write_text(text + "\n", encoding="utf-8")
    with write_aside(folder / "matrices.md") as aside:
        aside.write_text(markdown(outcomes), encoding="utf-8")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--ratios", default="10,25,50", show_default=True, help="float32 over packed.")
@click.option("--matrices", "names", help="Comma-separated; all by default.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", "folder", type=click.Path(path_type=Path), default="matrices")
def command(ratios: str, names: str | None, seed: int, folder: Path) -> None:
    """Compare LightToken with its rivals on made-up matrices of many kinds."""
    err = Console(stderr=True, highlight=False)
    chosen = [name.strip() for name in names.split(",")] if names else list(MATRICES)
    for name in chosen:
        if name not in MATRICES:
            raise click.ClickException(f"no matrix {name!r}; there are {', '.join(MATRICES)}")
    try:
        wanted = [float(ratio) for ratio in ratios.split(",")]
    except ValueError as error:
        raise click.ClickException(f"--ratios {ratios!r} are no numbers; write 10,25") from error
    outcomes: list[Outcome] = []
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        table: NDArray[Any] = np.ascontiguousarray(MATRICES[name](), dtype=np.float32)
        for ratio in wanted:
            outcomes.append(contest(name, table, ratio, seed))
            err.print(markdown(outcomes[-1:]).splitlines()[-1], markup=False, soft_wrap=True)
            _save(outcomes, folder)
    won = sum(o.error < o.rival_error for o in outcomes)
    weighted = sum(o.weighted_error < o.rival_weighted_error for o in outcomes)
    err.print(f"{won} of {len(outcomes)} won with rows alike, {weighted} with rows by frequency")


if __name__ == "__main__":
    command()
