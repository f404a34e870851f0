"""The weights beside the tables in fewer bits, and an output head in 4 bits of its own."""

from pathlib import Path

import onnx_ir as ir

from toolkit.allocate.importance import zipf_prior
from toolkit.errors import InputError
from toolkit.graph.heads import find_heads
from toolkit.graph.tables import find_tables

from ..drawn_text import urn_of
from ..options import GROUP, ExportOptions
from ..sources.prior import corpus_ids
from ..weights.calibration import Inputs
from ..weights.products import Product
from ..weights.shrink import has_products, shrink_weights
from .state import Export, Report

_TEXT_IDS = 1_000_000  # of a corpus, as calibration text for int4


def shrink(state: Export, report: Report) -> None:
    """Write the model with smaller weights, its tables as they were.

    Raises:
        InputError: as :func:`exporters.weights.shrink.shrink_weights`.
    """
    if state.not_here or not state.options.shrinks:
        return  # there is no head to shrink, as was checked before
    trained = state.trained is not state.loaded or bool(state.rounded)
    if state.shrunk is not None and not trained:  # where bytes were shared out
        state.weights_path = state.shrunk
        return
    work = state.work / "weights"
    work.mkdir()
    state.weights_path = shrunk_to(state, state.options, model_inputs(state), work, report)


def shrunk_to(
    state: Export,
    options: ExportOptions,
    inputs: Inputs,
    work: Path,
    report: Report | None = None,
) -> Path:
    """The model with its weights in the form of ``options``, under the empty folder ``work``.

    ``inputs``: see :func:`model_inputs`.
    """
    kept, path = kept_names(state), state.weights_path
    if state.is_part and not has_products(path, options.weights, kept):
        return path
    names = frozenset(table.name for table in state.tables)
    return shrink_weights(
        path,
        work,
        options.weights,
        inputs,
        kept=kept,
        heads=(lambda model: head_products(model, names)) if options.head == "nbits" else None,
        group_size=options.group_size or GROUP,
        rounded=state.rounded,
        forms=state.forms,
        progress=report,
    )


def model_inputs(state: Export) -> Inputs:
    """What the model is fed with: tokens by their importance, or a text where there is one."""
    rows = state.tables[0].rows
    importance, text = state.importance(rows), None
    if importance is None:
        importance = zipf_prior(rows)
    if state.text_corpus is not None:
        text = corpus_ids(state.tokenizer, state.text_corpus, rows, _TEXT_IDS)
    elif state.statistics is not None:
        text = state.statistics.texts
    ids_inputs = tuple(sorted({look.ids_input for table in state.tables for look in table.lookups}))
    seed = state.options.seed
    if text is None and state.tokenizer.is_file():
        urn = urn_of(state.tokenizer, importance)
        return Inputs(ids_inputs, urn.shares, None, seed, urn.before, urn.after)
    return Inputs(ids_inputs, importance, text, seed)


def kept_names(state: Export) -> frozenset[str]:
    """Initializers that stay as they are: the tables, and what heads read that are packed."""
    names = {table.name for table in state.tables}
    names |= {
        str(head.weight.name) for table in state.tables for head in find_heads(table.graph, table)
    }
    return frozenset(names | {own.name for own in state.own_heads})


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
