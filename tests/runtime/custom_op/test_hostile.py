"""Models made to break the native kernel: each is refused when its session opens, in one line.

Attributes and tensors are changed after the export, as nobody who means well would.
"""

import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from exporters.ops.head import head_model
from exporters.ops.lookup import decode_model

SECONDS = 1.0  # of processor time: a session of these opens in a few hundredths
BOTH = pytest.mark.parametrize("make", [decode_model, head_model])


@pytest.fixture(scope="module")
def embedding(pack_table):
    """Of every part that a table may have; low rank aside."""
    parts = {"dense": [(90, 30, 5)], "columns": [(40, 3)], "gained": 50, "zeros": [3]}
    return pack_table(100, 24, **parts, block=8, tail=True)


@pytest.fixture(scope="module")
def plain(pack_table):
    """A few codes and a tail: no tensor but these says how many rows there are."""
    return pack_table(2000, 24, dense=[(1900, 30, 5)], tail=True)


@pytest.fixture
def opened(library):
    def open_model(model):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.register_custom_ops_library(str(library))
        return ort.InferenceSession(model.SerializeToString(), options)

    return open_model


@pytest.fixture
def refused(opened):
    """``refused(model, message)``: with these words, in one line, before long."""

    def refuse(model, message):
        started = time.process_time()
        with pytest.raises(Exception, match=message) as refusal:
            opened(model)
        assert time.process_time() - started < SECONDS
        assert "\n" not in str(refusal.value).strip()

    return refuse


def with_attribute(model, name, value):
    (attribute,) = (a for a in model.graph.node[0].attribute if a.name == name)
    if isinstance(value, bytes):
        attribute.s = value
    else:
        attribute.i = value
    return model


def tensor(model, name):
    (found,) = (t for t in model.graph.initializer if t.name == name)
    return found


def with_tensor(model, name, array):
    tensor(model, name).CopyFrom(numpy_helper.from_array(array, name))
    return model


def with_values(model, name, change):
    """The tensor's values after ``change`` wrote into them."""
    values = numpy_helper.to_array(tensor(model, name)).copy()
    change(values)
    return with_tensor(model, name, values)


@BOTH
def test_what_is_not_changed_runs(opened, embedding, make):
    session = opened(make(embedding))
    feeds = (
        {"ids": np.arange(100)[None]} if make is decode_model else {"hidden": np.ones((1, 1, 24))}
    )
    feeds = {
        name: value.astype(np.int64 if name == "ids" else np.float32)
        for name, value in feeds.items()
    }
    assert np.isfinite(session.run(None, feeds)[0]).all()


@BOTH
@pytest.mark.parametrize("name", ["rows", "width", "block"])
@pytest.mark.parametrize("value", [-1, -(2**63), 2**31, 2**40, 2**62, 2**63 - 1])
def test_sizes_beyond_all_tables(refused, embedding, make, name, value):
    model = with_attribute(make(embedding), name, value)
    refused(model, rf"attribute {name} is {value}, and must be [01] \.\. \d+")


@BOTH
@pytest.mark.parametrize("name", ["rows", "width"])
def test_tables_of_nothing(refused, embedding, make, name):
    refused(with_attribute(make(embedding), name, 0), rf"attribute {name} is 0, and must be 1 \.\.")


@BOTH
@pytest.mark.parametrize("rows", [2**31 - 1, 10_000_000])
def test_more_rows_than_what_is_stored_may_stand_for(refused, plain, make, rows):
    """A head would write that many logits."""
    wanted = rf"rows: {rows}, and the \d+ bytes that it stores may stand for \d+ at most"
    refused(with_attribute(make(plain), "rows", rows), wanted)


@BOTH
def test_rows_beside_an_order_of_them(refused, embedding, make):
    wanted = r"part order.shifts is int32 \[13\], and must be int32 \[268435456\]"
    refused(with_attribute(make(embedding), "rows", 2**31 - 1), wanted)


@BOTH
def test_an_order_of_many_rows_in_few_blocks(refused, plain, make, pack_table):
    """Its two blocks are checked, not its two thousand million rows."""
    ordered = pack_table(2000, 24, dense=[(1900, 30, 5)], tail=True, block=1000)
    model = make(ordered)
    for name, value in (("rows", 2**31 - 2), ("block", 2**30 - 1)):
        with_attribute(model, name, value)
    with_tensor(model, "order.shifts", np.zeros(2, np.int32))
    refused(model, r"rows: 2147483646, and the \d+ bytes")
    with_tensor(model, "order.shifts", np.array([0, -1], np.int32))
    refused(model, r"two rows in one place at block 1: position 1073741822")


@BOTH
@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (10_000, r"row order leaves the table at block 1: position 10008 of 100 rows"),
        (-9, r"row order leaves the table at block 1: position -1 of 100 rows"),
        (-(2**31), r"row order leaves the table at block 1"),
        (2**31 - 1, r"row order leaves the table at block 1"),
        (1, r"row order has two rows in one place at block"),
        (-8, r"row order has two rows in one place at block"),
    ],
)
def test_orders_that_are_none(refused, embedding, make, shift, message):
    model = make(embedding)
    with_tensor(model, "order.shifts", np.array([0, shift, *[0] * 11], np.int32))
    refused(model, message)


