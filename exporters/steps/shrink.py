"""The weights beside the tables in fewer bits, and an output head in 4 bits of its own."""

import onnx_ir as ir

from toolkit.allocate.importance import zipf_prior
from toolkit.errors import InputError
from toolkit.graph.heads import find_heads
from toolkit.graph.tables import find_tables

from ..options import GROUP
from ..sources.prior import corpus_ids
from ..weights.products import Product
from ..weights.shrink import Inputs, has_products, shrink_weights
from .state import Export, Report

_TEXT_IDS = 1_000_000  # of a corpus, as calibration text for int4


def shrink(state: Export, report: Report) -> None:
    """Write the model with smaller weights, its tables as they were.

    Raises:
        InputError: as :func:`exporters.weights.shrink.shrink_weights`.
    """
    options, tables = state.options, state.tables
    if state.not_here:
        return  # there is no head to shrink, as was checked before
    work = state.work / "weights"
    work.mkdir()
    rows = tables[0].rows
    importance, text = state.importance(rows), None
    if importance is None:
        importance = zipf_prior(rows)
    if state.text_corpus is not None:
        text = corpus_ids(state.tokenizer, state.text_corpus, rows, _TEXT_IDS)
    elif state.statistics is not None:
        text = state.statistics.texts
    ids_inputs = {look.ids_input for table in tables for look in table.lookups}
    names = frozenset(table.name for table in tables)
    kept = names | {
        str(head.weight.name) for table in tables for head in find_heads(table.graph, table)
    }
    kept |= {own.name for own in state.own_heads}
    if state.is_part and not has_products(state.weights_path, options.weights, kept):
        return
    state.weights_path = shrink_weights(
        state.weights_path,
        work,
        options.weights,
        Inputs(tuple(sorted(ids_inputs)), importance, text, options.seed),
        kept=kept,
        heads=(lambda model: head_products(model, names)) if options.head == "nbits" else None,
        group_size=options.group_size or GROUP,
        rounded=state.rounded,
    )


def check_can_shrink(state: Export) -> None:
    """Raise InputError where weights are to be made smaller of a model that cannot run here."""
    options, names = state.options, frozenset(table.name for table in state.tables)
    heads = options.head == "nbits" and head_products(state.model, names)
    if options.weights != "fp32" or heads:
        raise InputError(
            f"onnxruntime cannot run {state.loaded.path.name} here, for want of {state.not_here}, "
            "and smaller weights are found by running it; use --weights fp32 and --head packed"
        )


def head_products(model: ir.Model, names: frozenset[str]) -> list[Product]:
    """Output heads that share a table, as products with it or with their copy of it.

    Of float32 tables: heads of others have few bits already, or stay what they are.
    """
    products = []
    for table in find_tables(model.graph):
        if table.name not in names or table.value.dtype != ir.DataType.FLOAT:
            continue
        for head in find_heads(table.graph, table):
            own = head.weight.is_initializer() and (table.turned or head.weight is not table.value)
            weight = head.weight if own else table.value
            by_rows = not own or bool(head.node.attributes.get_int("transB", 0))
            products.append(Product(head.node, weight, by_rows, bias=head.bias))
    return products
