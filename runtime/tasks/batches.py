"""Texts through a session in batches of like length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.feeds import build_feeds, is_cache
from toolkit.bundle.tensors import TensorInfo
from toolkit.errors import InputError
from toolkit.progress import Progress

from ..session import Array, Session
from .tokenize import Text, Tokenizer, Tokens


@dataclass(frozen=True, eq=False)
class Batch:
    """What the graph gave for some of the texts.

    Attributes:
        index: int64 [n], places of these texts among all.
        ids: int64 [n, length], padded token ids.
        mask: int64 [n, length], 1 where a token stands, 0 on padding.
        outputs: the wanted outputs by name, each [n, ...].
    """

    index: NDArray[np.int64]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    outputs: dict[str, Array]

    @property
    def output(self) -> Array:
        """The first of ``outputs``."""
        return next(iter(self.outputs.values()))


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
        tokenizer = replace(self.tokenizer, max_length=length_limit(self.session, self.tokenizer))
        rows = tokenizer.split(texts)
        yield from run_rows(self.session, tokenizer, rows, [self.output.name], batch_size, progress)


def length_limit(session: Session, tokenizer: Tokenizer) -> int | None:
    """Tokens that a text may have: the tokenizer's limit or the graph's fixed length; None: any."""
    limits = (tokenizer.max_length, _fixed_sizes(session)[1])
    return min((limit for limit in limits if limit is not None), default=None)


def run_rows(
    session: Session,
    tokenizer: Tokenizer,
    rows: Sequence[Tokens],
    outputs: Sequence[str],
    batch_size: int,
    progress: Progress | None = None,
    length: int | None = None,
) -> Iterator[Batch]:
    """Run tokens that are cut already, longest first, and give the outputs of these names.

    A graph's fixed batch or length is kept; one that takes a cache gets an empty one. ``length``:
    tokens that rows are filled up to, by default those of the longest.

    Raises:
        InputError: ``batch_size`` is less than 1, or the graph cannot run these rows.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    fixed_batch, fixed_length = _fixed_sizes(session)
    size = fixed_batch or batch_size
    # Longest first: what does not fit into memory fails at once, not at the end.
    order = np.argsort([-len(row) for row in rows], kind="stable")
    for start in range(0, len(rows), size):
        index = order[start : start + size]
        some = [rows[i] for i in index]
        n = len(some)
        some += [some[-1]] * ((fixed_batch or 0) - n)
        encoded = tokenizer.pad(some, fixed_length or length)
        found = session.run(feeds_of(session, encoded), outputs)
        yield Batch(
            index,
            encoded["input_ids"][:n],
            encoded["attention_mask"][:n],
            {name: values[:n] for name, values in found.items()},
        )
        if progress is not None:
            progress(min(1.0, (start + size) / len(rows)), "running the model")


def feeds_of(session: Session, encoded: dict[str, NDArray[np.int64]]) -> dict[str, Array]:
    """What the graph takes of ``encoded``, each int64 [..., length]; positions, an empty cache."""
    ids = encoded["input_ids"]
    encoded = {**encoded, "position_ids": np.broadcast_to(np.arange(ids.shape[-1]), ids.shape)}
    feeds: dict[str, Array] = {}
    caches = []
    for info in session.inputs:
        role = "input_ids" if info.name == session.ids_input else info.name
        if role in encoded:
            feeds[info.name] = encoded[role]
        elif is_cache(info.name):
            caches.append(info)
    return feeds | build_feeds(caches, None, ids) if caches else feeds


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
