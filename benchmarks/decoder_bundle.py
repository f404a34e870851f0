"""The perplexity of a decoder's bundle as onnxruntime runs it, its weights in few bits and all.

Example:
    python benchmarks/decoder_bundle.py gemma wiki.valid.raw

The windows are those of `decoder_table.py`, so that both say what is lost of the same text.
"""

import math
import sys
from pathlib import Path

import click
import numpy as np
from decoder_table import read_windows
from one_line import run

from exporters.sources.facts import CONFIG, TOKENIZER, read_json
from runtime import open_session
from toolkit.bundle.feeds import LOGITS_TO_KEEP, build_feeds


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("text", type=click.Path(path_type=Path))
@click.option("--windows", default=12, show_default=True)
@click.option("--length", default=256, show_default=True, help="Tokens of a window.")
def command(bundle: Path, text: Path, windows: int, length: int) -> None:
    """Perplexity of the decoder in BUNDLE over TEXT."""
    session = open_session(bundle)
    start = read_json(bundle / CONFIG).get("bos_token_id")
    first = start if isinstance(start, int) else 0
    total = 0.0
    for window in read_windows(bundle / TOKENIZER, text, first, windows, length):
        feeds = build_feeds(session.inputs, session.ids_input, window[None])
        if LOGITS_TO_KEEP in feeds:
            feeds[LOGITS_TO_KEEP] = np.array(0, np.int64)  # all
        logits = session.run(feeds, ["logits"])["logits"][0, :-1].astype(np.float64)
        most = logits.max(-1, keepdims=True)
        sums = np.log(np.exp(logits - most).sum(-1)) + most[:, 0]
        total += float((sums - logits[np.arange(length - 1), window[1:]]).sum())
    size = sum(file.stat().st_size for file in bundle.glob("model.onnx*"))
    figure = math.exp(total / (windows * (length - 1)))
    click.echo(f"{bundle}: {size / 1e6:.1f} MB, perplexity {figure:.2f}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run(command, __file__, arguments, kept="figures")


if __name__ == "__main__":
    sys.exit(main())
