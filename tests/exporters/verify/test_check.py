"""No wrong model passes, and no right one is refused."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from exporters.ops.layer import graph_tensors
from exporters.passes.compress_table import CompressTable
from exporters.passes.inline_functions import InlineFunctions
from exporters.tables import PackedTable
from exporters.verify.check import check_model, check_stays_packed
from exporters.verify.differences import CheckError
from exporters.verify.replaced import save_replaced
from toolkit.graph.contract import is_lookup
from toolkit.graph.store import store
from toolkit.graph.tables import find_token_table
from toolkit.table.components import LowRank

ROWS, WIDTH = 700, 24
SIGNATURE = "(int64[b,s] input_ids) => (float[b,s,o] y)"
PLAIN = "x = Gather(t, input_ids) y = MatMul(x, w)"
TIED = "x = Gather(t, input_ids) h = Transpose<perm = [1, 0]>(t) y = MatMul(x, h)"
UNTIED = "x = Gather(t, input_ids) y = MatMul(x, head)"


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(3).normal(size=shape).astype(dtype)


@pytest.fixture(scope="module")
def embedding(pack_table):
    return pack_table(ROWS, WIDTH, dense=[(ROWS, 30, 5)], columns=[(100, 8)], rank=20, block=64)


@pytest.fixture
def save(graph, tmp_path):
    """``save(body, embedding)``: paths of the rewritten model and of the original."""

    def write(body, embedding, *, change=None, signature=SIGNATURE, dtype=np.float32, **tensors):
        stored = {
            "t": normal(ROWS, WIDTH, dtype=dtype),
            "w": normal(WIDTH, 5, dtype=dtype),
            "head": normal(WIDTH, ROWS, dtype=dtype),
        } | tensors
        stored = {name: array for name, array in stored.items() if name in body}
        paths = tmp_path / "packed.onnx", tmp_path / "original.onnx"
        original = graph(signature, body, **stored)
        ir.save(original, paths[1], external_data="original.data")
        model = graph(signature, body, **stored)
        CompressTable("t", embedding)(model)
        if change is not None:
            change(model)
        ir.save(model, paths[0], external_data="packed.data")
        return paths

    return write


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("body", [PLAIN, UNTIED])
def test_a_right_model_passes(save, embedding, body, inline):
    packed, original = save(body, embedding, change=InlineFunctions() if inline else None)
    parity = check_model(packed, original, [PackedTable("t", embedding)])
    assert parity.lookup <= 1e-4 * np.abs(embedding.dense()).max()
    assert parity.rewrite <= 1e-3 * np.abs(embedding.dense()).max()
    assert parity.compression > 1  # a random table: nothing of it is kept


def test_a_model_whose_head_keeps_the_dense_table_passes(save, embedding):
    packed, original = save(TIED, embedding)
    parity = check_model(packed, original, [PackedTable("t", embedding, tied=True)])
    assert parity.rewrite <= 1e-3 * np.abs(embedding.dense()).max()


def test_a_half_precision_model_passes(save, pack_table):
    embedding = pack_table(ROWS, WIDTH, dense=[(ROWS, 30, 5)], rank=20)
    packed, original = save(
        PLAIN,
        embedding,
        signature="(int64[b,s] input_ids) => (float16[b,s,o] y)",
        dtype=np.float16,
    )
    check_model(packed, original, [PackedTable("t", embedding)])


def test_half_precision_weights_that_are_widened_at_load_are_no_unpacking(save, pack_table):
    """A CPU computes in float32: onnxruntime folds a Cast into each of the weights."""
    packed, _ = save(
        "x = Gather(t, input_ids) z = MatMul(x, wide) y = MatMul(z, high)",
        pack_table(ROWS, WIDTH, dense=[(ROWS, 30, 5)]),
        signature="(int64[b,s] input_ids) => (float16[b,s,o] y)",
        dtype=np.float16,
        wide=normal(WIDTH, 2000, dtype=np.float16),
        high=normal(2000, 3, dtype=np.float16),
    )
    check_stays_packed(packed, [PackedTable("t", pack_table(ROWS, WIDTH))])


def test_a_table_of_large_values_passes(save, embedding):
    """Differences count beside the values: float32 has seven digits of any number."""
    large = replace(
        embedding,
        lowrank=LowRank(
            embedding.lowrank.left, embedding.lowrank.right, embedding.lowrank.scale * 1e5
        ),
    )
    packed, original = save(PLAIN, large)
    check_model(packed, original, [PackedTable("t", large)])


def test_masked_scores_of_minus_infinity_agree(save, embedding):
    packed, original = save(
        "x = Gather(t, input_ids) m = MatMul(x, w) y = Add(m, minus)",
        embedding,
        minus=np.array([0, 0, -np.inf, 0, 0], np.float32),
    )
    assert np.isfinite(check_model(packed, original, [PackedTable("t", embedding)]).rewrite)


def altering(name, change):
    """A change of one packed tensor."""

    def alter(model):
        value = model.graph.initializers[f"t.{name}"]
        value.const_value = ir.tensor(change(value.const_value.numpy().copy()), name=value.name)

    return alter


def test_one_altered_bit_is_noticed_whichever_row_it_is_in(save, embedding):
    def flip(codes):
        codes[431, 2] ^= 1
        return codes

    packed, original = save(PLAIN, embedding, change=altering("stages.0.codes", flip))
    with pytest.raises(CheckError, match=r"decode graph and lookup\(\) differ by"):
        check_model(packed, original, [PackedTable("t", embedding)])


def before_the_look_up(op_type, **tensors):
    """A change: the ids go through another operator first."""

    def change(model):
        (lookup,) = (node for node in model.graph if is_lookup(node))
        stored = [store(model.graph, name, value) for name, value in tensors.items()]
        node = ir.node(op_type, [lookup.inputs[0], *stored])
        node.outputs[0].name = "others"
        model.graph.insert_before(lookup, node)
        lookup.replace_input_with(0, node.outputs[0])

    return change


def test_negative_ids_that_give_other_rows_are_noticed(save, embedding):
    def change(model):
        before_the_look_up("Equal", last=np.int64(-1))(model)
        (lookup,) = (node for node in model.graph if is_lookup(node))
        (ids,) = model.graph.inputs
        first = store(model.graph, "first", np.int64(0))
        node = ir.node("Where", [lookup.inputs[0], first, ids])
        model.graph.insert_before(lookup, node)
        lookup.replace_input_with(0, node.outputs[0])

    packed, original = save(PLAIN, embedding, change=change)
    with pytest.raises(CheckError, match=r"the decode graph and lookup\(\) differ"):
        check_model(packed, original, [PackedTable("t", embedding)])


@pytest.mark.parametrize(
    ("change", "id"),
    [
        (before_the_look_up("Min", last=np.int64(ROWS - 1)), ROWS),
        (before_the_look_up("Max", first=np.int64(-ROWS)), -ROWS - 1),
    ],
)
def test_an_id_outside_the_table_that_has_a_row_is_noticed(save, embedding, change, id):
    packed, original = save(PLAIN, embedding, change=change)
    with pytest.raises(CheckError, match=f"id {id} is outside the table t of 700 rows"):
        check_model(packed, original, [PackedTable("t", embedding)])


def test_an_id_that_is_cut_to_32_bits_is_noticed(save, embedding):
    def cut(model):
        (lookup,) = (node for node in model.graph if is_lookup(node))
        attributes = {"to": int(ir.DataType.INT32)}
        node = ir.node("Cast", [lookup.inputs[0]], attributes=attributes)
        model.graph.insert_before(lookup, node)
        lookup.replace_input_with(0, node.outputs[0])

    packed, original = save(PLAIN, embedding, change=cut)
    with pytest.raises(CheckError, match=f"id {2**32 + 350} is outside the table t"):
        check_model(packed, original, [PackedTable("t", embedding)])


def test_another_change_of_the_model_is_noticed(save, embedding):
    def other_weights(model):
        model.graph.initializers["w"].const_value = ir.tensor(normal(WIDTH, 5) * 2, name="w")

    packed, original = save(PLAIN, embedding, change=other_weights)
    with pytest.raises(CheckError, match="the original with its table replaced differ by"):
        check_model(packed, original, [PackedTable("t", embedding)])


def test_rows_that_are_nan_never_pass(save, embedding):
    packed, original = save(PLAIN, embedding, change=altering("mean", lambda mean: mean * np.nan))
    with pytest.raises(CheckError, match="differ by inf"):
        check_model(packed, original, [PackedTable("t", embedding)])


def test_outputs_that_are_nan_never_pass_even_where_the_originals_are(save, embedding):
    packed, original = save(PLAIN, embedding, w=np.full((WIDTH, 5), np.nan, np.float32))
    with pytest.raises(CheckError, match="differ by inf"):
        check_model(packed, original, [PackedTable("t", embedding)])


def test_a_dense_table_left_in_the_file_is_noticed(save, embedding):
    def keep(model):
        left = ir.val("t", const_value=ir.tensor(normal(ROWS, WIDTH), name="t"))
        model.graph.register_initializer(left)

    packed, _ = save(PLAIN, embedding, change=keep)
    with pytest.raises(CheckError, match="the file still holds a dense table, t"):
        check_stays_packed(packed, [PackedTable("t", embedding)])


@pytest.mark.parametrize(
    ("double", "what"), [(False, "'s graph holds a dense table"), (True, "unpacks at load")]
)
def test_an_unpacking_that_onnxruntime_folds_is_noticed(graph, tmp_path, pack_table, double, what):
    """All rows are decoded and then gathered: the file is small, the session is not."""
    embedding = pack_table(ROWS, WIDTH, dense=[(ROWS, 30, 5)])
    wide = "twice = Concat<axis = 1>(all, all) y = Gather(twice, input_ids)"
    model = graph(
        SIGNATURE,
        f"all = Gather(t, every) {wide if double else 'y = Gather(all, input_ids)'}",
        t=normal(ROWS, WIDTH),
        every=np.arange(ROWS),
    )
    CompressFolded(embedding)(model)
    ir.save(model, tmp_path / "packed.onnx")
    with pytest.raises(CheckError, match=f"onnxruntime *{what}"):
        check_stays_packed(tmp_path / "packed.onnx", [PackedTable("t", embedding)])


def test_what_is_folded_of_the_original_too_is_the_models_own(save, embedding):
    """As large as many tables at load, but not made of this one: DeBERTa's relative positions."""
    own = "wide = Expand(w, many) x = Gather(t, input_ids) y = Sub(x, wide)"
    packed, original = save(
        own, embedding, w=normal(1, 1, WIDTH), many=np.array([1, 3 * ROWS + 1, 1])
    )
    table = PackedTable("t", embedding)
    with pytest.raises(CheckError, match="unpacks at load"):
        check_stays_packed(packed, [table])
    check_stays_packed(packed, [table], original)


