"""Pooling inside the graph: token vectors to one vector of a text."""

import numpy as np
import onnx_ir as ir
import onnx_ir.tape

from toolkit.bundle.late_interaction import keeps_token_vectors
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
        pooling: modes, and whether the vectors come to unit length.
    """

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place.

        Raises:
            InputError: the graph has no token vectors, no attention mask, or pools already, or the
                model keeps a vector for each token.
        """
        if keeps_token_vectors(self.pooling):
            raise InputError(
                "a ColBERT model keeps a vector for each token, and pools none; leave "
                "--with-pooling out"
            )
        graph = model.graph
        states, mask = _token_vectors(graph), _attention_mask(graph)
        tape = ir.tape.Tape()
        pooled = _pool(tape, states, mask, self.pooling.modes, model.opset_imports[""])
        if self.pooling.normalize:
            pooled = _normalize(tape, pooled)
        pooled.name, pooled.dtype = SENTENCE_OUTPUT, ir.DataType.FLOAT
        if states.shape is not None and mask.shape is not None:
            width = states.shape[2]
            if isinstance(width, int):
                width *= len(self.pooling.modes)
            elif len(self.pooling.modes) > 1:
                width = ir.SymbolicDim(None)
            pooled.shape = ir.Shape([mask.shape[0], width])
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


def _pool(
    tape: ir.tape.Tape, states: ir.Value, mask: ir.Value, modes: tuple[str, ...], opset: int
) -> ir.Value:
    """Float32 [batch, width], or of several modes [batch, modes * width]."""
    op = tape.op
    states = op("Cast", [states], {"to": ir.DataType.FLOAT})  # sums of float16 would overflow
    real = op("Cast", [mask], {"to": ir.DataType.BOOL})
    first, zero = _ints(tape, 1), _float(tape, 0.0)
    ones = op("Cast", [real], {"to": ir.DataType.FLOAT})
    counts = op("ReduceSum", [ones, first], {"keepdims": 1})  # [batch, 1]
    tokens = op("Unsqueeze", [real, _ints(tape, 2)])  # [batch, sequence, 1]

    def largest(values: ir.Value, keepdims: int) -> ir.Value:
        if opset >= _AXES_AS_INPUT:
            return op("ReduceMax", [values, first], {"keepdims": keepdims})
        return op("ReduceMax", [values], {"axes": [1], "keepdims": keepdims})

    def weighted(weights: ir.Value) -> ir.Value:
        """The sum of token vectors by weights [batch, sequence]."""
        kept = op("Where", [tokens, states, zero])
        products = op("Mul", [kept, op("Unsqueeze", [weights, _ints(tape, 2)])])
        return op("ReduceSum", [products, first], {"keepdims": 0})

    def places() -> ir.Value:
        """Of each token in its text, from 1; 0 on padding."""
        every = op("Add", [op("Mul", [ones, zero]), _float(tape, 1.0)])
        axis = op("Constant", [], {"value": ir.tensor(np.array(1, np.int64))})
        return op("Mul", [op("CumSum", [every, axis]), ones])

    def pooled(mode: str) -> ir.Value:
        one = _float(tape, 1.0)
        if mode == "cls":
            start = op("Constant", [], {"value": ir.tensor(np.array(0, np.int64))})
            return op("Gather", [states, start], {"axis": 1})
        if mode == "max":
            return largest(op("Where", [tokens, states, _float(tape, -np.inf)]), 0)
        if mode == "lasttoken":
            at = places()
            last = op("Equal", [at, op("Max", [largest(at, 1), one])])
            return weighted(op("Cast", [last], {"to": ir.DataType.FLOAT}))
        if mode == "weightedmean":
            at = places()
            total = op("ReduceSum", [at, first], {"keepdims": 1})
            return op("Div", [weighted(at), op("Max", [total, one])])
        total = op("Max", [counts, one])
        total = op("Sqrt", [total]) if mode == "mean_sqrt_len" else total
        sums = op("ReduceSum", [op("Where", [tokens, states, zero]), first], {"keepdims": 0})
        return op("Div", [sums, total])

    vectors = [pooled(mode) for mode in modes]
    joined = vectors[0] if len(vectors) == 1 else op("Concat", vectors, {"axis": 1})
    return op("Where", [op("Greater", [counts, zero]), joined, zero])


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
