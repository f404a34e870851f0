"""A file of a model that looks nothing up: its weights alone change, if anything does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from toolkit.bundle.feeds import build_feeds, fill_cache
from toolkit.bundle.manifest import Parity
from toolkit.bundle.tensors import TensorInfo, describe
from toolkit.ort import cpu_session

from ..options import GROUP
from ..verify.differences import CheckError, difference_of, try_out
from ..verify.limits import TOLERANCE, refuse, told
from ..verify.samples import Samples
from ..weights.calibration import Inputs
from ..weights.shrink import has_products, shrink_weights
from .state import Export

# Made up, where the graph leaves them open: texts; frames or samples of sound, or tokens; tokens in
# a cache before these. Some graphs read few, and GroupQueryAttention one text, or no cache before.
_SIZES = ((2, 400, 3), (2, 48, 3), (1, 48, 0), (1, 8, 0))


def keep(other: Export) -> None:
    """Write the file with nothing packed in it, and check it where it runs on made-up inputs.

    Raises:
        CheckError: it is not what it was.
    """
    original = other.loaded.path
    samples = _runs_on(original)
    if samples is not None and other.options.weights != "fp32":
        shrink_alone(other)
    other.model_path = other.folder / other.structure.model
    other.model_path.parent.mkdir(exist_ok=True)
    ir.save(ir.load(other.weights_path), other.model_path, external_data=other.structure.data)
    other.packed, other.packed_heads, other.head_parity = [], [], []
    if samples is None:
        _check_weights(other.model_path, original)
        other.parity = Parity(lookup=0.0, rewrite=0.0, compression=0.0, whole=False)
        return
    with told():
        written = difference_of(other.model_path, other.weights_path, "", {}, samples=samples)
        lost = written
        if other.weights_path != original:
            lost = difference_of(other.model_path, original, "", {}, samples=samples)
    refuse(other.structure.model, written.largest, TOLERANCE * max(1.0, written.scale))
    other.parity = Parity(lookup=0.0, rewrite=written.largest, compression=lost.largest)


def shrink_alone(other: Export) -> None:
    """Make weights smaller without texts to round them by."""
    options = other.options
    kept = frozenset(own.name for own in other.own_heads)
    if not has_products(other.loaded.path, options.weights, kept):
        return
    folder = other.work / "weights"
    folder.mkdir()
    other.weights_path = shrink_weights(
        other.loaded.path,
        folder,
        options.weights,
        Inputs((), np.zeros(0)),
        kept=kept,
        group_size=options.group_size or GROUP,
    )


def made_up(model: Path) -> Samples:
    """Sound, rows, or whatever floats a model takes, at random; some tokens in a cache.

    Raises:
        CheckError: it runs on none of what is made up here.
    """
    with told():
        inputs = describe(cpu_session(model).get_inputs())
    refused: CheckError | None = None
    for texts, length, cached in _SIZES:
        feeds = _drawn(inputs, texts, length, cached)
        try:
            with told():
                try_out(model, "", {}, feeds)
            return feeds
        except CheckError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _drawn(inputs: Sequence[TensorInfo], texts: int, length: int, cached: int) -> Samples:
    feeds = build_feeds(inputs, None, np.zeros((texts, length), np.int64))
    rng = np.random.default_rng(0)
    for name, values in feeds.items():
        if values.dtype.kind == "f":
            feeds[name] = rng.normal(size=values.shape).astype(values.dtype)
    if cached:
        fill_cache(feeds, cached)
    return feeds


def _runs_on(model: Path) -> Samples | None:
    """Made-up inputs that the file takes; None where it takes none that are known here."""
    try:
        return made_up(model)
    except CheckError:
        return None


def _check_weights(written: Path, original: Path) -> None:
    """Every stored tensor is what it was: all that can be said of a file that was not run."""
    before, after = (
        [value.const_value for value in ir.load(path).graph.initializers.values()]
        for path in (original, written)
    )
    same = len(before) == len(after) and all(
        a is not None and b is not None and a.tobytes() == b.tobytes()
        for a, b in zip(before, after, strict=True)
    )
    if not same:
        raise CheckError(f"{written.name} holds other weights than the original; copy the file")
