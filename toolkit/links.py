"""Models whose files are links, as the Hugging Face hub's cache keeps them.

onnx and onnx-ir read no external data through a link that leads out of the model's folder, and none
from a file with several names. The links of the hub's cache lead to its own files, and a user may
name a model by a link: such files are copied to where all tools read them. Other links that lead
out are refused (:mod:`.graph.external`).
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from .errors import FormatError
from .graph.external import beside
from .graph.files import load_proto, model_tensors


def without_links(path: Path, work: Path) -> Path:
    """The model in ``path`` if onnx reads all its files; else a copy of the same name in ``work``.

    A link to an .onnx file may stand alone: the data are then looked for beside what it leads to.

    Args:
        path: an .onnx file. What is none, and what lacks files, is returned as it is.
        work: a folder that may not be there yet. The copy goes into a new folder below it.

    Raises:
        OSError: the copy does not fit on the disk.
    """
    files = dict(_external_files(path))
    if not any(_needs_copy(here, path.parent) for here in files):
        return path
    if not all(file.is_file() for file in files.values()):
        return path  # whoever reads it says what is missing
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=work))
    shutil.copyfile(path, folder / path.name)
    for here, file in files.items():
        target = folder / here.relative_to(path.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return folder / path.name


def _external_files(path: Path) -> Iterator[tuple[Path, Path]]:
    """Where each external file should be, beside the model, and where it is."""
    try:
        model = load_proto(path)
    except (FormatError, OSError):
        return
    tensors = [tensor for _, tensor in model_tensors(model) if uses_external_data(tensor)]
    for name in sorted({ExternalDataInfo(tensor).location for tensor in tensors}):
        yield path.parent / name, beside(path, name)


def _needs_copy(file: Path, folder: Path) -> bool:
    if not file.exists():
        return True
    outside = not file.resolve().is_relative_to(folder.resolve())
    return outside or file.stat().st_nlink > 1
