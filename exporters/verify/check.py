"""What is proved after every export, on the files as written."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.bundle.feeds import is_cache
from toolkit.bundle.manifest import Parity
from toolkit.bundle.tensors import describe
from toolkit.graph.contract import TRELLIS
from toolkit.graph.forms import constant, rounds_activations
from toolkit.graph.own_heads import find_own_heads
from toolkit.graph.plain import load_plain
from toolkit.graph.tables import TableUse, find_tables
from toolkit.ort import ORT_ERRORS, cpu_session, quiet_options
from toolkit.table.grouped import GroupedTable
from toolkit.temporary import temporary_folder

from ..tables import PackedTable
from .differences import CheckError, difference_of, try_out
from .limits import OTHERWISE, TOLERANCE, not_here, of_types, refuse, told, tolerance_of
from .replaced import save_exact, save_replaced
from .rows import compare_rows
from .samples import Samples

_FEW_ROWS = 2  # that any table has
# Of the largest output too, where both ways round what goes into products, each its own way, layer
# after layer: made-up tokens move the outputs of a decoder by a third. A kernel that is wrong moves
# them by all that they are.
_ROUNDED = 0.5
_KERNEL = 0.05  # of the largest output: a head's hidden states have 8 bits in the kernel
_STEPS = ((2, 1), (1, 5))  # batch and length of what follows a cache
_NO_HEAD = "use --head dense"
_REBUILD = "build it again with `lighttoken op`"
_OPTIMIZED = "optimized.onnx"
_OPTIMIZED_DATA = "optimized.onnx.data"


def check_model(
    compressed: Path,
    original: Path,
    tables: Sequence[PackedTable],
    *,
    heads: Sequence[PackedTable] = (),
    uncompressed: Path | None = None,
    fusing: Callable[[ir.Model], object] | None = None,
    samples: Samples | None = None,
) -> Parity:
    """Run every check but that of :func:`.heads.check_heads`.

    Args:
        compressed: the rewritten model.
        original: the model before the rewrite.
        tables: those that were replaced; () where the graph looks nothing up, and ``samples`` say
            what it takes.
        heads: output heads with a matrix of their own that were replaced.
        uncompressed: what the compression error is measured against, where that is not
            ``original``.
        fusing: what was done to the nodes beside the rewrite. Where the model rounds, it is done to
            the original too, as the last bit of a sum decides a step there.
        samples: real inputs to run the models with; None for made-up ones.

    Raises:
        CheckError: a check fails; the message gives the figure. Or onnxruntime cannot run a model.
    """
    with told():
        return _check(
            compressed, original, tables, heads, uncompressed or original, fusing, samples
        )


def check_runs(original: Path, uses: Sequence[TableUse], samples: Samples | None) -> str:
    """The model runs with what the checks will give it: said before minutes are spent.

    Returns:
        Why onnxruntime cannot run it here, such as another provider's operators or types, so that
        its rows alone can be checked; "" where it runs.

    Raises:
        CheckError: onnxruntime refuses it or its inputs.
        InputError: ``samples`` that are not this model's.
    """
    rows = _valid_ids(uses)
    try:
        with told():
            try_out(original, uses[0].ids_input, rows, samples)
    except CheckError as error:
        if reason := not_here(error):
            return reason
        if samples is not None:
            raise
        raise CheckError(
            f"{error}; if it wants other inputs than made-up ones, give real ones with "
            "--sample-inputs FILE"
        ) from error
    return ""


def _check(
    compressed: Path,
    original: Path,
    tables: Sequence[PackedTable],
    heads: Sequence[PackedTable],
    uncompressed: Path,
    fusing: Callable[[ir.Model], object] | None,
    samples: Samples | None,
) -> Parity:
    _check_onnx(compressed, original)
    check_stays_packed(compressed, [*tables, *heads], original)
    before, after = load_plain(original), ir.load(compressed)
    uses = {use.name: use for use in find_tables(before.graph)}
    looked_up = [tolerance_of(uses[table.name]) for table in tables]
    tolerance = max(looked_up or [_of_heads(before.graph)])
    lookup, decoded = 0.0, {}
    for table in tables:
        values, difference = compare_rows(before, after, uses[table.name], table)
        lookup, decoded[table.name] = max(lookup, difference), values
    ids_input = uses[tables[0].name].ids_input if tables else ""
    rows = _valid_ids(uses.values())
    with temporary_folder() as folder:
        # With the rows that the file decodes, to the bit: where weights are quantised, the last
        # bit of a row may decide how an activation is rounded.
        replaced = folder / "replaced.onnx"
        shared = {table.name for table in tables if table.heads}
        own = {head.name: head.embedding.dense() for head in heads}
        save_replaced(original, decoded, shared, replaced, own_heads=own)
        if fusing is not None and rounds_activations(before.graph):
            reference = ir.load(replaced)
            fusing(reference)
            ir.save(reference, replaced)  # its weights stay where they are
        file = compressed
        if any(_multiplies_integers(table) for table in tables):
            file = folder / "exact.onnx"
            save_exact(compressed, [table.name for table in tables], file)
        # Of padding a causal model says nothing: attention nodes fill fully masked rows their way.
        every = not _has_cache(before)
        rewrite = difference_of(file, replaced, ids_input, rows, all_tokens=every, samples=samples)
        if file != compressed:
            rounded = difference_of(
                compressed, file, ids_input, rows, all_tokens=every, samples=samples
            )
            limit = _KERNEL * max(1.0, rounded.scale)
            refuse("the head of 8-bit states and the exact one", rounded.largest, limit, _NO_HEAD)
    what = "the rewritten model and the original with its table replaced"
    counts = rewrite.typical if rounds_activations(before.graph) else rewrite.largest
    refuse(what, counts, tolerance * max(1.0, rewrite.scale))
    lost = difference_of(
        compressed, uncompressed, ids_input, rows, all_tokens=every, samples=samples
    )
    return Parity(lookup=lookup, rewrite=rewrite.largest, compression=lost.largest)


def _multiplies_integers(table: PackedTable) -> bool:
    """Whether a head rounds its hidden states to 8 bits, as MatMulNBits may."""
    return isinstance(table.embedding, GroupedTable) and bool(table.heads)


def _valid_ids(uses: Iterable[TableUse]) -> dict[str, int]:
    """For each input, how many ids every table has a row for that is looked up by it."""
    rows: dict[str, int] = {}
    for use in uses:
        for lookup in use.lookups:
            rows[lookup.ids_input] = min(use.rows, rows.get(lookup.ids_input, use.rows))
    return rows


def _of_heads(graph: ir.Graph) -> float:
    return of_types(head.dtype for own in find_own_heads(graph) for head in own.heads)


def _check_onnx(path: Path, original: Path) -> None:
    """A model that onnx.checker refuses must be one that it refused before the rewrite too.

    onnxruntime has operators in the standard domain that the standard does not know, such as the
    SimplifiedLayerNormalization of onnxruntime-genai's builder. Such files are held to what
    onnxruntime makes of them, by the checks that follow.
    """
    refusal = _refusal(path)
    if refusal and not _refusal(original):
        raise CheckError(f"onnx.checker refuses the model: {refusal}; {OTHERWISE}")


def _refusal(path: Path) -> str:
    """Why onnx.checker refuses a model; "" where it does not."""
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        return str(error).splitlines()[0]
    return ""


def check_same(model: Path, other: Path) -> None:
    """Raise CheckError unless a model in another format gives the same."""
    inputs = describe(cpu_session(model).get_inputs())
    ids_input = next(info.name for info in inputs if info.dtype in ("int32", "int64"))
    difference = difference_of(other, model, ids_input, {ids_input: _FEW_ROWS})
    limit = TOLERANCE * max(1.0, difference.scale)
    refuse(f"{other.name} and {model.name}", difference.largest, limit, "leave --format out")


def check_kernel(
    model: Path, library: Path, ids_input: str, rows: int, samples: Samples | None
) -> float | None:
    """The largest difference that the native kernel makes; None where it does not load here.

    Raises:
        CheckError: it is more than what the kernel rounds explains.
    """
    options = quiet_options()
    try:
        options.register_custom_ops_library(str(library))
    except ORT_ERRORS:
        return None
    loaded = ir.load(model)
    every = not _has_cache(loaded)
    with told():
        found = difference_of(
            model,
            model,
            ids_input,
            {ids_input: rows},
            all_tokens=every,
            samples=samples,
            options=options,
        )
    rounds = any(node.op_type == TRELLIS for node in loaded.graph.all_nodes())
    counts, most = (found.typical, _ROUNDED) if rounds else (found.largest, _KERNEL)
    limit = most * max(1.0, found.scale)
    refuse("the model with the native kernel and without it", counts, limit, _REBUILD)
    return found.largest


def check_fused(fused: Path, original: Path) -> None:
    """Raise CheckError unless a model whose nodes were fused gives what ``original`` gives.

    The additions of the fused nodes have another order, which is what the tolerance is for.
    """
    before = load_plain(original)
    uses = find_tables(before.graph)
    ids_input, rows = uses[0].ids_input, _valid_ids(uses)
    ways: list[dict[str, Any]] = [{"all_tokens": not _has_cache(before)}]
    if _has_cache(before):
        ways.append({"shapes": _STEPS, "cached": 3, "all_tokens": False})
    for way in ways:
        with told():
            difference = difference_of(fused, original, ids_input, rows, **way)
        counts = difference.typical if rounds_activations(before.graph) else difference.largest
        limit = max(map(tolerance_of, uses)) * max(1.0, difference.scale)
        refuse("the model and the one with fused nodes", counts, limit, "use --no-fuse")


def _has_cache(model: ir.Model) -> bool:
    """Whether it is a decoder that goes on after keys and values of the tokens before."""
    names = [str(value.name) for value in model.graph.inputs]
    return any(map(is_cache, names)) and not any(".encoder." in name for name in names)


def check_stays_packed(
    path: Path, tables: Sequence[PackedTable], original: Path | None = None
) -> None:
    """No dense table is in the file, nor in the graph that onnxruntime makes of it.

    onnxruntime folds constants when it loads a model; an unpacking that it can fold would undo the
    compression in memory while the file stays small. So its optimised graph is inspected too. What
    is folded of the ``original`` as well is the model's own, such as DeBERTa's relative positions.

    Raises:
        CheckError: a table or a tensor as large is left, or the optimised graph has grown.
    """
    before, after = _entries(path), _optimized_entries(path)
    if any(table.tied for table in tables):
        tables = [table for table in tables if not table.tied]
    for table in tables:
        entries = table.embedding.rows * table.embedding.width
        if any(name == table.name for name, _ in before):
            raise CheckError(
                f"the file still holds a dense table, {table.name}; leave what else reads it out "
                "of the model, or choose another with --table"
            )
        # Other weights may be as large, such as an output head of its own.
        stored, loaded = (
            [name for name, count in sizes if count == entries] for sizes in (before, after)
        )
        if len(loaded) > len(stored):
            new = next((name for name in loaded if name not in stored), loaded[0])
            raise CheckError(f"onnxruntime's graph holds a dense table, {new}; {OTHERWISE}")
    # Entries, not bytes: a CPU without float16 turns such weights into float32, one for one.
    grown = sum(count for _, count in after) - sum(count for _, count in before)
    allowed = sum(_may_grow(table) for table in tables)
    if grown > allowed and original is not None:
        folded = Counter(_optimized_entries(original)) - Counter(_entries(original))
        own = folded & (Counter(after) - Counter(before))
        grown -= sum(count for _, count in own.elements())
    if tables and grown > allowed:
        raise CheckError(
            f"onnxruntime unpacks at load: its graph holds {grown:,} numbers more than the file; "
            f"{OTHERWISE}"
        )


def _may_grow(table: PackedTable) -> int:
    """Numbers that onnxruntime may add: constants it has folded, and what a head wants in float."""
    embedding = table.embedding
    entries = embedding.rows * embedding.width // 4
    if isinstance(embedding, GroupedTable):
        return entries  # scales, cast and in the shape that each reader wants
    if not table.heads:
        return entries
    # Decoders beside the codes, some numbers for each row, and the table of signs.
    by_row = ("codes", "left", "starts")
    sizes = (array.size for name, array in embedding.tensors() if not name.endswith(by_row))
    return entries + sum(sizes) + 2048 + 4 * embedding.rows


def _entries(path: Path) -> list[tuple[str, int]]:
    """How many numbers each constant holds, those of branches included."""
    graph = ir.load(path).graph
    values = [value for each in (graph, *graph.subgraphs()) for value in each.initializers.values()]
    values += [n.outputs[0] for n in graph.all_nodes() if n.op_type == "Constant"]
    held = [(value.name or "", constant(value)) for value in values]
    return [(name, tensor.size) for name, tensor in held if tensor is not None]


def _optimized_entries(path: Path) -> list[tuple[str, int]]:
    """The same of the graph that onnxruntime makes of a file."""
    with temporary_folder() as folder:
        optimized = folder / _OPTIMIZED
        options = quiet_options()
        options.optimized_model_filepath = str(optimized)
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", _OPTIMIZED_DATA
        )
        cpu_session(path, options)
        return _entries(optimized)
