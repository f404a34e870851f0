"""The written file is checked: every id, the whole model, and what onnxruntime makes of it."""

from dataclasses import replace

import onnx_ir as ir

from ..bundle.ort_format import to_ort
from ..passes.fuse_attention import fusions
from ..verify.check import check_kernel, check_model, check_same
from ..verify.heads import check_heads
from ..verify.rows import check_rows_alone
from .state import Export, Report


def verify(state: Export, report: Report) -> None:
    """Run every check, then turn the model into onnxruntime's own format if that was asked for.

    Raises:
        CheckError: the file is not what it should be.
    """
    if state.not_here:
        state.parity = check_rows_alone(state.model_path, state.weights_path, state.packed)
        state.head_parity = check_heads(state.model_path, state.packed_heads)
        return
    fusible = state.fusible

    def fuse(model: ir.Model) -> None:
        for each in fusions(fusible):
            each(model)

    state.parity = check_model(
        state.model_path,
        state.weights_path,
        state.packed,
        heads=state.packed_heads,
        uncompressed=state.loaded.path,
        fusing=fuse if state.options.fuse else None,
        samples=state.samples,
    )
    state.head_parity = check_heads(state.model_path, state.packed_heads)
    ours = state.packed and not state.options.stock
    if state.kernel is not None and ours and state.options.target == "cpu":
        rows = min(table.embedding.rows for table in state.packed)
        found = check_kernel(state.model_path, state.kernel, state.ids_input, rows, state.samples)
        state.parity = replace(state.parity, kernel=found)
    if state.options.format == "ort":
        path = to_ort(state.model_path)
        check_same(state.model_path, path)
        state.model_path.unlink()
        state.model_path.with_name(state.structure.data).unlink(missing_ok=True)
        state.model_path = path
