import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.external_data_helper import set_external_data

from runtime import session as session_module
from runtime.providers import PROVIDERS, available, provider_names
from runtime.session import open_session
from toolkit.bundle.manifest import MANIFEST_NAME, Pooling
from toolkit.bundle.tensors import TensorInfo
from toolkit.errors import FormatError, InputError, LightTokenError


def feeds(*ids, dtype=np.int64):
    row = np.array([ids], dtype)
    return {"input_ids": row, "attention_mask": np.ones_like(row)}


def one_line(info):
    text = str(info.value)
    assert "\n" not in text
    return text


def test_bundle_gives_manifest_facts_and_values(bundle, tiny):
    session = open_session(bundle)
    assert session.manifest.pooling == Pooling("mean", False)
    assert session.providers == ("CPUExecutionProvider",)
    assert session.ids_input == "input_ids"
    assert session.inputs[0] == TensorInfo("input_ids", "int64", ("b", "s"))
    assert session.outputs == (TensorInfo("last_hidden_state", "float32", ("b", "s", 4)),)
    result = session.run(feeds(5, 9))
    assert list(result) == ["last_hidden_state"]
    np.testing.assert_array_equal(result["last_hidden_state"][0], tiny.table()[[5, 9]])


def test_bare_model_has_no_manifest(tmp_path, tiny):
    path = tiny.model(tmp_path / "m.onnx", tiny.graphs["feature-extraction"], tiny.table())
    session = open_session(str(path), threads=1)
    assert session.manifest is None
    assert session.run(feeds(5))["last_hidden_state"].shape == (1, 1, 4)


def test_ids_input_is_found_when_it_has_another_name(tmp_path, tiny):
    graph = tiny.graphs["feature-extraction"].replace("input_ids", "tokens")
    graph = graph.replace(
        "int64[b,s] tokens, int64[b,s] attention_mask",
        "int64[b,s] attention_mask, int64[b,s] tokens",
    )
    path = tiny.model(tmp_path / "m.onnx", graph, tiny.table())
    assert open_session(path).ids_input == "tokens"


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_integer_feeds_are_cast(bundle, tiny, dtype):
    result = open_session(bundle).run(feeds(5, 6, dtype=dtype))
    np.testing.assert_array_equal(result["last_hidden_state"][0], tiny.table()[[5, 6]])


def test_integer_feed_becomes_the_float_that_the_graph_declares(tmp_path, tiny):
    graph = tiny.graphs["feature-extraction"].replace(
        "int64[b,s] attention_mask", "float[b,s] attention_mask"
    )
    path = tiny.model(tmp_path / "m.onnx", graph, tiny.table())
    assert open_session(path).run(feeds(5))["last_hidden_state"].shape == (1, 1, 4)


def test_negative_ids_count_from_the_tables_end(bundle, tiny):
    rows = open_session(bundle).run(feeds(-1, -10))["last_hidden_state"][0]
    np.testing.assert_array_equal(rows, tiny.table()[[9, 0]])


@pytest.mark.parametrize("bad", [-11, 10, 12345])
def test_id_outside_the_table_is_named(bundle, bad):
    with pytest.raises(InputError, match=rf"token id {bad} is outside -10 \.\. 9") as info:
        open_session(bundle).run(feeds(5, bad))
    one_line(info)


def test_ids_that_are_no_integers(bundle):
    with pytest.raises(InputError, match="must be integers, got float64"):
        open_session(bundle).run(feeds(5.0, dtype=np.float64))


def test_missing_and_unknown_inputs_are_named(bundle):
    session = open_session(bundle)
    both = feeds(5)
    with pytest.raises(InputError, match="'attention_mask' is missing"):
        session.run({"input_ids": both["input_ids"]})
    with pytest.raises(InputError, match="'pixels' is unknown; the graph has input_ids"):
        session.run({**both, "pixels": both["input_ids"]})


def test_wrong_rank_is_one_line(bundle):
    session = open_session(bundle)
    with pytest.raises(InputError, match="cannot run these inputs") as info:
        session.run({"input_ids": np.array([5]), "attention_mask": np.array([1])})
    assert "ONNXRuntimeError" not in one_line(info)


def test_unknown_output_is_one_line(bundle):
    with pytest.raises(InputError, match="cannot run") as info:
        open_session(bundle).run(feeds(5), ["nothing"])
    one_line(info)


def test_unknown_provider_lists_what_is_here(bundle):
    with pytest.raises(InputError, match=r"'gpu9' is unknown; available here: .*cpu"):
        open_session(bundle, "gpu9")


def test_provider_that_is_not_built_in(bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match="'cuda' is not in this onnxruntime; available here: cpu,"):
        open_session(bundle, "cuda")


