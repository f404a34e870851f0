"""Where a model can be measured: which process, with which onnxruntime, on which provider."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnxruntime

from toolkit.errors import InputError

from ..providers import CPU, PROVIDERS, available
from ..setup import home
from . import browser

_FLOAT32 = 1e-4  # relative: other orders of summation, other exponentials
_HALF = 0.02  # computed in float16, or in TF32

ALL_MEASURES = ("time", "cold", "memory", "unmapped", "places")


@dataclass(frozen=True)
class Place:
    """A runtime on a provider.

    Attributes:
        word: what users call it.
        provider: onnxruntime's name; in a browser ``wasm`` or ``webgpu``.
        python: the interpreter to start, empty for a browser.
        path: folders on its PYTHONPATH, after the worker's.
        plugin: module of a provider that comes as a plugin, else empty.
        settings: options of the provider.
        static: whether shapes have to be fixed.
        limit: how far outputs may be from the CPU's, relative, root mean square.
        measures: the measures that are taken there.
        note: stands beside every figure from there; may be empty.
    """

    word: str
    provider: str
    python: str = sys.executable
    path: tuple[str, ...] = ()
    plugin: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    static: bool = False
    limit: float = _FLOAT32
    measures: tuple[str, ...] = ("time", "memory", "places")
    note: str = ""

    @property
    def in_browser(self) -> bool:
        """Whether a page runs it, not a Python process."""
        return not self.python

    @property
    def timed(self) -> bool:
        """Whether its times mean anything."""
        return "time" in self.measures


BROWSER = ("wasm", "webgpu")
PLACES = tuple(dict.fromkeys([*PROVIDERS, "arm64", *BROWSER]))
"""The words of all places."""


def find_place(word: str) -> Place:
    """The place of this name, one of :data:`PLACES`.

    Raises:
        InputError: something that it needs is not here; one line says what.
    """
    if word in BROWSER:
        return _browser(word)
    if word == "arm64":
        return _arm64()
    if word == "qnn":
        return _qnn()
    name = PROVIDERS[word]
    here = name in onnxruntime.get_available_providers()
    if word == "xnnpack":
        return _xnnpack(here)
    if not here:
        raise InputError(
            f"{word} is not in this onnxruntime, which has {', '.join(available())}; "
            "install the onnxruntime package that has it"
        )
    if name == CPU:
        return Place(word, name, measures=ALL_MEASURES)
    # NVIDIA's compute in TF32; Apple's and Intel's may choose float16.
    return Place(word, name, limit=_HALF)


def _xnnpack(here: bool) -> Place:
    name = PROVIDERS["xnnpack"]
    if here:
        return Place("xnnpack", name, static=True)
    python = home() / "xnnpack" / "python"
    if not python.is_file():
        raise InputError(
            "xnnpack is not in this onnxruntime; `lighttoken setup xnnpack` gets one that has it"
        )
    note = "in Debian trixie's onnxruntime, which is older"
    return Place("xnnpack", name, python=str(python), static=True, note=note)


def _qnn() -> Place:
    module = "onnxruntime_qnn"
    folder = home() / "qnn"
    path: tuple[str, ...] = ()
    if importlib.util.find_spec(module) is None:
        if not (folder / module).is_dir():
            raise InputError("onnxruntime_qnn is not here; `lighttoken setup qnn` gets it")
        path = (str(folder),)
    emulated = os.uname().machine == "x86_64" if hasattr(os, "uname") else False
    # A Snapdragon 8 Gen 3. For the emulator's default chip an encoder does not compile:
    # QNN_COMMON_ERROR_MEM_ALLOC.
    settings = {"soc_model": "57"} if emulated else {}
    note = (
        "Qualcomm's emulator of the NPU, function only: its times mean nothing" if emulated else ""
    )
    return Place(
        "qnn",
        PROVIDERS["qnn"],
        path=path,
        plugin=module,
        settings=settings,
        static=True,
        limit=_HALF,
        measures=("places",) if emulated else ("time", "memory", "places"),
        note=note,
    )


def _arm64() -> Place:
    python = home() / "arm64" / "python"
    if not python.is_file():
        raise InputError("no aarch64 Python is here; `lighttoken setup arm64` gets one for qemu")
    return Place(
        "arm64",
        CPU,
        python=str(python),
        measures=(),
        note="64-bit ARM under qemu, function only: its times mean nothing",
    )


def _browser(word: str) -> Place:
    missing = browser.missing()
    if missing is not None:
        raise InputError(missing)
    return Place(word, word, python="", note="headless Chromium")
