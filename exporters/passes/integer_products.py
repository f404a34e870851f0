"""Products with weights become products of integers: rows rounded as they come, weights in int8."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit.graph.contract import WEIGHTS_DOMAIN, free_name
from toolkit.graph.store import store_once
from toolkit.progress import Progress
from toolkit.rounding import in_half, round_by_outputs
from toolkit.threads import map_on_cores
from toolkit.trellis import (
    MIXED,
    TRELLISES,
    TrellisWeight,
    block_size,
    hadamard,
    round_by_trellis,
    shift,
    trellis,
)

from ..ops.integer_product import (
    DECODING_INPUTS,
    ROW_ZERO,
    TRELLIS_INPUTS,
    decoding_function,
    rows_function,
    trellis_function,
)
from ..weights.calibration import SecondMoments
from ..weights.products import Product
from .base import Pass, put_in_place

_FUNCTIONS_IR_VERSION = 8  # the first in which a model may hold functions
_NAME = "lighttoken"
_MOST_EXACT = "trellis4"  # of what nothing is said of

Int8 = tuple[NDArray[np.int8], NDArray[np.floating]]  # [n, k], and a scale for each of n outputs


class IntegerProducts(Pass):
    """Turn products with weights into MatMulInteger.

    Each row of the activations is rounded to 8 bits by its own largest number, after its columns
    were brought to like size: a column that is large in all rows would leave few steps to the
    others. What columns are divided by the weights are multiplied with (SmoothQuant, Xiao et al.,
    ICML 2023, section 4, at a strength of one half).

    Weights have a scale for each output. They are stored as int8, or in the 2 to 4 bits of
    :mod:`toolkit.trellis`, which onnxruntime makes int8 of when it loads the model.

    Args:
        products: with float32 weights, found in the model that the pass is called on.
        calibration: second moments of their inputs, by the values' names, a few at a time; a
            product whose inputs never come is rounded to nearest.
        form: of stored weights, int8 or one of :data:`toolkit.trellis.TRELLISES`.
        forms: of some, by the weight's name.
        progress: told how far the work is.
    """

    def __init__(
        self,
        products: Iterable[Product],
        calibration: Iterable[SecondMoments] = (),
        *,
        form: str = "int8",
        forms: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self.products = list(products)
        self.calibration = calibration
        self.form = form
        self.forms = forms or {}
        self.progress = progress
        self._done = 0
        # Weights that several layers share, as ALBERT's: one matrix cannot suit several inputs.
        readers: dict[str, set[ir.Value]] = {}
        for product in self.products:
            readers.setdefault(str(product.weight.name), set()).add(product.inputs)
        self._shared = {name for name, inputs in readers.items() if len(inputs) > 1}
        self._names: dict[ir.Value, str] = {}
        self._rows: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place."""
        left = list(self.products)
        for part in self.calibration:
            known = [product for product in left if product.inputs.name in part]
            self._round(model, known, part)
            left = [product for product in left if product not in known]
        self._round(model, left, {})
        if self.products:
            model.opset_imports[WEIGHTS_DOMAIN] = 1
            model.ir_version = max(model.ir_version, _FUNCTIONS_IR_VERSION)
        return ir.passes.PassResult(model, modified=bool(self.products))

    def _round(self, model: ir.Model, products: Sequence[Product], moments: SecondMoments) -> None:
        matrices = {product: product.matrix() for product in products}
        factors = _column_factors(matrices, moments, self._shared)

        def rounded(product: Product) -> TrellisWeight | Int8:
            by = factors[product.inputs]
            known = moments.get(str(product.inputs.name))
            seen = None if known is None else known / by[:, None] / by
            return _rounded(matrices[product] * by, seen, self._form(str(product.weight.name)))

        for product, weight in zip(products, map_on_cores(rounded, products), strict=True):
            self._replace(model, product, weight, factors[product.inputs])
            self._done += 1
            if self.progress is not None:
                self.progress(self._done / len(self.products), "rounding the weights")

    def _form(self, name: str) -> str:
        return self.forms.get(name, _MOST_EXACT if self.form == MIXED else self.form)

    def _name(self, value: ir.Value) -> str:
        """What tensors made of ``value`` are named after: in two branches it may have one name."""
        if value not in self._names:
            self._names[value] = free_name(str(value.name), set(self._names.values()))
        return self._names[value]

    def _replace(
        self,
        model: ir.Model,
        product: Product,
        weight: TrellisWeight | Int8,
        factors: NDArray[np.float32],
    ) -> None:
        before, name = product.node, self._name(product.weight)
        nodes: list[ir.Node] = []
        shared = str(product.weight.name) in self._shared
        if isinstance(weight, TrellisWeight) and not shared:
            columns = self._columns(model, product.inputs, factors)
            value = _by_codes(nodes, model, name, product.inputs, columns, weight)
        else:
            rows, scale = self._quantized(model, product.inputs, factors, before)
            if isinstance(weight, TrellisWeight):  # decoded once for all who read it
                matrix, steps = _decoded(model, name, weight), weight.scales
            else:
                matrix, steps = store_once(model.graph, f"{name}.int8", weight[0].T), weight[1]
            half = in_half(steps) if before.graph is model.graph else steps
            stored = store_once(model.graph, f"{name}.steps", half)
            if half.dtype == np.float16:
                stored = _append(nodes, "Cast", [stored], {"to": ir.DataType.FLOAT})
            value = _by_integers(nodes, model, rows, scale, matrix, stored)
        if product.bias is not None:
            _append(nodes, "Add", [value, product.bias])
        for number, node in enumerate(nodes):
            node.name = f"{before.name}.{number}.{node.op_type}"
            node.outputs[0].name = f"{before.outputs[0].name}.{number}"
        put_in_place(before.outputs[0], nodes)
        if not product.weight.uses() and product.weight.name is not None:
            owner = product.weight.graph or model.graph
            owner.initializers.pop(product.weight.name, None)

    def _columns(self, model: ir.Model, value: ir.Value, factors: NDArray[np.float32]) -> ir.Value:
        """What columns of ``value`` are multiplied by, stored once for all its products."""
        name = f"{self._name(value)}.columns"
        return store_once(model.graph, name, (1 / factors).astype(np.float16))

    def _quantized(
        self, model: ir.Model, value: ir.Value, factors: NDArray[np.float32], reader: ir.Node
    ) -> tuple[ir.Value, ir.Value]:
        """Rows of ``value`` in uint8 and their scales, made once for all products of the value."""
        if value not in self._rows:
            held = self._columns(model, value, factors)
            function = rows_function(model.opset_imports[""], len(factors))
            node = _called(model, function, [value, held], f"{value.name}.rows")
            node.outputs[0].dtype, node.outputs[1].dtype = ir.DataType.UINT8, ir.DataType.FLOAT
            maker = value.producer()
            graph = reader.graph if maker is None else maker.graph
            assert graph is not None
            if maker is None:
                graph.insert_before(graph[0], node)
            else:
                graph.insert_after(maker, node)
            self._rows[value] = (node.outputs[0], node.outputs[1])
        return self._rows[value]


