"""``lighttoken evaluate``: what compression costs, on a user's own task or text."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit import limits
from toolkit.bundle.manifest import MANIFEST_NAME
from toolkit.files import sha256
from toolkit.progress import Progress
from toolkit.temporary import temporary_folder

from .console import json_option, no_op_option, original_option, out, print_json, progress, whole
from .derived import export_option

if TYPE_CHECKING:
    from runtime.evaluate.data.files import Files
    from runtime.evaluate.report import EvaluationReport

_EXAMPLE = """\b
Examples:
  lighttoken evaluate minilm --text my.txt
  lighttoken evaluate minilm --pairs stsb-en-dev.csv --against int8 --against int4
  lighttoken evaluate minilm --probe train.csv test.csv --limit 2000
  lighttoken evaluate sentiment --classify dev.tsv --text reviews.txt
  lighttoken evaluate answers --qa dev-v1.1.json
  lighttoken evaluate table.safetensors --model MODEL --text my.txt
"""
_FORMS = "csv, tsv, jsonl, or a data set of the hub as name[/config]:split"


@click.command(epilog=_EXAMPLE)
@click.argument("packed", type=click.Path(path_type=Path))
@click.option(
    "--pairs", metavar="FILE", help=f"Sentence, sentence, score, for sentence encoders: {_FORMS}."
)
@click.option(
    "--probe",
    nargs=2,
    metavar="TRAIN TEST",
    help="Two files of text, label, for a linear probe of sentence encoders: as --pairs.",
)
@click.option(
    "--classify",
    metavar="FILE",
    help="Text, label or text, text, label, for classifiers: as --pairs.",
)
@click.option(
    "--text",
    metavar="FILE",
    help="Any text, without labels, for every task: a plain text file, or as --pairs.",
)
@click.option(
    "--qa", metavar="FILE", help="Questions in SQuAD's format, for models that answer them."
)
@click.option(
    "--pseudo-perplexity",
    is_flag=True,
    help="With --text, for masked models: mask one token at a time, with a run for each.",
)
@click.option(
    "--against",
    multiple=True,
    help="Another model to compare: int8 or int4 of the original, a bundle, a table, an .onnx "
    "file, a folder or a hub id; may be repeated.",
)
@original_option
@click.option(
    "--model", help="For a table: the model that it goes into; a folder, a hub id or an .onnx file."
)
@click.option(
    "--limit",
    type=whole(limits.EXAMPLES),
    help="Examples of a file, at most, drawn at random; of a language model's text, its tokens.",
)
@click.option(
    "--resamples",
    type=whole(limits.RESAMPLES),
    default=1000,
    show_default=True,
    help="Resamples of the bootstrap, which gives the intervals.",
)
@click.option(
    "--seed",
    type=whole(limits.SEED),
    default=0,
    show_default=True,
    help="Seed of what is drawn at random.",
)
@click.option("--threads", type=whole(limits.THREADS), help="Threads that one operator may use.")
@export_option("trust_remote_code")
@no_op_option
@json_option
def command(packed: Path, as_json: bool, **asked: Any) -> None:
    """Compare PACKED with its original and with other models, by one measure or several.

    PACKED is a bundle, or a table that `lighttoken compress` wrote. Every figure has a 95%
    interval, and so has every difference to the original. A difference whose interval contains
    zero counts as noise.
    """
    from runtime.evaluate.render import render

    with progress("opening the models") as report:
        result = evaluate(packed, progress=report, **asked)
    if as_json:
        print_json(result.to_dict())
    else:
        out.print(render(result, out.width))


def evaluate(
    packed: Path,
    *,
    against: tuple[str, ...],
    original: str | None,
    model: str | None,
    limit: int | None,
    resamples: int,
    seed: int,
    threads: int | None,
    trust_remote_code: bool,
    no_op: bool,
    exported: Path | None = None,
    progress: Progress | None = None,
    **measures: Any,
) -> "EvaluationReport":
    """What the command does, by the names of its options; ``measures`` as :func:`files_of`.

    ``exported``: the original as the bundle's export made it, so that it is not made again.

    Raises:
        InputError, FormatError, MissingDependencyError: one line on what is amiss.
    """
    from exporters.comparisons.evaluated import Comparison
    from runtime.evaluate.data.files import read_files
    from runtime.evaluate.measures import measure
    from runtime.evaluate.model import open_model

    files = files_of(**measures)
    with temporary_folder() as work:
        asked = Comparison(
            packed, model, original, against, work, trust=trust_remote_code, exported=exported
        )
        task = asked.task()
        files.check(task, str(packed))
        data = read_files(files, task, limit=limit, seed=seed)
        found, notes = asked.models()
        models = [open_model(**vars(each), threads=threads, op=not no_op) for each in found]
        result = measure(models, data, resamples=resamples, seed=seed, progress=progress)
    bundle = next((each for each in found if each.model == packed), None)
    return replace(
        result,
        notes=(*notes, *result.notes),
        data=files.names(),
        packed=bundle.name if bundle else None,
        manifest=sha256(packed / MANIFEST_NAME) if bundle else None,
    )


def files_of(
    *,
    pairs: str | None,
    probe: tuple[str, str] | None,
    classify: str | None,
    text: str | None,
    qa: str | None,
    pseudo_perplexity: bool,
) -> "Files":
    """What to measure by, as the command's options name it."""
    from runtime.evaluate.data.files import Files

    return Files(pairs, probe, classify, text, qa, exact=pseudo_perplexity)
