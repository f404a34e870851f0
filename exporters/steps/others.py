"""The other files of a model, such as an encoder: packed as its first file is, table by table.

A table that stands in several files is compressed once, and so is one that the output head of
another file holds too. Each file holds it packed, because runtimes open each on its own.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit import CompressedEmbedding
from toolkit.bundle.manifest import FurtherModel
from toolkit.errors import InputError
from toolkit.graph.files import model_nbytes
from toolkit.graph.own_heads import OwnHead, head_values
from toolkit.graph.plain import load_plain
from toolkit.graph.rows import table_values
from toolkit.progress import part

from ..passes.packed_layers import check_opset
from ..sources.several import plain_stem
from ..tables import check_goes, choose_own_heads, choose_tables
from ..verify.check import check_runs
from ..verify.differences import CheckError
from ..verify.limits import not_here
from ..weights.shrink import nothing_left
from .compress import compress_tables
from .compress_heads import compress_heads
from .keep import keep, made_up, shrink_alone
from .rewrite import rewrite
from .shrink import check_can_shrink, shrink
from .state import Export, Report
from .verify import verify

_IDS = "input_ids"


def begin_others(state: Export) -> list[Export]:
    """An export for each of them, its tables found; refused before minutes are spent.

    Raises:
        InputError: an option that such a model does not take, or a table that cannot be packed.
    """
    if not state.loaded.further:
        return []
    _check_options(state)
    values = table_values(state.tables[0])
    return [_begin(state, path, values) for path in state.loaded.further]


def _check_options(state: Export) -> None:
    options, target = state.options, state.target
    if options.heals:
        raise InputError("--heal is for a model of one file; leave it out")
    if options.exact_rows is not None:
        raise InputError("--exact-rows is for a model of one file; leave it out")
    if options.format != "onnx":
        raise InputError("a model of several files is read as .onnx; leave --format out")
    if target.int32 or target.static or options.batch is not None:
        raise InputError(
            f"a decoder beside an encoder has no fixed shapes, as target {options.target} or "
            "--sequence asks for; use --target cpu, wasm or webgpu"
        )


def _begin(state: Export, path: Path, values: NDArray[np.floating]) -> Export:
    stem = plain_stem(path)
    work = state.work / stem
    work.mkdir()
    # Sizes of a head are for the file that has it: the first.
    options = replace(state.options, head_ratio=None, head_bytes=None, sample_inputs=None)
    other = Export(state.source, state.budget, options, state.folder, work, state.original_folder)
    other.is_part = True
    other.loaded = other.trained = replace(state.loaded, path=path, further=())
    other.structure = state.structure.named(stem)
    other.head_budget = state.head_budget
    other.weights_path = path
    other.model = load_plain(path)
    other.tables = []
    if any(value.name == _IDS for value in other.model.graph.inputs):
        other.tables = choose_tables(other.model.graph, None, options.all_tables)
        for table in other.tables:
            check_goes(table)
        only = len(other.tables) == 1
        other.repeats = only and np.array_equal(table_values(other.tables[0]), values)
        other.not_here = check_runs(path, other.tables, None)
    other.own_heads = choose_own_heads(other.model.graph, options)
    other.shared = frozenset(own.name for own in other.own_heads if _holds(own, values))
    if other.tables or other.own_heads:
        check_opset(other.model)
    if other.own_heads and not other.tables:
        other.not_here = _try_out(other)
    if other.not_here:
        check_can_shrink(other)
    other.stored = {table.name: table for table in other.tables}
    return other


def _try_out(other: Export) -> str:
    """Make inputs up for a file that looks nothing up; why it cannot run here, "" where it can."""
    try:
        other.samples = made_up(other.loaded.path)
    except CheckError as error:
        if reason := not_here(error):
            return reason
        raise
    return ""


def _holds(own: OwnHead, values: NDArray[np.floating]) -> bool:
    """Whether a head is the table ``values`` [V, d], perhaps in a shorter type."""
    if (own.rows, own.width) != values.shape:
        return False
    held = head_values(own)
    return np.array_equal(held, values.astype(held.dtype))


def pack_others(state: Export, report: Report) -> None:
    """Pack, rewrite and check each of them.

    Raises:
        InputError, BudgetError, CheckError: as of the first file.
    """
    for number, other in enumerate(state.others):
        _, end = shares = number / len(state.others), (number + 1) / len(state.others)
        if other.tables or other.own_heads:
            _pack(other, state, part(report, *shares))
        else:
            keep(other)
        report(end, f"{other.structure.model} is packed")
    files = [state, *state.others]
    unchanged = all(each.weights_path == each.loaded.path for each in files)
    if state.others and state.options.weights != "fp32" and unchanged:
        raise nothing_left()


def _pack(other: Export, first: Export, report: Report) -> None:
    other.statistics = first.statistics
    other.embeddings = []
    if other.repeats:
        other.embeddings = [first.embeddings[0]]
    elif other.tables:
        compress_tables(other, report)
    packed = first.embeddings[0]
    if isinstance(packed, CompressedEmbedding):  # stock operators leave heads of their own alone
        compress_heads(other, report, dict.fromkeys(other.shared, packed))
    if other.options.shrinks:
        if other.tables:
            shrink(other, report)
        else:
            shrink_alone(other)
    rewrite(other, report)
    verify(other, report)


def described(other: Export) -> FurtherModel:
    """For the manifest."""
    return FurtherModel(
        model=other.model_path.relative_to(other.folder).as_posix(),
        tables=tuple(table.described() for table in other.packed),
        heads=tuple(
            head.described_head(parity)
            for head, parity in zip(other.packed_heads, other.head_parity, strict=True)
        ),
        model_bytes=model_nbytes(other.model_path),
        original_model_bytes=model_nbytes(other.loaded.path),
        parity=other.parity,
    )
