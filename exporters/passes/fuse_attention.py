"""Fewer nodes with the same values: onnxruntime holds each one, with its names and shapes, in
memory, and sets it up at load."""

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from toolkit.graph.forms import MICROSOFT, is_op
from toolkit.temporary import temporary_folder

from ..verify.check import check_fused
from ..verify.differences import CheckError
from .attention_forms import find_attention
from .attention_nodes import Before, attention_nodes
from .base import JoiningPass, Mismatch, Pass, put_in_place
from .forget_shapes import ForgetShapes
from .fuse_bias import FuseBias
from .fuse_norms import DivideNorms
from .fuse_rotary import FuseRotary
from .group_attention import GroupAttention
from .merge_products import MergeProducts


@dataclass(frozen=True)
class Fusible:
    """What may be joined in a model.

    Attributes:
        attentions: that may become one node each.
        grouped: whether those that read a cache may be GroupQueryAttention.
    """

    attentions: int = 0
    grouped: bool = False


def find_fusible(path: Path, *, grouped: bool = False) -> Fusible:
    """What :func:`fusions` may join in a model, as its values show.

    Proved on the model as it came, in floats: where a model rounds what it computes, the last bit
    of a sum decides a step, and no comparison could tell an error from that.

    Args:
        path: a model with a table that ids look up.
        grouped: try GroupQueryAttention first.

    Returns:
        No attentions where none is written in a form that is known, or where the model would give
        something else, or not run.
    """
    for way in (True, False) if grouped else (False,):
        model, attentions, groups = ir.load(path), FuseAttention(), GroupAttention()
        for each in (DivideNorms(), FuseRotary(), attentions, groups):
            if way or each is not groups:
                each(model)
        if not attentions.count:
            return Fusible()
        if groups.count or not way:
            with temporary_folder() as folder:
                fused = folder / "fused.onnx"
                ir.save(model, fused, external_data=f"{fused.name}.data")
                try:
                    check_fused(fused, path)
                except CheckError:
                    continue
            return Fusible(attentions.count, grouped=way)
    return Fusible()


def fusions(fusible: Fusible) -> list[Pass]:
    """The passes that join nodes: attention and what belongs to it where that is allowed."""
    found: list[Pass] = []
    if fusible.attentions:
        found += [DivideNorms(), FuseRotary(), FuseAttention()]
        found += [GroupAttention()] if fusible.grouped else []
    return [*found, FuseBias(), MergeProducts(), ForgetShapes()]


class FuseAttention(JoiningPass):
    """Replace every attention that :func:`find_attention` finds by a MultiHeadAttention.

    That node is onnxruntime's own, with masks of every shape since 1.20, on CPUs, CUDA, WebGPU. It
    adds in another order, so that values agree but for their last places.
    """

    def join(self, model: ir.Model) -> int:
        """Rewrite ``model`` in place."""
        found = []
        for node in model.graph.all_nodes():
            if not is_op(node, "Softmax"):
                continue
            try:
                found.append(find_attention(node))
            except Mismatch as reason:
                self.leave(node, str(reason))
        made = Before(model.graph)
        for each in found:
            put_in_place(each.output, attention_nodes(each, made))
        if found:
            model.opset_imports.setdefault(MICROSOFT, 1)
        return len(found)
