"""A folder of onnxruntime-genai as a source. tests/integration/loads/ has what its builder makes;
here a decoder of one layer stands for it: the same operators, the same forms of table and head."""

import json
import sys

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from exporters import export
from exporters.passes.compress_table import CompressTable
from exporters.sources.facts import read_facts
from exporters.sources.genai import build_with_genai, genai_facts, genai_model, has_builder
from exporters.sources.source import load_source
from exporters.tables import PackedTable
from exporters.verify.check import check_model
from exporters.verify.differences import CheckError
from runtime import open_session
from toolkit import Budget
from toolkit.errors import InputError, MissingDependencyError

ROWS, WIDTH = 300, 32
RNG = np.random.default_rng(5)
TABLE = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
SCALES = RNG.uniform(0.01, 0.02, (ROWS, 2)).astype(np.float32)
BYTES = RNG.integers(0, 256, (ROWS, 2, 16)).astype(np.uint8)
POINTS = RNG.integers(100, 156, (ROWS, 2)).astype(np.uint8)
CONFIG = {
    "model": {
        "type": "llama",
        "context_length": 64,
        "eos_token_id": [7],
        "decoder": {"filename": "built.onnx", "head_size": WIDTH},
    },
    "search": {"past_present_share_buffer": True},
}
SIGNATURE = (
    f"(int64[b,s] input_ids, float[b,1,p,{WIDTH}] k) => (float[b,s,{ROWS}] logits, "
    f"float[b,1,t,{WIDTH}] n)"
)
# The operator is onnxruntime's, in the standard's own domain, as the builder writes it.
BETWEEN = """
    h = SimplifiedLayerNormalization<axis = -1, epsilon = 1e-6>(x, weight)
    new = Unsqueeze(h, one)
    n = Concat<axis = 2>(k, new)
"""
FORMS = {
    "floats": "turned = Transpose<perm = [1, 0]>(t) x = Gather(turned, input_ids)"
    + BETWEEN
    + "logits = MatMul(h, t)",
    "blocks": "flat = Reshape(t, shape) x = com.microsoft.GatherBlockQuantized"
    "<bits = 8, block_size = 16, gather_axis = 0, quantize_axis = 1>(flat, input_ids, s, z)"
    + BETWEEN
    + f"logits = com.microsoft.MatMulNBits<K = {WIDTH}, N = {ROWS}, bits = 8, block_size = 16>"
    "(h, t, s, z)",
}


@pytest.fixture
def built(tmp_path):
    """``built(form)``: a folder as the builder makes it."""

    def build(form="floats", config=CONFIG):
        folder = tmp_path / "built"
        folder.mkdir(exist_ok=True)
        opsets = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>'
        model = onnx.parser.parse_model(f"{opsets} main {SIGNATURE} {{{FORMS[form]}}}")
        tensors = {"weight": np.ones(WIDTH, np.float32), "one": np.array([1])}
        if form == "floats":
            tensors["t"] = np.ascontiguousarray(TABLE.T)
        else:
            tensors |= {"t": BYTES, "s": SCALES, "z": POINTS, "shape": np.array([ROWS, WIDTH])}
        for name, array in tensors.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        for value, name in ((model.graph.input[1], "past_key_values.0.key"),):
            rename(model.graph, value, name)
        rename(model.graph, model.graph.output[1], "present.0.key")
        onnx.save(model, folder / "built.onnx")
        (folder / "genai_config.json").write_text(json.dumps(config))
        return folder

    return build


