"""Open a bundle, or a bare ``.onnx`` file, with onnxruntime and run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from toolkit.bundle.feeds import find_ids_input
from toolkit.bundle.manifest import Manifest, read_manifest, verify_files
from toolkit.bundle.tensors import TensorInfo, describe
from toolkit.errors import FormatError, InputError
from toolkit.graph.files import model_files
from toolkit.ort import ORT_ERRORS, one_line
from toolkit.trellis import CODED

from . import native
from .freed import give_back
from .providers import CPU, provider_names

Array = NDArray[Any]

# onnxruntime's log severity. Errors come as exceptions and are told in our words; its log would
# tell them once more, with names from the model as they are.
_FATAL_ONLY = 4


@dataclass(frozen=True, eq=False)
class Session:
    """An open model.

    Attributes:
        manifest: None for a bare ``.onnx`` file.
        ids_input: the input that carries token ids, None if the graph has none.
        native_op: whether the native kernel was registered for it.
    """

    path: Path
    manifest: Manifest | None
    ids_input: str | None
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    raw: onnxruntime.InferenceSession
    native_op: bool = False

    @property
    def providers(self) -> tuple[str, ...]:
        """onnxruntime's names of the providers in use, the preferred one first."""
        return tuple(self.raw.get_providers())

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run the graph on ``feeds``; ``outputs`` names the wanted ones, None for all.

        Integers and booleans are cast to the type that the graph declares.

        Raises:
            InputError: an input is missing or unknown, a token id lies outside the table, or
                onnxruntime refuses the feeds.
        """
        self._check_names(feeds)
        self._check_ids(feeds)
        wanted = list(outputs) if outputs is not None else [info.name for info in self.outputs]
        cast = {info.name: _cast(feeds[info.name], info.numpy_dtype) for info in self.inputs}
        try:
            values = self.raw.run(wanted, cast)
        except ORT_ERRORS as error:
            raise InputError(
                f"{self.path} cannot run these inputs: {one_line(error)}; check shapes and types"
            ) from error
        return dict(zip(wanted, values, strict=True))

    def _check_names(self, feeds: Mapping[str, Array]) -> None:
        known = [info.name for info in self.inputs]
        for name in known:
            if name not in feeds:
                raise InputError(f"input {name!r} is missing; the graph needs {', '.join(known)}")
        for name in feeds:
            if name not in known:
                raise InputError(f"input {name!r} is unknown; the graph has {', '.join(known)}")

    def _check_ids(self, feeds: Mapping[str, Array]) -> None:
        # As onnxruntime does on CPUs; on devices their rows would be NaN.
        if self.manifest is None or self.manifest.ids_input not in feeds:
            return
        ids, rows = np.asarray(feeds[self.manifest.ids_input]), self.manifest.rows
        if not np.issubdtype(ids.dtype, np.integer):
            raise InputError(f"token ids must be integers, got {ids.dtype}")
        outside = (ids < -rows) | (ids >= rows)
        if outside.any():
            raise InputError(
                f"token id {ids[outside][0]} is outside {-rows} .. {rows - 1}; check the tokenizer"
            )


def open_session(
    bundle: str | Path,
    provider: str = "cpu",
    *,
    threads: int | None = None,
    verify: bool = True,
    op: bool = True,
) -> Session:
    """Open a bundle folder or a bare ``.onnx`` file.

    Args:
        bundle: the folder with ``lighttoken.json``, or a path of a model file.
        provider: a word of :data:`runtime.providers.PROVIDERS`.
        threads: threads that one operator may use; None leaves the choice to onnxruntime.
        verify: check size and sha256 of every file of a bundle first.
        op: decode the table by the native kernel, where it is built and the provider is the CPU;
            else by the function in the file. Looked-up rows are the same but for their last bits.
            A packed output head rounds hidden states to 8 bits in the kernel; the manifest says by
            how much outputs differ (``parity.kernel``).

    Raises:
        InputError: nothing at this path, an unavailable provider, or a bad thread count.
        FormatError: a damaged or altered bundle, or no model that onnxruntime can load.
    """
    path = Path(bundle)
    names = provider_names(provider)
    manifest = None
    if path.is_dir():
        manifest = read_manifest(path)
        if verify:
            verify_files(path, manifest)
        path = path / manifest.model
        if not path.is_file():
            raise FormatError(f"{path} is missing; copy the whole bundle again")
    elif not path.is_file():
        raise InputError(f"{path} is not here; give a bundle folder or an .onnx file")
    if manifest is None or not verify:
        model_files(path)  # refuses what names files outside of the model's folder
    options = _options(threads)
    if path.suffix == ".ort":  # mapped whole, its weights used where they lie
        options.add_session_config_entry("session.use_memory_mapped_ort_model", "1")
        options.add_session_config_entry("session.use_ort_model_bytes_for_initializers", "1")
    # Elsewhere the function's standard operators stay on the device that the rest runs on.
    native_op = op and names[0] == CPU and native.register(options)
    raw = _load(path, names, options)
    if manifest is not None and manifest.body in CODED:  # decoded by many steps at load
        give_back()
    if names[0] not in raw.get_providers():
        raise InputError(
            f"provider {provider!r} did not start on this machine (driver or libraries missing); "
            "use provider 'cpu' or install what it needs"
        )
    inputs = describe(raw.get_inputs())
    ids_input = manifest.ids_input if manifest is not None else find_ids_input(inputs)
    outputs = describe(raw.get_outputs())
    return Session(path, manifest, ids_input, inputs, outputs, raw, native_op)


def _options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads must be at least 1, got {threads}")
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    return options


def _load(
    path: Path, names: list[str], options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    try:
        # A path, not bytes: only then are external tensors mapped from the file.
        return onnxruntime.InferenceSession(str(path), options, providers=names)
    except ORT_ERRORS as error:
        reason = one_line(error)
        advice = "copy or export the model again"
        if "is not a registered function/op" in reason:
            advice = "export it with `--decode function`, which needs standard operators only"
        raise FormatError(f"{path} cannot be loaded: {reason}; {advice}") from error


def _cast(feed: Array, dtype: np.dtype[np.generic] | None) -> Array:
    values = np.asarray(feed)
    if values.dtype.kind not in "iub" or dtype is None:
        return values
    return values.astype(dtype, copy=False)
