"""What a decoder loses when its table is packed: as it is looked up, as its output head, as both.

Example:
    python benchmarks/decoder_table.py ./gemma-3-270m wiki.valid.raw --ratio 8 --ratio 16

Perplexity over the first windows of a text, the token that texts begin with before each; the table
alone is replaced, in float32 PyTorch, so that the figures are of the table and of nothing else.
Beside LightToken's tables stand roundings to the nearest, with a minimum and a scale in half
precision for each group of 32 numbers, as onnxruntime and GGUF store them. Tables are compressed on
text that the model writes itself, as `lighttoken export` does it, with its codebooks for heads.
`--gguf TYPE` adds what llama.cpp's package `gguf` makes of the table in that type.
`--stock BITS` adds what `lighttoken export --decode stock` makes of it in so many bits, 32 numbers
to a scale, rounded to nearest and by what errors cost.
`--further TEXT` adds a column for another text, such as one of another language.
`--heal STEPS` heals each of them too, with the model's norms, as `lighttoken export --heal own`.
"""

import math
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from one_line import run
from tokenizers import Tokenizer
from torch import Tensor

from exporters.decoders import decoder_statistics, open_decoder
from exporters.sources.dynamo import load_model
from exporters.sources.facts import TOKENIZER, read_facts
from exporters.sources.prior import special_tokens
from exporters.sources.source import LoadedModel
from toolkit import Budget, CompressedEmbedding, LightTokenConfig, compress
from toolkit.bundle.manifest import Source
from toolkit.errors import InputError
from toolkit.finetune.candidates import Teacher, ask_teacher
from toolkit.finetune.distil import copied, put_back
from toolkit.finetune.heal_decoder import DecoderHealConfig, heal_decoder
from toolkit.methods.grouped import nearest, round_table
from toolkit.table.grouped import GroupedCode

_GROUP = 32  # numbers that share a scale and a minimum
_SCALES = 32  # bits of both
_TEXTS, _LENGTH = 256, 192  # to heal on
_CHARACTERS = 20  # of the text that are read for each token that is wanted: enough in any language


@dataclass(frozen=True)
class Row:
    """One table: bits a parameter, perplexities, share of tokens that both models expect most.

    ``further``: the perplexities of further texts, the table both looked up and the head.
    """

    name: str
    bits: float
    looked_up: float
    head: float
    both: float
    agreement: float
    seconds: float
    further: tuple[float, ...] = ()


class Judge:
    """A decoder over windows of text, with one table or another; and over ``further`` texts."""

    @torch.no_grad()
    def __init__(self, model: Any, windows: Tensor, further: Sequence[Tensor] = ()) -> None:
        self._model, self._windows, self._further = model, windows, further
        self.table: Tensor = model.get_input_embeddings().weight.detach().clone()
        self._states = self._hidden(self.table, windows)
        self._teacher: Teacher | None = None
        self._tops = [self._logits(states, self.table).argmax(-1) for states in self._states]

    @torch.no_grad()
    def row(self, name: str, bits: float, table: Tensor, seconds: float = 0.0) -> Row:
        """All figures of ``table`` float32 [V, d]."""
        states = self._hidden(table, self._windows)
        tops = [self._logits(each, table).argmax(-1) for each in states]
        same = [(one == two).float().mean() for one, two in zip(tops, self._tops, strict=True)]
        return Row(
            name,
            bits,
            self._perplexity(states, self.table, self._windows),
            self._perplexity(self._states, table, self._windows),
            self._perplexity(states, table, self._windows),
            100 * float(torch.stack(same).mean()),
            seconds,
            tuple(self._perplexity(self._hidden(table, w), table, w) for w in self._further),
        )

    def healed(self, name: str, packed: CompressedEmbedding, texts: Tensor, steps: int) -> Row:
        """The figures of ``packed`` after healing, the model's norms with it."""
        if self._teacher is None:
            self._teacher = ask_teacher(self._model.get_decoder(), self.table, texts)
        config = DecoderHealConfig(steps, train="norms")
        found = heal_decoder(self._model, packed, texts, config=config, teacher=self._teacher)
        own = dict(self._model.named_parameters())
        before = copied({at: own[at] for at in found.parameters})
        put_back(own, found.parameters)
        table = torch.from_numpy(found.packed.dense())
        row = self.row(name, found.packed.bits_per_parameter, table, found.seconds)
        put_back(own, before)
        # With other norms the original table is not looked up, and no original state comes in.
        return replace(row, looked_up=math.nan, head=math.nan)

    def _hidden(self, table: Tensor, windows: Tensor) -> list[Tensor]:
        weight = self._model.get_input_embeddings().weight
        own, weight.data = weight.data, table
        try:
            body = self._model.get_decoder()
            return [body(input_ids=window[None]).last_hidden_state[0] for window in windows]
        finally:
            weight.data = own

    @staticmethod
    def _logits(states: Tensor, table: Tensor) -> Tensor:
        return states[:-1] @ table.T

    def _perplexity(self, states: list[Tensor], table: Tensor, windows: Tensor) -> float:
        losses = [
            torch.nn.functional.cross_entropy(self._logits(each, table), window[1:])
            for each, window in zip(states, windows, strict=True)
        ]
        return math.exp(float(torch.stack(losses).mean()))


