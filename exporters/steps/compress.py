"""Each table becomes a packed one, within its share of the budget."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit import CompressedEmbedding, LightTokenConfig, PaperConfig, compress
from toolkit.errors import BudgetError, InputError
from toolkit.graph.ids import rows_of_tokens
from toolkit.graph.rows import table_values
from toolkit.graph.tables import TableUse
from toolkit.methods.grouped import round_table
from toolkit.progress import part

from ..encoder_decoders import is_encoder_decoder
from ..exact import without
from ..options import ExportOptions
from ..sources.facts import WRITING
from ..sources.prior import special_tokens
from ..tables import out_of_reach, packed_heads, share_out
from .choose_codes import choose_codes
from .measure import measure
from .state import Export, Report
from .within import compress_within


def compress_tables(state: Export, report: Report) -> None:
    """Compress the tables one after another, or take the packed one that was given.

    Raises:
        BudgetError: the budget is too small; of several tables the message names the one.
        InputError: the packed table that was given is of another shape.
    """
    options, tables = state.options, state.tables
    if options.stock:
        round_tables(state, report)
        return
    assert state.budget is not None
    state.embeddings = []
    report = measure(state, report)
    for index, (table, share) in enumerate(
        zip(tables, share_out(state.budget, tables), strict=True)
    ):
        share = without(share, table.rows, table.width, state.exact.get(table.name))
        of_tokens = table.ids_input == state.ids_input  # positions and types have no tokenizer
        elsewhere = index == 0 and any(other.shared for other in state.others)
        heads = elsewhere or bool(packed_heads(table, options))
        if options.packed is not None:
            state.embeddings.append(_given(options.packed, table))
            continue
        make = functools.partial(
            compress,
            table_values(table),
            method=options.method,
            seed=options.seed,
            config=for_heads(options) if heads else options.config,
            progress=part(report, index / len(tables), (index + 1) / len(tables)),
            **(what_matters(state, table, heads) if of_tokens else {}),
        )
        try:
            embedding = compress_within(share, table.rows, table.width, make, heads=heads)
        except BudgetError as error:
            raise (out_of_reach(error, table) if len(tables) > 1 else error) from error
        state.embeddings.append(embedding)


def round_tables(state: Export, report: Report) -> None:
    """The tables as integers with scales, for stock operators.

    Raises:
        BudgetError: the budget is too small for them.
        InputError: it is one of min_cosine.
    """
    tables, state.embeddings = state.tables, []
    codes = choose_codes(state)
    report = measure(state, report)
    for index, (table, code) in enumerate(zip(tables, codes, strict=True)):
        heads = bool(packed_heads(table, state.options))
        of_tokens = table.ids_input == state.ids_input
        known = what_matters(state, table, heads) if of_tokens else {}
        rounded = round_table(
            table_values(table),
            code,
            metric=known.get("metric"),
            unbiased=known.get("unbiased", False),
            progress=part(report, index / len(tables), (index + 1) / len(tables)),
        )
        state.embeddings.append(replace(rounded, int4=state.options.format != "ort"))


def what_matters(state: Export, table: TableUse, heads: bool) -> dict[str, Any]:
    """Importance of the rows of a token table, and the metric of errors where it was measured."""
    found = state.statistics
    ours = state.options.method == "lighttoken"
    if found is None or not ours or len(found.probabilities) != table.rows:
        known = {"importance": _importance(state, table)}
        return known | plain_metric(state, table.width) if heads else known
    importance = found.importance(special_tokens(state.tokenizer), head=heads)
    prior = state.importance(table.rows) if is_encoder_decoder(state.loaded) else None
    return {
        # Most tokens are missing in some recordings or lines: the tokenizer's order counts too.
        "importance": importance if prior is None else (importance + prior) / 2,
        "metric": found.metric(head=heads),
        "unbiased": heads,
    }


def plain_metric(state: Export, width: int) -> dict[str, Any]:
    """For the output head of a model that writes, where nothing was measured: every direction
    counts alike, and no row's logit shrinks. An end token is unlike all others, and was never
    written otherwise."""
    if not state.options.searches_codes or state.loaded.facts.task not in WRITING:
        return {}
    return {"metric": np.eye(width), "unbiased": True}


def _importance(state: Export, table: TableUse) -> NDArray[np.float64] | None:
    """Of the rows; of those that tokens share, all of these tokens'."""
    shared = rows_of_tokens(table.lookups[0].ids)
    if shared is None:
        return state.importance(table.rows)
    tokens = state.importance(len(shared))
    rows = np.where(shared < 0, shared + table.rows, shared)
    if tokens is None or not (rows.min() >= 0 and rows.max() < table.rows):
        return None
    return np.bincount(rows, tokens, minlength=table.rows).astype(np.float64)


def _given(path: Path, table: TableUse) -> CompressedEmbedding:
    """The packed table that was given."""
    embedding = CompressedEmbedding.load(path)
    if (embedding.rows, embedding.width) != (table.rows, table.width):
        raise InputError(
            f"{path} holds a table of {embedding.rows} x {embedding.width}, the model's is "
            f"{table.rows} x {table.width}; pack the table of this model"
        )
    return embedding


def for_heads(options: ExportOptions) -> LightTokenConfig | PaperConfig | None:
    """Codebooks that output heads read fast: their entries are sums."""
    if options.method != "lighttoken" or isinstance(options.config, PaperConfig):
        return options.config
    return replace(options.config or LightTokenConfig(), additive=True)
