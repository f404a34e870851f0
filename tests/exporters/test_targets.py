"""What each target decides, and that a bundle for it runs with the values it should have."""

import dataclasses

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from exporters import ExportOptions, export
from exporters.bundle.ort_format import CONFIG_SUFFIX
from exporters.ops.lookup import decode_model
from exporters.options import decided
from exporters.passes.fix_shapes import FixShapes
from exporters.passes.int32_inputs import Int32Inputs
from exporters.targets import TARGETS
from runtime import open_session
from runtime.profile.measure.rounds import profile
from toolkit import Budget
from toolkit.errors import InputError
from toolkit.graph.load import load_graph

BUDGET = Budget(ratio=6)


@pytest.mark.parametrize(
    ("target", "with_past", "head"),
    [("wasm", True, "packed"), ("wasm", False, "nbits"), ("webgpu", True, "nbits")],
)
def test_a_head_of_one_token_at_a_time_is_chosen_for_it(target, with_past, head):
    options = ExportOptions(target=target, with_past=with_past)
    assert decided(options).head == head
    assert decided(ExportOptions(target=target, with_past=with_past, head="dense")).head == "dense"


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize(
    "parts",
    [
        {"dense": [(70, 30, 5), (70, 8, None)]},
        {"dense": [(70, 12, 3)], "columns": [(70, 8), (20, 4)], "tail": True},
        {"dense": [(50, 10, 10)], "block": 16, "gained": 20},
        {"dense": [(70, 12, 3)], "rank": 3},
    ],
    ids=str,
)
def test_both_ways_decode_to_the_bit(pack_table, run_model, floats, parts):
    embedding = pack_table(70, 24, **parts)
    ids = np.arange(embedding.rows)[None]
    rows = run_model(decode_model(embedding, floats=floats).SerializeToString(), ids=ids)[0]
    if "rank" in parts:  # a product of floats, whose order is the runtime's own
        np.testing.assert_allclose(rows, embedding.lookup(ids), atol=1e-5)
    else:
        np.testing.assert_array_equal(rows, embedding.lookup(ids))


@pytest.mark.parametrize("target", list(TARGETS))
def test_a_bundle_for_each_target_runs(encoder_folder, quick, tmp_path, target):
    cell = TARGETS[target]
    out = tmp_path / "bundle"
    texts = cell.most_texts or 2
    sizes = {"batch": texts, "sequence": 6} if cell.static else {}
    manifest = export(str(encoder_folder), out, BUDGET, options=quick(target=target, **sizes))
    assert (manifest.target, manifest.decode) == (target, cell.decode)
    assert manifest.parity.lookup == 0
    model = ir.load(out / manifest.model)
    assert bool(model.functions) == (cell.decode == "function")
    types = {value.dtype for value in model.graph.inputs}
    assert types == {ir.DataType.INT32 if cell.int32 else ir.DataType.INT64}
    operators = {node.op_type for node in model.graph.all_nodes()}
    if cell.decode == "inline":
        assert ("MatMulInteger" in operators) == (not cell.floats)
    session = open_session(out, op=False)
    shape = (texts, 6) if cell.static else (3, 5)
    feeds = {info.name: np.ones(shape, np.int64) for info in session.inputs}
    assert all(np.isfinite(value).all() for value in session.run(feeds).values())
    if cell.static:
        with pytest.raises(InputError):
            session.run({name: value[:, :5] for name, value in feeds.items()})
    check_ids_outside(session, feeds, manifest.rows, cell)


def check_ids_outside(session, feeds, rows, cell):
    """What docs/limits.md says of ids that are none of the table's, on the CPU provider."""

    def run(id):
        ids = feeds["input_ids"].copy()
        ids[0, 2] = id
        kinds = {info.name: info.numpy_dtype for info in session.inputs}
        given = {**feeds, "input_ids": ids}
        return session.raw.run(None, {n: v.astype(kinds[n]) for n, v in given.items()})[0]

    np.testing.assert_array_equal(run(-1), run(rows - 1))
    np.testing.assert_array_equal(run(-rows), run(0))
    assert not np.array_equal(run(-1), run(0))
    for id in (rows, -rows - 1, 2**31 - 1, *([] if cell.int32 else [2**32 + 5])):
        if cell.floats:
            assert np.isnan(run(id)[0]).any()
            assert np.isfinite(run(id)[1:]).all()
        else:
            with pytest.raises(Exception, match=f"indices element out of data bounds, idx={id} "):
                run(id)


def test_targets_differ_in_form_and_not_in_values(encoder_folder, quick, tmp_path):
    found = {}
    for target in ("cpu", "webgpu", "cuda"):
        export(str(encoder_folder), tmp_path / target, BUDGET, options=quick(target=target))
        session = open_session(tmp_path / target, op=False)
        rng = np.random.default_rng(0)
        ids = rng.integers(0, 100, (2, 9))
        feeds = {info.name: ids if "ids" in info.name and "type" not in info.name else ids * 0 + 1
                 for info in session.inputs}  # fmt: skip
        feeds = {name: v * 0 if "type" in name else v for name, v in feeds.items()}
        found[target] = next(iter(session.run(feeds).values()))
    for target in ("webgpu", "cuda"):
        np.testing.assert_allclose(found[target], found["cpu"], atol=1e-5)


