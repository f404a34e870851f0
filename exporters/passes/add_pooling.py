"""Pooling inside the graph: token vectors to one vector of a text."""

import numpy as np
import onnx_ir as ir
import onnx_ir.tape

from toolkit.bundle.manifest import Pooling
from toolkit.errors import InputError

from .base import Pass

SENTENCE_OUTPUT = "sentence_embedding"  # sentence-transformers' and optimum's name for it
_TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings")
_MASK = "attention_mask"
_TINY = 1e-12  # shortest length that is divided by
_AXES_AS_INPUT = 18  # first opset in which ReduceMax takes them so


class AddPooling(Pass):
    """Add an output ``sentence_embedding`` float32 [batch, width] to an encoder's graph.

    The token vectors stay an output, under their name: optimum and transformers.js read them.
    Padding never counts, whatever it holds, and a text without any token gives zeros, as in
    ``runtime/tasks/pooling.py``.

    Args:
        pooling: mode (mean, cls or max), and whether the vectors come to unit length.
    """

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place.

        Raises:
            InputError: the graph has no token vectors, no attention mask, or pools already.
        """
        graph = model.graph
        states, mask = _token_vectors(graph), _attention_mask(graph)
        tape = ir.tape.Tape()
        pooled = _pool(tape, states, mask, self.pooling.mode, model.opset_imports[""])
        if self.pooling.normalize:
            pooled = _normalize(tape, pooled)
        pooled.name, pooled.dtype = SENTENCE_OUTPUT, ir.DataType.FLOAT
        if states.shape is not None and mask.shape is not None:
            pooled.shape = ir.Shape([mask.shape[0], states.shape[2]])
        _name(tape, graph)
        graph.extend(tape.nodes)
        graph.outputs.append(pooled)
        return ir.passes.PassResult(model, modified=True)


def _token_vectors(graph: ir.Graph) -> ir.Value:
    """The output float [batch, sequence, width]."""
    outputs = {value.name: value for value in graph.outputs}
    if SENTENCE_OUTPUT in outputs:
        raise InputError(
            f"the graph has an output {SENTENCE_OUTPUT} already; leave --with-pooling out"
        )
    for name in _TOKEN_OUTPUTS:
        if name in outputs:
            return outputs[name]
    found = ", ".join(str(name) for name in outputs)
    raise InputError(
        f"the graph gives {found}, and --with-pooling needs {' or '.join(_TOKEN_OUTPUTS)}; "
        "leave it out or export the encoder itself"
    )


def _attention_mask(graph: ir.Graph) -> ir.Value:
    """The input integer [batch, sequence] that is 1 where a token stands."""
    for value in graph.inputs:
        if value.name == _MASK:
            return value
    raise InputError(f"the graph has no input {_MASK}, which --with-pooling needs; leave it out")


def _pool(tape: ir.tape.Tape, states: ir.Value, mask: ir.Value, mode: str, opset: int) -> ir.Value:
    """Float32 [batch, width]."""
    op = tape.op
    states = op("Cast", [states], {"to": ir.DataType.FLOAT})  # sums of float16 would overflow
    real = op("Cast", [mask], {"to": ir.DataType.BOOL})
    first, last = _ints(tape, 1), _ints(tape, 2)
    counts = op("Cast", [real], {"to": ir.DataType.FLOAT})
    counts = op("ReduceSum", [counts, first], {"keepdims": 1})  # [batch, 1]
    zero = _float(tape, 0.0)
    if mode == "cls":
        start = op("Constant", [], {"value": ir.tensor(np.array(0, np.int64))})
        pooled = op("Gather", [states, start], {"axis": 1})
        return op("Where", [op("Greater", [counts, zero]), pooled, zero])
    tokens = op("Unsqueeze", [real, last])  # [batch, sequence, 1]
    if mode == "mean":
        sums = op("ReduceSum", [op("Where", [tokens, states, zero]), first], {"keepdims": 0})
        return op("Div", [sums, op("Max", [counts, _float(tape, 1.0)])])
    states = op("Where", [tokens, states, _float(tape, -np.inf)])
    if opset >= _AXES_AS_INPUT:
        pooled = op("ReduceMax", [states, first], {"keepdims": 0})
    else:
        pooled = op("ReduceMax", [states], {"axes": [1], "keepdims": 0})
    return op("Where", [op("Greater", [counts, zero]), pooled, zero])


def _normalize(tape: ir.tape.Tape, vectors: ir.Value) -> ir.Value:
    """To unit length; by operators that have been the same since opset 13."""
    op = tape.op
    squares = op("ReduceSum", [op("Mul", [vectors, vectors]), _ints(tape, 1)], {"keepdims": 1})
    return op("Div", [vectors, op("Max", [op("Sqrt", [squares]), _float(tape, _TINY)])])


def _ints(tape: ir.tape.Tape, *values: int) -> ir.Value:
    return tape.op("Constant", [], {"value": ir.tensor(np.array(values, np.int64))})


def _float(tape: ir.tape.Tape, value: float) -> ir.Value:
    return tape.op("Constant", [], {"value": ir.tensor(np.array(value, np.float32))})


def _name(tape: ir.tape.Tape, graph: ir.Graph) -> None:
    """Names that no other node or value has."""
    taken = {name for node in graph.all_nodes() for name in (node.name, *_outputs(node))}
    taken |= {value.name for value in (*graph.inputs, *graph.initializers.values())}
    for index, node in enumerate(tape.nodes):
        name = f"pooling.{index}.{node.op_type}"
        while name in taken:
            name += "_"
        node.name = name
        if node.outputs[0].name != SENTENCE_OUTPUT:
            node.outputs[0].name = name


def _outputs(node: ir.Node) -> tuple[str | None, ...]:
    return tuple(value.name for value in node.outputs)