def rounded(table: NDArray[np.float32], bits: int) -> Tensor:
    """The nearest of 2 ** bits values between the least and the greatest of each group."""
    groups = table.reshape(len(table), -1, _GROUP)
    least = groups.min(-1, keepdims=True).astype(np.float16).astype(np.float32)
    step = (groups.max(-1, keepdims=True) - least) / (2**bits - 1)
    step = np.maximum(step.astype(np.float16).astype(np.float32), 1e-8)
    codes = np.clip(np.rint((groups - least) / step), 0, 2**bits - 1)
    return torch.from_numpy((least + codes * step).reshape(table.shape))


def as_gguf(table: NDArray[np.float32], name: str) -> tuple[Tensor, float]:
    """What a type of GGUF makes of the table, by llama.cpp's own Python package; its bits."""
    try:
        from gguf import GGMLQuantizationType, quants
    except ImportError as error:
        raise InputError("--gguf needs the package gguf; pip install gguf") from error
    try:
        kind = GGMLQuantizationType[name]
        packed = quants.quantize(table, kind)
    except (KeyError, NotImplementedError, quants.QuantError) as error:
        raise InputError(
            f"gguf's package does not write the type {name!r}; try Q4_0, Q4_1, Q5_0 or Q8_0"
        ) from error
    return torch.from_numpy(quants.dequantize(packed, kind)), 8 * packed.nbytes / table.size


@dataclass(frozen=True)
class Asked:
    """What LightToken's tables are made for and of, and what stands beside them."""

    folder: Path
    ratios: tuple[float, ...]
    corpus: Path | None
    heal: int
    gguf: tuple[str, ...]
    stock: tuple[str, ...] = ()


def rows(judge: Judge, asked: Asked) -> Iterator[Row]:
    """The original, the roundings, and LightToken at each ratio."""
    folder = asked.folder
    table = judge.table.numpy()
    yield judge.row("float32", 32, judge.table)
    for bits in (4, 3, 2):
        yield judge.row(f"int{bits}, nearest", bits + _SCALES / _GROUP, rounded(table, bits))
    for kind in asked.gguf:
        values, size = as_gguf(table, kind)
        yield judge.row(f"GGUF {kind}", size, values)
    if not (asked.ratios or asked.stock):
        return
    loaded = LoadedModel(folder, folder, read_facts(folder), Source(folder.name, "folder", ""), "")
    started = time.monotonic()
    found = decoder_statistics(loaded, corpus=asked.corpus)
    texts = _healing_texts(loaded, asked) if asked.heal else None
    click.echo(
        f"statistics of {found.tokens:,} tokens in {time.monotonic() - started:.0f} s", err=True
    )
    for code in (GroupedCode(int(bits), _GROUP) for bits in asked.stock):
        size = 8 * code.nbytes(*table.shape, blocks=True) / table.size
        values = torch.from_numpy(nearest(table, code).dense())
        yield judge.row(f"stock int{code.bits}, nearest", size, values)
        started = time.monotonic()
        stock = round_table(table, code, metric=found.metric(head=True), unbiased=True)
        seconds = time.monotonic() - started
        yield judge.row(f"stock int{code.bits}", size, torch.from_numpy(stock.dense()), seconds)
    for ratio in asked.ratios:
        started = time.monotonic()
        packed = compress(
            table,
            Budget(ratio=ratio),
            importance=found.importance(special_tokens(folder / TOKENIZER)),
            metric=found.metric(head=True),
            unbiased=True,
            config=LightTokenConfig(additive=True),
        )
        seconds = time.monotonic() - started
        name = f"LightToken {packed.ratio:.1f}x"
        yield judge.row(name, packed.bits_per_parameter, torch.from_numpy(packed.dense()), seconds)
        if texts is not None:
            yield judge.healed(f"{name}, healed", packed, texts, asked.heal)


