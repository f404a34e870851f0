"""Products with weights become onnxruntime's MatMulNBits: a few bits a number, a scale a group."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit.graph.forms import MICROSOFT
from toolkit.graph.store import store
from toolkit.rounding import GroupedWeight, in_half, round_by_outputs

from ..weights.calibration import SecondMoments
from ..weights.products import Product
from .base import Pass, put_in_place

_LEAST_GROUP = 16  # that MatMulNBits takes
INT8_ACTIVATIONS = 4  # its accuracy_level: products of integers, several times faster on CPUs


class QuantizeProducts(Pass):
    """Turn products with weights into MatMulNBits nodes.

    Args:
        products: with float32 weights, found in the model that the pass is called on.
        calibration: second moments of their inputs, by the values' names, a few at a time; a
            product whose inputs never come is rounded to nearest.
        known: matrices that are rounded already.
        bits: of a number, 4 or 8.
        group_size: numbers that share a scale; less where a product sums fewer.
    """

    def __init__(
        self,
        products: Iterable[Product],
        calibration: Iterable[SecondMoments] = (),
        *,
        known: Mapping[Product, GroupedWeight] | None = None,
        bits: int = 4,
        group_size: int = 128,
    ) -> None:
        super().__init__()
        self.products = list(products)
        self.calibration = calibration
        self.known = known or {}
        self.bits = bits
        self.group_size = group_size

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        left = [product for product in self.products if product not in self.known]
        for product, weight in self.known.items():
            _replace(model, product, weight)
        for part in self.calibration:
            for product in [p for p in left if p.inputs.name in part]:
                known = part[str(product.inputs.name)]
                _replace(model, product, _rounded(product, known, self.bits, self.group_size))
                left.remove(product)
        for product in left:
            _replace(model, product, _rounded(product, None, self.bits, self.group_size))
        if self.products:
            model.opset_imports.setdefault(MICROSOFT, 1)
        return ir.passes.PassResult(model, modified=bool(self.products))


def _rounded(
    product: Product, second_moments: NDArray[np.float64] | None, bits: int, group_size: int
) -> GroupedWeight:
    weight = product.matrix()
    size = _group_size(group_size, weight.shape[1])
    return round_by_outputs(weight, second_moments, bits=bits, group_size=size)


def _group_size(wanted: int, columns: int) -> int:
    """The largest size up to ``wanted`` that is not mostly filling."""
    while wanted > _LEAST_GROUP and wanted >= 2 * columns:
        wanted //= 2
    return wanted


def _replace(model: ir.Model, product: Product, weight: GroupedWeight) -> None:
    outputs, sums = product.shape
    name = product.weight.name
    nodes: list[ir.Node] = []
    packed = _stored(model, f"{name}.packed", weight.packed())
    before, exact = product.node, weight.scales.reshape(-1)
    # onnxruntime folds the cast at load; what it does in branches is its own affair.
    kept = in_half(exact) if before.graph is model.graph else exact
    scales = _stored(model, f"{name}.scales", kept)
    if kept.dtype == np.float16:
        cast = ir.node("Cast", [scales], {"to": ir.DataType.FLOAT}, name=f"{before.name}_scales")
        nodes.append(cast)
        scales = cast.outputs[0]
        scales.name = f"{before.outputs[0].name}_scales"
    new = ir.node(
        "MatMulNBits",
        [product.inputs, packed, scales],
        domain=MICROSOFT,
        name=before.name,
        attributes={
            "K": sums,
            "N": outputs,
            "bits": weight.bits,
            "block_size": weight.group_size,
            "accuracy_level": INT8_ACTIVATIONS,
        },
    )
    nodes.append(new)
    if product.bias is not None:
        new.outputs[0].name = f"{before.outputs[0].name}_without_bias"
        nodes.append(ir.node("Add", [new.outputs[0], product.bias], name=f"{before.name}_bias"))
    for value in (node.outputs[0] for node in nodes):
        value.dtype = ir.DataType.FLOAT
    put_in_place(before.outputs[0], nodes)
    if not product.weight.uses() and name is not None:
        owner = product.weight.graph or model.graph
        owner.initializers.pop(name, None)


def _stored(model: ir.Model, name: str, array: NDArray[Any]) -> ir.Value:
    """An initializer; one matrix may serve several products."""
    value = model.graph.initializers.get(name)
    return store(model.graph, name, array) if value is None else value
