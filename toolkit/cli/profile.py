"""``lighttoken profile``: bytes, memory and latency beside the uncompressed model."""

import tempfile
from pathlib import Path

import click

from toolkit.manifest import MANIFEST_NAME, read_manifest

from .console import err, json_option, no_op_option, out, print_json, progress, trust_option

_EXAMPLE = """\b
Examples:
  lighttoken profile minilm
  lighttoken profile minilm --against model_quantized.onnx --length 16 --length 256
"""


@click.command(epilog=_EXAMPLE)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--against",
    multiple=True,
    help="A bundle, .onnx, folder or hub id; may be repeated [default: the source]",
)
@click.option("--length", "lengths", type=int, multiple=True, default=(8, 128), show_default=True)
@click.option("--batch", type=int, default=1, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--runs", type=int, default=50, show_default=True, help="Timed calls a process.")
@click.option("--repeats", type=int, default=5, show_default=True, help="Processes a model.")
@click.option("--provider", default="cpu", show_default=True, help="Execution provider.")
@trust_option
@no_op_option
@json_option
def command(
    bundle: Path,
    against: tuple[str, ...],
    lengths: tuple[int, ...],
    batch: int,
    threads: int,
    runs: int,
    repeats: int,
    provider: str,
    trust_remote_code: bool,
    no_op: bool,
    as_json: bool,
) -> None:
    """Measure BUNDLE beside other models, each measurement in a process of its own.

    Bytes on disk, load time, memory after load, in use and at its peak, latency p50 and p95.
    Models take turns, so that a busy machine burdens all alike.
    """
    from runtime.profile.measure import profile
    from runtime.profile.render import render

    from .originals import original_onnx, recall

    manifest = read_manifest(bundle)
    sources: tuple[str | None, ...] = against or (recall(manifest),)
    with tempfile.TemporaryDirectory() as work, progress("opening the models") as report:
        others: list[Path] = []
        for index, source in enumerate(sources):
            if source is None:
                err.print("the original is not known on this machine; --against adds it")
                continue
            if (Path(source) / MANIFEST_NAME).is_file():
                others.append(Path(source))
            else:
                place = Path(work) / str(index)
                others.append(
                    original_onnx(manifest, source, place, trust_remote_code=trust_remote_code)
                )
        result = profile(
            bundle,
            others,
            lengths=lengths,
            batch=batch,
            runs=runs,
            repeats=repeats,
            threads=threads,
            provider=provider,
            op=not no_op,
            progress=report,
        )
    if as_json:
        print_json(result.to_dict())
    else:
        out.print(render(result))
