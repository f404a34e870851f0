"""Which tables a graph looks tokens up in: found by use, never by name."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from ..bundle.feeds import NOT_IDS
from ..errors import InputError
from .forms import (
    FLOATS,
    above,
    constant,
    dequantizes,
    is_op,
    remakes,
    shape_of,
    stored,
    turns,
    type_of,
)
from .gathers import is_row_gather
from .ids import INTEGERS, ids_input, what_stops
from .store import stored_as

# Of several tables, those worth packing: with fewer rows codebooks of 256 entries take more than
# the rows do, and a table of a hundredth of the largest decides nothing.
MIN_ROWS = 256
TAKES_ROWS = "inputs_embeds"  # what runtimes call rows that were looked up in another file
MIN_SHARE = 0.01
_NEAR = 2  # look-ups that a message names


@dataclass(frozen=True, eq=False)
class Lookup:
    """Where a graph looks rows up.

    Attributes:
        gather: the Gather or GatherBlockQuantized.
        rows: the value [.., d] that others read: the gather's own, or where integers are gathered
            what a DequantizeLinear makes of them.
        ids_input: the graph input that the ids come from.
    """

    gather: ir.Node
    rows: ir.Value
    ids_input: str

    @property
    def ids(self) -> ir.Value:
        """The indices."""
        value = self.gather.inputs[1]
        assert value is not None
        return value

    @property
    def dtype(self) -> ir.DataType:
        """The rows' type."""
        dtype = type_of(self.rows)
        assert dtype is not None
        return dtype


@dataclass(frozen=True, eq=False)
class TableUse:
    """An embedding table and who reads it.

    Attributes:
        graph: the model's.
        value: the stored table, the first of whose dimensions is V: an initializer, or the output
            of a Constant node. Or its transpose, where ``turned``.
        width: d.
        lookups: where rows are looked up by ids of a graph input.
        floats: values that hold the whole table [V, d] as floats: the stored one, or what a Cast or
            a DequantizeLinear makes of it.
        others: every other reader, such as an output head that shares the table.
        turned: the table is stored transposed [d, V], as an output head reads it.
    """

    graph: ir.Graph
    value: ir.Value
    width: int
    lookups: tuple[Lookup, ...]
    floats: tuple[ir.Value, ...]
    others: tuple[ir.Node, ...]
    turned: bool = False

    @property
    def name(self) -> str:
        """What the graph calls the stored table."""
        return self.value.name or ""

    @property
    def rows(self) -> int:
        """V."""
        return shape_of(self.value)[1 if self.turned else 0]

    @property
    def ids_input(self) -> str:
        """The graph input that the first look-up's ids come from."""
        return self.lookups[0].ids_input

    @property
    def gathers(self) -> tuple[ir.Node, ...]:
        """The nodes that look rows up, each once."""
        return tuple(dict.fromkeys(lookup.gather for lookup in self.lookups))

    @property
    def readers(self) -> tuple[ir.Node, ...]:
        """What stands between the stored table and the first look-up's rows, from these up."""
        first = self.lookups[0]
        after = [] if first.rows is first.gather.outputs[0] else [first.rows.producer()]
        nodes = (*after, first.gather, *above(first.gather.inputs[0]), _turn(first.gather))
        return tuple(node for node in nodes if node is not None)

    @property
    def nbytes(self) -> int:
        """Bytes of the table as stored in the file, scales and zero points included."""
        if (computed := stored_as(self.value)) is not None:
            return computed.nbytes
        held = {value for node in self.readers for value in node.inputs if value is not None}
        scales = map(stored, self.lookups[0].gather.inputs[2:])
        held |= {value for value in scales if value is not None}
        tensors = [constant(value) for value in held - {self.lookups[0].ids}]
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    @property
    def form(self) -> str:
        """How it is stored, for people: ``float16``, ``uint8, DequantizeLinear``."""
        if (computed := stored_as(self.value)) is not None:
            return computed.form
        tensor = constant(self.value)
        assert tensor is not None
        through = [node.op_type for node in self.readers if not is_op(node, "Gather", "Reshape")]
        return ", ".join([tensor.dtype.name.lower(), *reversed(through)])


