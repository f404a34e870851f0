"""One budget for the whole model: kept, and spent where it loses least."""

import functools

import numpy as np
import onnx_ir as ir
import pytest

from exporters import export
from exporters.steps import share
from toolkit import Budget
from toolkit.cli.app import run
from toolkit.errors import BudgetError, InputError
from toolkit.graph.files import model_nbytes

ROWS = 4000


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    """An encoder whose table has 512 kB and whose other weights have 350 kB."""
    folder = tmp_path_factory.mktemp("share") / "encoder"
    sizes = {"vocab_size": ROWS, "hidden_size": 32, "intermediate_size": 512}
    tiny_model("BertModel", **sizes).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(folder, quick, tmp_path_factory):
    """``made(bytes, **options)``: the manifest, and the bytes of the model's file; made once."""

    @functools.cache
    def build(most, **options):
        out = tmp_path_factory.mktemp("out") / "bundle"
        manifest = export(str(folder), out, options=quick(max_model_bytes=most, **options))
        return manifest, model_nbytes(out / manifest.model)

    return build


def test_the_whole_model_keeps_to_its_bytes_and_fewer_take_fewer_bits(made):
    forms = []
    for most in (500_000, 200_000, 160_000):
        manifest, nbytes = made(most)
        assert nbytes == manifest.footprint.model_bytes
        assert 0.8 * most < nbytes <= most
        forms.append(manifest.body)
    bits = {"fp32": 32, "int8": 8, "int4": 4, "trellis": 3}
    assert [bits[form] for form in forms] == sorted((bits[form] for form in forms), reverse=True)
    assert forms[0] == "fp32"
    assert forms[-1] in ("int4", "trellis")


def test_a_form_that_is_asked_for_is_kept(made):
    manifest, nbytes = made(500_000, weights="int8")
    assert manifest.body == "int8"
    assert nbytes <= 500_000


@pytest.mark.parametrize("nearest", ["int8", "int4"])
def test_the_form_that_loses_least_is_taken(folder, quick, tmp_path, monkeypatch, nearest):
    """Whichever form the outputs speak for, not the one of most bits or fewest."""

    def distance(found, wanted):
        if not isinstance(found, str):  # of one weight
            return 1e-3
        if found.endswith("tried.onnx"):  # of the table
            return 0.0
        kinds = {node.op_type for node in ir.load(found).graph.all_nodes()}
        form = "int4" if "MatMulNBits" in kinds else "int8" if "MatMulInteger" in kinds else "fp32"
        form = "trellis" if any(kind.startswith("Trellis") for kind in kinds) else form
        return 0.1 if form == nearest else 0.2

    monkeypatch.setattr(share, "_REAL", 0.0)
    monkeypatch.setattr(share, "_outputs", lambda path, inputs: str(path))
    monkeypatch.setattr(share, "_distance", distance)
    options = quick(max_model_bytes=200_000)
    assert export(str(folder), tmp_path / "bundle", options=options).body == nearest


def test_too_few_bytes_name_the_least_and_that_can_be_had(folder, made, tmp_path, capfd):
    with pytest.raises(BudgetError, match="are too few for the whole model; it takes") as refused:
        made(50_000)
    least = refused.value.nearest
    assert 50_000 < least < 160_000
    assert made(least)[1] <= least
    out = tmp_path / "out"
    assert run(["export", str(folder), str(out), "--max-model-bytes", "50000"]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert f"give --max-model-bytes {least}" in error
    assert not out.exists()


def test_a_tied_decoders_head_counts_once(tiny_model, quick, tmp_path):
    changes = {"vocab_size": ROWS, "tie_word_embeddings": True}
    tiny_model("LlamaForCausalLM", **changes).save_pretrained(tmp_path / "decoder")
    options = quick(max_model_bytes=190_000, seed=1)
    manifest = export(str(tmp_path / "decoder"), tmp_path / "out", options=options)
    assert manifest.packed_heads == 1
    assert 0.6 * 190_000 < manifest.footprint.model_bytes <= 190_000


def test_what_the_table_loses_is_measured_with_the_error_that_is_named(made, folder, monkeypatch):
    seen = {}
    real = share.save_replaced

    def watch(path, tables, heads, out):
        seen.update(tables)
        real(path, tables, heads, out)

    monkeypatch.setattr(share, "save_replaced", watch)
    made(499_999, weights="int8")
    ((_, tried),) = seen.items()
    import safetensors.numpy

    values = safetensors.numpy.load_file(folder / "model.safetensors")[
        "embeddings.word_embeddings.weight"
    ]
    centred = values - values.mean(axis=0)
    error = np.square(tried - values).sum() / np.square(centred).sum()
    assert error == pytest.approx(share._PROBE, rel=0.05)


def test_trellis_without_a_budget_is_refused(quick):
    with pytest.raises(InputError, match="weights trellis have as many bits as a budget leaves"):
        quick(weights="trellis")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"all_tables": True}, "shares bytes between one new table and the weights of an .onnx"),
        ({"format": "ort"}, "leave format ort out"),
    ],
)
def test_options_that_leave_nothing_to_share(quick, options, reason):
    with pytest.raises(InputError, match=reason):
        quick(max_model_bytes=10_000, **options)


def test_a_budget_of_the_table_beside_it_is_refused(folder, quick, tmp_path):
    with pytest.raises(InputError, match=r"max_model_bytes \(10,000\) decides the table's bytes"):
        export(
            str(folder), tmp_path / "out", Budget(ratio=5), options=quick(max_model_bytes=10_000)
        )


def test_a_graph_without_products_has_its_table_alone(quick, tmp_path):
    """Static embeddings: no form but float32 fits, and that is no error."""
    table = np.random.default_rng(0).normal(size=(ROWS, 32)).astype(np.float32)
    ids = ir.Value(
        name="input_ids", shape=ir.Shape(["b", "s"]), type=ir.TensorType(ir.DataType.INT64)
    )
    weights = ir.Value(name="table", const_value=ir.tensor(table, name="table"))
    node = ir.node("Gather", [weights, ids])
    node.outputs[0].name = "rows"
    node.outputs[0].dtype = ir.DataType.FLOAT
    graph = ir.Graph(
        [ids], node.outputs, nodes=[node], initializers=[weights], opset_imports={"": 18}
    )
    ir.save(ir.Model(graph, ir_version=9), tmp_path / "model.onnx")
    manifest = export(
        str(tmp_path / "model.onnx"), tmp_path / "out", options=quick(max_model_bytes=60_000)
    )
    assert manifest.footprint.model_bytes <= 60_000
    assert manifest.body == "fp32"
