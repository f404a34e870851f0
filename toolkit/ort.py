"""onnxruntime: quiet sessions on the CPU; its exceptions, as one tuple to catch, one line to
show."""

import re
from pathlib import Path

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as _state

# onnxruntime's own share no base class, and newer versions add some; hence every exception of the
# module. Its Python layer adds plain ValueError and RuntimeError.
ORT_ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    RuntimeError,
    *(
        item
        for item in vars(_state).values()
        if isinstance(item, type) and issubclass(item, Exception)
    ),
)

_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_LONGEST = 300  # characters


def one_line(error: BaseException) -> str:
    """The error's text without line breaks and without onnxruntime's code prefix."""
    text = " ".join(_PREFIX.sub("", str(error)).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def quiet_options() -> ort.SessionOptions:
    """Options that print nothing: what goes wrong is raised."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return options


def cpu_session(
    model: Path | bytes, options: ort.SessionOptions | None = None
) -> ort.InferenceSession:
    """A session on the CPU provider, quiet unless ``options`` say otherwise."""
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(
        source, options or quiet_options(), providers=["CPUExecutionProvider"]
    )
