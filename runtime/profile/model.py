"""The models to measure: their files, and what their jobs have in common."""

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from toolkit.bundle.feeds import LOGITS_TO_KEEP, NOT_IDS, free_dimensions, is_cache
from toolkit.bundle.manifest import MANIFEST_NAME, Manifest, read_manifest, verify_files
from toolkit.bundle.tensors import TensorInfo
from toolkit.errors import InputError
from toolkit.graph.files import load_proto, model_files
from toolkit.graph.forms import rounds_activations
from toolkit.graph.tables import find_tables
from toolkit.trellis import CODED

from .file_bytes import parts
from .report.report import Subject
from .step_bytes import StepBytes, step_bytes

_ROUNDED_LIMIT = 0.2  # as much as two right kernels were seen to differ by, twice
_TRELLIS_LIMIT = 0.5  # rows are rounded in another way by the kernel: 0.41 was seen, of a decoder
_APPROXIMATE_HEAD = 0.02
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Model:
    """A model to measure.

    Attributes:
        files: the model file, then its external data.
        manifest: of a bundle, else None.
        inputs: of the graph; empty for a ``.ort`` file, which only onnxruntime reads.
        limit: how far outputs may be off on another kernel, whatever the place.
        rows: vocabulary; 0 where nothing tells.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    manifest: Manifest | None
    inputs: tuple[TensorInfo, ...]
    limit: float
    rows: int

    @property
    def ids_input(self) -> str:
        """The input of token ids; empty where the worker has to guess."""
        return self.manifest.ids_input if self.manifest is not None else ""

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the external data files, relative to the model's folder."""
        return tuple(file.relative_to(self.path.parent).as_posix() for file in self.files[1:])

    @property
    def writes(self) -> bool:
        """Whether it is a decoder with a cache, of which nothing but text is asked.

        A merged graph with a switch is not, nor one that reads what an encoder gave.
        """
        known = (self.ids_input or "input_ids", *NOT_IDS, LOGITS_TO_KEEP)
        cache = [info.name for info in self.inputs if is_cache(info.name)]
        rest = {info.name for info in self.inputs} - {*cache, *known}
        return bool(cache) and not rest and not any(".encoder." in name for name in cache)

    @functools.cached_property
    def step(self) -> StepBytes:
        """What a decoder reads for a token."""
        return step_bytes(self.path, self.inputs)

    @functools.cached_property
    def sizes(self) -> dict[str, float]:
        """Bytes of all files, and as a server sends them with gzip, level 6."""
        return {
            "disk_bytes": float(sum(file.stat().st_size for file in self.files)),
            "download_bytes": float(sum(map(_zipped, self.files))),
        }

    def possible(self, grid: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
        """The points of the grid, with the texts and tokens that the graph fixes instead."""
        texts = tokens = None
        for info in self.inputs:
            if info.name == (self.ids_input or "input_ids") and len(info.shape) == 2:
                texts, tokens = (size if isinstance(size, int) else None for size in info.shape)
        return tuple(dict.fromkeys((texts or b, tokens or n) for b, n in grid))

    def dimensions(self, batch: int, length: int) -> dict[str, int]:
        """Values of all symbolic dimensions for such a call."""
        return free_dimensions(self.inputs, batch, length, self.ids_input or None)

    def describe(self) -> Subject:
        """What reports say of it."""
        by_part = {} if self.path.suffix == ".ort" else parts(self.path, self.ids_input or None)
        return Subject(self.name, str(self.path), by_part)


def read_models(paths: Sequence[Path]) -> list[Model]:
    """Bundle folders and model files, as models.

    Raises:
        InputError: there is nothing at a path.
        FormatError: a damaged bundle or model.
    """
    return [_read(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def _zipped(path: Path) -> int:
    packer = zlib.compressobj(6, wbits=31)
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())


def _read(path: Path, name: str) -> Model:
    manifest = None
    if path.is_dir():
        manifest = read_manifest(path)
        verify_files(path, manifest)
        path = path / manifest.model
    if not path.is_file():
        raise InputError(f"{path} is not here; give a bundle folder or an .onnx file")
    path = path.absolute()  # of a link: its neighbours are beside the link
    if manifest is None:
        manifest = _manifest_beside(path)
    files = model_files(path)
    inputs: tuple[TensorInfo, ...] = ()
    limit, rows = 0.0, 0
    if path.suffix != ".ort":
        proto = load_proto(path)
        inputs = tuple(_info(value) for value in proto.graph.input)
        graph = ir.from_proto(proto).graph
        rows = min((table.rows for table in find_tables(graph)), default=0)
        limit = _ROUNDED_LIMIT if rounds_activations(graph) else 0.0
    if manifest is not None:
        rows = manifest.rows
        limit = _ROUNDED_LIMIT if manifest.body not in ("fp32", "fp16") else 0.0
        if manifest.body in CODED:
            limit = _TRELLIS_LIMIT
        if manifest.packed_heads or manifest.heads:
            limit = max(limit, _APPROXIMATE_HEAD)
    return Model(name, path, files, manifest, inputs, limit, rows)


def _manifest_beside(path: Path) -> Manifest | None:
    """Of the model file of a bundle, which was given without its folder."""
    if not (path.parent / MANIFEST_NAME).is_file():
        return None
    manifest = read_manifest(path.parent)
    return manifest if manifest.model == path.name else None


def _info(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        for dim in tensor.shape.dim
    )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorInfo(value.name, dtype, shape)


def _names(paths: Sequence[Path]) -> list[str]:
    """Last part of each path; with its folder where two would be the same."""
    short = [path.absolute().name for path in paths]
    return [
        name if short.count(name) == 1 else f"{path.absolute().parent.name}/{name}"
        for name, path in zip(short, paths, strict=True)
    ]
