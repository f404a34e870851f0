"""What all folders for devices share: copying the model, listing the jobs, filling templates."""

import dataclasses
import shutil
from pathlib import Path
from string import Template

from toolkit.bundle.manifest import MANIFEST_NAME, read_manifest, verify_files
from toolkit.errors import InputError
from toolkit.graph.files import model_files

from ..profile.measure.job import Job

MODEL_FOLDER = "bundle"
LIBRARY_FOLDER = "library"


def copy_model(bundle: Path, out: Path, job: Job) -> Job:
    """Copy the model into ``out``; the job with paths relative to ``out``.

    Args:
        bundle: a bundle's folder, which is copied as its manifest lists it, or a model file, which
            is copied with its external data.
        out: the folder that is emitted.
        job: of its fields ``model``, ``data``, ``library``, ``ids_input`` and ``rows`` are filled
            in; a ``library`` of custom operators, which has to be the device's, is copied too.

    Raises:
        InputError: there is nothing at a path.
        FormatError: a damaged bundle or model.
    """
    target = out / MODEL_FOLDER
    if bundle.is_dir():
        manifest = read_manifest(bundle)
        verify_files(bundle, manifest)
        names = [MANIFEST_NAME, *manifest.files]
        model = manifest.model
        job = dataclasses.replace(job, ids_input=manifest.ids_input, rows=manifest.rows)
    elif bundle.is_file():
        names = [path.relative_to(bundle.parent).as_posix() for path in model_files(bundle)]
        model, bundle = bundle.name, bundle.parent
    else:
        raise InputError(f"{bundle} is not here; give a bundle folder or an .onnx file")
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(bundle / name, target / name)
    files = model_files(target / model)
    beside = (target / model).parent
    return dataclasses.replace(
        job,
        model=f"{MODEL_FOLDER}/{model}",
        data=tuple(path.relative_to(beside).as_posix() for path in files[1:]),
        library=_copy_library(job.library, out),
    )


def jobs(job: Job, repeats: int) -> list[Job]:
    """The processes to run, in order.

    ``values`` once, if the job has ids; then ``time``, ``memory`` and ``cold`` in each of
    ``repeats`` rounds.

    Raises:
        InputError: fewer than one round.
    """
    if repeats < 1:
        raise InputError(f"repeats must be at least 1, got {repeats}")
    measures = [*(["values"] if job.ids else []), *(["time", "memory", "cold"] * repeats)]
    return [dataclasses.replace(job, measure=measure) for measure in measures]


def fill_in(template: Path, out: Path, **values: object) -> None:
    """Write ``template`` to ``out``, ``$name`` replaced by each value."""
    text = Template(template.read_text(encoding="utf-8")).substitute(values)
    out.write_text(text, encoding="utf-8")


def _copy_library(library: str, out: Path) -> str:
    if not library:
        return ""
    source = Path(library)
    if not source.is_file():
        raise InputError(f"{source} is not here; give the library of operators for the device")
    (out / LIBRARY_FOLDER).mkdir()
    shutil.copy(source, out / LIBRARY_FOLDER / source.name)
    return f"{LIBRARY_FOLDER}/{source.name}"
