"""Other programs, none of which outlives its call, nor what it puts into the temporary folder."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .signals import uninterrupted
from .temporary import temporary_folder

_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


def run_program(
    command: Sequence[str | Path],
    *,
    given: str | None = None,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run ``command`` to its end and keep what it prints.

    An exception on the way, as of Ctrl-C or SIGTERM, ends it and all that it started.

    Args:
        command: program and arguments.
        given: its stdin.
        folder: where it runs.
        env: its environment; by default this process's. Its temporary folder is one of its own.
    """
    with temporary_folder("lighttoken-") as temporary:
        process: subprocess.Popen[str] | None = None
        try:
            with uninterrupted():
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env={**(os.environ if env is None else env), "TMPDIR": str(temporary)},
                    stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
            stdout, stderr = process.communicate(given)
        finally:
            if process is not None:
                end_group(process)
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def end_group(process: "subprocess.Popen[str]") -> None:
    """Kill a process that was started in a session of its own, with all that it started."""
    with uninterrupted():
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def end_with_parent() -> None:
    """On Linux: have this process killed as soon as the one that started it has died."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_WITH_PARENT, int(signal.SIGKILL))
