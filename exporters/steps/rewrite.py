"""The graph is rewritten: look-ups and heads read packed tables, the rest suits the target."""

import onnx_ir as ir

from toolkit import CompressedEmbedding
from toolkit.bundle.feeds import is_cache
from toolkit.errors import InputError
from toolkit.graph.layer_bytes import packed_layers, stock_layers
from toolkit.graph.plain import load_plain
from toolkit.graph.tables import find_token_table
from toolkit.table.grouped import GroupedTable

from ..passes.add_pooling import AddPooling
from ..passes.compress_head import CompressHead
from ..passes.compress_table import CompressTable
from ..passes.fix_shapes import FixShapes
from ..passes.fuse_attention import FuseAttention, fusions
from ..passes.inline_functions import InlineFunctions
from ..passes.int32_inputs import Int32Inputs
from ..passes.keep_last_logits import KeepLastLogits
from ..passes.quantized_gathers import QuantizedGathers
from ..passes.stock_table import StockTable
from ..tables import PackedTable, describe, describe_heads, own_head
from .state import Export, Report


def rewrite(state: Export, report: Report) -> None:
    """Run every pass that the options and the target ask for, and write the model's file.

    Raises:
        InputError: a pass finds a graph that it cannot do its work on.
    """
    if state.weights_path != state.loaded.path:
        state.model = load_plain(state.weights_path)
        state.tables = [find_token_table(state.model.graph, name) for name in state.stored]
        for own in state.own_heads:
            own_head(state.model.graph, own.name)  # says where it is no longer one
    state.packed = describe(
        state.tables, state.embeddings, state.stored, state.options, state.exact
    )
    state.packed_heads = describe_heads(state.own_heads, state.head_embeddings)
    for each in passes(state):
        if isinstance(each, InlineFunctions):
            state.layers = packed_layers(state.model)
        each(state.model)
        if isinstance(each, StockTable):
            names = [f"{table.name}.{part}" for table in state.packed for part in table.parts()]
            state.layers = stock_layers(state.model, names)
        if isinstance(each, FuseAttention):
            state.fused = each.count
    if state.layers is None:
        state.layers = packed_layers(state.model)
    state.model_path = state.folder / state.structure.model
    state.model_path.parent.mkdir(exist_ok=True)
    ir.save(state.model, state.model_path, external_data=state.structure.data)


def passes(state: Export) -> list[ir.passes.InPlacePass]:
    """What is done to the graph, in order."""
    options, target = state.options, state.target
    found: list[ir.passes.InPlacePass] = []
    if options.with_pooling:
        found.append(_pooling(state))
    for head in state.packed_heads:
        assert isinstance(head.embedding, CompressedEmbedding)
        found.append(CompressHead(head.name, head.embedding))
    found += [_of_table(table, floats=target.floats) for table in state.packed]
    if _writes_text(state) and not (target.int32 or target.static):
        found.append(KeepLastLogits(optional=target.optional_inputs))
    if target.int32:
        found.append(Int32Inputs())
    if options.batch is not None and options.sequence is not None:
        found.append(FixShapes(options.batch, options.sequence))
    if options.decode == "inline":
        found.append(InlineFunctions())
    if target.quantized:
        found.append(QuantizedGathers())
    if options.fuse:
        found += fusions(state.fusible)
    return found


def _of_table(table: PackedTable, *, floats: bool) -> ir.passes.InPlacePass:
    heads = bool(table.heads)
    if isinstance(table.embedding, GroupedTable):
        return StockTable(table.name, table.embedding, heads=heads, exact=table.exact)
    return CompressTable(table.name, table.embedding, heads=heads, floats=floats, exact=table.exact)


def _writes_text(state: Export) -> bool:
    """Whether it is a decoder with a cache, which is run a token at a time."""
    inputs = {str(value.name) for value in state.model.graph.inputs}
    decoder = state.loaded.facts.task == "text-generation"
    return decoder and any(is_cache(name) for name in inputs)


def _pooling(state: Export) -> AddPooling:
    facts, name = state.loaded.facts, state.loaded.source.name
    if facts.pooling is None:
        raise InputError(
            f"{name} says nothing of pooling that is known here (no modules.json with such a "
            "Pooling module beside it); leave --with-pooling out"
        )
    if facts.left_out:
        raise InputError(
            f"{name} has a {facts.left_out[0]} module after pooling, which no graph of ours holds; "
            "leave --with-pooling out"
        )
    return AddPooling(facts.pooling)