def find_tables(graph: ir.Graph) -> list[TableUse]:
    """Every matrix that float rows are looked up in by ids of a graph input, largest first."""
    found: dict[tuple[ir.Value, bool], list[Lookup]] = {}
    for node in graph.all_nodes():
        name = ids_input(node.inputs[1], graph) if is_row_gather(node) else None
        for lookup in _lookups(node, name):
            table = _stored(node)
            assert table is not None
            found.setdefault((table, _turn(node) is not None), []).append(lookup)
    _add_others(graph, found)
    tables = [_table(graph, *key, tuple(lookups)) for key, lookups in found.items()]
    return sorted(tables, key=lambda table: (table.ids_input in NOT_IDS, -table.rows * table.width))


def _add_others(graph: ir.Graph, found: dict[tuple[ir.Value, bool], list[Lookup]]) -> None:
    """Look-ups of the same tables by other integers: constants, ids that are computed."""
    known = {lookup.gather for lookups in found.values() for lookup in lookups}
    for node in graph.all_nodes():
        if not is_row_gather(node) or node in known:
            continue
        lookups = [
            lookups
            for (table, turned), lookups in found.items()
            if table is _stored(node) and turned == (_turn(node) is not None)
        ]
        for own in lookups:
            own += _lookups(node, own[0].ids_input)


def find_token_table(graph: ir.Graph, name: str | None = None) -> TableUse:
    """The largest table looked up by ids, or the one called ``name``.

    Raises:
        InputError: the graph has none; the message names the inputs that were traced. Or it has
            none of this name; the message lists those that it has.
    """
    tables = find_tables(graph)
    if not tables:
        inputs = ", ".join(value.name or "?" for value in graph.inputs) or "none"
        near = "; ".join(_nearly(graph))
        if any(value.name == TAKES_ROWS for value in graph.inputs):
            raise InputError(
                f"no token table: the graph takes rows ({TAKES_ROWS}) that another file looks up; "
                "give the folder that holds both files, or the one that takes ids"
            )
        raise InputError(
            f"no token table: no float matrix is looked up by ids from a graph input ({inputs})"
            f"{f': {near}' if near else ''}; give a model that takes token ids"
        )
    named = [table for table in tables if name in (None, table.name)]
    if not named:
        known = ", ".join(f"{table.name} ({table.rows} x {table.width})" for table in tables)
        raise InputError(f"no table {name!r} is looked up by ids; choose from {known}")
    return named[0]


def _nearly(graph: ir.Graph) -> Iterator[str]:
    """What stopped the search, for the message: a few look-ups that are by no ids."""
    found = (node for node in graph.all_nodes() if is_row_gather(node))
    matrices = ((node, _stored(node)) for node in found)
    near = [(node, table) for node, table in matrices if table is not None and _width(node, table)]
    for node, table in near[:_NEAR]:
        stops = what_stops(node.inputs[1], graph) or "constants"
        shape = f"{shape_of(table)[0]} x {_width(node, table)}"
        yield f"{table.name} ({shape}) is looked up by what {stops} gives"
    others = [*_changing(graph), *unknown_lookups(graph)]
    yield from others[: _NEAR - len(near[:_NEAR])]


def unknown_lookups(graph: ir.Graph) -> Iterator[str]:
    """Nodes that read both a stored matrix and ids without being a look-up that is known."""
    for node in graph.all_nodes():
        known = [value for value in node.inputs if value is not None]
        matrices = [v for v in known if len(shape_of(v)) > 1 and type_of(v) in FLOATS]
        ids = [v for v in known if (v.dtype or type_of(v)) in INTEGERS and constant(v) is None]
        if matrices and ids and not is_row_gather(node):
            yield f"{called(node)} reads {_described(matrices[0])}"


def _changing(graph: ir.Graph) -> Iterator[str]:
    """Gathers from what is made of a stored matrix and of something that a call gives."""
    for node in graph.all_nodes():
        table = node.inputs[0] if is_row_gather(node) else None
        maker = None if table is None or _stored(node) is not None else table.producer()
        for value in () if maker is None else maker.inputs:
            if len(shape_of(value)) > 1 and type_of(value) in FLOATS:
                assert maker is not None
                what = f"what {called(maker)} makes of {_described(value)} in each call"
                yield f"{called(node)} reads {what}"


def called(node: ir.Node) -> str:
    """A node in a message: its operator, and its name where it has one."""
    return f"{node.op_type} {node.name or ''}".strip()


