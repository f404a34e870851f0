"""A folder that measures a bundle on an Android phone, with adb and the NDK."""

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

from toolkit.files import folder_aside
from toolkit.markdown import prose

from ..profile.measure.job import Job
from .folder import copy_model, fill_in, jobs
from .runner.job_file import job_file

SOURCES = Path(__file__).with_name("runner")
"""Folder of the C++ program that measures where there is no Python."""
_FILES = Path(__file__).with_name("android_files")
_QNN = "QNNExecutionProvider"


def emit_android(
    bundle: Path, out: Path, job: Job, *, repeats: int = 3, force: bool = False
) -> None:
    """Write the folder ``out``; ``run.sh`` in it measures and leaves ``results.json``.

    Args:
        bundle: a bundle folder or a model file.
        out: the folder, made anew.
        job: as for :func:`.linux_arm64.emit_linux_arm64`; providers: those of onnxruntime's
            archives for Android.
        repeats: processes a measure.
        force: replace an ``out`` that such a call wrote, if nothing was added to it.

    Raises:
        InputError: ``out`` exists and is not replaced, a path is not here, or fewer than one
            process.
        FormatError: a damaged bundle or model.
    """
    with folder_aside(out, force=force, inputs=[bundle]) as aside:
        job = copy_model(bundle, aside, job)
        if job.provider == _QNN:
            settings = {"backend_path": "libQnnHtp.so", **job.settings}
            job = dataclasses.replace(job, settings=settings)
        for name in ("jobs", "runner"):
            (aside / name).mkdir()
        for number, one in enumerate(jobs(job, repeats)):
            (aside / "jobs" / f"{number:03}-{one.measure}.job").write_text(
                job_file(one), encoding="utf-8"
            )
        for source in _source_files():
            shutil.copy(source, aside / "runner")
        folder = Path(job.model).parent
        files = [job.model, *((folder / name).as_posix() for name in job.data)]
        (aside / "files").write_text(shlex.join(files), encoding="utf-8")
        subject = bundle.resolve().name
        (aside / "subject.json").write_text(json.dumps(subject))
        shutil.copy(_FILES / "run.sh", aside)
        (aside / "run.sh").chmod(0o755)
        fill_in(
            _FILES / "README.md",
            aside / "README.md",
            subject=prose(subject),
            provider=job.provider.removesuffix("ExecutionProvider"),
            threads=job.threads,
        )


def _source_files() -> tuple[Path, ...]:
    """What building the runner takes, beside onnxruntime's headers."""
    return tuple(
        path
        for path in sorted(SOURCES.iterdir())
        if path.suffix in (".cc", ".h") or path.name == "CMakeLists.txt"
    )
