"""The files that a measuring process needs, for Pythons that have no LightToken."""

from pathlib import Path

_PACKAGES = Path(__file__).resolve().parents[3]  # the folder that holds runtime/ and toolkit/
_EMPTY = (
    *("runtime/__init__.py", "runtime/profile/__init__.py", "runtime/profile/measure/__init__.py"),
    *("toolkit/__init__.py", "toolkit/bundle/__init__.py", "runtime/tasks/__init__.py"),
)
_FILES = (
    "toolkit/ort.py",
    "runtime/profile/measure/job.py",
    "runtime/tasks/steps.py",
    "toolkit/errors.py",
    "toolkit/bundle/feeds.py",
    "toolkit/bundle/tensors.py",
)
_WORKER = "runtime/profile/measure/worker"

MODULE = "runtime.profile.measure.worker"
"""What to run, ``python -m``, with the folder on the path."""


def carry(folder: Path) -> None:
    """Copy the worker, and what it imports of LightToken, into ``folder``.

    The packages' ``__init__.py`` are empty there, because what they import would be measured too.
    """
    worker = sorted((_PACKAGES / _WORKER).glob("*.py"))
    for name in (*_FILES, *(path.relative_to(_PACKAGES).as_posix() for path in worker)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((_PACKAGES / name).read_bytes())
    for name in _EMPTY:
        (folder / name).touch()
