"""Where a model's bytes are."""

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from exporters import inspect_model
from exporters.inspect import check_figures
from exporters.passes.compress_table import CompressTable
from toolkit.errors import FormatError, InputError
from toolkit.graph.contract import DOMAIN


@pytest.fixture
def model(graph):
    return graph(
        "(int64[b,s] ids) => (float[b,s,50] y)",
        "x = Gather(t, ids) h = Transpose<perm = [1, 0]>(t) z = MatMul(x, h) y = Add(z, bias)",
        t=np.ones((50, 8), np.float32),
        bias=np.ones(50, np.float32),
    )


def test_parts_are_listed_by_size_with_their_readers(model, tmp_path):
    model.graph[0].name = "lookup"
    ir.save(model, tmp_path / "m.onnx")
    found = inspect_model(tmp_path / "m.onnx")
    assert [(part.name, part.shape, part.nbytes) for part in found.parts] == [
        ("t", (50, 8), 1600),
        ("bias", (50,), 200),
    ]
    assert found.parts[0].readers == ("Gather lookup", "Transpose")
    assert (found.opset, found.nodes, found.packed) == (18, 4, {})


@pytest.mark.parametrize("external", [None, "m.data"])
def test_weights_and_graph_add_up_to_the_files(model, tmp_path, external):
    ir.save(model, tmp_path / "m.onnx", external_data=external)
    found = inspect_model(tmp_path / "m.onnx")
    files = [path for path in tmp_path.iterdir() if path.name in ("m.onnx", "m.data")]
    assert found.model_bytes == sum(path.stat().st_size for path in files)
    assert found.graph_bytes + sum(part.nbytes for part in found.parts) == found.model_bytes


def test_the_table_and_all_who_read_it_are_named(model, tmp_path):
    ir.save(model, tmp_path / "m.onnx")
    (table,) = inspect_model(tmp_path / "m.onnx").tables
    assert (table.name, table.rows, table.width, table.ids_input) == ("t", 50, 8, "ids")
    assert (table.gathers, table.others) == (("Gather",), ("Transpose",))
    assert table.form == "float"


def test_a_bundle_shows_its_packed_layer_and_no_dense_token_table(exported):
    found = inspect_model(exported.bundle / "model.onnx")
    assert list(found.packed.values()) == [exported.manifest.footprint.embedding_bytes]
    assert exported.manifest.table not in [table.name for table in found.tables]
    original = inspect_model(exported.original)
    assert original.tables[0].name == exported.manifest.table
    assert original.packed == {}


def test_two_packed_layers_are_told_apart(graph, pack_table, tmp_path):
    model = graph(
        "(int64[b] ids) => (x, y)",
        "x = Gather(t, ids) y = Gather(t, ids)",
        t=np.ones((50, 8), np.float32),
    )
    CompressTable("t", pack_table(50, 8, columns=[(50, None)]))(model)
    ir.save(model, tmp_path / "m.onnx")
    assert len(inspect_model(tmp_path / "m.onnx").packed) == 2


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"garbage")
    for name in ("m.onnx", "missing.onnx"):
        with pytest.raises(InputError, match=r"give an \.onnx file"):
            inspect_model(tmp_path / name)


def test_a_table_that_is_computed_counts_as_it_is_stored(graph, tmp_path):
    """Bytes times a scale for all rows, as some quantizers write them."""
    model = graph(
        "(int64[b,s] ids) => (float[b,s,8] y)",
        "f = Cast<to = 1>(bytes) t = Mul(f, scale) y = Gather(t, ids)",
        bytes=np.ones((500, 8), np.int8),
        scale=np.full(8, 0.5, np.float32),
    )
    ir.save(model, tmp_path / "m.onnx")
    found = inspect_model(tmp_path / "m.onnx")
    (table,) = found.tables
    assert (table.nbytes, table.form) == (500 * 8 + 8 * 4, "int8, Cast, Mul")
    assert (found.parts[0].nbytes, found.parts[0].dtype) == (4032, "int8")
    assert found.graph_bytes == found.model_bytes - 4032


def test_a_manifest_that_says_what_is_there_is_right(exported):
    check_figures(exported.manifest, inspect_model(exported.bundle / "model.onnx"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratio": 1000.0}, r"says ratio 1,000.0, counted are [\d.]+; it was altered"),
        ({"bits_per_parameter": 0.1}, "says bits_per_parameter 0.1, counted"),
        ({"embedding_bytes": 10}, "says embedding_bytes 10, counted"),
        ({"dense_bytes": 10**9}, "says dense_bytes 1,000,000,000, counted"),
        ({"model_bytes": 7}, "says model_bytes 7, counted"),
        ({"by_part": {"mean": 4}}, "says bytes of .*mean 4, counted"),
        ({"by_part": {"nothing": 4}}, "says bytes of .*nothing 4, counted are 0"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(exported, change, message):
    footprint = replace(exported.manifest.footprint, **change)
    with pytest.raises(FormatError, match=message):
        check_figures(
            replace(exported.manifest, footprint=footprint),
            inspect_model(exported.bundle / "model.onnx"),
        )


def test_what_decodes_the_table_is_counted(exported):
    """Functions, nodes and records: the file is its weights' values, those, and the other nodes."""
    footprint = exported.manifest.footprint
    proto = onnx.load(exported.bundle / "model.onnx", load_external_data=False)
    (function,) = [f for f in proto.functions if f.domain == DOMAIN]
    nodes = [node for node in proto.graph.node if node.domain == DOMAIN]
    least = function.ByteSize() + sum(node.ByteSize() for node in nodes)
    assert least < footprint.graph_bytes < least + 5000
    assert footprint.ratio_with_graph < footprint.ratio
    assert footprint.ratio_with_graph == footprint.dense_bytes / (
        footprint.embedding_bytes + footprint.graph_bytes
    )