def _described(matrix: ir.Value | None) -> str:
    shape = " x ".join(map(str, shape_of(matrix)))
    return f"{'' if matrix is None else matrix.name} ({shape})"


def find_large_tables(graph: ir.Graph) -> list[TableUse]:
    """The largest table, and every other of :data:`MIN_ROWS` rows and :data:`MIN_SHARE` of it.

    Raises:
        InputError: the graph has none.
    """
    largest, *others = find_tables(graph) or [find_token_table(graph)]
    enough = MIN_SHARE * largest.rows * largest.width
    large = [t for t in others if t.rows >= MIN_ROWS and t.rows * t.width >= enough]
    return [largest, *large]


def _lookups(node: ir.Node, name: str | None) -> Iterator[Lookup]:
    """What ``node`` looks up by ids of the input ``name``; nothing where it is no look-up."""
    if name is None:
        return
    table = _stored(node)
    if table is None or not _width(node, table):
        return
    if type_of(node.outputs[0]) in FLOATS:
        yield Lookup(node, node.outputs[0], name)
        return
    for reader, index in node.outputs[0].uses():
        rows = reader.outputs[0]
        if index == 0 and _by_columns(reader, node, table) and type_of(rows) in FLOATS:
            yield Lookup(node, rows, name)


def _turn(gather: ir.Node) -> ir.Node | None:
    """The Transpose through which a Gather reads a table of floats; None of any other table."""
    node = None if gather.inputs[0] is None else gather.inputs[0].producer()
    if node is None or not is_op(gather, "Gather") or not turns(node):
        return None
    table = constant(node.inputs[0])
    return node if table is not None and table.dtype in FLOATS else None


def _stored(gather: ir.Node) -> ir.Value | None:
    """The constant that rows are gathered from, whatever is between; None where there is none."""
    turn = _turn(gather)
    return stored(gather.inputs[0]) if turn is None else turn.inputs[0]


def _width(gather: ir.Node, table: ir.Value) -> int:
    """Columns of the rows that are looked up in ``table``, 0 where it is no matrix."""
    shape = shape_of(table)
    if _turn(gather) is not None:
        return shape[0] if len(shape) == 2 else 0
    if is_op(gather, "Gather"):
        grouped = any(is_op(node, "Reshape") for node in above(gather.inputs[0]))
        return shape[1] if len(shape) == 2 and not grouped else 0
    # Two numbers of 4 bits to a byte, where the type does not say so.
    packed = type_of(table) == ir.DataType.UINT8
    columns = 8 // gather.attributes.get_int("bits", 4) if packed else 1
    for size in shape[1:]:
        columns *= size
    return columns if len(shape) > 1 else 0


def _by_columns(node: ir.Node, gather: ir.Node, table: ir.Value) -> bool:
    """Whether it dequantises gathered rows, by one scale or one for each column."""
    blocks = node.attributes.get_int("block_size", 0)
    if not (dequantizes(node) and remakes(node)) or blocks:
        return False
    scales = shape_of(node.inputs[1])
    if scales in ((), (1,)):
        return True
    ids = gather.inputs[1]
    last = len(ids.shape) if ids is not None and ids.shape is not None else -1
    return scales == shape_of(table)[1:] and node.attributes.get_int("axis", 1) in (-1, last)


def _table(graph: ir.Graph, value: ir.Value, turned: bool, lookups: tuple[Lookup, ...]) -> TableUse:
    """Follow every reader of the stored table."""
    gathers = {lookup.gather for lookup in lookups}
    read = {lookup.rows.producer() for lookup in lookups}
    held, others = [value], list[ir.Node]()
    if turned:
        users = [node for node, _ in value.uses()]
        held = [node.outputs[0] for node in users if turns(node)]
        others = [node for node in users if not turns(node)]
    for whole in held:  # grows
        for node, index in whole.uses():
            if index == 0 and node in gathers:
                # Of gathered integers someone may want the integers.
                after = [] if node in read else [user for user, _ in node.outputs[0].uses()]
                others += [user for user in after if user not in read]
            elif index == 0 and remakes(node):
                held.append(node.outputs[0])
            else:
                others.append(node)
    width = _width(lookups[0].gather, value)
    floats = tuple(whole for whole in held if type_of(whole) in FLOATS)
    return TableUse(graph, value, width, lookups, floats, tuple(dict.fromkeys(others)), turned)
