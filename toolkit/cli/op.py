"""``lighttoken op``: build the native kernel."""

import shlex
from pathlib import Path

import click

from toolkit.errors import InputError
from toolkit.files import complete
from toolkit.temporary import temporary_folder

from .console import json_option, print_json, progress, say

_TARGETS = (
    *("host", "aarch64-linux", "android-arm64", "android-x86_64"),
    *("manylinux-x86_64", "manylinux-aarch64", "musllinux-x86_64", "musllinux-aarch64"),
    *("macos-x86_64", "macos-arm64", "windows-x86_64", "windows-arm64"),
)
_EXAMPLE = """\b
Examples:
  lighttoken op
  lighttoken op --target aarch64-linux --out board/
  lighttoken op --target android-arm64 --headers onnxruntime-android/headers --print
"""


@click.command(epilog=_EXAMPLE)
@click.option(
    "--target",
    type=click.Choice(_TARGETS),
    default="host",
    show_default=True,
    help="Machine that the kernel is for.",
)
@click.option(
    "--headers", type=click.Path(path_type=Path), help="Folder that holds onnxruntime_cxx_api.h."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the library; an older one there is replaced [default: where sessions look; "
    "for another target, here].",
)
@click.option(
    "--print", "only_print", is_flag=True, help="Print the CMake calls and build nothing."
)
@json_option
def command(
    target: str, headers: Path | None, out: Path | None, only_print: bool, as_json: bool
) -> None:
    """Build the kernel that decodes the table natively, with CMake and a C++17 compiler.

    Sessions on this machine find it by themselves. Without it the function inside the model file
    decodes the table, several times slower.
    """
    from runtime.custom_op.build import (
        LIBRARY,
        TARGETS,
        BuildError,
        build,
        cmake_call,
        find_headers,
    )

    chosen = TARGETS[target]
    if only_print:
        wanted = str(headers) if headers else "$ONNXRUNTIME_INCLUDE_DIR"
        configure = " ".join(_quote(word) for word in cmake_call(chosen, wanted, "build"))
        calls = [configure, "cmake --build build"]
        if as_json:
            print_json({"target": target, "calls": calls, "library": chosen.library})
        else:
            for call in calls:
                say(call)
        return
    folder = out or (LIBRARY.parent if target == "host" else Path.cwd())
    try:
        with temporary_folder() as scratch, progress("building the kernel"):
            found = find_headers(headers, scratch)
            path = build(chosen, found, folder / chosen.library, scratch)
        complete.append(path)
    except BuildError as error:
        raise InputError(str(error)) from error
    if as_json:
        print_json({"target": target, "path": str(path), "bytes": path.stat().st_size})
    else:
        say(f"built {path}")


def _quote(word: str) -> str:
    """For a shell that is to fill in the variables."""
    return f'"{word}"' if "$" in word else shlex.quote(word)
