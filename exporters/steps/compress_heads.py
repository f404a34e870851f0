"""Each output head that is a matrix of its own becomes a packed one, within its own budget."""

import functools
from collections.abc import Mapping
from typing import Any

from toolkit import CompressedEmbedding, compress
from toolkit.errors import BudgetError
from toolkit.graph.own_heads import OwnHead, head_values
from toolkit.graph.plain import load_plain
from toolkit.progress import part

from ..tables import own_head
from .compress import for_heads, plain_metric
from .state import Export, Report
from .within import compress_within


def compress_heads(
    state: Export, report: Report, known: Mapping[str, CompressedEmbedding] | None = None
) -> None:
    """Compress the heads one after another, for what a head does: no row of theirs is looked up.

    ``known``: those that are packed already, by name.

    Raises:
        BudgetError: the budget is too small; the message names the head.
    """
    options, heads = state.options, state.own_heads
    for index, own in enumerate(heads):
        if known and own.name in known:
            state.head_embeddings.append(known[own.name])
            continue
        try:
            make = functools.partial(
                compress,
                head_values(_trained(state, own)),
                method=options.method,
                seed=options.seed,
                config=for_heads(options),
                progress=part(report, index / len(heads), (index + 1) / len(heads)),
                **_what_matters(state, own),
            )
            embedding = compress_within(state.head_budget, own.rows, own.width, make, heads=True)
        except BudgetError as error:
            raise BudgetError(
                f"output head {own.name}, {own.rows} x {own.width}: {error}; it has --head-ratio "
                "and --head-bytes"
            ) from error
        state.head_embeddings.append(embedding)


def _trained(state: Export, own: OwnHead) -> OwnHead:
    """The head as it is after healing, which may train all weights."""
    if state.trained is state.loaded:
        return own
    return own_head(load_plain(state.trained.path).graph, own.name)


def _what_matters(state: Export, own: OwnHead) -> dict[str, Any]:
    """Importance of the head's rows, and the metric of errors where it was measured."""
    found = state.statistics
    ours = state.options.method == "lighttoken"
    if found is None or not ours or len(found.probabilities) != own.rows:
        return {"importance": state.importance(own.rows)} | plain_metric(state, own.width)
    return {
        "importance": found.importance(head=True, lookup=False),
        "metric": found.metric(head=True, lookup=False),
        "unbiased": True,
    }
