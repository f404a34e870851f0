"""``lighttoken push``: a bundle to the Hugging Face hub."""

from dataclasses import asdict
from pathlib import Path

import click

from .console import json_option, print_json, say, size

_EXAMPLE = """\b
Examples:
  lighttoken push minilm me/all-MiniLM-L6-v2-lighttoken
  lighttoken push gemma me/gemma-small --private
  lighttoken evaluate minilm --pairs mteb/stsbenchmark-sts:test --json > figures.json
  lighttoken push minilm me/all-MiniLM-L6-v2-lighttoken --figures figures.json
"""


@click.command(epilog=_EXAMPLE)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("repository")
@click.option("--private", is_flag=True, help="Where the repository is new, nobody else sees it.")
@click.option("--message", help="Message of the commit.")
@click.option(
    "--force", is_flag=True, help="Replace files of a repository that holds another model."
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    help="What `lighttoken evaluate BUNDLE --json` printed: the card in the repository shows it.",
)
@json_option
def command(
    bundle: Path,
    repository: str,
    private: bool,
    message: str | None,
    force: bool,
    figures: Path | None,
    as_json: bool,
) -> None:
    """Commit BUNDLE to REPOSITORY (owner/name) of the Hugging Face hub.

    The files that the bundle's manifest names are checked and sent, and nothing else that lies in
    the folder. Log in first, by `hf auth login` or HF_TOKEN.
    """
    from exporters.bundle.push import push

    done = push(bundle, repository, private=private, message=message, force=force, figures=figures)
    if as_json:
        print_json(asdict(done))
    else:
        say(f"pushed {len(done.files)} files ({size(done.bytes)}) to {done.repository}")
