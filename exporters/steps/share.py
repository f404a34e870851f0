"""One budget for the whole model, shared out between the token table and the other weights.

Fewer bits for the weights leave more bytes for the table, and the other way round. Which loses less
depends on the model, so it is tried: each form that the weights may have is made, the table gets
what is left, and the one whose outputs stay nearest to the original's is taken. The table is not
compressed for that: its rows get the error that its allocation is expected to leave, by the
Gaussian test channel (Cover and Thomas, Elements of Information Theory, 2nd ed., section 10.3.2).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit import Budget, LightTokenConfig
from toolkit.allocate.importance import check_importance
from toolkit.allocate.spectrum import measure_spectra
from toolkit.errors import BudgetError, InputError
from toolkit.graph.files import model_nbytes
from toolkit.graph.heads import find_heads
from toolkit.graph.rows import table_values
from toolkit.graph.tables import find_tables
from toolkit.methods.compress import best_allocation, check_matrix
from toolkit.ort import cpu_session
from toolkit.table.components import Float32
from toolkit.temporary import temporary_folder

from ..options import ExportOptions
from ..tables import packed_heads
from ..verify.replaced import save_replaced
from ..weights.calibration import Inputs
from .measure import measure
from .shrink import kept_names, model_inputs, shrunk_to
from .state import Export, Report

_GROUPS = (32, 128)  # of int4, unless one is asked for
_LOOK_UP, _HEAD = 24_000, 48_000  # bytes of the nodes that decode a table, and an output head
_MOST = 4  # a table is never made less than this many times smaller
_CALLS, _SHAPES = 8, ((8, 16), (4, 32))


@dataclass(frozen=True)
class Offer:
    """A form of the weights, and what it leaves for the table.

    Attributes:
        options: with that form.
        path: the model in it, its tables as they were.
        nbytes: for the table.
        error: relative squared error that is expected of its rows.
    """

    options: ExportOptions
    path: Path
    nbytes: int
    error: float


def share_bytes(state: Export, report: Report) -> None:
    """Decide the form of the weights and the table's budget by ``max_model_bytes``.

    Raises:
        BudgetError: no form leaves enough for a table; the message names the least.
        InputError: a model of several files, or one that cannot run here.
    """
    most = state.options.max_model_bytes
    assert most is not None
    if state.others or state.is_part:
        raise InputError(
            f"max_model_bytes ({most:,}) is for models of one file, and this one has several; "
            "give --ratio and --weights"
        )
    if state.not_here:
        raise InputError(
            f"onnxruntime cannot run {state.loaded.path.name} here, for want of {state.not_here}, "
            "and sharing bytes takes runs; give --ratio"
        )
    report = measure(state, report)
    original, inputs = state.weights_path, model_inputs(state)
    values = check_matrix(table_values(state.tables[0]))
    wanted = _outputs(original, inputs)
    best: tuple[float, Offer] | None = None
    least = float("inf")
    for offer in _offers(state, values, inputs, report):
        if isinstance(offer, BudgetError):
            assert offer.nearest is not None
            least = min(least, offer.nearest)
            continue
        with temporary_folder(beside=state.work) as folder:
            found = _outputs(_with_error(state, offer, values, folder), inputs)
        loss = _distance(found, wanted)
        if best is None or loss < best[0]:
            best = loss, offer
    if best is None:
        raise BudgetError(
            f"{most:,} bytes are too few for the whole model; it takes at least {least:,.0f}, so "
            f"give --max-model-bytes {least:.0f} or more",
            int(least),
        )
    chosen = best[1]
    state.options, state.budget = chosen.options, Budget(max_bytes=chosen.nbytes)
    state.shrunk = chosen.path


def _offers(
    state: Export, values: Float32, inputs: Inputs, report: Report
) -> Iterator[Offer | BudgetError]:
    """What each form of the weights leaves; BudgetErrors name the bytes that it would take."""
    forms, most = _forms(state), state.options.max_model_bytes
    assert most is not None
    spectra = measure_spectra(values, LightTokenConfig())
    weights = check_importance(inputs.importance, len(values))
    refusal: InputError | None = None
    found = 0
    for number, options in enumerate(forms):
        report(number / len(forms), f"trying {options.weights} weights")
        work = state.work / f"share{number}"
        work.mkdir()
        try:
            path = state.weights_path
            if options.shrinks:
                path = shrunk_to(state, options, inputs, work)
        except InputError as error:  # no product that has this form
            refusal = error
            continue
        found += 1
        rest = _rest(state, options, path)
        table = min(most - rest, 4 * values.size // _MOST)
        try:
            allocation = best_allocation(spectra, weights, Budget(max_bytes=max(1, table)))[0]
        except BudgetError as error:
            yield BudgetError(str(error), rest + (error.nearest or 0))
            continue
        yield Offer(options, path, table, allocation.expected_error)
    if refusal is not None and not found:
        raise refusal


def _forms(state: Export) -> list[ExportOptions]:
    """All that the target runs, or the one that was asked for."""
    asked = state.options
    forms = state.target.weights if asked.weights == "fp32" else (asked.weights,)
    groups = _GROUPS if asked.group_size is None else (asked.group_size,)
    return [
        replace(asked, weights=form, group_size=group)
        for form in forms
        for group in (groups if form == "int4" else (asked.group_size,))
    ]


def _rest(state: Export, options: ExportOptions, path: Path) -> int:
    """Bytes of a model in its final form beside the packed table."""
    graph = ir.load(path).graph
    names, kept = {table.name for table in state.tables}, kept_names(state)
    gone: dict[str, int] = {}
    for table in find_tables(graph):
        if table.name not in names:
            continue
        readers = find_heads(graph, table)
        if not readers or packed_heads(table, options):
            gone[table.name] = table.value.const_value.nbytes  # type: ignore[union-attr]
    if options.head == "packed":
        for name in kept - set(gone):
            value = graph.initializers.get(name)
            if value is not None and value.const_value is not None:
                gone[name] = value.const_value.nbytes
    heads = sum(state.head_budget.bytes_for(own.rows, own.width) for own in state.own_heads)
    count = len(state.own_heads) + any(packed_heads(table, options) for table in state.tables)
    return model_nbytes(path) - sum(gone.values()) + heads + _LOOK_UP + count * _HEAD


def _with_error(state: Export, offer: Offer, values: Float32, folder: Path) -> Path:
    """The offer's model under ``folder``, its table with the error that is expected."""
    rng = np.random.default_rng(state.options.seed)
    mean = values.mean(axis=0)
    error = min(1.0, offer.error)
    length = np.sqrt(np.square(values - mean).mean(axis=1, keepdims=True) * error * (1 - error))
    noisy = mean + (1 - error) * (values - mean)
    noisy += length * rng.standard_normal(values.shape, dtype=np.float32)
    table = state.tables[0]
    heads = {table.name} if packed_heads(table, offer.options) else set()
    save_replaced(offer.path, {table.name: noisy}, heads, folder / "tried.onnx")
    return folder / "tried.onnx"


def _outputs(path: Path, inputs: Inputs) -> list[NDArray[np.floating]]:
    """The model's first output of floats, for each call."""
    session = cpu_session(path)
    name = next(o.name for o in session.get_outputs() if o.type.startswith("tensor(float"))
    return [session.run([name], feeds)[0] for feeds in inputs.feeds(session, _CALLS, _SHAPES)]


def _distance(found: list[NDArray[np.floating]], wanted: list[NDArray[np.floating]]) -> float:
    """Squared error over squared length, of all calls."""
    pairs = zip(found, wanted, strict=True)
    errors = sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in pairs)
    return errors / sum(float(np.square(b, dtype=np.float64).sum()) for b in wanted)
