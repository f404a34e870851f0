"""Open the model of a job, and feed it."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from runtime.tasks.steps import last_logits
from toolkit.bundle.feeds import Array, Int64, build_feeds, draw_ids, find_ids_input
from toolkit.bundle.tensors import describe
from toolkit.errors import InputError

from ..job import Job

# onnxruntime's log severity. Errors come as exceptions and are told in our words; its log would
# tell them once more, with names from the model as they are.
_FATAL_ONLY = 4
_CPU = "CPUExecutionProvider"


def runtime_name() -> str:
    """The runtime and its version."""
    return f"onnxruntime {ort.__version__}"


def options_of(job: Job) -> ort.SessionOptions:
    """What every session of the job is opened with."""
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    for name, size in job.dimensions.items():
        options.add_free_dimension_override_by_name(name, size)
    if job.model.endswith(".ort") and job.load == "path":  # mapped, its weights used as they lie
        options.add_session_config_entry("session.use_memory_mapped_ort_model", "1")
        options.add_session_config_entry("session.use_ort_model_bytes_for_initializers", "1")
    return options


def open_model(job: Job, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """Load the model on its provider.

    Raises:
        InputError: this onnxruntime lacks the provider, or it did not start.
    """
    options = options or options_of(job)
    if job.library:
        options.register_custom_ops_library(job.library)
    model, kept = (job.model, []) if job.load == "path" else _read(job, options)
    if job.plugin:
        return _open_on_plugin(job, model, options)
    if job.provider not in ort.get_available_providers():
        raise InputError(
            f"{job.provider} is not in this onnxruntime {ort.__version__}; it has "
            f"{', '.join(ort.get_available_providers())}"
        )
    wanted: list[Any] = [(job.provider, job.settings)]
    if job.provider != _CPU:
        wanted.append(_CPU)
    session = ort.InferenceSession(model, options, providers=wanted)
    del kept
    if job.provider not in session.get_providers():
        raise InputError(
            f"{job.provider} did not start on this machine; is its driver or a library missing?"
        )
    return session


def _open_on_plugin(
    job: Job, model: str | bytes, options: ort.SessionOptions
) -> ort.InferenceSession:
    plugin = import_module(job.plugin)
    name = plugin.get_ep_name()
    ort.register_execution_provider_library(name, plugin.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise InputError(f"{name} finds no device of its own here")
    settings = dict(job.settings)
    if hasattr(plugin, "get_qnn_htp_path"):
        settings.setdefault("backend_path", plugin.get_qnn_htp_path())
    options.add_provider_for_devices(devices, settings)
    return ort.InferenceSession(model, options)


def _read(job: Job, options: ort.SessionOptions) -> tuple[bytes, list[bytes]]:
    """The bytes of the model and of its external data, as an app without files would have them.

    Keep the weights alive until the session has been made, which copies what it needs.
    """
    folder = Path(job.model).parent
    weights = [(folder / name).read_bytes() for name in job.data]
    if weights:
        options.add_external_initializers_from_files_in_memory(
            list(job.data), weights, [len(part) for part in weights]
        )
    return Path(job.model).read_bytes(), weights


class Feeder:
    """New feeds for every call: with the same ids each time, most of a table would not be read.

    Attributes:
        ids_input: the input of token ids; None where none is found.
    """

    def __init__(self, session: ort.InferenceSession, job: Job) -> None:
        self._inputs = describe(session.get_inputs())
        known = any(info.name == job.ids_input for info in self._inputs)
        self.ids_input = job.ids_input if known else find_ids_input(self._inputs)
        self._last = last_logits(session) if job.tokens else {}
        self._rows = job.rows
        self._rng = np.random.default_rng(job.seed)
        self._stream = np.array(job.stream, np.int64)
        self._at = 0

    def next(self, batch: int, length: int) -> dict[str, Array]:
        """Feeds of ``batch`` texts of ``length`` tokens, of a decoder for the last logits alone."""
        return self.of(self._ids(batch, length)) | self._last

    def draw(self, length: int) -> list[int]:
        """Token ids of one text."""
        return [int(id_) for id_ in self._ids(1, length)[0]]

    def of(self, ids: Int64) -> dict[str, Array]:
        """Feeds of these ids, int64 [batch, length]."""
        return build_feeds(self._inputs, self.ids_input, ids)

    def _ids(self, batch: int, length: int) -> Int64:
        if not self._stream.size:
            return draw_ids(self._rng, batch, length, self._rows or None)
        count = batch * length
        ids = self._stream[np.arange(self._at, self._at + count) % self._stream.size]
        self._at += count
        return ids.reshape(batch, length)
