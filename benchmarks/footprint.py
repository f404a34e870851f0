"""What a model costs in each form, in each place: the tables of docs/footprint.md.

Example:
    lighttoken op
    lighttoken setup xnnpack && lighttoken setup qnn && lighttoken setup web
    python benchmarks/footprint.py minilm --report footprint.html

fp32 is the original in one file, as hubs hand it out, and once more with its weights in a file
beside it, which onnxruntime maps; int8 and int4 are onnxruntime's own tools'
work on it (`quantize_dynamic`, each column its scale; `MatMulNBits` with `GatherBlockQuantized`, 32
numbers to a scale). LightToken's table is at 25x, its other weights in the form named; the bundle
is of the target of the place where that allows the form, else of the target cpu. Tables are trained
briefly: bytes, memory and times are the same. Models take turns, a fresh process for each figure,
medians.
"""

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import onnx
from rich.console import Console

from exporters import ExportOptions, export
from exporters.comparisons.profiled import file_beside
from exporters.targets import TARGETS
from runtime.profile.measure.rounds import profile
from runtime.profile.report.html import write_html
from runtime.profile.report.report import Measurement, ProfileReport
from toolkit import Budget, LightTokenConfig
from toolkit.bundle.manifest import read_manifest
from toolkit.cli.demo import find_model
from toolkit.errors import LightTokenError
from toolkit.files import write_aside

PLACES = ("cpu", "xnnpack", "wasm", "webgpu", "qnn")
RIVALS = {"fp32": "original", "int8": "int8", "int4": "int4"}
WEIGHTS = ("int4", "int8", "fp32")  # the first is compared with all others
_OURS = "LightToken, "
_EMULATED = ("qnn", "webgpu")  # in software here: minutes for a long text, and times mean nothing
_EMULATED_TOKENS = 16
_COLUMNS = {
    "disk_bytes": "on disk",
    "download_bytes": "to download",
    "load_rss_bytes": "after load",
    "steady_rss_bytes": "in use",
    "peak_rss_bytes": "peak",
    "load_wasm_heap_bytes": "heap after load",
    "steady_wasm_heap_bytes": "heap in use",
    "cold_first_result_ms": "cold first result",
    "first_result_ms": "first result",
}
# What is divided by the files' bytes, and what by fp32's.
_TO_FILES = {
    "load_rss_bytes": "memory after load, to the files' bytes",
    "load_own_bytes": "the same without pages of libraries' code",
    "load_peak_rss_bytes": "peak of the load, to the files' bytes",
    "load_wasm_heap_bytes": "heap after load, to the files' bytes",
}
_TO_FP32 = {
    "load_rss_bytes": "memory after load, to fp32's",
    "load_wasm_heap_bytes": "heap after load, to fp32's",
    "cold_first_result_ms": "cold first result, to fp32's",
    "first_result_ms": "first result, to fp32's",
}


def bundles(source: str, place: str, tokens: int, work: Path) -> list[Path]:
    """LightToken's bundles for a place, in the order of ``WEIGHTS``."""
    made = []
    for weights in WEIGHTS:
        target = place if place in TARGETS and weights in TARGETS[place].weights else "cpu"
        out = work / target / f"{_OURS}{weights}"
        if not out.is_dir():
            out.parent.mkdir(exist_ok=True)
            options = ExportOptions(
                target=target,
                weights=weights,
                config=LightTokenConfig.of_effort("fast"),
                heal=Path("none"),
                **({"batch": 1, "sequence": tokens} if TARGETS[target].static else {}),
            )
            export(source, out, Budget(ratio=25), options=options)
        made.append(out)
    return made


def measure(
    source: str, place: str, tokens: int, runs: int, repeats: int, work: Path
) -> ProfileReport:
    """The report of one place."""
    emulated = place in _EMULATED
    length = _EMULATED_TOKENS if emulated else tokens
    ours = bundles(source, place, length, work)
    manifest = read_manifest(ours[0])
    others = []
    for name, word in RIVALS.items():
        made = file_beside(word, manifest, source, work / "rivals", trust_remote_code=False)
        named = made.with_name(f"{name}.onnx")
        if not named.exists():
            named.hardlink_to(made)
        others.append(named)
    others.insert(1, weights_beside(others[0]))
    return profile(
        ours[0],
        [*ours[1:], *others],
        places=[place],
        lengths=[length],
        runs=1 if emulated else runs,
        warmup=1 if emulated else 5,
        repeats=1 if emulated else repeats,
    )


def weights_beside(model: Path) -> Path:
    """The same model, its weights in a file of their own."""
    made = model.with_name("fp32, weights beside.onnx")
    if not made.exists():
        onnx.save(onnx.load(model), made, save_as_external_data=True, location=f"{made.stem}.data")
    return made


def join(reports: Sequence[ProfileReport]) -> ProfileReport:
    """One report of all places; models and settings are those of the first."""
    return dataclasses.replace(
        reports[0],
        places=tuple(place for report in reports for place in report.places),
        measurements=tuple(one for report in reports for one in report.measurements),
        comparisons=tuple(one for report in reports for one in report.comparisons),
    )


