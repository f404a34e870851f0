"""What a decoder reads and writes: which rows of its table matter, and which errors in them.

Errors e(v) in the rows of an output head move the distribution p after a hidden state h, in
Kullback-Leibler divergence and to second order, by the variance of e(v)'h under p, halved. Where
errors of different rows have nothing to do with each other, that is p(v) (1 - p(v)) (e(v)'h)^2 / 2
summed over v. We take p(v) e' H e / 2 for it, with the mean probability p(v) of the token and
H = E[u h h'], where u = 1 - sum of p^2 is small wherever the model is sure. An error in a row that
is looked up moves the distribution by p(v) e' F e / 2, where F is the Fisher information of the
text in that row: E[g g'], with g the gradient of a text's log-probability, for texts that the model
drew itself. So three figures are enough to compress a decoder's table for what it does, and all of
them come from text that the model writes.

Texts count alike: H and F of each are divided by their trace, and what is averaged then is put back
to the median trace. Otherwise the few texts in which a model falls into repeating itself, with
states a hundred times larger than elsewhere, decide alone.
"""

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
from .own_text import LOGITS, TextConfig, own_openings, own_text

_EQUAL = 0.1  # share of the importance that all rows have alike: texts differ
_PLAIN = 0.2  # of the mean eigenvalue: no direction is free
_OPENINGS = 0.2  # share of the figures that texts begun with any token have
# Few tokens know few directions. Whisper's table at 16x, measured on 790 tokens for 384 directions,
# loses least (0.059 of divergence, 0.128 with the share above) where the share is 1.
_FEW, _MOST_PLAIN = 4.0, 4.0
_SURE = 1e-6  # float32 may round what a model leaves open to nothing, or below
# Shares of the time.
_WRITING, _MEASURING = 0.5, 0.75

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DecoderStatistics:
    """Figures of a decoder over some text.

    Attributes:
        probabilities: the mean probability of each token, float64 [V], sum 1.
        hidden: E[u h h'] of what the output head multiplies, float64 [d, d].
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


def measure_decoder(
    model: Any, texts: Tensor, *, given: int = 1, progress: Progress | None = None
) -> DecoderStatistics:
    """The figures of ``model`` over ``texts`` int64 [n, length], of one length and unpadded.

    Args:
        model: a causal model of transformers, of any float type; its parameters get no gradients.
        texts: each begins with the token that texts begin with; own text, or somebody's.
        given: tokens at the beginning of each that the model was not to predict.
        progress: told how far the work is.

    Raises:
        InputError: no token of a text that was to be predicted, or a model without an output head.
    """
    if texts.ndim != 2 or texts.shape[1] <= given or not len(texts):
        least = "two" if given == 1 else given + 1
        raise InputError(f"texts of shape {list(texts.shape)}; give some of {least} tokens or more")
    head = model.get_output_embeddings()
    if head is None:
        raise InputError("the model has no output head; only a decoder has what is measured here")
    measured = _Measured(model, model.get_input_embeddings(), head)
    at_once = max(1, LOGITS // max(measured.rows * texts.shape[1], measured.width**2))
    for start in range(0, len(texts), at_once):
        batch = texts[start : start + at_once]
        measured.add(batch, given, input_ids=batch)
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
            measured.add(ids[None], 1, encoder_outputs=encoded, decoder_input_ids=ids[None], **mask)
        if progress is not None:
            progress(number + 1)
    return measured.figures()


class _Measured:
    """Sums of the figures, a batch of texts at a time."""

    def __init__(self, model: Any, table: nn.Embedding, head: Any) -> None:
        model.requires_grad_(False)
        self.model, self.table, self.head = model, table, head
        self.rows = table.weight.shape[0]
        self.width = max(table.weight.shape[1], head.weight.shape[1])
        self.factor = row_factor(table)
        self.hidden, self.looked_up = _Moments(), _Moments()
        self.probabilities: Tensor | None = None
        self.tokens, self.starts = 0, set[int]()

    def add(self, texts: Tensor, given: int, **inputs: Any) -> None:
        """``texts`` int64 [n, length], as ``inputs`` feed them to the model, which was not to
        predict the ``given`` first tokens."""
        with _Watched(self.table, self.head) as watched:
            logits = self.model(**inputs, use_cache=False).logits[:, given - 1 : -1].float()
            loss = nn.functional.cross_entropy(
                logits.flatten(0, 1), texts[:, given:].flatten(), reduction="sum"
            )
            (gradient,) = torch.autograd.grad(loss, watched.rows)
        with torch.no_grad():
            shares = logits.softmax(-1)
            mean = shares.sum((0, 1)).double()
            self.probabilities = mean if self.probabilities is None else self.probabilities + mean
            unsure = (1 - shares.square().sum(-1, keepdim=True)).clamp_min(_SURE)
            states = watched.states[:, given - 1 : -1].float()
            self.hidden.add(states * unsure, states)
            # The first token is the same in every text: what it does says nothing of the others.
            pulls = gradient[:, 1:].float() * self.factor
            self.looked_up.add(pulls, pulls)
        self.tokens += texts[:, given:].numel()
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
            self.hidden.mean(),
            self.looked_up.mean(),
            self.tokens,
            tuple(sorted(self.starts)),
        )


class _Moments:
    """Second moments of texts, each divided by its trace, and their median trace."""

    def __init__(self) -> None:
        self.total: Tensor | None = None  # float64 [d, d]
        self.traces: list[float] = []  # of a token, a text
        self.tokens = 0

    def add(self, left: Tensor, right: Tensor) -> None:
        """float [n, length, d] twice, of n texts."""
        each = left.transpose(1, 2) @ right
        traces = each.diagonal(dim1=1, dim2=2).sum(1)
        length = left.shape[1]
        # Texts without any, as where a model is sure of every token, change nothing.
        scales = torch.where(traces > 0, length / traces, torch.zeros_like(traces))
        total = torch.einsum("n,nij->ij", scales, each).double()
        self.total = total if self.total is None else self.total + total
        self.traces += (traces / length).tolist()
        self.tokens += length * len(left)

    def mean(self) -> Float64:
        """float64 [d, d], symmetric."""
        assert self.total is not None
        found = (self.total * (float(np.median(self.traces)) / self.tokens)).numpy()
        return (found + found.T) / 2


def measure_own_text(
    model: Any,
    start: int,
    config: TextConfig | None = None,
    *,
    forbidden: Sequence[int] = (),
    progress: Progress | None = None,
) -> DecoderStatistics:
    """:func:`measure_decoder` on :func:`own_text`, and for a fifth on :func:`own_openings`.

    What a model writes of itself is mostly in one language. Measured on Gemma 3 270M at 12x, the
    openings, and texts that count alike, bring what a German text loses in perplexity from 73% to
    23%; English loses 6% with them and 5% without (docs/decoders.md).

    The model is turned to bfloat16 where that is fast.
    """
    chosen = config or TextConfig()
    if has_bfloat16(next(model.parameters()).device.type):
        model = model.to(torch.bfloat16)
    texts = own_text(
        model, start, chosen, forbidden=forbidden, progress=part(progress, 0.0, _WRITING)
    )
    found = measure_decoder(model, texts, progress=part(progress, _WRITING, _MEASURING))
    openings = own_openings(model, start, chosen, forbidden=forbidden)
    others = measure_decoder(model, openings, given=2, progress=part(progress, _MEASURING, 1.0))
    return replace(
        found,
        probabilities=_mixed(found.probabilities, others.probabilities),
        hidden=_mixed(found.hidden, others.hidden),
        looked_up=_mixed(found.looked_up, others.looked_up),
        tokens=found.tokens + others.tokens,
        own=True,
    )


def _mixed(long: Float64, openings: Float64) -> Float64:
    return (1 - _OPENINGS) * long + _OPENINGS * openings


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
