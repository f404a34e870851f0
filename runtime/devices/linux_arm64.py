"""A folder that measures a bundle on a board: 64-bit ARM, Linux, with a Python."""

import dataclasses
import json
import shutil
from pathlib import Path

import onnxruntime

from toolkit.files import folder_aside
from toolkit.markdown import prose

from ..profile.measure.carry import MODULE, carry
from ..profile.measure.job import Job
from .folder import copy_model, fill_in, jobs

_FILES = Path(__file__).with_name("linux_arm64_files")


def emit_linux_arm64(
    bundle: Path, out: Path, job: Job, *, repeats: int = 3, force: bool = False
) -> None:
    """Write the folder ``out``; ``run.sh`` in it measures and leaves ``results.json``.

    Args:
        bundle: a bundle folder or a model file.
        out: the folder, made anew.
        job: provider, threads, grid, runs, warmup; ``ids`` of the call whose outputs are compared,
            or none, and then outputs are not sent back. Its model, data and measure are not read.
        repeats: processes a measure.
        force: replace an ``out`` that such a call wrote, if nothing was added to it.

    Raises:
        InputError: ``out`` exists and is not replaced, a path is not here, or fewer than one
            process.
        FormatError: a damaged bundle or model.
    """
    with folder_aside(out, force=force, inputs=[bundle]) as aside:
        job = copy_model(bundle, aside, job)
        plan = {
            "subject": bundle.resolve().name,
            "module": MODULE,
            "jobs": [dataclasses.asdict(one) for one in jobs(job, repeats)],
        }
        (aside / "plan.json").write_text(json.dumps(plan) + "\n")
        carry(aside / "worker")
        shutil.copy(_FILES / "measure_here.py", aside)
        shutil.copy(_FILES / "run.sh", aside)
        fill_in(
            _FILES / "README.md",
            aside / "README.md",
            subject=prose(str(plan["subject"])),
            version=onnxruntime.__version__,
        )
        (aside / "run.sh").chmod(0o755)
