"""An .onnx file as an onnx-ir model, or one line that says why not."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from ..errors import FormatError, InputError
from ..quiet import first_line
from .files import load_proto
from .nodes import check_nodes
from .order import check_order


def load_graph(path: Path) -> ir.Model:
    """Read an .onnx file; weights stay on disk until used.

    Raises:
        InputError: no ONNX model, a tensor that is not where or as large as it says, or external
            data that is missing.
    """
    if not path.is_file():
        raise InputError(f"{path} is not here; give an .onnx file")
    if path.suffix == ".ort":
        raise InputError(
            f"{path} is in onnxruntime's own format, which cannot be rewritten; give the .onnx "
            "file that it was made from"
        )
    try:
        with _quiet():
            model = ir.from_proto(load_proto(path))
            ir.external_data.set_base_dir(model.graph, path.parent)
        if not len(model.graph):
            raise InputError(f"{path} is no ONNX model (it holds no graph); give an .onnx file")
        for value in model.graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                _check_external(value.const_value, path)
        if "ai.onnx" in model.opset_imports:  # the long name of the same domain
            model.opset_imports[""] = model.opset_imports.pop("ai.onnx")
        check_order(model, path)
        check_nodes(model, path)
        return model
    except InputError:
        raise
    except FormatError as error:
        raise InputError(str(error)) from error
    except Exception as error:  # of a file from anyone, whatever onnx-ir makes of it
        raise InputError(
            f"{path} is no ONNX model ({first_line(error)}); give an .onnx file"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """onnx-ir logs what a graph lacks; :mod:`.nodes` says it in one line."""
    log = logging.getLogger("onnx_ir.serde")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _check_external(tensor: ir.ExternalTensor, model: Path) -> None:
    file = Path(tensor.path)
    if not file.is_file():
        raise InputError(f"{file} is missing; it holds the weights of {model.name}: copy it there")
    if file.stat().st_size < (tensor.offset or 0) + (tensor.length or tensor.nbytes):
        raise InputError(f"{file} is too short for the weights of {model.name}; copy it again")
