"""What a decoder with a tied table says when the table shrinks: its text, and its loss.

Example:
    python benchmarks/stories.py stories260K --vocabulary tok512.json

The model goes on from its first token, taking the likeliest each time (greedy); counted is how many
tokens are the original's before the first that is not. The loss, in nats a token, is that of texts
which the original drew itself, at temperature 1: its own loss there is what no smaller table can
beat by more than luck. Table and head read the same packed bytes.
"""

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from exporters import ExportOptions, export
from runtime import Session, open_session
from toolkit import Budget
from toolkit.bundle.feeds import build_feeds
from toolkit.errors import BudgetError, LightTokenError

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One export; ``same`` counts greedy tokens up to the first that differs."""

    name: str
    table_bytes: int
    model_bytes: int
    same: int
    loss: float
    text: str


def logits(session: Session, ids: Ids) -> NDArray[np.float32]:
    """float32 [batch, length, V] of ids [batch, length]."""
    found = session.run(build_feeds(session.inputs, session.ids_input, ids))
    return next(iter(found.values()))


def greedy(session: Session, start: int, count: int) -> Ids:
    """``start`` and the ``count`` likeliest tokens after it [count + 1]."""
    ids = np.array([[start]])
    for _ in range(count):
        ids = np.append(ids, logits(session, ids)[:, -1].argmax(axis=-1)[:, None], axis=1)
    return ids[0]


def draw(session: Session, start: int, count: int, texts: int) -> Ids:
    """Texts [texts, count + 1] that the model draws at temperature 1."""
    rng = np.random.default_rng(0)
    ids = np.full((texts, 1), start)
    for _ in range(count):
        last = logits(session, ids)[:, -1].astype(np.float64)
        noise = rng.gumbel(size=last.shape)  # the largest sum is a draw by softmax
        ids = np.append(ids, (last + noise).argmax(axis=-1)[:, None], axis=1)
    return ids


def loss(session: Session, ids: Ids) -> float:
    """Nats a token of texts [batch, length], from the second token on."""
    values = logits(session, ids)[:, :-1].astype(np.float64)
    shifted = values - values.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, ids[:, 1:, None], axis=-1)[..., 0]
    return float((np.log(np.exp(shifted).sum(axis=-1)) - chosen).mean())


def same(ids: Ids, wanted: Ids) -> int:
    """Tokens after the first that agree, up to the first that does not."""
    differ = np.flatnonzero(ids[1:] != wanted[1:])
    return int(differ[0]) if differ.size else len(wanted) - 1


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--ratios", default="2,2.5,3.2,4,5,6.5,8,10,12", show_default=True)
@click.option("--tokens", default=200, show_default=True, help="Of the greedy text.")
@click.option("--texts", default=64, show_default=True, help="Drawn for the loss, 128 tokens each.")
@click.option("--start", default=1, show_default=True, help="The token to begin with.")
@click.option(
    "--vocabulary",
    type=click.Path(exists=True, path_type=Path),
    help="JSON with the tokens under `vocab`.",
)
@click.option("--json", "as_json", is_flag=True)
def command(
    model: Path,
    ratios: str,
    tokens: int,
    texts: int,
    start: int,
    vocabulary: Path | None,
    as_json: bool,
) -> None:
    """Export MODEL, a folder with a decoder whose head shares the table, at several ratios."""
    rows = measure(
        model, [float(part) for part in ratios.split(",")], tokens, texts, start, vocabulary
    )
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    view = Table("table", "its bytes", "model", f"same of {tokens}", "loss", "text")
    for row in rows:
        sizes = f"{row.table_bytes:,}", f"{row.model_bytes / 1e6:.2f} MB"
        view.add_row(row.name, *sizes, str(row.same), f"{row.loss:.3f}", row.text)
    Console(width=130).print(view)


def measure(
    model: Path, ratios: list[float], tokens: int, texts: int, start: int, vocabulary: Path | None
) -> list[Row]:
    """The original, and one row for each ratio that the table can be packed at."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        wanted = drawn = None
        for ratio in ratios:
            try:
                manifest = export(
                    str(model),
                    work / "bundle",
                    Budget(ratio=ratio),
                    options=ExportOptions(exporter="dynamo"),
                    keep_original=work,
                    force=True,
                )
            except BudgetError as error:
                print(f"{ratio}x: {error}", file=sys.stderr)
                continue
            if not manifest.packed_heads:
                raise SystemExit(f"the head of {model} does not share its table")
            footprint = manifest.footprint
            if wanted is None or drawn is None:
                original = open_session(work / "original" / "model.onnx")
                wanted = greedy(original, start, tokens)
                drawn = draw(original, start, 127, texts)
                sizes = footprint.dense_bytes, footprint.original_model_bytes
                text = words(wanted, vocabulary)
                rows.append(Row("dense", *sizes, tokens, loss(original, drawn), text))
            session = open_session(work / "bundle")
            ids = greedy(session, start, tokens)
            sizes = footprint.embedding_bytes, footprint.model_bytes
            text = words(ids, vocabulary)
            name = f"{footprint.ratio:.1f}x"
            rows.append(Row(name, *sizes, same(ids, wanted), loss(session, drawn), text))
    return rows


def words(ids: Ids, vocabulary: Path | None, length: int = 90) -> str:
    """The beginning of a text, as tokens where there is no vocabulary."""
    if vocabulary is None:
        return " ".join(map(str, ids))[:length]
    held: Any = json.loads(vocabulary.read_text(encoding="utf-8"))
    names = [str(name) for name in held["vocab"]]
    return "".join(names[i] for i in ids[1:]).replace("▁", " ").strip()[:length]


if __name__ == "__main__":
    try:
        command()
    except LightTokenError as error:
        raise SystemExit(str(error)) from error
