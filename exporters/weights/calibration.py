"""What a model's products are fed with: second moments of their inputs."""

from collections.abc import Iterable, Iterator
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

_CALLS, _BATCH, _LENGTH = 32, 8, 64
_AT_ONCE = 2**27  # numbers of moments held at once, 1 GiB


def second_moments(
    path: Path,
    widths: dict[str, int],
    ids_inputs: Iterable[str],
    importance: NDArray[np.float64],
    *,
    text: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Iterator[SecondMoments]:
    """Sums of x x^T, float64 [k, k], over rows x of the values of a model that ``widths`` names.

    No text is needed: ids are drawn one by one, each as often as its importance says. What a
    layer does to such sentences tells which directions its products see at all, and that is what
    rounding has to know. A real text tells it a little better.

    Args:
        path: the model, in float32.
        widths: k of each value wanted.
        ids_inputs: the graph's inputs that take token ids.
        importance: of each id, float64 [V].
        text: ids to feed in place of drawn ones: running ones [n], or texts [n, length], which are
            fed from their beginning on.
        seed: of the draws.

    Yields:
        A few values' moments at a time, so that all of them are never held at once.
    """
    part: dict[str, int] = {}
    for name, width in widths.items():
        if part and sum(k * k for k in part.values()) + width * width > _AT_ONCE:
            yield _run(path, part, set(ids_inputs), importance, text, seed)
            part = {}
        part[name] = width
    if part:
        yield _run(path, part, set(ids_inputs), importance, text, seed)


def _run(
    path: Path,
    widths: dict[str, int],
    ids_inputs: set[str],
    importance: NDArray[np.float64],
    text: NDArray[np.int64] | None,
    seed: int,
) -> SecondMoments:
    moments = {name: np.zeros((k, k)) for name, k in widths.items()}
    rng = np.random.default_rng(seed)
    weights = importance / importance.sum()
    with temporary_folder() as folder:
        session = _open(path, list(widths), folder)
        inputs = describe(session.get_inputs())
        for _ in range(_CALLS):
            feeds: dict[str, NDArray[Any]] = {}
            for name in ids_inputs:
                info = next(info for info in inputs if info.name == name)
                shape = text_shape(info, (_BATCH, _LENGTH))
                if text is None:
                    ids = rng.choice(len(weights), shape, p=weights)
                elif text.ndim == 2:  # a model may be lost without the token that texts begin with
                    chosen = rng.integers(len(text), size=shape[:-1])
                    ids = np.take(text[chosen], np.arange(shape[-1]), axis=-1, mode="wrap")
                else:
                    starts = rng.integers(max(1, len(text) - shape[-1]), size=shape[:-1])
                    ids = np.take(text, starts[..., None] + np.arange(shape[-1]), mode="wrap")
                feeds |= build_feeds(inputs, name, ids) if not feeds else {name: lay_out(info, ids)}
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
