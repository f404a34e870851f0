"""``lighttoken profile``: bytes, memory, time and where nodes run, beside other models."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit import limits
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import InputError
from toolkit.extras import require
from toolkit.files import complete
from toolkit.lines import read_lines
from toolkit.temporary import temporary_folder

from .console import (
    err,
    json_option,
    no_op_option,
    original_option,
    out,
    print_json,
    progress,
    say,
    whole,
)
from .derived import export_option

if TYPE_CHECKING:
    from runtime.profile.report.report import ProfileReport

_EXAMPLE = """\b
Examples:
  lighttoken profile minilm
  lighttoken profile minilm --against original --against int8 --against int4 --report report.html
  lighttoken profile minilm --provider cpu --provider xnnpack --provider wasm --nodes
  lighttoken profile minilm --predict coreml --predict nnapi
  lighttoken profile gemma --against original --against int4 --threads 2
  lighttoken profile minilm --emit web --out device
"""


@click.command(epilog=_EXAMPLE)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--against",
    multiple=True,
    help="Model to measure too: original, int8, int4, a bundle, an .onnx file, a folder or a hub "
    "id; may be repeated [default: original].",
)
@original_option
@click.option(
    "--provider",
    "providers",
    multiple=True,
    default=("cpu",),
    show_default=True,
    help="Where to run: an execution provider, wasm, webgpu or arm64; may be repeated.",
)
@click.option(
    "--length",
    "lengths",
    type=whole(limits.LENGTH),
    multiple=True,
    help="Tokens of a text, for a decoder of its prompt; may be repeated [default: 8 and 128; for "
    "a decoder 32 and 512].",
)
@click.option(
    "--batch",
    "batches",
    type=whole(limits.BATCH),
    multiple=True,
    default=(1,),
    show_default=True,
    help="Texts of a call; may be repeated.",
)
@click.option(
    "--tokens",
    type=whole(limits.TOKENS),
    default=32,
    show_default=True,
    help="Tokens that a decoder with a cache writes after each prompt.",
)
@click.option(
    "--threads",
    type=whole(limits.THREADS),
    default=1,
    show_default=True,
    help="Threads that one operator may use.",
)
@click.option(
    "--runs",
    type=whole(limits.RUNS),
    help="Timed calls in each process, for a decoder texts [default: 50 calls, 3 texts].",
)
@click.option(
    "--repeats",
    type=whole(limits.REPEATS),
    help="Processes for each model and measure [default: 5].",
)
@click.option("--quick", is_flag=True, help="Fewer of both: 10 calls or 1 text, 2 processes.")
@click.option(
    "--text",
    "texts",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Feed the lines of this text file instead of random ids.",
)
@click.option(
    "--nodes",
    is_flag=True,
    help="Show which provider runs which nodes, and where the graph is partitioned.",
)
@click.option(
    "--all", "everything", is_flag=True, help="Show every figure, not only the usual ones."
)
@click.option(
    "--report",
    "page",
    type=click.Path(path_type=Path),
    help="Write an HTML page with plots; an older one there is replaced, nothing else is.",
)
@click.option(
    "--predict",
    "predicted",
    type=click.Choice(["nnapi", "coreml", "webnn"]),
    multiple=True,
    help="Predict from its documentation which nodes this provider would take; nothing is run. May "
    "be repeated.",
)
@click.option(
    "--emit",
    type=click.Choice(["linux-arm64", "android", "web"]),
    help="Measure nothing here; write a folder (--out) that measures on your device.",
)
@click.option("--out", "folder", type=click.Path(path_type=Path), help="Folder that --emit writes.")
@click.option(
    "--force", is_flag=True, help="Replace that folder, if --emit wrote all that is in it."
)
@click.option(
    "--results",
    "sent_back",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Add a device's results.json to this report; may be repeated.",
)
@export_option("trust_remote_code")
@no_op_option
@json_option
def command(
    bundle: Path,
    against: tuple[str, ...],
    original: str | None,
    providers: tuple[str, ...],
    lengths: tuple[int, ...],
    batches: tuple[int, ...],
    tokens: int,
    threads: int,
    runs: int | None,
    repeats: int | None,
    quick: bool,
    texts: Path | None,
    nodes: bool,
    everything: bool,
    page: Path | None,
    predicted: tuple[str, ...],
    emit: str | None,
    folder: Path | None,
    force: bool,
    sent_back: tuple[Path, ...],
    trust_remote_code: bool,
    no_op: bool,
    as_json: bool,
) -> None:
    """Measure BUNDLE beside other models, each measure in a process of its own.

    Measured are: bytes on disk and to download; time to load and to the first result, with cached
    and with uncached files; memory at every stage and its peak; latency and throughput; energy
    where the machine reports it; and which provider runs which node. Of a decoder with a cache, in
    place of latency: time to the first token, tokens a second, memory after each prompt, and what
    is read for a token. Outputs are compared with the CPU's before anything is timed. Models take
    turns, so that a busy machine slows all equally.
    """
    from exporters.comparisons.profiled import files_beside
    from runtime.devices.join import join
    from runtime.devices.results import read_results
    from runtime.profile.measure.rounds import profile

    limits.CALL.check("tokens of a call, --batch x --length,", max(batches) * max(lengths or (1,)))
    if emit is not None:
        grid = [(batch, length) for batch in batches for length in lengths or (8, 128)]
        _emit(bundle, emit, folder, grid, providers, threads=threads, runs=runs or 50, force=force)
        return
    if page is not None:
        require("report")
        from runtime.profile.report.html.page import check_page

        check_page(page)
    devices = [read_results(path) for path in sent_back]
    lines = () if texts is None else tuple(read_lines(texts))
    manifest = None if bundle.is_file() else read_manifest(bundle)
    with temporary_folder() as work, progress("opening the models") as report:
        others = files_beside(
            manifest,
            against,
            original,
            work,
            trust_remote_code=trust_remote_code,
            tell=err.print,
        )
        if manifest is not None and not others:
            err.print("the original is not known on this machine; --original adds it")
        if manifest is not None and manifest.further:
            files = 1 + len(manifest.further)
            err.print(f"of {files} files {manifest.model} alone is measured")
        result = profile(
            bundle,
            others,
            places=providers,
            lengths=lengths or None,
            batches=batches,
            texts=lines,
            runs=runs,
            quick=quick,
            tokens=tokens,
            repeats=repeats or (2 if quick else 5),
            threads=threads,
            op=not no_op,
            progress=report,
        )
        result = join(result, devices, [bundle, *others])
        result = _with_predictions(result, predicted, result.grid[-1], [bundle, *others])
    if page is not None:
        from runtime.profile.report.html import write_html

        check_page(page)  # measuring took long
        write_html(result, page)
        complete.append(page)
    if as_json:
        print_json(result.to_dict())
    else:
        _show(result, nodes=nodes, everything=everything)
        if page is not None:
            say(f"the report with plots: {page}")


def _with_predictions(
    result: "ProfileReport", places: tuple[str, ...], point: tuple[int, int], paths: list[Path]
) -> "ProfileReport":
    """Predictions for each model, with the shapes of ``point``: these providers need fixed ones."""
    if not places:
        return result
    from runtime.profile.model import read_models
    from runtime.profile.predict.predict import predict

    models = read_models(paths)
    found = [
        predict(
            model.path,
            place,
            subject=model.name,
            dimensions=model.dimensions(*model.possible([point])[0]),
        )
        for place in places
        for model in models
    ]
    return replace(result, predictions=tuple(found))


def _emit(
    bundle: Path,
    device: str,
    folder: Path | None,
    grid: list[tuple[int, int]],
    providers: tuple[str, ...],
    *,
    threads: int,
    runs: int,
    force: bool,
) -> None:
    """Write the folder for a device."""
    from runtime.devices.join import device_job
    from runtime.providers import PROVIDERS

    if folder is None:
        raise InputError("--emit writes a folder; name it with --out")
    word = providers[0]
    if device == "web":
        from runtime.devices.web import emit_web

        provider = word if word in ("wasm", "webgpu") else "wasm"
        job = device_job(bundle, grid, provider=provider, threads=threads, runs=runs)
        emit_web(bundle, folder, job, force=force)
        start = f"cd {folder} && python serve.py"
    else:
        from runtime.devices.android import emit_android
        from runtime.devices.linux_arm64 import emit_linux_arm64

        if word not in PROVIDERS:
            raise InputError(f"provider {word!r} is unknown; choose from {', '.join(PROVIDERS)}")
        job = device_job(bundle, grid, provider=PROVIDERS[word], threads=threads, runs=runs)
        write = emit_android if device == "android" else emit_linux_arm64
        write(bundle, folder, job, force=force)
        start = "sh run.sh, there or beside it, as its README.md says"
    say(f"wrote {folder}; next: {start}")
    say(f"then add the results: lighttoken profile {bundle} --results results.json")


def _show(result: "ProfileReport", *, nodes: bool, everything: bool) -> None:
    from runtime.profile.report.placement_terminal import render_placement, render_prediction
    from runtime.profile.report.terminal import render

    out.print(render(result, everything=everything))
    if nodes:
        for one in result.measurements:
            if one.placement is not None:
                out.print()
                say(f"{one.subject} on {one.place}")
                out.print(render_placement(one.placement, nodes=everything))
    for prediction in result.predictions:
        out.print()
        out.print(render_prediction(prediction))
