"""The runtimes that can be set up: what each is for, whether it is here, how it comes and goes."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import InputError
from toolkit.files import folder_aside, user_cache
from toolkit.owned import LISTING, check_owned, entries, listed, write_listing

from . import arm64, home, qnn, web, xnnpack


@dataclass(frozen=True)
class Foreign:
    """A runtime that pip does not bring.

    Attributes:
        purpose: what it is for, in a few words.
        bytes: that it takes on disk, about.
        fill: puts it into an empty folder.
        is_whole: whether a folder holds all of it, in the version that is wanted.
    """

    purpose: str
    bytes: int
    fill: Callable[[Path], None]
    is_whole: Callable[[Path], bool]


def _has(name: str) -> Callable[[Path], bool]:
    return lambda folder: (folder / name).exists()


FOREIGN = {
    "xnnpack": Foreign(
        "XNNPACK on this machine: Debian trixie's onnxruntime 1.21",
        231_000_000,
        xnnpack.fill,
        _has("python"),
    ),
    "qnn": Foreign(
        f"the emulator of Qualcomm's NPU: onnxruntime-qnn {qnn.VERSION}",
        256_000_000,
        qnn.fill,
        _has(f"onnxruntime_qnn-{qnn.VERSION}.dist-info"),
    ),
    "arm64": Foreign(
        "64-bit ARM under qemu: an aarch64 Python with onnxruntime",
        186_000_000,
        arm64.fill,
        _has("python"),
    ),
    "web": Foreign(
        "browsers, on WASM and WebGPU: onnxruntime-web",
        166_000_000,
        web.fill,
        web.is_whole,
    ),
}


@dataclass(frozen=True)
class State:
    """A runtime on this machine.

    Attributes:
        here: it is set up, whole.
        bytes: of its files; 0 if there are none.
        about_bytes: that it takes when it is set up, about.
    """

    name: str
    here: bool
    bytes: int
    about_bytes: int
    purpose: str


def states() -> tuple[State, ...]:
    """Every runtime."""
    return tuple(
        State(name, is_here(name), _folder_bytes(home() / name), runtime.bytes, runtime.purpose)
        for name, runtime in FOREIGN.items()
    )


def is_here(name: str) -> bool:
    """Whether that runtime is set up, whole."""
    return FOREIGN[name].is_whole(home() / name)


def set_up(name: str) -> Path:
    """Put the runtime into ``home() / name``, unless it is there already; that folder.

    Made aside and renamed: an attempt that fails leaves what was there as it was.

    Raises:
        InputError: no such runtime, or a download failed.
        MissingDependencyError: a program that this takes is not here.
    """
    runtime = _find(name)
    folder = home() / name
    if not runtime.is_whole(folder):
        home().mkdir(parents=True, exist_ok=True)
        with folder_aside(folder, force=True, owned=_owned) as aside:
            runtime.fill(aside)
            if not runtime.is_whole(aside):
                raise InputError(f"{name} came without its files; please report this as a bug")
            write_listing(aside)
    return folder


def remove(name: str) -> bool:
    """Delete the runtime's folder; False if there was none.

    Raises:
        InputError: no such runtime, or something is in its folder that ``setup`` did not write.
    """
    _find(name)
    folder = home() / name
    if not os.path.lexists(folder):
        return False
    if folder.is_symlink() or not folder.is_dir():
        raise InputError(f"{folder} is no folder that setup made; remove it yourself")
    check_owned(folder, _owned, called=folder, act="deleted")
    shutil.rmtree(folder)
    return True


def _owned(folder: Path) -> set[str]:
    """What ``setup`` wrote there. In the user's cache that is all, without a list of it too."""
    if home() == user_cache() and not (folder / LISTING).exists():
        return {name for name, _ in entries(folder)}
    return listed(folder)


def _folder_bytes(folder: Path) -> int:
    every = (path for path in folder.rglob("*") if path != folder / LISTING)
    files = (path.lstat() for path in every if not path.is_dir())
    return sum(status.st_size for status in files)


def _find(name: str) -> Foreign:
    if name not in FOREIGN:
        raise InputError(f"no runtime is called {name!r}; choose one of {', '.join(FOREIGN)}")
    return FOREIGN[name]
