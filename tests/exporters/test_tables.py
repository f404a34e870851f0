"""Several tables in one model: which are packed, how bytes are shared, and that all work."""

import numpy as np
import onnx_ir as ir
import pytest

from exporters import ExportOptions, export
from exporters.passes.compress_table import CompressTable
from exporters.passes.inline_functions import InlineFunctions
from exporters.tables import PackedTable, choose_tables, share_out
from exporters.verify.check import check_model, check_stays_packed
from exporters.verify.differences import CheckError
from toolkit import Budget
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import BudgetError, InputError
from toolkit.graph.tables import find_large_tables, find_token_table

ROWS = 2000
RNG = np.random.default_rng(4)
TABLES = {
    "tokens": RNG.normal(size=(ROWS, 24)).astype(np.float32),
    "layers": RNG.normal(size=(ROWS, 40)).astype(np.float32),
    "places": RNG.normal(size=(512, 24)).astype(np.float32),
    "types": RNG.normal(size=(2, 24)).astype(np.float32),
}
SIGNATURE = """
    (int64[b,s] input_ids, int64[b,s] position_ids, int64[b,s] token_type_ids)
        => (float[b,s,2000] logits, float[b,s,40] x)
"""
BODY = """
    a = Gather(tokens, input_ids) b = Gather(places, position_ids)
    c = Gather(types, token_type_ids) ab = Add(a, b) hidden = Add(ab, c)
    turned = Transpose<perm = [1, 0]>(tokens) logits = MatMul(hidden, turned)
    x = Gather(layers, input_ids)
"""
IDS = {
    "input_ids": RNG.integers(0, ROWS, (2, 7)),
    "position_ids": RNG.integers(0, 512, (2, 7)),
    "token_type_ids": RNG.integers(0, 2, (2, 7)),
}


@pytest.fixture
def model(graph):
    return graph(SIGNATURE, BODY, **TABLES)


@pytest.fixture
def source(model, tmp_path):
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "model.onnx"
    ir.save(model, path)
    return str(path)


def test_the_largest_the_named_or_all_that_are_large(model):
    def chosen(name=None, every=False):
        return [table.name for table in choose_tables(model.graph, name, every)]

    assert chosen() == ["layers"]
    assert chosen("places") == ["places"]
    assert chosen(every=True) == ["layers", "tokens", "places"]


def test_a_name_that_is_unknown_gets_a_list(model):
    with pytest.raises(InputError) as error:
        find_token_table(model.graph, "words")
    assert str(error.value) == (
        "no table 'words' is looked up by ids; choose from layers (2000 x 40), tokens (2000 x 24), "
        "places (512 x 24), types (2 x 24)"
    )


def test_small_tables_are_left_alone(graph):
    model = graph(
        "(int64[b] ids) => (x, y, z)",
        "x = Gather(large, ids) y = Gather(few, ids) z = Gather(slight, ids)",
        large=np.zeros((3000, 100), np.float32),
        few=np.zeros((255, 100), np.float32),  # rows
        slight=np.zeros((2999, 1), np.float32),  # of the largest's numbers
    )
    assert [table.name for table in find_large_tables(model.graph)] == ["large"]