def byte_gathers(graph):
    """What stands between stored bytes and the Gather that reads them, by the bytes' name."""
    stored = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.UINT8}
    makers = {output: node for node in graph.node for output in node.output}
    found = {}
    for node in graph.node:
        if node.op_type == "Gather":
            table = node.input[0]
            maker = makers.get(table)
            if table in stored:
                found[table] = ""
            elif maker is not None and maker.input and maker.input[0] in stored:
                found[maker.input[0]] = maker.op_type
    return found


def test_look_ups_of_bytes_for_an_npu(encoder_folder, quick, tmp_path):
    shape = {"batch": 1, "sequence": 6}
    export(str(encoder_folder), tmp_path / "qnn", BUDGET, options=quick(target="qnn", **shape))
    export(str(encoder_folder), tmp_path / "plain", BUDGET, options=quick(target="nnapi", **shape))
    bare, between = (
        byte_gathers(onnx.load(tmp_path / name / "model.onnx").graph) for name in ("plain", "qnn")
    )
    assert set(bare.values()) == {""}
    assert between == dict.fromkeys(bare, "DequantizeLinear")
    found = []
    for name in ("qnn", "plain"):
        session = open_session(tmp_path / name)
        ids = {info.name: np.ones((1, 6), np.int64) for info in session.inputs}
        found.append(next(iter(session.run(ids).values())))
    np.testing.assert_array_equal(*found)


def test_ort_format_says_what_a_minimal_build_needs(encoder_folder, quick, tmp_path):
    out = tmp_path / "bundle"
    manifest = export(str(encoder_folder), out, BUDGET, options=quick(format="ort"))
    assert manifest.model == "model.ort"
    assert not list(out.glob("*.onnx*"))
    text = (out / f"model{CONFIG_SUFFIX}").read_text()
    assert "LayerNormalization" in text
    assert "#" not in text
    assert str(tmp_path) not in text
    session = open_session(out)
    feeds = {info.name: np.ones((2, 5), np.int64) for info in session.inputs}
    assert np.isfinite(next(iter(session.run(feeds).values()))).all()
    assert profile(out, lengths=(5,), runs=1, warmup=0, repeats=1).measurements[0].figures
    with pytest.raises(InputError, match="onnxruntime's own format"):
        load_graph(out / manifest.model)


def test_nobody_is_promised_equal_bytes_of_a_file_that_onnxruntime_writes():
    (seed,) = [field for field in dataclasses.fields(ExportOptions) if field.name == "seed"]
    (option,) = seed.metadata.values()
    assert "Equal seeds give equal bytes" in option.help
    assert "not so the model's file of --format ort" in option.help


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "toaster"}, "target 'toaster' is unknown; choose from cpu"),
        (
            {"target": "cpu", "weights": "fp16"},
            "weights in fp16 do not run on cpu; choose from fp32",
        ),
        ({"batch": 2}, "batch and sequence come together"),
        ({"batch": 0, "sequence": 3}, "batch must be at least 1, got 0"),
        ({"format": "tflite"}, "format 'tflite' is unknown"),
        ({"head": "sparse"}, "head 'sparse' is unknown; choose from packed, nbits, dense"),
    ],
)
def test_wrong_options_are_one_line(changes, message):
    with pytest.raises(InputError, match=message):
        ExportOptions(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "ort", "structure": "transformers-js"}, "is for .onnx files"),
        ({"target": "qnn", "batch": 2, "sequence": 6}, "a batch of 2 wrongly; use --batch 1"),
    ],
)
def test_options_that_contradict_a_target(encoder_folder, quick, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        export(str(encoder_folder), tmp_path / "out", BUDGET, options=quick(**changes))
    assert not (tmp_path / "out").exists()


def test_int32_inputs_are_cast_only_where_int64_is_needed(graph, run_model):
    model = graph(
        "(int64[n] ids, int64[n] mask) => (float[n, 2] y, int64[n] z)",
        "x = Gather(w, ids)\n m = Cast<to = 1>(mask)\n one = Constant<value_ints = [1]>()\n"
        "column = Unsqueeze(m, one)\n y = Mul(x, column)\n z = Add(ids, mask)",
        w=np.arange(10, dtype=np.float32).reshape(5, 2),
    )
    feed = {"ids": np.array([4, 0, 2]), "mask": np.array([1, 0, 1])}
    before = run_model(model, **feed)
    Int32Inputs()(model)
    after = run_model(model, **{name: value.astype(np.int32) for name, value in feed.items()})
    for a, b in zip(after, before, strict=True):
        np.testing.assert_array_equal(a, b)
    readers = [node.op_type for node, _ in model.graph.inputs[0].uses()]
    assert sorted(readers) == ["Cast", "Gather"]


def test_shapes_that_cannot_be_fixed_are_refused(graph):
    model = graph("(float[n, 4, 4] x) => (float[n, 4, 4] y)", "y = Identity(x)")
    with pytest.raises(InputError, match=r"only inputs of \[batch, sequence\]"):
        FixShapes(1, 8)(model)
    model = graph("(float[n, 4] x) => (float[n, 4] y)", "y = Identity(x)")
    with pytest.raises(InputError, match="use its own sizes"):
        FixShapes(1, 8)(model)
    FixShapes(2, 4)(model)
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    assert session.get_inputs()[0].shape == [2, 4]


def test_the_page_says_what_the_table_says():
    from tests.contract.targets_page import FILE, page

    assert FILE.read_text(encoding="utf-8") == page(), "run python -m tests.contract.targets_page"
