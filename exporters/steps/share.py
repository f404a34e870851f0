"""One budget for the whole model, shared out between the token table and the other weights.

Fewer bits for the weights leave more bytes for the table, and the other way round. Which loses less
depends on the model, so it is measured: each form that the weights may have is made and run, and
the table gets what is left. The table is not compressed for that: what it loses is in proportion to
the error that its allocation is expected to leave, and is measured once, with rows that are off by
the Gaussian test channel (Cover and Thomas, Elements of Information Theory, 2nd ed., section
10.3.2). The form of least loss in all is taken.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
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
from toolkit.progress import part
from toolkit.table.components import Float32
from toolkit.temporary import temporary_folder
from toolkit.trellis import MIXED, TRELLISES

from ..options import ExportOptions
from ..tables import packed_heads
from ..verify.replaced import save_replaced
from ..weights.calibration import Inputs
from .measure import measure
from .mix import Mix
from .shrink import kept_names, model_inputs, shrunk_to
from .state import Export, Report

_GROUPS = (32, 128)  # of int4, unless one is asked for
_LOOK_UP, _HEAD = 24_000, 48_000  # bytes of the nodes that decode a table, and an output head
_PROBE = 0.1  # relative squared error of the table at which its loss is measured
# What real text loses by the table, over by the weights, beside what drawn tokens lose: rows of
# frequent tokens are more exact, and text has more of these. Measured on all-MiniLM with STS-B.
_REAL = 0.3
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
        forms: of weights by their names, where each has its own.
    """

    options: ExportOptions
    path: Path
    nbytes: int
    error: float
    forms: dict[str, str] = field(default_factory=dict)


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
    shares = _Shares(state, values, inputs, wanted)
    for offer in shares.offers(report):
        if isinstance(offer, BudgetError):
            assert offer.nearest is not None
            least = min(least, offer.nearest)
            continue
        loss = _distance(_outputs(offer.path, inputs), wanted) + shares.table_loss(offer.error)
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
    state.shrunk, state.forms = chosen.path, chosen.forms