def test_bytes_are_shared_out_by_size(model):
    tables = choose_tables(model.graph, None, True)
    shares = [budget.max_bytes for budget in share_out(Budget(max_bytes=10_000), tables)]
    sizes = [2000 * 40, 2000 * 24, 512 * 24]
    assert shares == [10_000 * size // sum(sizes) for size in sizes]
    assert share_out(Budget(ratio=7), tables) == [Budget(ratio=7)] * 3


@pytest.mark.parametrize("decode", ["function", "inline"])
def test_all_tables_of_a_model(source, quick, tmp_path, decode):
    out = tmp_path / "out"
    options = quick(all_tables=True, decode=decode)
    manifest = export(source, out, Budget(ratio=5), options=options)
    assert [table.name for table in manifest.tables] == ["layers", "tokens", "places"]
    assert (manifest.table, manifest.rows, manifest.width) == ("layers", ROWS, 40)
    assert (manifest.ids_input, manifest.packed_heads) == ("input_ids", 1)
    footprint = manifest.footprint
    assert footprint.embedding_bytes == sum(table.bytes for table in manifest.tables)
    assert footprint.embedding_bytes == sum(footprint.by_part.values())
    assert footprint.dense_bytes == sum(TABLES[table.name].nbytes for table in manifest.tables)
    assert all(table.dense_bytes / table.bytes >= 5 for table in manifest.tables)
    assert manifest.parity.lookup == 0
    graph = ir.load(out / "model.onnx").graph
    assert [name for name in TABLES if name in graph.initializers] == ["types"]
    assert read_manifest(out) == manifest
    card = (out / "README.md").read_text()
    assert all(f"| table {table.name} |" in card for table in manifest.tables)


def test_all_tables_within_one_sum_of_bytes(source, quick, tmp_path):
    options = quick(all_tables=True)
    manifest = export(source, tmp_path / "out", Budget(max_bytes=60_000), options=options)
    assert 40_000 < manifest.footprint.embedding_bytes <= 60_000


def test_a_named_table_leaves_the_others(source, quick, tmp_path):
    out = tmp_path / "out"
    manifest = export(source, out, Budget(ratio=5), options=quick(table="tokens"))
    assert (manifest.table, len(manifest.tables)) == ("tokens", 1)
    left = ir.load(out / "model.onnx").graph.initializers
    assert [name for name in TABLES if name in left] == ["layers", "places", "types"]


def test_a_budget_that_one_table_cannot_meet_names_it(source, tmp_path):
    with pytest.raises(BudgetError, match=r"^table layers, 2000 x 40: .* are too few") as error:
        export(source, tmp_path / "out", Budget(ratio=3000), options=ExportOptions(all_tables=True))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_one_table_or_all_of_them():
    with pytest.raises(
        InputError, match=r"table \(t\) and all_tables exclude .*; give one of them"
    ):
        ExportOptions(table="t", all_tables=True)


@pytest.fixture
def packed(pack_table):
    """Layouts that differ, so that one body cannot serve two tables."""
    forms = {
        "tokens": {"dense": [(ROWS, 30, 5)], "block": 64},
        "layers": {"dense": [(ROWS, 12, 8)], "columns": [(100, 8)]},
        "places": {"columns": [(512, None)]},
    }
    return {
        name: pack_table(*TABLES[name].shape, seed=seed, **form)
        for seed, (name, form) in enumerate(forms.items())
    }


@pytest.fixture
def rewritten(model, packed):
    for name, embedding in packed.items():
        CompressTable(name, embedding, heads=name == "tokens")(model)
    return model


def wanted(packed):
    ids = IDS["input_ids"]
    hidden = packed["tokens"].lookup(ids) + packed["places"].lookup(IDS["position_ids"])
    hidden += TABLES["types"][IDS["token_type_ids"]]
    return packed["tokens"].logits(hidden), packed["layers"].lookup(ids)


@pytest.mark.parametrize("inline", [False, True])
def test_each_table_is_decoded_by_its_own_body(rewritten, packed, run_model, inline):
    """Older onnxruntimes take functions of one name for one another, whatever their overload."""
    assert len({function.name for function in rewritten.functions.values()}) == 4
    assert not any(function.overload for function in rewritten.functions.values())
    if inline:
        InlineFunctions()(rewritten)
        assert not rewritten.functions
    logits, layers = run_model(rewritten, **IDS)
    expected = wanted(packed)
    np.testing.assert_array_equal(layers, expected[1])
    np.testing.assert_allclose(logits, expected[0], atol=1e-5 * np.abs(expected[0]).max())


def both(model, rewritten, tmp_path, packed):
    ir.save(model, tmp_path / "original.onnx")
    ir.save(rewritten, tmp_path / "packed.onnx")
    tables = [
        PackedTable(name, embedding, heads=int(name == "tokens"))
        for name, embedding in packed.items()
    ]
    return (tmp_path / "packed.onnx", tmp_path / "original.onnx"), tables


@pytest.mark.parametrize("spoilt", ["tokens", "layers", "places"])
def test_a_fault_in_any_table_is_noticed(graph, rewritten, packed, tmp_path, spoilt):
    paths, tables = both(graph(SIGNATURE, BODY, **TABLES), rewritten, tmp_path, packed)
    check_model(*paths, tables)
    codes = rewritten.graph.initializers[f"{spoilt}.stages.0.codes"]
    changed = codes.const_value.numpy().copy()
    changed[3, 1] ^= 1
    codes.const_value = ir.tensor(changed, name=codes.name)
    ir.save(rewritten, paths[0])
    with pytest.raises(CheckError, match=r"the decode graph and lookup\(\) differ"):
        check_model(*paths, tables)


@pytest.mark.parametrize("left", ["tokens", "layers", "places"])
def test_any_dense_table_that_is_left_is_noticed(graph, rewritten, packed, tmp_path, left):
    paths, tables = both(graph(SIGNATURE, BODY, **TABLES), rewritten, tmp_path, packed)
    value = ir.val(left, const_value=ir.tensor(TABLES[left], name=left))
    rewritten.graph.register_initializer(value)
    ir.save(rewritten, paths[0])
    with pytest.raises(CheckError, match=f"still holds a dense table, {left}"):
        check_stays_packed(paths[0], tables)


@pytest.mark.parametrize("grown", ["tokens", "layers", "places"])
def test_any_table_that_onnxruntime_unpacks_is_noticed(graph, packed, tmp_path, grown):
    """Of one table all rows are decoded and then gathered; the others are as they should be."""
    body = BODY.replace(f"Gather({grown}, ", "Gather(all, ")
    model = graph(
        SIGNATURE,
        f"all = Gather({grown}, every) {body}",
        every=np.arange(len(TABLES[grown])),
        **TABLES,
    )
    every = model.graph.initializers["every"]
    model.graph.inputs.append(every)  # for the search by use only
    every.dtype = ir.DataType.INT64
    for name, embedding in packed.items():
        CompressTable(name, embedding, heads=name == "tokens")(model)
    model.graph.inputs.remove(every)
    (path, _), tables = both(graph(SIGNATURE, BODY, **TABLES), model, tmp_path, packed)
    with pytest.raises(
        CheckError, match=r"onnxruntime's graph holds a dense table|unpacks at load"
    ):
        check_stays_packed(path, tables)


def test_a_table_that_would_stay_for_another_reader_is_refused(graph, quick, tmp_path):
    body = "x = Gather(t, input_ids) n = ReduceSum<keepdims = 0>(t) y = Add(x, n)"
    table = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    model = graph("(int64[b, s] input_ids) => (float[b, s, d] y)", body, t=table)
    ir.save(model, tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"^t is read by ReduceSum too, neither a look-up"):
        export(str(tmp_path / "model.onnx"), tmp_path / "out", Budget(ratio=2), options=quick())
    assert not (tmp_path / "out").exists()