class CompressFolded:
    """What a rewrite would make if it unpacked first and gathered after."""

    def __init__(self, embedding):
        self.embedding = embedding

    def __call__(self, model):
        every = model.graph.initializers["every"]
        model.graph.inputs.append(every)  # for the search by use only
        every.dtype = ir.DataType.INT64
        CompressTable("t", self.embedding)(model)
        model.graph.inputs.remove(every)


def test_other_weights_as_large_as_the_table_are_no_dense_table(save, embedding):
    packed, _ = save(UNTIED, embedding)
    check_stays_packed(packed, [PackedTable("t", embedding)])


def test_a_file_that_onnx_refuses_is_named_in_one_line(save, embedding):
    def spoil(model):
        model.graph[0].domain = "nobody.knows"

    packed, original = save(PLAIN, embedding, change=spoil)
    with pytest.raises(CheckError, match=r"onnx\.checker refuses the model") as error:
        check_model(packed, original, [PackedTable("t", embedding)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("inline", [False, True])
def test_tables_that_two_inputs_look_up_are_checked_for_both(save, embedding, inline):
    packed, original = save(
        "x = Gather(t, input_ids) z = Gather(t, labels) s = Add(x, z) y = MatMul(s, w)",
        embedding,
        signature="(int64[b,s] input_ids, int64[b,s] labels) => (float[b,s,o] y)",
        change=InlineFunctions() if inline else None,
    )
    check_model(packed, original, [PackedTable("t", embedding)])


@pytest.mark.parametrize("inline", [False, True])
def test_lookups_in_a_branch_are_checked(save, embedding, inline):
    packed, original = save(
        """
        some = Size(input_ids)
        any = Cast<to = 9>(some)
        x = If (any) <
            then_branch = g1 () => (float[b,s,24] a) { a = Gather(t, input_ids) },
            else_branch = g2 () => (float[b,s,24] c) { c0 = Gather(t, input_ids) c = Neg(c0) }
        >
        y = MatMul(x, w)
        """,
        embedding,
        change=InlineFunctions() if inline else None,
    )
    check_model(packed, original, [PackedTable("t", embedding)])


@pytest.mark.parametrize("shape", ["b,s", "1,7", "b,7", "2,s"])
def test_sizes_that_the_graph_fixes_are_kept(save, embedding, shape):
    packed, original = save(
        "y = Gather(t, input_ids)",
        embedding,
        signature=f"(int64[{shape}] input_ids) => (float[{shape},24] y)",
    )
    check_model(packed, original, [PackedTable("t", embedding)])


def test_a_model_that_onnxruntime_cannot_run_is_told_in_one_line(save, embedding):
    def unknown(model):
        model.opset_imports["nobody"] = 1
        model.graph[1].domain = "nobody"

    packed, original = save(PLAIN, embedding, change=unknown)
    with pytest.raises(CheckError, match=r"onnxruntime cannot run the model: .*nobody") as error:
        check_model(packed, original, [PackedTable("t", embedding)])
    assert "\n" not in str(error.value)


def test_a_brain_float_table_passes(save, embedding):
    packed, original = save(
        "x = Gather(t, input_ids) y = Cast<to = 1>(x)", embedding, dtype=ml_dtypes.bfloat16
    )
    check_model(packed, original, [PackedTable("t", embedding)])


@pytest.mark.parametrize("shape", ["n", "6", "b,c,s", "b,c,e,s"])
def test_ids_may_have_any_rank(save, embedding, shape):
    packed, original = save(
        "y = Gather(t, input_ids)",
        embedding,
        signature=f"(int64[{shape}] input_ids) => (float[{shape},24] y)",
    )
    parity = check_model(packed, original, [PackedTable("t", embedding)])
    assert parity.compression > 1


def test_a_second_text_is_compared_too(save, embedding):
    """Of two id inputs the second is no input of zeros."""
    signature = "(int64[b,s] input_ids, int64[n] other) => (float[b,s,24] x, float[n,24] y)"
    body = "x = Gather(t, input_ids) z = Gather(t, other) y = Identity(z)"
    packed, original = save(body, embedding, signature=signature)
    assert check_model(packed, original, [PackedTable("t", embedding)]).compression > 1

    def always_the_first(model):
        (node,) = (node for node in model.graph if node.op_type == "Identity")
        zero = store(model.graph, "zero", np.zeros((1,), np.int64))
        row = store(model.graph, "row", embedding.lookup(np.arange(1)))
        zeros = ir.node("Mul", [model.graph.inputs[1], zero])
        first = ir.node("Gather", [row, zeros.outputs[0]])
        model.graph.insert_before(node, [zeros, first])
        node.replace_input_with(0, first.outputs[0])

    packed, original = save(body, embedding, signature=signature, change=always_the_first)
    with pytest.raises(CheckError, match="the original with its table replaced differ by"):
        check_model(packed, original, [PackedTable("t", embedding)])


def test_the_packed_model_holds_the_tensors_of_the_decode_graph(save, embedding):
    packed, original = save(PLAIN, embedding)
    held = set(ir.load(packed).graph.initializers)
    assert held == {"w", *(f"t.{name}" for name in graph_tensors(embedding))}
    assert find_token_table(ir.load(original).graph).name == "t"


def test_a_replaced_model_never_writes_over_the_originals_weights(save, embedding, tmp_path):
    _, original = save(PLAIN, embedding)
    held = original.parent / "original.data"
    weights = held.read_bytes()
    tables = {"t": normal(ROWS, WIDTH)}
    with pytest.raises(ValueError, match="is there already"):
        save_replaced(original, tables, set(), original.parent / "original")
    other = tmp_path / "other"
    other.mkdir()
    save_replaced(original, tables, set(), other / "original")
    assert held.read_bytes() == weights
    assert held.stat().st_nlink == 1  # loaders refuse what has several names


FEW_POSITIONS = """
    size = Shape(input_ids)
    length = Gather<axis = 0>(size, one)
    places = Range(zero, length, one)
    where = Gather(positions, places)
    words = Gather(t, input_ids)
    y = Add(words, where)
"""


def test_a_model_of_few_positions_is_given_short_texts(save, embedding):
    packed, original = save(
        FEW_POSITIONS,
        embedding,
        positions=normal(6, WIDTH),
        zero=np.array(0),
        one=np.array(1),
    )
    check_model(packed, original, [PackedTable("t", embedding)])