class _Shares:
    """What every form of the weights leaves for the table.

    Args:
        state: of the export.
        values: the table, float32 [V, d].
        inputs: what the model is fed with.
        wanted: what the original gives for that.
    """

    def __init__(
        self, state: Export, values: Float32, inputs: Inputs, wanted: list[NDArray[np.floating]]
    ) -> None:
        self._state, self._values, self._inputs, self._wanted = state, values, inputs, wanted
        self._spectra = measure_spectra(values, LightTokenConfig())
        self._weights = check_importance(inputs.importance, len(values))
        assert state.options.max_model_bytes is not None
        self._most = state.options.max_model_bytes
        with temporary_folder(beside=state.work) as folder:
            found = _outputs(_with_error(state, values, _PROBE, folder), inputs)
        self._slope = _distance(found, wanted) / _PROBE
        if inputs.text is None:
            self._slope *= _REAL

    def table_loss(self, error: float) -> float:
        """What outputs lose by a relative squared ``error`` of the table, which they do in
        proportion."""
        return self._slope * error

    def offers(self, report: Report) -> Iterator[Offer | BudgetError]:
        """One for each form; BudgetErrors name the bytes that it would take."""
        refusal: InputError | None = None
        found = 0
        forms = _forms(self._state)
        for number, options in enumerate(forms):
            tried = part(report, number / len(forms), (number + 1) / len(forms))
            tried(0, f"trying {options.weights} weights")
            try:
                if options.weights == MIXED:
                    yield self._mixed(options, tried)
                else:
                    path = self._state.weights_path
                    if options.shrinks:
                        path = self._shrunk(options, tried)
                    yield self._offer(options, path)
            except InputError as error:  # no product that has this form
                refusal = error
                continue
            found += 1
        if refusal is not None and not found:
            raise refusal

    def _offer(
        self, options: ExportOptions, path: Path, forms: dict[str, str] | None = None
    ) -> Offer | BudgetError:
        rest = _rest(self._state, options, path)
        try:
            nbytes, expected = self._table(rest)
        except BudgetError as error:
            return error
        return Offer(options, path, nbytes, expected, forms or {})

    def _table(self, rest: int) -> tuple[int, float]:
        """Bytes for the table beside ``rest``, and its expected error.

        Raises:
            BudgetError: too few; it names the least for both.
        """
        nbytes = max(1, min(self._most - rest, 4 * self._values.size // _MOST))
        try:
            allocation = best_allocation(self._spectra, self._weights, Budget(max_bytes=nbytes))[0]
        except BudgetError as error:
            raise BudgetError(str(error), rest + (error.nearest or 0)) from error
        return nbytes, allocation.expected_error

    def _mixed(self, options: ExportOptions, report: Report) -> Offer | BudgetError:
        """A form for each weight, so that what all lose together is least."""
        state = self._state
        # Everything in int8 says what there is beside the weights.
        whole = _rest(state, options, self._shrunk(replace(options, weights="int8"), report))
        mix = Mix(
            state.weights_path,
            kept_names(state),
            self._inputs,
            lambda session, more: _distance(_fed(session, self._inputs, more), self._wanted),
        )
        try:
            self._table(whole + mix.least)
        except BudgetError as error:
            return error
        mix.measure(part(report, 0, 1 / 2))
        state.forms = mix.choose(lambda nbytes: self.table_loss(self._table(whole + nbytes)[1]))
        path = self._shrunk(options, part(report, 1 / 2, 1))
        return self._offer(options, path, state.forms)

    def _shrunk(self, options: ExportOptions, report: Report) -> Path:
        work = Path(mkdtemp(prefix="share-", dir=self._state.work))
        return shrunk_to(self._state, options, self._inputs, work, report)


def _forms(state: Export) -> list[ExportOptions]:
    """All that the target runs, or the one that was asked for."""
    asked = state.options
    forms = state.target.weights if asked.weights == "fp32" else (asked.weights,)
    if asked.weights == "fp32":  # mixed ones are at least as good, and int8 comes first
        forms = tuple(form for form in forms if form not in TRELLISES)
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


def _with_error(state: Export, values: Float32, error: float, folder: Path) -> Path:
    """The model under ``folder``, its table's rows off by a relative squared ``error``."""
    rng = np.random.default_rng(state.options.seed)
    mean = values.mean(axis=0)
    length = np.sqrt(np.square(values - mean).mean(axis=1, keepdims=True) * error * (1 - error))
    noisy = mean + (1 - error) * (values - mean)
    noisy += length * rng.standard_normal(values.shape, dtype=np.float32)
    table = state.tables[0]
    heads = {table.name} if packed_heads(table, state.options) else set()
    save_replaced(state.weights_path, {table.name: noisy}, heads, folder / "tried.onnx")
    return folder / "tried.onnx"


def _outputs(path: Path, inputs: Inputs) -> list[NDArray[np.floating]]:
    """The model's first output of floats, for each call."""
    return _fed(cpu_session(path), inputs, {})


def _fed(
    session: ort.InferenceSession, inputs: Inputs, more: Mapping[str, NDArray[np.floating]]
) -> list[NDArray[np.floating]]:
    """As :func:`_outputs`, of a session with ``more`` inputs."""
    name = next(o.name for o in session.get_outputs() if o.type.startswith("tensor(float"))
    calls = inputs.feeds(session, _CALLS, _SHAPES)
    return [session.run([name], {**feeds, **more})[0] for feeds in calls]


def _distance(found: list[NDArray[np.floating]], wanted: list[NDArray[np.floating]]) -> float:
    """Squared error over squared length, of all calls."""
    pairs = zip(found, wanted, strict=True)
    errors = sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in pairs)
    return errors / sum(float(np.square(b, dtype=np.float64).sum()) for b in wanted)
