"""``lighttoken evaluate``: what compression costs, on a user's own task or text."""

import tempfile
from dataclasses import replace
from pathlib import Path

import click

from .console import json_option, no_op_option, out, print_json, progress, trust_option

_EXAMPLE = """\b
Examples:
  lighttoken evaluate minilm --text my.txt
  lighttoken evaluate minilm --pairs stsb-en-dev.csv --against int8 --against int4
  lighttoken evaluate minilm --probe train.csv test.csv --limit 2000
  lighttoken evaluate sentiment --classify dev.tsv --text reviews.txt
  lighttoken evaluate answers --qa dev-v1.1.json
  lighttoken evaluate table.safetensors --model MODEL --text my.txt
"""
_FORMS = "csv, tsv, jsonl, or a data set of the hub as name[/config]:split."


@click.command(epilog=_EXAMPLE)
@click.argument("packed", type=click.Path(path_type=Path))
@click.option(
    "--pairs", metavar="FILE", help=f"Sentence, sentence, score, for sentence encoders: {_FORMS}"
)
@click.option(
    "--probe", nargs=2, metavar="TRAIN TEST", help="Two files of text, label: a linear probe."
)
@click.option(
    "--classify",
    metavar="FILE",
    help="Text, label or text, text, label, for classifiers: the same.",
)
@click.option(
    "--text",
    metavar="FILE",
    help="Any text, without labels, for every task; plain text, or the same.",
)
@click.option(
    "--qa", metavar="FILE", help="Questions in SQuAD's format, for models that answer them."
)
@click.option(
    "--pseudo-perplexity",
    is_flag=True,
    help="With --text, of masked models: mask each token alone, a run for each.",
)
@click.option(
    "--against",
    multiple=True,
    help="A rival beside the original: int8, int4, a bundle, a table, .onnx, folder or hub id; "
    "may be repeated.",
)
@click.option(
    "--original", help="Where the original is, if it is not known here: folder, hub id or .onnx."
)
@click.option("--model", help="Of a table: the model that it goes into; folder, hub id or .onnx.")
@click.option(
    "--limit", type=int, help="At most so many examples of a file, drawn; tokens of a text."
)
@click.option("--resamples", type=int, default=1000, show_default=True, help="For the intervals.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn.")
@click.option("--threads", type=int, help="Threads that one operator may use.")
@trust_option
@no_op_option
@json_option
def command(
    packed: Path,
    pairs: str | None,
    probe: tuple[str, str] | None,
    classify: str | None,
    text: str | None,
    qa: str | None,
    pseudo_perplexity: bool,
    against: tuple[str, ...],
    original: str | None,
    model: str | None,
    limit: int | None,
    resamples: int,
    seed: int,
    threads: int | None,
    trust_remote_code: bool,
    no_op: bool,
    as_json: bool,
) -> None:
    """Compare PACKED with its original and with other models, by one measure or several.

    PACKED is a bundle, or a table that `lighttoken compress` wrote. Every figure has a 95%
    interval, and so has every difference to the original. A difference whose interval contains
    zero counts as noise.
    """
    from exporters.comparisons.evaluated import Comparison
    from runtime.evaluate.data.files import Files, read_files
    from runtime.evaluate.measures import measure
    from runtime.evaluate.model import open_model
    from runtime.evaluate.render import render

    files = Files(pairs, probe, classify, text, qa, exact=pseudo_perplexity)
    with tempfile.TemporaryDirectory() as work, progress("opening the models") as report:
        asked = Comparison(packed, model, original, against, Path(work), trust=trust_remote_code)
        task = asked.task()
        files.check(task, str(packed))
        data = read_files(files, task, limit=limit, seed=seed)
        found, notes = asked.models()
        models = [open_model(**vars(each), threads=threads, op=not no_op) for each in found]
        result = measure(models, data, resamples=resamples, seed=seed, progress=report)
    result = replace(result, notes=(*notes, *result.notes))
    if as_json:
        print_json(result.to_dict())
    else:
        out.print(render(result, out.width))