def _healing_texts(loaded: LoadedModel, asked: Asked) -> Tensor:
    decoder = open_decoder(loaded)
    if asked.corpus is not None:
        return decoder.read(asked.corpus, _TEXTS * _LENGTH, _LENGTH)
    return decoder.write(_TEXTS, _LENGTH, seed=1)


def read_windows(
    tokenizer: Path, text: Path, start: int, windows: int, length: int
) -> NDArray[np.int64]:
    """The first tokens of a text file, int64 [windows, length], the token ``start`` before each."""
    count = windows * (length - 1)
    words = text.read_text(encoding="utf-8")[: _CHARACTERS * count]
    encoder = Tokenizer.from_file(str(tokenizer))
    ids = np.array(encoder.encode(words, add_special_tokens=False).ids[:count])
    if len(ids) < count:
        raise InputError(f"{text} holds {len(ids)} tokens, {count} are wanted; give a longer text")
    shaped = ids.reshape(windows, length - 1)
    return np.pad(shaped, ((0, 0), (1, 0)), constant_values=start)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("text", type=click.Path(path_type=Path))
@click.option("--ratio", "ratios", type=float, multiple=True, help="Of LightToken's tables.")
@click.option("--windows", default=12, show_default=True)
@click.option("--length", default=256, show_default=True, help="Tokens of a window.")
@click.option("--heal", default=0, metavar="STEPS", help="Heal each table too, in so many steps.")
@click.option("--gguf", multiple=True, metavar="TYPE", help="Types of GGUF too, such as Q4_0.")
@click.option(
    "--stock", multiple=True, type=click.Choice(["2", "4", "8"]), help="Bits of stock operators."
)
@click.option("--corpus", type=click.Path(path_type=Path), help="In place of the model's own text.")
@click.option(
    "--further",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="TEXT",
    help="Texts whose perplexity is measured too, such as one in each language.",
)
def command(
    folder: Path,
    text: Path,
    ratios: tuple[float, ...],
    windows: int,
    length: int,
    heal: int,
    gguf: tuple[str, ...],
    stock: tuple[str, ...],
    corpus: Path | None,
    further: tuple[Path, ...],
) -> None:
    """Perplexity of the decoder in FOLDER over TEXT with its table in several forms."""
    facts = read_facts(folder)
    model = load_model(folder, facts)
    start = model.config.bos_token_id if model.config.bos_token_id is not None else 0
    read = [
        torch.from_numpy(read_windows(folder / TOKENIZER, each, start, windows, length))
        for each in (text, *further)
    ]
    judge = Judge(model, read[0], read[1:])
    names = "".join(f" {each.stem} |" for each in further)
    click.echo(f"| table | bits a parameter | input | head | both | top-1 | seconds |{names}")
    click.echo(f"|---|{'--:|' * (6 + len(further))}")
    for row in rows(judge, Asked(folder, ratios, corpus, heal, gguf, stock)):
        figures = (row.looked_up, row.head, row.both)
        perplexities = " | ".join(
            "" if math.isnan(figure) else f"{figure:.2f}" for figure in figures
        )
        click.echo(
            f"| {row.name} | {row.bits:.2f} | {perplexities} | {row.agreement:.1f}% | "
            f"{row.seconds:.0f} |" + "".join(f" {figure:.2f} |" for figure in row.further)
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    click.echo(f"peak memory of all of it: {peak:.2f} GB", err=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run(command, __file__, arguments, kept="tables")


if __name__ == "__main__":
    sys.exit(main())
