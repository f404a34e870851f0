"""The other files of a model, such as an encoder: packed as its first file is, table by table.

A table that stands in several files is compressed once. Each file holds it packed, because
runtimes open each on its own.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from toolkit.bundle.feeds import build_feeds
from toolkit.bundle.manifest import FurtherModel, Parity
from toolkit.bundle.tensors import describe
from toolkit.errors import InputError
from toolkit.graph.files import model_nbytes
from toolkit.graph.plain import load_plain
from toolkit.graph.rows import table_values
from toolkit.graph.tables import find_token_table
from toolkit.ort import cpu_session
from toolkit.progress import part

from ..options import GROUP
from ..sources.several import plain_stem
from ..tables import check_goes, choose_own_heads, choose_tables
from ..verify.check import TOLERANCE, check_runs, refuse, told
from ..verify.differences import difference_of
from ..verify.samples import Samples
from ..weights.shrink import Inputs, shrink_weights
from .compress import compress_tables
from .compress_heads import compress_heads
from .rewrite import rewrite
from .shrink import shrink
from .state import Export, Report
from .verify import verify

_IDS = "input_ids"
_TEXTS, _LONG = 2, 400  # made-up sound: texts, and frames or samples where their number is free


def begin_others(state: Export) -> list[Export]:
    """An export for each of them, its tables found; refused before minutes are spent.

    Raises:
        InputError: an option that such a model does not take, or a table that cannot be packed.
    """
    if not state.loaded.further:
        return []
    _check_options(state)
    return [_begin(state, path) for path in state.loaded.further]


def _check_options(state: Export) -> None:
    options, target = state.options, state.target
    if options.heal is not None:
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


def _begin(state: Export, path: Path) -> Export:
    stem = plain_stem(path)
    work = state.work / stem
    work.mkdir()
    # Sizes of a head are for the file that has it: the first.
    options = replace(state.options, head_ratio=None, head_bytes=None, sample_inputs=None)
    other = Export(state.source, state.budget, options, state.folder, work, state.original_folder)
    other.loaded = other.trained = replace(state.loaded, path=path, further=())
    other.structure = state.structure.named(stem)
    other.head_budget = state.head_budget
    other.weights_path = path
    other.model = load_plain(path)
    other.tables, other.own_heads = [], []
    if any(value.name == _IDS for value in other.model.graph.inputs):
        other.tables = choose_tables(other.model.graph, None, options.all_tables)
        for table in other.tables:
            check_goes(table)
        check_runs(path, other.tables, None)
        other.own_heads = choose_own_heads(other.model.graph, options)
    other.stored = {table.name: table for table in other.tables}
    return other


def pack_others(state: Export, report: Report) -> None:
    """Pack, rewrite and check each of them.

    Raises:
        InputError, BudgetError, CheckError: as of the first file.
    """
    for number, other in enumerate(state.others):
        _, end = shares = number / len(state.others), (number + 1) / len(state.others)
        if other.tables:
            _pack(other, state, part(report, *shares))
        else:
            _keep(other)
        report(end, f"{other.structure.model} is packed")


def _pack(other: Export, first: Export, report: Report) -> None:
    other.statistics = first.statistics
    known = find_token_table(load_plain(first.loaded.path).graph, first.tables[0].name)
    own = other.tables[0]
    same = (own.rows, own.width) == (known.rows, known.width)
    if len(other.tables) == 1 and same and np.array_equal(table_values(own), table_values(known)):
        other.embeddings = [first.embeddings[0]]
    else:
        compress_tables(other, report)
    compress_heads(other, report)
    if other.options.shrinks:
        shrink(other, report)
    rewrite(other, report)
    verify(other, report)


def _keep(other: Export) -> None:
    """A file without tables: its weights alone change, if anything does."""
    options, original = other.options, other.loaded.path
    if options.weights != "fp32":
        folder = other.work / "weights"
        folder.mkdir()
        nothing = Inputs((), np.zeros(0))
        other.weights_path = shrink_weights(
            original,
            folder,
            options.weights,
            nothing,
            kept=frozenset(),
            group_size=options.group_size or GROUP,
        )
    other.model_path = other.folder / other.structure.model
    other.model_path.parent.mkdir(exist_ok=True)
    ir.save(ir.load(other.weights_path), other.model_path, external_data=other.structure.data)
    samples = _made_up(original)
    with told():
        written = difference_of(other.model_path, other.weights_path, "", {}, samples=samples)
        lost = difference_of(other.model_path, original, "", {}, samples=samples)
    refuse(other.structure.model, written.largest, TOLERANCE * max(1.0, written.scale))
    other.parity = Parity(lookup=0.0, rewrite=written.largest, compression=lost.largest)


def _made_up(model: Path) -> Samples:
    """Sound, or whatever floats a model takes, at random."""
    inputs = describe(cpu_session(model).get_inputs())
    feeds = build_feeds(inputs, None, np.zeros((_TEXTS, _LONG), np.int64))
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=values.shape) if values.dtype.kind == "f" else values
        for name, values in feeds.items()
    }


def described(other: Export) -> FurtherModel:
    """For the manifest."""
    return FurtherModel(
        model=other.model_path.relative_to(other.folder).as_posix(),
        tables=tuple(table.described() for table in other.packed) if other.tables else (),
        model_bytes=model_nbytes(other.model_path),
        original_model_bytes=model_nbytes(other.loaded.path),
        parity=other.parity,
    )
