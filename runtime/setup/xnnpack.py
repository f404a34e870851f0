"""Debian trixie's Python and onnxruntime 1.21: the packaged one that is built with XNNPACK."""

from pathlib import Path

from toolkit.errors import InputError

from .calls import call, write_program
from .debian import unpack

# By its own loader and C library, whatever this machine's are. BLAS and LAPACK, which a package's
# script would have linked, are found by path.
_PYTHON = """\
#!/bin/sh
root=$(cd "$(dirname "$0")" && pwd)/root
for libraries in "$root"/usr/lib/*-linux-gnu*; do break; done
for loader in "$libraries"/ld-linux*.so.*; do break; done
PYTHONHOME=$root/usr PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 exec "$loader" \\
  --library-path "$libraries:$libraries/blas:$libraries/lapack" "$root/usr/bin/python3" "$@"
"""
_PROVIDER = "XnnpackExecutionProvider"


def fill(folder: Path) -> None:
    """Put ``root``, its files, and ``python``, a script that starts it, into an empty folder.

    Raises:
        InputError, MissingDependencyError: see :func:`.debian.unpack`.
    """
    unpack(["python3-onnxruntime"], "trixie", folder / "root")
    write_program(folder / "python", _PYTHON)
    code = "import onnxruntime; print(onnxruntime.get_available_providers())"
    failed = "trixie's onnxruntime does not start here; please report this as a bug"
    there = call([folder / "python", "-c", code], failed)
    if _PROVIDER not in there:
        raise InputError(f"trixie's onnxruntime has no {_PROVIDER} here, but {there.strip()}")
