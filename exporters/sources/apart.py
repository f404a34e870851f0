"""Exporting to ONNX in a process of its own.

torch's exporter has been seen to die of a segmentation fault, and large models to be killed for
memory. Here that ends a process that holds nothing else: the export says so in one line, and cleans
up. The memory of the traced model is free again, too, before the table is compressed.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from toolkit.errors import InputError
from toolkit.json_files import last_json, parse_json
from toolkit.processes import end_with_parent, run_program

from .facts import Facts

_COMMAND = (sys.executable, "-m", "exporters.sources.apart")
_KILLED = 9  # the number of a signal that not every system has


@dataclass(frozen=True)
class Job:
    """One road from a folder to ONNX.

    Attributes:
        road: "dynamo" or "optimum".
        folder: the model's.
        facts: what it says.
        task: optimum's word for what is made.
        out: a folder that is there, for ``model.onnx`` and its weights.
        trust: run the Python code that the model brings.
        with_past: a decoder with a cache.
    """

    road: str
    folder: Path
    facts: Facts
    task: str
    out: Path
    trust: bool
    with_past: bool


def in_own_process(job: Job) -> None:
    """Do it in a new process.

    Raises:
        InputError: the exporter does not take the model, or its process died.
    """
    paths = {"folder": str(job.folder), "out": str(job.out)}
    facts = asdict(replace(job.facts, pooling=None))  # no exporter asks for it
    path = os.pathsep.join(path for path in sys.path if path)
    # Where the command runs may lie anything, also a torch.py: nothing is imported from there.
    safe = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    given = json.dumps(vars(job) | paths | {"facts": facts})
    done = run_program(_COMMAND, given=given, env=os.environ | safe)
    told = last_json(done.stdout)
    if "error" in told:
        raise InputError(str(told["error"]))
    if done.returncode:
        raise InputError(
            f"the {job.road} exporter {_end(done)} on {job.folder.name}; try another --exporter, "
            "or give an .onnx file"
        )


def _end(done: "subprocess.CompletedProcess[str]") -> str:
    """How a process ended that told nothing."""
    if done.returncode == -_KILLED:
        return "was killed, as happens where memory runs out,"
    if done.returncode < 0:
        return f"died of {signal.Signals(-done.returncode).name}"
    last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
    return f"ended with code {done.returncode} ({last[:200]})"


def _main() -> None:
    end_with_parent()
    from .to_onnx import export_here

    given = parse_json(sys.stdin.read())
    paths = {"folder": Path(given["folder"]), "out": Path(given["out"])}
    told = {}
    try:
        export_here(Job(**(given | paths | {"facts": Facts(**given["facts"])})))
    except InputError as error:
        told["error"] = str(error)
    print(f"\n{json.dumps(told)}")


if __name__ == "__main__":
    _main()