def markdown(report: ProfileReport) -> str:
    """The table of a report of one place."""
    there, (place,) = report.measurements, report.places
    runtime = next((one.runtime for one in there if one.runtime), "")
    columns = {
        name: label
        for name, label in _COLUMNS.items()
        if any(name in one.figures for one in there)
        and not (
            name == "first_result_ms" and any("cold_first_result_ms" in o.figures for o in there)
        )
    }
    latency = [n for one in there for n in one.figures if n.startswith("latency") and "p50" in n][
        :1
    ]
    columns |= {name: _tokens(name) for name in latency}
    lines = [
        f"**{place}**: {runtime}",
        "",
        f"| | {' | '.join(columns.values())} | |",
        f"|---|{'---:|' * len(columns)}---|",
    ]
    for one in there:
        cells = [_cell(one, name) for name in columns]
        remark = _remark(one)
        lines.append(f"| {one.subject.removesuffix('.onnx')} | {' | '.join(cells)} | {remark} |")
    return "\n".join(lines)


def ratios(report: ProfileReport) -> str:
    """What the table of one place says of LightToken's bundles, as ratios of medians."""
    ours = [one for one in report.measurements if one.subject.startswith(_OURS) and one.figures]
    fp32 = next((one for one in report.measurements if one.subject == "fp32.onnx"), None)
    if not ours:
        return ""
    latency = [name for name in ours[0].figures if name.startswith("latency") and "p50" in name]
    rows = [
        (label, [_share(one, name, one, "disk_bytes") for one in ours])
        for name, label in _TO_FILES.items()
    ]
    to_fp32 = _TO_FP32 | {name: f"{_tokens(name)}, to fp32's" for name in latency}
    if "cold_first_result_ms" in ours[0].figures:
        del to_fp32["first_result_ms"]
    rows += [
        (label, [_share(one, name, fp32, name) for one in ours]) for name, label in to_fp32.items()
    ]
    lines = [f"| | {' | '.join(one.subject for one in ours)} |", f"|---|{'---:|' * len(ours)}"]
    lines += [f"| {label} | {' | '.join(shares)} |" for label, shares in rows if any(shares)]
    return "\n".join(lines) if len(lines) > 2 else ""


def _share(one: Measurement, name: str, other: Measurement | None, against: str) -> str:
    figures = (one.figures.get(name), other.figures.get(against) if other is not None else None)
    if figures[0] is None or figures[1] is None or not figures[1].median:
        return ""
    return f"{figures[0].median / figures[1].median:.2f}"


def _tokens(name: str) -> str:
    """``128 tokens`` of ``latency_1x128_p50_ms``."""
    return f"{name.split('_')[1].split('x')[1]} tokens"


def _remark(one: Measurement) -> str:
    """What figures do not say: why there are none, and where nodes run beside the CPU."""
    said = [] if one.status == "measured" else [f"{one.status}: {one.note}"]
    if one.status == "function only" and one.parity is not None:
        said = [f"outputs within {one.parity.error:.1g} of the CPU's"]
    placement = one.placement
    if placement is not None and placement.wanted not in ("CPUExecutionProvider", "wasm"):
        taken = sum(placement.nodes.get(placement.wanted, {}).values())
        every = sum(sum(nodes.values()) for nodes in placement.nodes.values())
        islands = sum(island.provider == placement.wanted for island in placement.islands)
        said.append(f"{taken} of {every} nodes in {islands} part{'' if islands == 1 else 's'}")
    return "; ".join(said)


def _cell(one: Measurement, name: str) -> str:
    figure = one.figures.get(name)
    if figure is None:
        return ""
    return f"{figure.median / 1e6:.1f} MB" if name.endswith("bytes") else f"{figure.median:.1f} ms"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model")
@click.option("--place", "places", multiple=True, default=PLACES, show_default=True)
@click.option("--length", "tokens", default=128, show_default=True, help="Tokens.")
@click.option("--runs", default=30, show_default=True, help="Timed calls a process.")
@click.option("--repeats", default=5, show_default=True, help="Rounds.")
@click.option("--report", "page", type=click.Path(path_type=Path), help="Write an HTML page.")
@click.option("--json", "data", type=click.Path(path_type=Path), help="Write every figure.")
def command(
    model: str,
    places: tuple[str, ...],
    tokens: int,
    runs: int,
    repeats: int,
    page: Path | None,
    data: Path | None,
) -> None:
    """Footprint of MODEL, a folder, hub id or .onnx, or `minilm` for the demo's."""
    source = find_model() if model == "minilm" else model
    console = Console(soft_wrap=True, highlight=False, markup=False)
    reports = []
    with tempfile.TemporaryDirectory() as work:
        for place in places:
            reports.append(measure(source, place, tokens, runs, repeats, Path(work)))
            console.print(f"{markdown(reports[-1])}\n")
            if shares := ratios(reports[-1]):
                console.print(f"{shares}\n")
    report = join(reports)
    if page is not None:
        write_html(report, page)
    if data is not None:
        with write_aside(data) as aside:
            aside.write_text(json.dumps(report.to_dict(), indent=1), encoding="utf-8")


if __name__ == "__main__":
    try:
        command()
    except LightTokenError as error:
        raise SystemExit(str(error)) from error
