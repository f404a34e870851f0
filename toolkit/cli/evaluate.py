"""``lighttoken evaluate``: what compression costs on scored sentence pairs."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from toolkit.errors import InputError
from toolkit.manifest import read_manifest

from .console import (
    json_option,
    no_op_option,
    out,
    plain_table,
    print_json,
    progress,
    trust_option,
)

_EXAMPLE = """\b
Example:
  lighttoken evaluate minilm --pairs stsb-en-dev.csv
"""


@click.command(epilog=_EXAMPLE)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--pairs",
    required=True,
    type=click.Path(path_type=Path),
    help="csv, tsv or jsonl of sentence, sentence, score.",
)
@click.option("--against", help="The original: a folder, hub id or .onnx [default: the source]")
@click.option("--threads", type=int, help="Threads that one operator may use.")
@trust_option
@no_op_option
@json_option
def command(
    bundle: Path,
    pairs: Path,
    against: str | None,
    threads: int | None,
    trust_remote_code: bool,
    no_op: bool,
    as_json: bool,
) -> None:
    """Compare BUNDLE with its original on sentence pairs that people scored.

    Prints the Spearman correlation of each model's cosines with the scores, and how close each
    sentence's vector stays to the original's.
    """
    manifest = read_manifest(bundle)
    if manifest.task != "feature-extraction":
        raise InputError(
            f"{bundle} is a {manifest.task} model; evaluate --pairs needs sentence vectors"
        )
    from runtime import FeatureExtraction, evaluate_pairs, open_pipeline, read_pairs

    from .originals import original_onnx

    scored = read_pairs(pairs)
    with tempfile.TemporaryDirectory() as work, progress("opening the original") as report:
        packed = open_pipeline(bundle, threads=threads, op=not no_op)
        path = original_onnx(manifest, against, Path(work), trust_remote_code=trust_remote_code)
        original = open_pipeline(path, like=bundle, threads=threads, verify=False)
        assert isinstance(packed, FeatureExtraction)
        assert isinstance(original, FeatureExtraction)
        result = evaluate_pairs(packed, original, scored, report)
    footprint = manifest.footprint
    if as_json:
        print_json(
            {**asdict(result), "ratio": footprint.ratio, "model_bytes": footprint.model_bytes}
        )
        return
    table = plain_table(f"{result.count:,} pairs, table {footprint.ratio:.1f}x smaller", "", "")
    table.add_row("Spearman x 100, original", f"{result.original:.2f}", "")
    table.add_row(
        "Spearman x 100, compressed", f"{result.compressed:.2f}", f"{result.retained:.2f}% kept"
    )
    table.add_row("cosine of a sentence's two vectors, mean", f"{result.cosine_mean:.4f}", "")
    table.add_row("  and its 5th percentile", f"{result.cosine_p5:.4f}", "")
    out.print(table)
