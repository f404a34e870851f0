"""Measures the model beside it, each time in a process of its own; ``run.sh`` starts this.

    python measure_here.py

Reads ``plan.json``, writes ``results.json``. Needs numpy and onnxruntime, for the processes.
"""

import contextlib
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# In an emulator the interpreter is started by a script, which sys.executable does not name.
PYTHON = os.environ.get("LIGHTTOKEN_PYTHON") or sys.executable


def main() -> int:
    """Run the plan; the exit status."""
    if platform.machine() not in ("aarch64", "arm64"):
        return fail(f"this machine is {platform.machine()}, not aarch64; run it on the board")
    plan = json.loads((HERE / "plan.json").read_text())
    answers = []
    for number, job in enumerate(plan["jobs"], 1):
        print(f"{number} of {len(plan['jobs'])}: {job['measure']}", file=sys.stderr)
        told = run(plan["module"], job)
        if "answer" not in told:
            return fail(f"{job['measure']}: {told.get('error', 'no answer')}")
        answers.append({"measure": job["measure"], "answer": told["answer"]})
    results = {
        "kind": "lighttoken device results",
        "schema": 1,
        "place": "linux-arm64",
        "subject": plan["subject"],
        "environment": environment(),
        "answers": answers,
    }
    aside = HERE / ".results.json"
    aside.write_text(json.dumps(finite(results), allow_nan=False) + "\n")
    aside.replace(HERE / "results.json")
    print(f"wrote {HERE / 'results.json'}")
    return 0


def run(module: str, job: dict[str, Any]) -> dict[str, Any]:
    """The last line of the process that measures."""
    job["model"] = str(HERE / job["model"])
    if job["library"]:
        job["library"] = str(HERE / job["library"])
    if job["measure"] == "cold":
        drop([Path(job["model"]), *(Path(job["model"]).parent / name for name in job["data"])])
    done = subprocess.run(
        [PYTHON, "-m", module],
        input=json.dumps(job),
        env={"ORT_DISABLE_TELEMETRY": "1"}
        | os.environ
        | {"PYTHONPATH": str(HERE / "worker"), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    try:
        told = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"error": f"the process ended with status {done.returncode}: {why}"}
    return dict(told)


def finite(data: Any) -> Any:
    """``data`` with null for numbers that are none: JSON has no word for them."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {name: finite(value) for name, value in data.items()}
    return [finite(one) for one in data] if isinstance(data, (list, tuple)) else data


def drop(files: list[Path]) -> None:
    """Out of the page cache, so that the next load reads from the disk."""
    for path in files:
        with path.open("rb") as file, contextlib.suppress(OSError):
            os.fsync(file.fileno())  # pages not yet on disk cannot be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def environment() -> dict[str, Any]:
    """What machine this is."""
    return {
        "system": platform.platform(),
        "machine": board(),
        "cores": os.cpu_count() or 0,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
    }


def board() -> str:
    """Its name, where the firmware tells."""
    try:
        name = Path("/proc/device-tree/model").read_text(errors="replace").strip("\0\n ")
    except OSError:
        name = ""
    return name or platform.machine()


def fail(why: str) -> int:
    """One line, and the exit status."""
    print(f"error: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