@BOTH
@pytest.mark.parametrize("blocks", [0, 1, 12, 14])
def test_orders_of_another_number_of_blocks(refused, embedding, make, blocks):
    model = with_tensor(make(embedding), "order.shifts", np.zeros(blocks, np.int32))
    refused(model, rf"part order.shifts is int32 \[{blocks}\], and must be int32 \[13\]")


@BOTH
def test_an_order_without_blocks(refused, embedding, make):
    refused(with_attribute(make(embedding), "block", 0), "part order.shifts belongs to nothing")


def test_latents_whose_sum_overflows(refused, opened, pack_table):
    """132,105 latents of 127 times weights of -128 are more than 32 bits hold."""
    for latents in (132_105, 264_208):
        embedding = pack_table(2, 1, dense=[(2, latents, 12)])
        wanted = rf"stage 0 has latents: {latents}, and it must be 1 .. 132104"
        refused(decode_model(embedding), wanted)
    embedding = pack_table(2, 1, dense=[(2, 132_104, 12)])
    codebook = np.full((256, 12), 127, np.uint8)  # 63 as it is stored
    model = with_tensor(decode_model(embedding), "stages.0.codebook", codebook)
    with_tensor(model, "stages.0.weight", np.full((132_104, 1), -128, np.int8))
    with_tensor(model, "stages.0.scale", np.ones(1, np.float32))
    (rows,) = opened(model).run(None, {"ids": np.array([[0, 1]])})
    wanted = np.float32(63 * -128 * 132_104) + embedding.mean
    np.testing.assert_array_equal(rows.ravel(), np.repeat(wanted, 2))


def test_heads_of_rows_that_are_very_long(refused, pack_table):
    embedding = pack_table(2, 20_000, columns=[(2, 1)])
    refused(head_model(embedding), "a head of 20000 bytes a row, and it may have 16384")


@BOTH
@pytest.mark.parametrize(
    "covered",
    [
        b"-1,40",
        b"0,40",
        b"90,x",
        b"90,,40",
        b"90,40,",
        b"+90,40",
        b" 90,40",
        b"99999999999999999999,40",
        b"4294967386,40",
        b",".join([b"1"] * 33),
    ],
)
def test_rows_of_stages_that_are_no_numbers(refused, embedding, make, covered):
    model = with_attribute(make(embedding), "covered", covered)
    refused(model, "attribute covered is .*, and must be up to 32 numbers of rows with commas")


@BOTH
def test_rows_of_stages_that_are_others(refused, embedding, make):
    stored = 90 if make is decode_model else 128
    for covered in (b"129,40", b"5,40"):
        rows = int(covered.split(b",")[0])
        wanted = f"covered says {rows} rows of part stages.0.codes, which stores {stored}"
        refused(with_attribute(make(embedding), "covered", covered), wanted)
    for covered, wanted in (
        (b"90", "belongs to nothing"),
        (b"90,40,7", "stages.2.codes is missing"),
    ):
        refused(with_attribute(make(embedding), "covered", covered), wanted)


@BOTH
@pytest.mark.parametrize(
    ("name", "array", "wanted"),
    [
        ("gain.levels", np.ones(255, np.float32), r"float \[256\]"),
        ("gain.levels", np.ones(257, np.float32), r"float \[256\]"),
        ("gain.codes", np.array(3, np.uint8), r"uint8 \[any\]"),
        ("gain.codes", np.zeros(0, np.uint8), r"uint8 \[any\]"),
        ("gain.codes", np.zeros((5, 0), np.uint8), r"uint8 \[any\]"),
        ("gain.codes", np.zeros(50, np.float32), r"uint8 \[any\]"),
        ("zeros", np.zeros(12, np.uint8), r"uint8 \[13\]"),
        ("zeros", np.zeros(14, np.uint8), r"uint8 \[13\]"),
        ("mean", np.zeros(23, np.float32), r"float \[24\]"),
        ("mean", np.zeros(24, np.float64), r"float \[24\]"),
        ("mean", np.array(["x"] * 24, object), r"float \[24\]"),
        ("tail", np.zeros((1, 24), np.float32), r"float \[24\]"),
        ("stages.0.codes", np.zeros(90, np.uint8), r"uint8 \[any, any\]"),
        ("stages.0.codes", np.zeros((0, 6), np.uint8), r"uint8 \[any, any\]"),
        ("stages.0.codes", np.zeros((90, 0), np.uint8), r"uint8 \[any, any\]"),
        ("stages.0.codes", np.zeros((90, 6), np.int8), r"uint8 \[any, any\]"),
        ("stages.0.codebook", np.zeros((255, 5), np.uint8), r"uint8 \[256, any\]"),
        ("stages.0.codebook", np.zeros((256, 0), np.uint8), r"uint8 \[256, any\]"),
        ("stages.0.weight", np.zeros((0, 24), np.int8), r"int8 \[any, 24\]"),
        ("stages.0.weight", np.zeros((30, 25), np.int8), r"int8 \[any, 24\]"),
        ("stages.0.weight", np.zeros((30, 24), np.float16), r"float \[any, 24\]"),
        ("stages.0.scale", np.zeros(1, np.float32), r"float \[24\]"),
    ],
)
def test_tensors_of_another_type_or_shape(refused, embedding, make, name, array, wanted):
    model = with_tensor(make(embedding), name, array)
    refused(model, rf"part {name} is .*, and must be {wanted}")


