"""Whatever a table is stored as, its rows are found, read as the graph reads them, and replaced."""

from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from exporters.passes.compress_table import CompressTable
from exporters.passes.inline_functions import InlineFunctions
from exporters.tables import PackedTable
from exporters.verify.check import check_model, check_stays_packed
from exporters.verify.differences import CheckError
from toolkit.errors import InputError
from toolkit.graph.heads import find_heads, serves_heads_alone
from toolkit.graph.rows import table_values
from toolkit.graph.tables import find_tables, find_token_table

ROWS, WIDTH, BLOCK = 300, 32, 16
RNG = np.random.default_rng(8)
INTS = {
    "int8": RNG.integers(-128, 128, (ROWS, WIDTH)).astype(np.int8),
    "uint8": RNG.integers(0, 256, (ROWS, WIDTH)).astype(np.uint8),
    "int4": RNG.integers(-8, 8, (ROWS, WIDTH)).astype(np.int8),
    "uint4": RNG.integers(0, 16, (ROWS, WIDTH)).astype(np.uint8),
}
FLOATS = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
BY_ROW = RNG.uniform(0.01, 0.02, ROWS).astype(np.float32)
BY_COLUMN = RNG.uniform(0.01, 0.02, WIDTH).astype(np.float32)
BY_BLOCK = RNG.uniform(0.01, 0.02, (ROWS, WIDTH // BLOCK)).astype(np.float32)
POINTS = RNG.integers(0, 16, (ROWS, WIDTH // BLOCK)).astype(np.uint8)
ONE = np.float32(0.013)


@dataclass(frozen=True)
class Form:
    """``body`` makes ``rows`` of ``ids``; ``values`` are the table's; ``gone`` what must go."""

    body: str
    tensors: dict
    values: np.ndarray
    kind: str = "float"
    stored: dict = field(default_factory=dict)  # tensors of types that numpy lacks


def by_blocks(values, scales, points=0):
    grouped = values.reshape(ROWS, -1, BLOCK).astype(np.float32)
    zero = np.broadcast_to(np.asarray(points, np.float32), scales.shape)[..., None]
    return ((grouped - zero) * scales[..., None]).reshape(ROWS, WIDTH)


def nibbles(values):
    """Two values to a byte, the first one low."""
    return (values[:, ::2] | values[:, 1::2] << 4).astype(np.uint8)


def blocks(*inputs, **attributes):
    given = {"block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1} | attributes
    written = ", ".join(f"{name} = {value}" for name, value in given.items())
    return f"rows = com.microsoft.GatherBlockQuantized<{written}>({', '.join(inputs)})"


AFTER = "q = Gather(t, ids) rows = DequantizeLinear<axis = {}>(q, s{})"
BEFORE = "f = DequantizeLinear<axis = {}>(t, s{}) rows = Gather(f, ids)"
HALF = FLOATS.astype(np.float16)
FORMS = {
    "dequantised rows": Form(
        AFTER.format(1, ", z"),
        {"t": INTS["uint8"], "s": ONE, "z": np.uint8(117)},
        (INTS["uint8"].astype(np.float32) - 117) * ONE,
    ),
    "dequantised rows, symmetric": Form(
        AFTER.format(1, ""), {"t": INTS["int8"], "s": ONE}, INTS["int8"] * ONE
    ),
    "dequantised rows, a scale to a column": Form(
        AFTER.format(-1, ""), {"t": INTS["int8"], "s": BY_COLUMN}, INTS["int8"] * BY_COLUMN
    ),
    "a dequantised table": Form(
        BEFORE.format(1, ", z"),
        {"t": INTS["int8"], "s": ONE, "z": np.int8(-5)},
        (INTS["int8"].astype(np.float32) + 5) * ONE,
    ),
    "a dequantised table, a scale to a row": Form(
        BEFORE.format(0, ", z"),
        {"t": INTS["uint8"], "s": BY_ROW, "z": np.arange(ROWS).astype(np.uint8)},
        (INTS["uint8"] - np.arange(ROWS).astype(np.uint8).astype(np.float32)[:, None])
        * BY_ROW[:, None],
    ),
    "a dequantised table, a scale to a column": Form(
        BEFORE.format(1, ""), {"t": INTS["int8"], "s": BY_COLUMN}, INTS["int8"] * BY_COLUMN
    ),
    "a dequantised table, a scale to a block": Form(
        f"f = DequantizeLinear<axis = 1, block_size = {BLOCK}>(t, s) rows = Gather(f, ids)",
        {"t": INTS["int8"], "s": BY_BLOCK},
        by_blocks(INTS["int8"], BY_BLOCK),
    ),
    "a dequantised table of half precision": Form(
        BEFORE.format(1, ""),
        {"t": INTS["int8"], "s": np.float16(0.0125)},
        INTS["int8"] * np.float32(np.float16(0.0125)),
        "float16",
    ),
    "blocks of int4": Form(
        blocks("t", "ids", "s"),
        {"s": BY_BLOCK},
        by_blocks(INTS["int4"], BY_BLOCK),
        stored={"t": INTS["int4"].astype(ml_dtypes.int4)},
    ),
    "blocks of uint4 with zero points": Form(
        blocks("t", "ids", "s", "z"),
        {"s": BY_BLOCK},
        by_blocks(INTS["uint4"], BY_BLOCK, POINTS),
        stored={"t": INTS["uint4"].astype(ml_dtypes.uint4), "z": POINTS.astype(ml_dtypes.uint4)},
    ),
    "blocks of 4 bits in bytes": Form(
        blocks("t", "ids", "s", bits=4),
        {"t": nibbles(INTS["uint4"]), "s": BY_BLOCK},
        by_blocks(INTS["uint4"], BY_BLOCK, 8),
    ),
    "blocks of 4 bits in bytes with zero points": Form(
        blocks("t", "ids", "s", "z", bits=4),
        {"t": nibbles(INTS["uint4"]), "s": BY_BLOCK, "z": nibbles(POINTS)},
        by_blocks(INTS["uint4"], BY_BLOCK, POINTS),
    ),
    "blocks of bytes": Form(
        blocks("t", "ids", "s", bits=8),
        {"t": INTS["uint8"], "s": BY_BLOCK},
        by_blocks(INTS["uint8"], BY_BLOCK, 128),
    ),
    "blocks of bytes with zero points": Form(
        blocks("t", "ids", "s", "z", bits=8),
        {"t": INTS["uint8"], "s": BY_BLOCK, "z": POINTS},
        by_blocks(INTS["uint8"], BY_BLOCK, POINTS),
    ),
    "blocks of half precision": Form(
        blocks("t", "ids", "s", bits=8),
        {"t": INTS["uint8"], "s": BY_BLOCK.astype(np.float16)},
        by_blocks(INTS["uint8"], BY_BLOCK.astype(np.float16).astype(np.float32), 128),
        "float16",
    ),
    "a cast table": Form(
        "f = Cast<to = 1>(t) rows = Gather(f, ids)", {"t": HALF}, HALF.astype(np.float32)
    ),
    "floats that stand transposed": Form(
        "f = Transpose<perm = [1, 0]>(t) rows = Gather(f, ids)",
        {"t": np.ascontiguousarray(FLOATS.T)},
        FLOATS,
    ),
    "cast rows": Form(
        "h = Gather(t, ids) rows = Cast<to = 1>(h)", {"t": HALF}, HALF.astype(np.float32)
    ),
    "brain floats, cast": Form(
        "f = Cast<to = 1>(t) rows = Gather(f, ids)",
        {},
        FLOATS.astype(ml_dtypes.bfloat16).astype(np.float32),
        stored={"t": FLOATS.astype(ml_dtypes.bfloat16)},
    ),
}
IDS = RNG.integers(0, ROWS, (2, 7))


@pytest.fixture(scope="module")
def embedding(pack_table):
    return pack_table(ROWS, WIDTH, dense=[(ROWS, 20, 5)], columns=[(60, 8)], block=16)


@pytest.fixture
def make(graph):
    """``make(form)``: the model, whose output ``rows`` are those of ``ids``."""

    def build(form, body=None, output="rows"):
        kind, shape = form.kind, f"b,s,{WIDTH}" if output == "rows" else f"b,s,{ROWS}"
        signature = f"(int64[b,s] ids) => ({kind}[{shape}] {output})"
        model = graph(signature, body or form.body, opset=21, **form.tensors)
        for name, array in form.stored.items():
            stored(model.graph, name, array)
        model.opset_imports["com.microsoft"] = 1
        return ir.from_proto(ir.to_proto(model))

    def stored(graph, name, array):
        """The text knows it as a value that nobody makes; let it be an initializer."""
        value = next(v for n in graph.all_nodes() for v in n.inputs if v and v.name == name)
        value.const_value = ir.tensor(array, name=name)
        graph.register_initializer(value)

    return build


@pytest.mark.parametrize("name", FORMS)
def test_a_table_is_read_as_the_graph_reads_it(make, run_model, name):
    form = FORMS[name]
    model = make(form)
    found = find_token_table(model.graph)
    assert (found.name, found.rows, found.width, found.ids_input) == ("t", ROWS, WIDTH, "ids")
    assert found.others == ()
    values = table_values(found).astype(np.float32)
    precision = 2e-3 if form.kind == "float16" else 1e-6
    np.testing.assert_allclose(values, form.values, rtol=precision, atol=precision)
    (rows,) = run_model(model, ids=IDS)
    np.testing.assert_array_equal(values[IDS], rows)
    stored = sum(v.const_value.nbytes for v in model.graph.initializers.values())
    assert found.nbytes == stored


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_rewritten_it_gives_the_packed_rows_in_the_same_type(
    make, run_model, embedding, tmp_path, name, inline
):
    form = FORMS[name]
    model, original = make(form), make(form)
    CompressTable("t", embedding)(model)
    if inline:
        InlineFunctions()(model)
    (rows,), (before,) = run_model(model, ids=IDS), run_model(original, ids=IDS)
    assert rows.dtype == before.dtype
    wanted = embedding.lookup(IDS)
    if form.kind == "float16" or name == "cast rows":  # these pass through float16
        wanted = wanted.astype(np.float16)
    np.testing.assert_array_equal(rows, wanted.astype(rows.dtype))
    assert all(name.startswith("t.") for name in model.graph.initializers)
    ops = {node.op_type for node in original.graph if node.op_type != "Gather"} - {"Cast"}
    assert not ops & {node.op_type for node in model.graph}
    paths = tmp_path / "packed.onnx", tmp_path / "original.onnx"
    for path, each in zip(paths, (model, original), strict=True):
        ir.save(each, path)
    parity = check_model(*paths, [PackedTable("t", embedding)])
    assert parity.rewrite == 0
    assert parity.compression > 0.1


@pytest.mark.parametrize("name", FORMS)
def test_a_table_that_is_left_is_noticed(make, embedding, tmp_path, name):
    original, model = make(FORMS[name]), make(FORMS[name])
    CompressTable("t", embedding)(model)
    table = original.graph.initializers["t"].const_value
    left = ir.val("t", const_value=ir.tensor(table.numpy(), name="t", dtype=table.dtype))
    model.graph.register_initializer(left)
    ir.save(model, tmp_path / "left.onnx")
    with pytest.raises(CheckError, match="the file still holds a dense table, t"):
        check_stays_packed(tmp_path / "left.onnx", [PackedTable("t", embedding)])


@pytest.mark.parametrize("name", FORMS)
def test_rows_that_are_not_those_of_lookup_are_noticed(make, embedding, tmp_path, name):
    ir.save(make(FORMS[name]), tmp_path / "original.onnx")
    model = make(FORMS[name])
    CompressTable("t", embedding)(model)
    codes = model.graph.initializers["t.stages.0.codes"]
    changed = codes.const_value.numpy().copy()
    changed[ROWS - 1] ^= 1
    codes.const_value = ir.tensor(changed, name=codes.name)
    ir.save(model, tmp_path / "packed.onnx")
    paths = tmp_path / "packed.onnx", tmp_path / "original.onnx"
    with pytest.raises(CheckError, match=r"the decode graph and lookup\(\) differ"):
        check_model(*paths, [PackedTable("t", embedding)])


CONSTANT = "t = Constant<value = float[3,2] {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}>() rows = Gather(t, ids)"


def test_a_constant_node_is_a_table_too(graph, run_model, pack_table):
    model = graph("(int64[b,s] ids) => (float[b,s,2] rows)", CONSTANT)
    found = find_token_table(model.graph)
    assert (found.name, found.rows, found.width, found.nbytes) == ("t", 3, 2, 24)
    np.testing.assert_array_equal(table_values(found), [[1, 2], [3, 4], [5, 6]])
    embedding = pack_table(3, 2, dense=[(3, 4, 2)])
    CompressTable("t", embedding)(model)
    (rows,) = run_model(model, ids=IDS % 3)
    np.testing.assert_array_equal(rows, embedding.lookup(IDS % 3))
    assert "Constant" not in {node.op_type for node in model.graph}


def test_a_constant_node_that_is_left_is_noticed(graph, pack_table, tmp_path):
    embedding = pack_table(3, 2, dense=[(3, 4, 2)])
    ir.save(
        graph("(int64[b,s] ids) => (float[b,s,2] rows)", CONSTANT),
        tmp_path / "left.onnx",
    )
    with pytest.raises(CheckError, match="the file still holds a dense table, t"):
        check_stays_packed(tmp_path / "left.onnx", [PackedTable("t", embedding)])


IN_BRANCH = """
    some = Size(ids)
    any = Cast<to = 9>(some)
    rows = If (any) <
        then_branch = g1 () => (float[b,s,32] x) <float[300,32] t = {0}> {{ x = Gather(t, ids) }},
        else_branch = g2 () => (float[b,s,32] x) {{ x0 = Gather(t, ids) x = Neg(x0) }}
    >
"""


def test_an_initializer_of_a_branch_is_a_table_too(graph, run_model, embedding, tmp_path):
    numbers = "{" + ", ".join(f"{each:.4f}" for each in FLOATS.ravel()) + "}"
    body = IN_BRANCH.format(numbers).replace("Gather(t, ids) x = Neg", "Gather(u, ids) x = Neg")
    signature = "(int64[b,s] ids) => (float[b,s,32] rows)"
    model = graph(signature, body, u=FLOATS[:, :32])
    ir.save(model, tmp_path / "original.onnx")
    assert [found.name for found in find_tables(model.graph)] == ["t", "u"]
    CompressTable("t", embedding)(model)
    (rows,) = run_model(model, ids=IDS)
    np.testing.assert_array_equal(rows, embedding.lookup(IDS))
    ir.save(model, tmp_path / "packed.onnx")
    check_model(tmp_path / "packed.onnx", tmp_path / "original.onnx", [PackedTable("t", embedding)])
    with pytest.raises(CheckError, match="the file still holds a dense table, t"):
        check_stays_packed(tmp_path / "original.onnx", [PackedTable("t", embedding)])


def test_branches_whose_names_are_the_same_are_told_apart(graph, embedding, tmp_path):
    """Merged decoders: what one branch computes wrongly must not hide behind the other."""
    body = """
        some = Size(ids)
        any = Cast<to = 9>(some)
        rows = If (any) <
            then_branch = g1 () => (float[b,s,32] x) { i = Identity(ids) x = Gather(t, i) },
            else_branch = g2 () => (float[b,s,32] x) { i = Identity(ids) x = Gather(t, i) }
        >
    """
    signature = "(int64[b,s] ids) => (float[b,s,32] rows)"
    ir.save(graph(signature, body, t=FLOATS), tmp_path / "original.onnx")
    for wrong in (None, 0, 1):
        model = graph(signature, body, t=FLOATS)
        CompressTable("t", embedding)(model)
        if wrong is not None:
            packed = [n for n in model.graph.all_nodes() if n.domain == "ai.lighttoken"][wrong]
            rows = packed.outputs[0]
            rows.name = f"{rows.name}_before"
            spoilt = ir.node("Neg", [rows])
            spoilt.outputs[0].name = "x"
            packed.graph.insert_after(packed, spoilt)
            rows.replace_all_uses_with(spoilt.outputs[0], replace_graph_outputs=True)
            spoilt.replace_input_with(0, rows)
        ir.save(model, tmp_path / "packed.onnx")
        paths = tmp_path / "packed.onnx", tmp_path / "original.onnx"
        if wrong is None:
            check_model(*paths, [PackedTable("t", embedding)])
        else:
            with pytest.raises(CheckError, match=r"the decode graph and lookup\(\)"):
                check_model(*paths, [PackedTable("t", embedding)])


SHARED = {
    "a dequantised table": "h = Transpose<perm = [1, 0]>(f) y = MatMul(rows, h)",
    "a cast table": "h = Transpose<perm = [1, 0]>(f) y = MatMul(rows, h)",
}
NBITS = "com.microsoft.MatMulNBits<K = 32, N = 300, bits = {bits}, block_size = 16>"


@pytest.mark.parametrize("name", SHARED)
def test_heads_that_share_such_a_table_read_the_packed_one(
    make, run_model, embedding, tmp_path, name
):
    form = FORMS[name]
    check_head(make, run_model, embedding, tmp_path, form, f"{form.body} {SHARED[name]}")


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("points", [False, True])
def test_a_head_of_the_same_blocks_reads_the_packed_table(
    make, run_model, embedding, tmp_path, bits, points
):
    """The form of onnxruntime-genai: the head's blocks, regrouped, are what ids look up."""
    values = INTS["uint4" if bits == 4 else "uint8"]
    packed = nibbles(values) if bits == 4 else values
    zero = {"z": nibbles(POINTS) if bits == 4 else POINTS} if points else {}
    tensors = {"t": packed.reshape(ROWS, WIDTH // BLOCK, -1), "s": BY_BLOCK} | zero
    tensors["flat"] = np.array(packed.shape)
    inputs = ("g", "ids", "s", "z") if points else ("g", "ids", "s")
    form = Form("", tensors, by_blocks(values, BY_BLOCK, POINTS if points else 2 ** (bits - 1)))
    head = f"y = {NBITS.format(bits=bits)}(rows, t, s{', z' if points else ''})"
    body = f"g = Reshape(t, flat) {blocks(*inputs, bits=bits)} {head}"
    check_head(make, run_model, embedding, tmp_path, form, body)


def check_head(make, run_model, embedding, tmp_path, form, body):
    model, original = (make(form, body, "y") for _ in range(2))
    table = find_token_table(model.graph)
    np.testing.assert_allclose(table_values(table).astype(np.float32), form.values, rtol=1e-6)
    heads = find_heads(model.graph, table)
    assert len(heads) == 1
    assert serves_heads_alone(table, heads)
    assert not serves_heads_alone(table, [])
    CompressTable("t", embedding, heads=True)(model)
    (logits,) = run_model(model, ids=IDS)
    wanted = embedding.logits(embedding.lookup(IDS))
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert all(name.startswith("t.") for name in model.graph.initializers)
    paths = tmp_path / "packed.onnx", tmp_path / "original.onnx"
    for path, each in zip(paths, (model, original), strict=True):
        ir.save(each, path)
    check_model(*paths, [PackedTable("t", embedding, heads=1)])


def test_a_head_of_other_scales_is_none(make):
    tensors = {"t": INTS["uint8"], "s": BY_BLOCK, "s2": 2 * BY_BLOCK}
    head = f"y = {NBITS.format(bits=8)}(rows, t, s2)"
    body = f"{blocks('t', 'ids', 's', bits=8)} {head}"
    model = make(Form("", tensors, FLOATS), body, "y")
    table = find_token_table(model.graph)
    assert find_heads(model.graph, table) == []
    assert not serves_heads_alone(table, [])


def test_turned_integers_of_another_scale_are_no_head(make):
    form = FORMS["dequantised rows"]
    for scale, found in (("s", 1), ("s2", 0)):
        head = f"h = Transpose(t) f = DequantizeLinear(h, {scale}, z) y = MatMul(rows, f)"
        model = make(
            Form("", form.tensors | {"s2": np.float32(0.02)}, FLOATS), f"{form.body} {head}", "y"
        )
        table = find_token_table(model.graph)
        assert len(find_heads(model.graph, table)) == found
        assert serves_heads_alone(table, find_heads(model.graph, table)) == bool(found)


def test_scales_along_the_text_are_no_tables(make):
    """Of gathered rows [b, s, d], a scale to each place: not a number of the table's."""
    form = Form(AFTER.format(1, ""), {"t": INTS["int8"], "s": BY_COLUMN}, FLOATS)
    with pytest.raises(InputError, match="no token table"):
        find_token_table(make(form).graph)


def test_integers_that_others_want_too_keep_the_table(make, run_model, embedding):
    form = FORMS["dequantised rows"]
    body = form.body.replace("rows =", "f =") + " i = Cast<to = 1>(q) rows = Add(f, i)"
    model = make(form, body)
    table = find_token_table(model.graph)
    assert [node.op_type for node in table.others] == ["Cast"]
    assert not serves_heads_alone(table, [])
    CompressTable("t", embedding)(model)
    (rows,) = run_model(model, ids=IDS)
    wanted = embedding.lookup(IDS) + INTS["uint8"][IDS]
    np.testing.assert_allclose(rows, wanted, rtol=1e-5, atol=1e-5)
    assert "t" in model.graph.initializers


def test_integers_without_a_scale_are_no_table(make):
    form = Form("q = Gather(t, ids) rows = Cast<to = 1>(q)", {"t": INTS["uint8"]}, FLOATS)
    with pytest.raises(InputError, match="no token table"):
        find_token_table(make(form).graph)
