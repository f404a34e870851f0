"""What a decoder reads and writes: which rows of its table matter, and which errors in them.

An error e in a row v of an output head moves the model's distribution, in Kullback-Leibler
divergence and to second order, by p(v) e' E[h h'] e / 2, where h is the last hidden state and p(v)
the mean probability of the token. An error in a row that is looked up moves it by p(v) e' F e / 2,
where F is the Fisher information of the text in that row: E[g g'], with g the gradient of a text's
log-probability, for texts that the model drew itself. So three figures are enough to compress a
decoder's table for what it does, and all of them come from text that the model writes.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import InputError
from ..progress import Progress, part
from .attach import row_factor
from .batches import has_bfloat16

_EQUAL = 0.1  # share of the importance that all rows have alike: texts differ
_PLAIN = 0.03  # of the mean eigenvalue: no direction is free
# Few tokens know few directions. Whisper's table at 16x, measured on 790 tokens for 384 directions,
# loses least (0.059 of divergence, 0.128 with the share above) where the share is 1.
_FEW, _MOST_PLAIN = 4.0, 4.0
_LOGITS = 1 << 27  # held at a time, numbers
_BLOCK = 256  # tokens of a large vocabulary that are drawn from together
_WRITING = 0.6  # share of the time that writing takes

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class TextConfig:
    """How much a decoder writes.

    Attributes:
        texts: written side by side.
        length: tokens of each, the first one included.
        seed: of the draws.
    """

    texts: int = 48
    length: int = 192
    seed: int = 0


@dataclass(frozen=True, eq=False)
class DecoderStatistics:
    """Figures of a decoder over some text.

    Attributes:
        probabilities: the mean probability of each token, float64 [V], sum 1.
        hidden: E[h h'] of what the output head multiplies, float64 [d, d].
        looked_up: E[g g'] of the text's log-probability by a looked-up row, float64 [d, d].
        tokens: that these are means over.
        starts: ids that texts begin with, which no model ever predicts.
        texts: the text, int64 [n, length].
        own: the model drew the text itself, at the probabilities that ``probabilities`` is a mean
            of.
    """

    probabilities: Float64
    hidden: Float64 = field(repr=False)
    looked_up: Float64 = field(repr=False)
    tokens: int = 0
    starts: tuple[int, ...] = ()
    texts: NDArray[np.int64] | None = field(default=None, repr=False)
    own: bool = False

    def importance(
        self, frames: Sequence[int] = (), *, head: bool = True, lookup: bool = True
    ) -> Float64:
        """How much each row matters of a table that is looked up, read by the output ``head``, or
        both; float64 [V], sum 1.

        ``frames``: special tokens that a user's texts hold and the model's own may not, such as
        those of a chat; each counts as one token in a thousand, as do those that texts start with.
        Only where they are looked up: they are given, not predicted.
        """
        rows = len(self.probabilities)
        found = self.probabilities if head else self._frequencies()
        found = (1 - _EQUAL) * found + _EQUAL / rows
        special = [id_ for id_ in {*self.starts, *frames} if lookup and 0 <= id_ < rows]
        found[special] = np.maximum(found[special], 1e-3)
        return found / found.sum()

    def _frequencies(self) -> Float64:
        """How often each token is looked up, float64 [V], sum 1.

        Of text that the model draws, the mean probability is what counts come to, without their
        chance. Of somebody else's, the counts say what the model did not expect; it stands for
        what so little text has not.
        """
        if self.own or self.texts is None:
            return self.probabilities
        rows = len(self.probabilities)
        counts = np.bincount(self.texts[:, 1:].ravel(), minlength=rows)
        return (counts / counts.sum() + self.probabilities) / 2

    def metric(self, *, head: bool, lookup: bool = True) -> Float64:
        """M float64 [d, d] of a table that is looked up, read by the output ``head``, or both."""
        if not (head and lookup):
            found = self.hidden if head else self.looked_up
        else:
            found = self.hidden + self.looked_up
        width = len(found)
        known = width / self.tokens if self.tokens else 0.0
        plain = max(_PLAIN, min(_MOST_PLAIN, _FEW * known**2))
        return found + plain * np.trace(found) / width * np.eye(width)


def writer(model: Any) -> Any:
    """``model``, or a copy in bfloat16 where that is fast: what is drawn has noise of its own."""
    if not has_bfloat16(next(model.parameters()).device.type):
        return model
    return copy.deepcopy(model).to(torch.bfloat16)


def own_text(
    model: Any,
    start: int,
    config: TextConfig,
    *,
    forbidden: Sequence[int] = (),
    progress: Progress | None = None,
) -> Tensor:
    """Texts that a causal model of transformers draws from itself, int64 [texts, length].

    At temperature 1 and from all tokens, because that is the distribution the figures are of.

    Args:
        model: gives ``logits`` and ``past_key_values``.
        start: the first token of every text.
        config: how much.
        forbidden: tokens that are never drawn, such as the end of a text.
        progress: told how far the work is.
    """
    generator = torch.Generator().manual_seed(config.seed)
    texts = torch.full((config.texts, 1), start)
    past, latest = None, texts
    with torch.no_grad():
        for drawn in range(1, config.length):
            found = model(input_ids=latest, past_key_values=past, use_cache=True)
            past = found.past_key_values
            logits = found.logits[:, -1].float()
            if forbidden:
                logits[:, list(forbidden)] = -torch.inf
            latest = _draw(logits.softmax(-1), generator)
            texts = torch.cat([texts, latest], dim=1)
            if progress is not None:
                progress(drawn / config.length, "the decoder writes text to be measured on")
    return texts


def _draw(shares: Tensor, generator: torch.Generator) -> Tensor:
    """A token a row, int64 [n, 1], from probabilities float [n, V].

    torch.multinomial takes a random number for every token. So a block of a large vocabulary is
    drawn first, and then a token of the block.
    """
    rows = shares.shape[1]
    if rows <= _BLOCK**2:
        return torch.multinomial(shares, 1, generator=generator)
    padded = nn.functional.pad(shares, (0, -rows % _BLOCK))
    blocks = padded.reshape(len(shares), -1, _BLOCK)
    block = torch.multinomial(blocks.sum(-1), 1, generator=generator)
    inside = torch.take_along_dim(blocks, block[:, :, None], dim=1)[:, 0]
    return block * _BLOCK + torch.multinomial(inside, 1, generator=generator)


def measure_decoder(
    model: Any, texts: Tensor, *, progress: Progress | None = None
) -> DecoderStatistics:
    """The figures of ``model`` over ``texts`` int64 [n, length], of one length and unpadded.

    Args:
        model: a causal model of transformers, of any float type; its parameters get no gradients.
        texts: each begins with the token that texts begin with; own text, or somebody's.
        progress: told how far the work is.

    Raises:
        InputError: fewer than two tokens a text, or a model without an output head.
    """
    if texts.ndim != 2 or texts.shape[1] < 2 or not len(texts):
        raise InputError(f"texts of shape {list(texts.shape)}; give some of two tokens or more")
    head = model.get_output_embeddings()
    if head is None:
        raise InputError("the model has no output head; only a decoder has what is measured here")
    measured = _Measured(model, model.get_input_embeddings(), head)
    at_once = max(1, _LOGITS // (measured.rows * texts.shape[1]))
    for start in range(0, len(texts), at_once):
        batch = texts[start : start + at_once]
        measured.add(batch, input_ids=batch)
        if progress is not None:
            progress((start + len(batch)) / len(texts), "measuring what moves the decoder")
    return replace(measured.figures(), texts=texts.numpy())


def measure_written(
    model: Any,
    pairs: Iterable[tuple[dict[str, Tensor], Tensor]],
    *,
    progress: Callable[[int], None] | None = None,
) -> DecoderStatistics:
    """The figures of the decoder of an encoder-decoder, over what it writes.

    Args:
        model: of transformers, in floats; its parameters get no gradients.
        pairs: what the encoder is given, by the names of its inputs, each of one example; and what
            the decoder writes to it, int64 [length], its first token included.
        progress: told how many pairs are done.

    Raises:
        InputError: no pair of two tokens or more.
    """
    decoder = model.get_decoder()
    measured = _Measured(model, decoder.get_input_embeddings(), model.get_output_embeddings())
    for number, (given, ids) in enumerate(pairs):
        if len(ids) > 1:
            with torch.no_grad():
                encoded = model.get_encoder()(**given)
            mask = {k: v for k, v in given.items() if k == "attention_mask"}
            measured.add(ids[None], encoder_outputs=encoded, decoder_input_ids=ids[None], **mask)
        if progress is not None:
            progress(number + 1)
    return measured.figures()


class _Measured:
    """Sums of the figures, a batch of texts at a time."""

    def __init__(self, model: Any, table: nn.Embedding, head: Any) -> None:
        model.requires_grad_(False)
        self.model, self.table, self.head = model, table, head
        self.rows, width = table.weight.shape
        self.factor, states = row_factor(table), head.weight.shape[1]
        self.looked_up = torch.zeros(width, width, dtype=torch.float64)
        self.hidden = torch.zeros(states, states, dtype=torch.float64)
        self.probabilities: Tensor | None = None
        self.tokens, self.starts = 0, set[int]()

    def add(self, texts: Tensor, **given: Any) -> None:
        """``texts`` int64 [n, length], as ``given`` feeds them to the model."""
        with _Watched(self.table, self.head) as watched:
            logits = self.model(**given, use_cache=False).logits[:, :-1].float()
            loss = nn.functional.cross_entropy(
                logits.flatten(0, 1), texts[:, 1:].flatten(), reduction="sum"
            )
            (gradient,) = torch.autograd.grad(loss, watched.rows)
        with torch.no_grad():
            mean = logits.softmax(-1).flatten(0, 1).sum(0).double()
            self.probabilities = mean if self.probabilities is None else self.probabilities + mean
            # The first token is the same in every text: what it does says nothing of the others.
            states = watched.states[:, :-1].flatten(0, 1).float()
            self.hidden += (states.T @ states).double()
            pulls = gradient[:, 1:].flatten(0, 1).float() * self.factor
            self.looked_up += (pulls.T @ pulls).double()
        self.tokens += texts[:, 1:].numel()
        self.starts |= set(texts[:, 0].tolist())

    def figures(self) -> DecoderStatistics:
        """Their means.

        Raises:
            InputError: nothing was added.
        """
        if self.probabilities is None:
            raise InputError("nothing was written to measure the decoder on; give more")
        return DecoderStatistics(
            (self.probabilities / self.probabilities.sum()).numpy(),
            (self.hidden / self.tokens).numpy(),
            (self.looked_up / self.tokens).numpy(),
            self.tokens,
            tuple(sorted(self.starts)),
        )


def measure_own_text(
    model: Any,
    start: int,
    config: TextConfig | None = None,
    *,
    forbidden: Sequence[int] = (),
    progress: Progress | None = None,
) -> DecoderStatistics:
    """:func:`measure_decoder` on :func:`own_text`; the model is turned to bfloat16 where that is
    fast."""
    chosen = config or TextConfig()
    if has_bfloat16(next(model.parameters()).device.type):
        model = model.to(torch.bfloat16)
    texts = own_text(
        model, start, chosen, forbidden=forbidden, progress=part(progress, 0.0, _WRITING)
    )
    found = measure_decoder(model, texts, progress=part(progress, _WRITING, 1.0))
    return replace(found, own=True)


class _Watched:
    """While a model runs: the rows that were looked up, and what the output head was given."""

    def __init__(self, table: nn.Module, head: nn.Module) -> None:
        self.rows: Tensor
        self.states: Tensor
        self._hooks = [
            table.register_forward_hook(self._look_up),
            head.register_forward_pre_hook(self._read),
        ]

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *_error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _look_up(self, _module: nn.Module, _inputs: object, rows: Tensor) -> Tensor:
        self.rows = rows.detach().requires_grad_(True)
        return self.rows

    def _read(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.states = inputs[0].detach()