def _column_factors(
    matrices: Mapping[Product, NDArray[np.float32]], moments: SecondMoments, shared: set[str]
) -> dict[ir.Value, NDArray[np.float32]]:
    """What columns of each products' input are divided by, powers of two, [k]; 1 where nothing is
    known, or a weight has other inputs too. Products of one input share them."""
    found: dict[ir.Value, NDArray[np.float32]] = {}
    for value in dict.fromkeys(product.inputs for product in matrices):
        readers = [product for product in matrices if product.inputs is value]
        weights = [matrices[product] for product in readers]
        width = weights[0].shape[1]
        found[value] = np.ones(width, np.float32)
        known = moments.get(str(value.name))
        if known is None or any(product.weight.name in shared for product in readers):
            continue
        size = np.sqrt(np.diag(known))
        reach = np.max([np.abs(weight).max(axis=0) for weight in weights], axis=0)
        usable = (size > 0) & (reach > 0)
        if usable.any():
            wanted = np.zeros(width)
            wanted[usable] = np.log2(size[usable] / reach[usable]) / 2
            wanted[usable] -= np.median(wanted[usable])
            found[value] = (2.0 ** np.rint(wanted.clip(-8, 8))).astype(np.float32)
    return found


def _rounded(
    weight: NDArray[np.float32], second_moments: NDArray[np.float64] | None, form: str
) -> TrellisWeight | Int8:
    """Codes, or int8 [n, k] and scales [n]."""
    if form in TRELLISES:
        return round_by_trellis(weight, second_moments, form=form)
    whole = round_by_outputs(weight, second_moments, bits=8, group_size=weight.shape[1])
    return (whole.codes.astype(np.int16) - 128).astype(np.int8), whole.scales[:, 0]


