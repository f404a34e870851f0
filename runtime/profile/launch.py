"""Start a measuring process and read its answer."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from toolkit.errors import InputError

from .spec import WorkerSpec

_PACKAGES = Path(__file__).resolve().parents[2]  # the folder that holds runtime/ and toolkit/


def launch(spec: WorkerSpec, timeout_s: float) -> dict[str, float | None]:
    """Measure ``spec`` in a fresh Python process; figures by name.

    Raises:
        InputError: the process found the model unusable, crashed, or took longer than
            ``timeout_s`` seconds.
    """
    paths = [str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            # -P: a folder named «runtime» in the working directory must not be imported instead.
            [sys.executable, "-P", "-m", "runtime.profile.worker"],
            input=spec.to_json(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"measuring {spec.model} took longer than {timeout_s:g} s; "
            "ask for fewer runs or shorter texts"
        ) from error
    answer = _last_json(done.stdout)
    if done.returncode == 0 and isinstance(answer.get("figures"), dict):
        return answer["figures"]
    if isinstance(answer.get("error"), str):
        raise InputError(f"measuring failed: {answer['error']}")
    raise InputError(f"the process that measured {spec.model} {_ending(done)}")


def _last_json(stdout: str) -> dict[str, dict[str, float | None]]:
    try:
        answer = json.loads(stdout.strip().rsplit("\n", 1)[-1])
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        try:
            name = signal.Signals(-done.returncode).name
        except ValueError:
            name = f"signal {-done.returncode}"
        return f"was ended by {name}; is there memory enough for the model?"
    last = " ".join(done.stderr.strip().rsplit("\n", 1)[-1].split())[:300]
    return f"failed with status {done.returncode} ({last or 'no message'}); report this"
