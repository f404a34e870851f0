"""Calls of other programs, whose failures become one line."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.errors import InputError, MissingDependencyError
from toolkit.processes import run_program


def need(tool: str, get: str) -> str:
    """Path of a program.

    Raises:
        MissingDependencyError: it is not here; ``get`` says what to do.
    """
    path = shutil.which(tool)
    if path is None:
        raise MissingDependencyError(f"{tool} is not here; {get}")
    return path


def call(
    command: Sequence[str | Path],
    failed: str,
    *,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """What a program prints on stdout; it runs in ``folder``.

    Raises:
        InputError: it failed; ``failed`` is what that means to the user, and the program's own
            last line stands behind it.
    """
    done = run_program(command, folder=folder, env=env)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines()]
        told = [line for line in lines if line]
        errors = [line for line in told if line.lower().startswith(("error", "e:", "npm error"))]
        why = (errors or told[-1:] or [f"exit status {done.returncode}"])[0]
        raise InputError(f"{failed} ({why})")
    return done.stdout


def write_program(path: Path, text: str) -> None:
    """A script that can be run."""
    path.write_text(text)
    path.chmod(0o755)