def _by_integers(
    nodes: list[ir.Node],
    model: ir.Model,
    rows: ir.Value,
    scale: ir.Value,
    matrix: ir.Value,
    steps: ir.Value,
) -> ir.Value:
    """``rows`` in uint8 with a ``scale`` each, times an int8 ``matrix`` with ``steps``."""
    zero = store_once(model.graph, f"{_NAME}.row_zero", np.array(ROW_ZERO, np.uint8))
    sums = _append(nodes, "MatMulInteger", [rows, matrix, zero], dtype=ir.DataType.INT32)
    value = _append(nodes, "Cast", [sums], {"to": ir.DataType.FLOAT})
    # Not a product of both scales first: onnxruntime would take that for one number's.
    return _append(nodes, "Mul", [_append(nodes, "Mul", [value, steps]), scale])


def _by_codes(
    nodes: list[ir.Node],
    model: ir.Model,
    name: str,
    values: ir.Value,
    columns: ir.Value,
    weight: TrellisWeight,
) -> ir.Value:
    """``values`` times the matrix that codes stand for."""
    tensors = _code_tensors(model.graph, name, weight)
    tensors |= {"values": values, "columns": columns}
    tensors["steps"] = store_once(model.graph, f"{name}.steps", in_half(weight.scales))
    function = trellis_function(model.opset_imports[""])
    node = _called(model, function, [tensors[each] for each in TRELLIS_INPUTS], f"{name}.product")
    node.outputs[0].dtype = ir.DataType.FLOAT
    nodes.append(node)
    return node.outputs[0]


def _decoded(model: ir.Model, name: str, weight: TrellisWeight) -> ir.Value:
    """The int8 matrix [k, n] that codes stand for; one for all readers of ``name``."""
    decoded = f"{name}.int8"
    for node in model.graph:
        if node.outputs[0].name == decoded:
            return node.outputs[0]
    tensors = _code_tensors(model.graph, name, weight)
    function = decoding_function(model.opset_imports[""])
    node = _called(model, function, [tensors[each] for each in DECODING_INPUTS], f"{name}.decoded")
    node.outputs[0].dtype, node.outputs[0].name = ir.DataType.INT8, decoded
    model.graph.insert_before(model.graph[0], node)
    return node.outputs[0]


def _code_tensors(graph: ir.Graph, name: str, weight: TrellisWeight) -> dict[str, ir.Value]:
    """What a matrix is decoded from, by the names that the functions' inputs have."""
    found, block = trellis(weight.form), block_size(len(weight.codes))
    return {
        "codes": store_once(graph, f"{name}.codes", weight.codes),
        "factors": store_once(graph, f"{name}.factors", weight.factors),
        "unit": store_once(graph, f"{_NAME}.unit{block}", np.float32(2.0 ** -shift(block))),
        "current": store_once(graph, f"{_NAME}.{weight.form}.current", found.current),
        "previous": store_once(graph, f"{_NAME}.{weight.form}.previous", found.previous),
        "rotation": store_once(graph, f"{_NAME}.hadamard{block}", hadamard(block)),
    }


def _called(
    model: ir.Model, function: ir.Function, inputs: Sequence[ir.Value], name: str
) -> ir.Node:
    """A node that calls ``function``, which the model has once."""
    function = model.functions.setdefault(function.identifier(), function)
    node = ir.node(
        function.name,
        inputs,
        domain=WEIGHTS_DOMAIN,
        name=name,
        num_outputs=len(function.outputs),
    )
    for number, output in enumerate(node.outputs):
        output.name = f"{name}.{number}"
    return node


def _append(
    nodes: list[ir.Node],
    kind: str,
    inputs: Sequence[ir.Value],
    attributes: Mapping[str, Any] | None = None,
    dtype: ir.DataType = ir.DataType.FLOAT,
) -> ir.Value:
    node = ir.node(kind, inputs, attributes or {})
    node.outputs[0].dtype = dtype
    nodes.append(node)
    return node.outputs[0]