@BOTH
def test_low_rank_factors_of_another_shape(refused, pack_table, make):
    embedding = pack_table(100, 24, dense=[(90, 30, 5)], rank=3)
    other = np.zeros((100, 4) if make is decode_model else (4, 100), np.int8)
    refused(with_tensor(make(embedding), "lowrank.left", other), "part lowrank.right is int8")
    none = np.zeros((100, 0) if make is decode_model else (0, 100), np.int8)
    refused(with_tensor(make(embedding), "lowrank.left", none), "part lowrank.left is int8")
    empty = with_tensor(make(embedding), "lowrank.scale", np.zeros(0, np.float32))
    refused(empty, r"part lowrank.scale is float \[0\], and must be float \[3\]")


@BOTH
def test_latents_of_another_number_of_bytes(refused, embedding, make):
    for latents in (1, 25, 31):
        weight = np.zeros((latents, 24), np.int8)
        wanted = f"stage 0 stores 6 bytes a row for {latents} latents, 5 to a byte"
        refused(with_tensor(make(embedding), "stages.0.weight", weight), wanted)


@BOTH
def test_codebooks_of_more_than_seven_bits(refused, embedding, make):
    model = make(embedding)
    with_values(model, "stages.0.codebook", lambda book: book.put(700, 128))
    refused(model, r"stage 0 has a codebook of more than seven bits: 128, and it must be 0 .. 127")


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "name", ["mean", "tail", "gain.levels", "stages.0.scale", "stages.1.scale"]
)
def test_numbers_that_are_not_finite(refused, embedding, make, name, bad):
    model = with_values(make(embedding), name, lambda values: values.put(3, bad))
    said = name.replace("stages.", "stage ")
    refused(model, rf"{said} has -?(nan|inf) at 3, and numbers must be finite")


@BOTH
def test_parts_without_a_place(refused, embedding, make):
    renamed = ",".join(
        t.name.replace("gain.codes", "gain.code") for t in make(embedding).graph.initializer
    )
    model = with_attribute(make(embedding), "parts", renamed.encode())
    refused(model, "part gain.(code|levels) belongs to nothing in attributes and parts")
    names = [t.name for t in make(embedding).graph.initializer]
    model = with_attribute(make(embedding), "parts", ",".join([*names, "tail2"]).encode())
    refused(model, "part tail2 has no input")
    model = with_attribute(make(embedding), "parts", ",".join(names[:-1]).encode())
    refused(model, rf"attribute parts names {len(names) - 1} inputs of {len(names)}")
    model = with_attribute(make(embedding), "parts", ",".join([*names[:-1], names[0]]).encode())
    refused(model, f"part {names[0]} is named twice")


@BOTH
def test_a_layout_that_is_unknown(refused, embedding, make):
    model = with_attribute(make(embedding), "layout", b"columns")
    refused(model, 'attribute layout is "columns", and must be rows or planes')


def test_a_head_of_rows(refused, embedding):
    """Codes of a look-up, which stand row by row."""
    model = decode_model(embedding)
    model.graph.node[0].op_type = model.functions[0].name = "CompressedHead"
    model.graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.FLOAT, [1, 1, 24])
    )
    model.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, [1, 1, 100])
    )
    refused(model, "not column-major")


@BOTH
def test_outputs_of_another_type_than_the_kernel_writes(refused, embedding, make):
    """Where shapes are unknown a graph's own word for the type counts: float into half the room."""
    model = make(embedding)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for value in (model.graph.input[0], model.graph.output[0]):
        for dimension in value.type.tensor_type.shape.dim:
            dimension.Clear()
    refused(model, "(rows|logits) of ONNX type 10, and attribute to says 1")
    model = with_attribute(make(embedding), "to", onnx.TensorProto.FLOAT16)
    refused(model, "(rows|logits) of ONNX type 1, and attribute to says 10")


def test_hidden_states_of_another_type(refused, embedding):
    model = head_model(embedding)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    refused(model, "hidden states of ONNX type 10, and attribute to says 1")


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes, as Linux counts them")
def test_a_small_file_asks_for_little_memory(opened, plain):
    """As many rows as are taken: a session takes megabytes, not what its rows would be."""
    resource = pytest.importorskip("resource")
    rows = 64 * 10_000
    model = with_attribute(decode_model(plain), "rows", rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    session = opened(model)
    assert session.run(None, {"ids": np.array([[0, rows - 1]])})[0].shape == (1, 2, 24)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
