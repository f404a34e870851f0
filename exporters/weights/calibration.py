"""What a model's products are fed with: second moments of their inputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from toolkit.bundle.feeds import build_feeds, lay_out, text_shape
from toolkit.bundle.tensors import describe
from toolkit.ort import cpu_session
from toolkit.temporary import temporary_folder

SecondMoments = dict[str, NDArray[np.float64]]

Feeds = dict[str, NDArray[Any]]

_CALLS = 32
_OF_TEXT = ((8, 64),)  # texts and tokens of a call
_DRAWN = ((64, 8), (32, 16), (16, 32), (8, 64))  # attention does other things to short texts
_AT_ONCE = 2**27  # numbers of moments held at once, 1 GiB


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a model is fed with where rounding looks at what products are made of.

    No text is needed: ids are drawn one by one, each as often as its importance says, between those
    that a tokenizer puts around a text. What a layer does to such sentences tells which directions
    its products see at all, nearly as well as real text does.

    Attributes:
        ids_inputs: the graph's inputs that take token ids; () where nothing to feed is known.
        importance: of each id, float64 [V].
        before: ids that texts begin with, where they are drawn.
        after: ids that they end with.
        text: ids to feed in place of drawn ones: running ones [n], or texts [n, length], which are
            fed from their beginning on.
        seed: of the draws.
    """

    ids_inputs: tuple[str, ...]
    importance: NDArray[np.float64]
    text: NDArray[np.int64] | None = None
    seed: int = 0
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def feeds(
        self, session: ort.InferenceSession, calls: int, shapes: Sequence[tuple[int, int]]
    ) -> Iterator[Feeds]:
        """Inputs for so many calls of ``shapes`` in turns, each texts and tokens, where the graph
        fixes none."""
        inputs = describe(session.get_inputs())
        rng = np.random.default_rng(self.seed)
        for call in range(calls):
            feeds: Feeds = {}
            shape = shapes[call % len(shapes)]
            for name in self.ids_inputs:
                info = next(info for info in inputs if info.name == name)
                ids = self._ids(rng, text_shape(info, shape))
                feeds |= build_feeds(inputs, name, ids) if not feeds else {name: lay_out(info, ids)}
            yield feeds

    def _ids(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
        text = self.text
        if text is None:
            weights = self.importance / self.importance.sum()
            ids = rng.choice(len(weights), shape, p=weights)
            if len(self.before) + len(self.after) < shape[-1]:
                ids[..., : len(self.before)] = self.before
                ids[..., shape[-1] - len(self.after) :] = self.after
            return ids
        if text.ndim == 2:  # a model may be lost without the token that texts begin with
            chosen = rng.integers(len(text), size=shape[:-1])
            return np.take(text[chosen], np.arange(shape[-1]), axis=-1, mode="wrap")
        starts = rng.integers(max(1, len(text) - shape[-1]), size=shape[:-1])
        return np.take(text, starts[..., None] + np.arange(shape[-1]), mode="wrap")


def second_moments(path: Path, widths: dict[str, int], inputs: Inputs) -> Iterator[SecondMoments]:
    """Sums of x x^T, float64 [k, k], over rows x of the values of a model that ``widths`` names.

    Args:
        path: the model, in float32.
        widths: k of each value wanted.
        inputs: what to feed.

    Yields:
        A few values' moments at a time, so that all of them are never held at once.
    """
    part: dict[str, int] = {}
    for name, width in widths.items():
        if part and sum(k * k for k in part.values()) + width * width > _AT_ONCE:
            yield _run(path, part, inputs)
            part = {}
        part[name] = width
    if part:
        yield _run(path, part, inputs)


def _run(path: Path, widths: dict[str, int], inputs: Inputs) -> SecondMoments:
    moments = {name: np.zeros((k, k)) for name, k in widths.items()}
    with temporary_folder() as folder:
        session = _open(path, list(widths), folder)
        shapes = _DRAWN if inputs.text is None else _OF_TEXT
        for feeds in inputs.feeds(session, _CALLS, shapes):
            for name, rows in zip(widths, session.run(list(widths), feeds), strict=True):
                flat = rows.reshape(-1, rows.shape[-1])
                moments[name] += flat.T @ flat
    return moments


def _open(path: Path, names: list[str], folder: Path) -> ort.InferenceSession:
    model = ir.load(path)
    wanted = set(names) - {value.name for value in model.graph.outputs}
    for node in model.graph:
        for value in node.outputs:
            if value.name in wanted:
                value.dtype = ir.DataType.FLOAT
                model.graph.outputs.append(value)
    ir.save(model, folder / "probed.onnx", external_data="probed.onnx.data")
    return cpu_session(folder / "probed.onnx")