def test_cpu_follows_as_fallback(monkeypatch):
    names = [PROVIDERS["xnnpack"], PROVIDERS["cpu"]]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    assert provider_names("XNNPACK") == names
    assert provider_names("cpu") == [PROVIDERS["cpu"]]
    assert available() == ("cpu", "xnnpack")


def test_provider_that_does_not_start_is_no_silent_fallback(bundle, monkeypatch):
    names = [PROVIDERS["cuda"], PROVIDERS["cpu"]]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    real = session_module._load
    monkeypatch.setattr(session_module, "_load", lambda path, _, opts: real(path, names[1:], opts))
    with pytest.raises(InputError, match="'cuda' did not start"):
        open_session(bundle, "cuda")


@pytest.mark.parametrize("threads", [0, -2])
def test_thread_count(bundle, threads):
    with pytest.raises(InputError, match=f"at least 1, got {threads}"):
        open_session(bundle, threads=threads)


def test_nothing_at_the_path(tmp_path):
    with pytest.raises(InputError, match="is not here"):
        open_session(tmp_path / "none.onnx")


def test_folder_without_manifest(tmp_path):
    with pytest.raises(FormatError, match="is no bundle"):
        open_session(tmp_path)


def test_newer_version(bundle, rewrite_manifest):
    rewrite_manifest(bundle, version=9)
    with pytest.raises(FormatError, match="version 9"):
        open_session(bundle)


def test_damaged_manifest(bundle):
    (bundle / MANIFEST_NAME).write_text("{")
    with pytest.raises(FormatError, match="damaged"):
        open_session(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json"])
def test_altered_file_is_named(bundle, name):
    path = bundle / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"{name} was altered"):
        open_session(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
@pytest.mark.parametrize("verify", [True, False])
def test_missing_file_is_named(bundle, name, verify):
    (bundle / name).unlink()
    with pytest.raises(FormatError, match=name) as info:
        open_session(bundle, verify=verify)
    one_line(info)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("left", [0, 0.5])
def test_truncated_file(bundle, name, verify, left):
    path = bundle / name
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(FormatError) as info:
        open_session(bundle, verify=verify)
    assert "ONNXRuntimeError" not in one_line(info)


def test_verify_off_skips_the_digests(bundle):
    (bundle / "config.json").write_text('{"altered": true}')
    open_session(bundle, verify=False)
    with pytest.raises(FormatError):
        open_session(bundle)


def test_foreign_file(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("no model at all")
    with pytest.raises(FormatError, match="is no ONNX model") as info:
        open_session(path)
    one_line(info)


def test_unregistered_operator_points_to_the_function_form(tmp_path, tiny):
    graph = """
        <ir_version: 9, opset_import: ["" : 18, "ai.elsewhere" : 1]>
        g (int64[b,s] input_ids) => (float[b,s,4] y)
        { y = ai.elsewhere.Decode(table, input_ids) }"""
    path = tmp_path / "m.onnx"
    with pytest.raises(LightTokenError, match="--decode function"):
        open_session(tiny.model(path, graph, tiny.table()))


def test_what_the_model_does_wrong_is_told_once(tmp_path, tiny, capfd):
    """onnxruntime's own log would tell it too, in colours and with raw names of nodes."""
    graph = """
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64[b,s] input_ids) => (float[b,s,4] y)
        { y = Gather(table, input_ids) }"""
    path = tiny.model(tmp_path / "m.onnx", graph, tiny.table())
    model = onnx.load(path)
    model.graph.node[0].name = "a\x1b[31mb"
    onnx.save(model, path)
    session = open_session(path)
    with pytest.raises(LightTokenError):
        session.run({"input_ids": np.full((1, 2), 1_000_000, np.int64)})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("location", ["../private", "/etc/hostname", "link"])
def test_values_outside_of_a_models_folder_are_refused_before_onnxruntime_sees_them(
    tmp_path, monkeypatch, location
):
    """By our own check: versions of onnxruntime and onnx-ir that are allowed read them."""
    (tmp_path / "private").write_bytes(bytes(40))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "private")
    tensor = onnx.helper.make_tensor("t", onnx.TensorProto.FLOAT, [10, 1], bytes(40), raw=True)
    set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    ids = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["n"])
    rows = onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["n", 1])
    node = onnx.helper.make_node("Gather", ["t", "input_ids"], ["rows"])
    graph = onnx.helper.make_graph([node], "g", [ids], [rows], [tensor])
    (folder / "model.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    monkeypatch.setattr("runtime.session._load", None)
    for verify in (True, False):
        with pytest.raises(FormatError, match="of the model's folder; copy or export it again"):
            open_session(folder / "model.onnx", verify=verify)
