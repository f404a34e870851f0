"""Texts through a session in batches of like length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.progress import Progress
from toolkit.tensors import TensorInfo

from .session import Array, Session
from .tokenize import Text, Tokenizer, Tokens


@dataclass(frozen=True, eq=False)
class Batch:
    """What the graph gave for some of the texts.

    Attributes:
        index: int64 [n], places of these texts among all.
        ids: int64 [n, length], padded token ids.
        mask: int64 [n, length], 1 where a token stands, 0 on padding.
        output: the wanted output, [n, ...].
    """

    index: NDArray[np.int64]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    output: Array


@dataclass(frozen=True, eq=False)
class TextModel:
    """A session with the tokenizer that feeds it. ``output`` names the output to read."""

    session: Session
    tokenizer: Tokenizer
    output: TensorInfo

    def batches(
        self, texts: Sequence[Text], batch_size: int, progress: Progress | None = None
    ) -> Iterator[Batch]:
        """Run all texts, longest first; a graph's fixed batch or length is kept.

        Raises:
            InputError: ``texts`` is one string, or ``batch_size`` is less than 1.
        """
        if isinstance(texts, str):
            raise InputError("texts is a single string; give a list of strings")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        fixed_batch, fixed_length = _fixed_sizes(self.session)
        tokenizer = self.tokenizer
        if fixed_length is not None:
            limit = min(fixed_length, tokenizer.max_length or fixed_length)
            tokenizer = replace(tokenizer, max_length=limit)
        rows = tokenizer.split(texts)
        size = fixed_batch or batch_size
        # Longest first: what does not fit into memory fails at once, not at the end.
        order = np.argsort([-len(row) for row in rows], kind="stable")
        for start in range(0, len(rows), size):
            index = order[start : start + size]
            yield self._run(tokenizer, [rows[i] for i in index], index, fixed_batch, fixed_length)
            if progress is not None:
                progress(min(1.0, (start + size) / len(rows)), "running the model")

    def _run(
        self,
        tokenizer: Tokenizer,
        rows: list[Tokens],
        index: NDArray[np.int64],
        fixed_batch: int | None,
        fixed_length: int | None,
    ) -> Batch:
        fill = [rows[-1]] * ((fixed_batch or 0) - len(rows))
        encoded = tokenizer.pad(rows + fill, fixed_length)
        ids = encoded["input_ids"]
        encoded["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        feeds = {
            info.name: encoded[self._role(info.name)]
            for info in self.session.inputs
            if self._role(info.name) in encoded
        }
        output = self.session.run(feeds, [self.output.name])[self.output.name]
        n = len(rows)
        return Batch(index, ids[:n], encoded["attention_mask"][:n], output[:n])

    def _role(self, name: str) -> str:
        return "input_ids" if name == self.session.ids_input else name


def find_output(session: Session, names: Sequence[str], rank: int) -> TensorInfo | None:
    """The first of ``names`` that the graph gives with ``rank``, else its first output of it."""
    by_name = {info.name: info for info in session.outputs}
    for name in names:
        # No shape at all: the graph does not say; the name must do.
        if name in by_name and len(by_name[name].shape) in (rank, 0):
            return by_name[name]
    return next((info for info in session.outputs if len(info.shape) == rank), None)


def need_output(session: Session, names: Sequence[str], rank: int, task: str) -> TensorInfo:
    """:func:`find_output`.

    Raises:
        InputError: there is none, so that the graph cannot serve ``task``.
    """
    output = find_output(session, names, rank)
    if output is None:
        shapes = ", ".join(f"{info.name} {list(info.shape)}" for info in session.outputs)
        raise InputError(
            f"{session.path} has no output of rank {rank} for {task} (it gives {shapes}); "
            "open it with the task it was exported for"
        )
    return output


def _fixed_sizes(session: Session) -> tuple[int | None, int | None]:
    """Batch and length of the graph's first [batch, length] input, None where they are free."""
    for info in session.inputs:
        if len(info.shape) == 2:
            batch, length = (size if isinstance(size, int) else None for size in info.shape)
            return batch, length
    return None, None