def rename(graph, value, name):
    """The text of a graph knows no dots in names."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, each in enumerate(names):
                if each == value.name:
                    names[index] = name
    value.name = name


def test_the_file_that_the_config_names_is_the_model(built):
    folder = built()
    loaded = load_source(str(folder), folder / "work")
    assert loaded.path == folder / "built.onnx"
    assert loaded.genai_config == folder / "genai_config.json"
    assert (loaded.facts.task, loaded.facts.max_length) == ("text-generation", 64)


def test_a_shorter_limit_of_the_tokenizer_counts(built):
    folder = built()
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 16}')
    assert genai_facts(read_facts(folder, is_onnx=True), folder).max_length == 16


def test_other_folders_are_none_of_it(tmp_path):
    assert genai_model(tmp_path) is None


@pytest.mark.parametrize("form", FORMS)
def test_table_and_head_are_packed_and_the_rest_stays(built, quick, tmp_path, form):
    bundle = tmp_path / "bundle"
    manifest = export(str(built(form)), bundle, Budget(ratio=4), options=quick())
    assert (manifest.task, manifest.packed_heads, manifest.tied_head) == (
        "text-generation",
        1,
        False,
    )
    operators = [node.op_type for node in ir.load(bundle / "model.onnx").graph]
    assert "SimplifiedLayerNormalization" in operators
    assert not {"Gather", "GatherBlockQuantized", "MatMul", "MatMulNBits"} & set(operators)
    config = json.loads((bundle / "genai_config.json").read_text())
    assert config["model"]["decoder"] == {"filename": "model.onnx", "head_size": WIDTH}
    assert config["search"] == CONFIG["search"]
    assert "genai_config.json" in manifest.files
    session = open_session(bundle, op=False)
    feeds = {
        "input_ids": np.array([[3, 5]]),
        "past_key_values.0.key": np.zeros((1, 1, 4, WIDTH), np.float32),
    }
    assert session.run(feeds)["present.0.key"].shape == (1, 1, 6, WIDTH)


def test_a_head_with_values_of_its_own_stays(built, quick, tmp_path):
    """The builder rounds a head for itself where it is not asked to share."""
    folder = built("blocks")
    model = onnx.load(folder / "built.onnx")
    points = np.ascontiguousarray(POINTS[::-1])
    model.graph.initializer.append(onnx.numpy_helper.from_array(points, "other"))
    (head,) = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    head.input[3] = "other"
    onnx.save(model, folder / "built.onnx")
    manifest = export(str(folder), tmp_path / "bundle", Budget(ratio=4), options=quick())
    assert manifest.packed_heads == 0
    operators = [node.op_type for node in ir.load(tmp_path / "bundle" / "model.onnx").graph]
    assert "MatMulNBits" in operators


def test_the_checker_may_refuse_only_what_it_refused_before(built, graph, pack_table, tmp_path):
    packed = tmp_path / "packed.onnx"
    embedding = pack_table(ROWS, WIDTH, dense=[(ROWS, 20, 5)], columns=[(60, 8)], block=16)
    path = built() / "built.onnx"
    model = ir.load(path)
    CompressTable("t", embedding, heads=True)(model)
    ir.save(model, packed)
    tables = [PackedTable("t", embedding, heads=1)]
    assert check_model(packed, path, tables).lookup == 0
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(str(path))
    # Where the original has none of it, what is refused is of the rewrite's making.
    ir.save(graph("(int64[n] ids) => (int64[n] y)", "y = Identity(ids)"), tmp_path / "plain.onnx")
    with pytest.raises(CheckError, match=r"onnx\.checker refuses the model: No Op registered"):
        check_model(packed, tmp_path / "plain.onnx", tables)


def test_a_config_without_its_model_is_told(built, tmp_path):
    folder = built()
    (folder / "built.onnx").unlink()
    with pytest.raises(InputError, match=r"names built\.onnx, which is not in its folder; copy"):
        load_source(str(folder), tmp_path / "work")


@pytest.mark.parametrize("config", [{}, {"model": {"decoder": {"pipeline": []}}}, {"model": []}])
def test_a_config_of_many_files_is_told(built, tmp_path, config):
    folder = built(config=config)
    with pytest.raises(InputError, match=r"names no decoder of one file; give the \.onnx"):
        load_source(str(folder), tmp_path / "work")


def test_a_node_that_reads_what_is_not_there_is_told(built, tmp_path):
    """As the builder leaves it where it forgets the zero points."""
    folder = built("blocks")
    model = onnx.load(folder / "built.onnx")
    (points,) = [each for each in model.graph.initializer if each.name == "z"]
    model.graph.initializer.remove(points)
    onnx.save(model, folder / "built.onnx")
    with pytest.raises(InputError, match=r"is no whole model: .* reads z, which is not in"):
        load_source(str(folder), tmp_path / "work")


def test_the_builder_makes_decoders_with_a_cache_alone(tiny_folder, tmp_path):
    folder = tiny_folder("LlamaForCausalLM")
    with pytest.raises(InputError, match="makes decoders with a cache; add --with-past"):
        load_source(str(folder), tmp_path, exporter="genai")
    facts = read_facts(tiny_folder("BertModel"))
    with pytest.raises(InputError, match="makes decoders with a cache"):
        build_with_genai(tiny_folder("BertModel"), facts, tmp_path, with_past=True)


def test_a_builder_that_is_not_installed_is_told(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("exporters.sources.genai.find_spec", lambda name: None)
    assert not has_builder()
    with pytest.raises(MissingDependencyError, match="pip install --no-deps onnxruntime-genai"):
        load_source(
            str(tiny_folder("LlamaForCausalLM")), tmp_path, exporter="genai", with_past=True
        )


def test_what_the_builder_says_is_told_in_one_line(tiny_folder, tmp_path, monkeypatch):
    package = tmp_path / "packages" / "onnxruntime_genai"
    (package / "models").mkdir(parents=True)
    for name in ("__init__.py", "models/__init__.py"):
        (package / name).write_text("")
    (package / "models" / "builder.py").write_text("raise SystemExit('first\\nno such model')")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    sys.modules.pop("onnxruntime_genai", None)
    assert has_builder()
    with pytest.raises(InputError, match=r"builder cannot take \w+ \(no such model\)"):
        load_source(
            str(tiny_folder("LlamaForCausalLM")), tmp_path, exporter="genai", with_past=True
        )


def test_a_builder_in_the_folder_that_one_is_in_does_not_run(tiny_folder, tmp_path, monkeypatch):
    """People work in folders that they downloaded: Python would look for modules there first."""
    planted = tmp_path / "onnxruntime_genai/models"
    planted.mkdir(parents=True)
    (planted / "builder.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("exporters.sources.genai.has_builder", lambda: True)
    folder = str(tiny_folder("LlamaForCausalLM"))
    with pytest.raises(InputError, match="builder cannot take"):
        load_source(folder, tmp_path / "w", exporter="genai", with_past=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../other/model.onnx", "/a/model.onnx"])
def test_the_model_that_the_config_names_is_in_the_folder(tmp_path, name):
    told = {"model": {"decoder": {"filename": name}}}
    (tmp_path / "genai_config.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="which leads out of its folder"):
        load_source(str(tmp_path), tmp_path / "w")
