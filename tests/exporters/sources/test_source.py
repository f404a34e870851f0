"""Whatever is given as a source either loads or is refused with one line that says what to do."""

import json
import shutil

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from safetensors.torch import load_file, save_file

from exporters.sources.facts import read_facts
from exporters.sources.source import load_source, read_table
from toolkit.errors import InputError
from toolkit.files import sha256
from toolkit.graph.load import load_graph

BODY = "(int64[b,s] input_ids) => (float[b,s,6] y)", "y = Gather(t, input_ids)"
TABLE = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)


@pytest.fixture
def save(graph):
    def write(path, *, external=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        data = f"{path.name}.data" if external else None
        ir.save(graph(*BODY, t=TABLE), path, external_data=data)
        return path

    return write


def refused(source, work, match):
    with pytest.raises(InputError, match=match) as error:
        load_source(str(source), work)
    assert "\n" not in str(error.value)
    assert not list(work.iterdir()) if work.is_dir() else True


def test_an_onnx_file_is_taken_as_it_is(save, tmp_path):
    path = save(tmp_path / "m.onnx", external=True)
    loaded = load_source(str(path), tmp_path / "work")
    assert (loaded.path, loaded.folder, loaded.exporter) == (path, tmp_path, "none")
    assert (loaded.source.name, loaded.source.kind) == ("m.onnx", "onnx")
    assert loaded.source.sha256 == sha256(path)
    assert not (tmp_path / "work").exists()


def test_the_config_of_an_onnx_file_may_lie_one_folder_up(save, tmp_path):
    path = save(tmp_path / "onnx" / "model.onnx")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertForMaskedLM"]}))
    loaded = load_source(str(path), tmp_path / "work")
    assert (loaded.folder, loaded.facts.architecture) == (tmp_path, "BertForMaskedLM")
    assert loaded.facts.task == "feature-extraction"  # for the graph has no head


def test_an_encoder_in_a_file_of_its_own_gives_features(graph, save, tmp_path):
    config = {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    decoder = graph(BODY[0].replace(" y)", " logits)"), "logits = Gather(t, input_ids)", t=TABLE)
    ir.save(decoder, tmp_path / "decoder_model.onnx")
    files = [save(tmp_path / "encoder_model.onnx"), tmp_path / "decoder_model.onnx"]
    tasks = [load_source(str(path), tmp_path / "work").facts.task for path in files]
    assert tasks == ["feature-extraction", "text2text-generation"]


@pytest.mark.parametrize("folder", [False, True])
def test_a_cache_cannot_be_asked_of_what_is_onnx_already(save, tmp_path, folder):
    path = save(tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"model\.onnx is ONNX already.*drop --with-past"):
        load_source(str(tmp_path if folder else path), tmp_path / "work", with_past=True)


@pytest.mark.parametrize("name", ["model.onnx", "onnx/model.onnx"])
def test_a_folder_without_weights_gives_its_onnx_file(save, tmp_path, name):
    path = save(tmp_path / name)
    assert load_source(str(tmp_path), tmp_path / "work").path == path


@pytest.mark.parametrize("name", ["onnx/model_quantized.onnx", "model_int8.onnx"])
def test_the_only_model_of_a_folder_is_taken_and_named(save, tmp_path, name):
    path = save(tmp_path / "folder" / name)
    (tmp_path / "folder" / "vocab.txt").write_text("[CLS]")
    loaded = load_source(str(tmp_path / "folder"), tmp_path / "work")
    assert (loaded.path, loaded.folder) == (path, tmp_path / "folder")
    assert loaded.facts.notes == (f"{name} was taken, the only model in folder",)
    assert loaded.facts.assets == ("vocab.txt",)


def test_of_several_models_one_has_to_be_named(save, tmp_path):
    for name in ("onnx/model_quantized.onnx", "onnx/model_fp16.onnx"):
        save(tmp_path / "folder" / name)
    line = r"several models \(onnx/model_fp16\.onnx, onnx/model_quantized\.onnx\); give one"
    refused(tmp_path / "folder", tmp_path / "work", line)


def test_a_linked_model_is_copied_for_the_export(save, hub_cache, tmp_path):
    path = save(tmp_path / "folder" / "onnx" / "model.onnx", external=True)
    (tmp_path / "folder" / "config.json").write_text("{}")
    snapshot = hub_cache(tmp_path / "folder")
    loaded = load_source(str(snapshot / "onnx" / "model.onnx"), tmp_path / "work")
    assert loaded.path.is_relative_to(tmp_path / "work")
    assert (loaded.folder, loaded.source.sha256) == (snapshot, sha256(path))
    assert load_graph(loaded.path).graph.initializers["t"].const_value.numpy().shape == (300, 6)


def test_a_folder_is_exported_below_the_work_folder(tiny_folder, tmp_path):
    folder = tiny_folder("BertModel")
    before = sorted(folder.iterdir())
    loaded = load_source(str(folder), tmp_path, exporter="dynamo")
    assert loaded.path == tmp_path / "original" / "model.onnx"
    assert (loaded.exporter, loaded.source.kind) == ("dynamo", "folder")
    assert loaded.source.sha256 == sha256(folder / "model.safetensors")
    assert sorted(folder.iterdir()) == before


def test_every_shard_of_the_weights_counts_in_the_digest(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "exporters.sources.to_onnx.export_onnx", lambda *_, **__: (tmp_path / "x", "dynamo")
    )
    folder = tmp_path / "sharded"
    shutil.copytree(tiny_folder("BertModel"), folder)
    digests = []
    for content in (b"one", b"two"):
        (folder / "second.safetensors").write_bytes(content)
        digests.append(load_source(str(folder), tmp_path).source.sha256)
    assert len(set(digests)) == 2


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    refused(tmp_path, tmp_path / "w", "holds no model.safetensors.*give the folder")


def test_a_folder_without_config_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    refused(tmp_path, tmp_path / "w", r"holds no config\.json; give the folder")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.safetensors", "holds weights alone; give the folder that it is in"),
        ("model.gguf", r"llama\.cpp, rounded already; give the model folder or \.onnx file"),
        ("model.tflite", "is a model of LiteRT"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, name, told):
    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(InputError, match=told) as error:
        load_source(str(tmp_path / name), tmp_path / "work")
    assert "\n" not in str(error.value)


def test_damaged_weights_are_refused(tiny_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("BertModel"), folder)
    (folder / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"cannot take|cannot export") as error:
        load_source(str(folder), tmp_path / "w")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-100],
        lambda data: data[:40],
        lambda data: b"\0" * 64,
    ],
    ids=["cut", "header-cut", "zeros"],
)
def test_damaged_weights_have_no_table(tiny_folder, tmp_path, damage):
    folder = shutil.copytree(tiny_folder("BertModel"), tmp_path / "model")
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match="transformers cannot load") as info:
        read_table(str(folder))
    assert "\n" not in str(info.value)


def test_a_weight_that_is_missing_is_not_made_up(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("BertModel"), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    gone = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    del tensors[gone]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for read in (lambda: read_table(str(folder)), lambda: load_source(str(folder), tmp_path / "w")):
        with pytest.raises(InputError, match=rf"lack weights .*: {gone}") as info:
            read()
        assert "\n" not in str(info.value)


def test_a_pooler_may_be_missing_where_states_are_wanted(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("BertModel"), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_source(str(folder), tmp_path / "w").path.is_file()


@pytest.mark.parametrize("size", [2**62, -1, "many"])
def test_settings_that_no_model_has(tiny_folder, tmp_path, size):
    folder = shutil.copytree(tiny_folder("BertModel"), tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text()) | {"hidden_size": size}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="transformers cannot load") as info:
        read_table(str(folder))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("name", ["no/such/model.onnx", "./no-such-folder", "/no/such/folder"])
def test_a_path_that_is_not_there_is_refused(tmp_path, name):
    refused(name, tmp_path / "w", "is not here; give a hub id, a model folder or an .onnx file")


@pytest.mark.parametrize("name", ["owner/name", "minilm-l6"])
def test_a_hub_id_without_network_asks_for_a_folder(tmp_path, name):
    refused(name, tmp_path / "w", f"{name}.* cannot be reached.*or give a folder")


@pytest.mark.parametrize("name", ["a b", "a/b/c", "-x-", "owner/na..me", ""])
def test_what_cannot_be_a_hub_id_is_refused(tmp_path, name):
    work = tmp_path / "w"
    with pytest.raises(InputError) as error:
        load_source(name, work)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x07", b"{}", bytes(range(256)) * 9])
@pytest.mark.parametrize("name", ["x.onnx", "x.json", "x.txt", "x.onnxtxt", "x.textproto"])
def test_a_file_that_is_no_onnx_model_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, tmp_path / "w", "is no ONNX model.*give an .onnx file")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_onnx_file_is_refused(save, tmp_path, share):
    path = save(tmp_path / "m.onnx")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, tmp_path / "w", "is no ONNX model")


def test_weights_that_are_missing_beside_an_onnx_file_are_named(save, tmp_path):
    path = save(tmp_path / "m.onnx", external=True)
    (tmp_path / "m.onnx.data").unlink()
    refused(path, tmp_path / "w", r"m\.onnx\.data is missing; it holds the weights of m\.onnx")


def test_weights_that_were_cut_off_are_named(save, tmp_path):
    path = save(tmp_path / "m.onnx", external=True)
    data = tmp_path / "m.onnx.data"
    data.write_bytes(data.read_bytes()[:-100])
    refused(path, tmp_path / "w", r"m\.onnx\.data is too short")


def test_weights_stay_on_disk_until_used(save, tmp_path):
    model = load_graph(save(tmp_path / "m.onnx", external=True))
    assert isinstance(model.graph.initializers["t"].const_value, ir.ExternalTensor)


def test_the_long_name_of_the_standard_domain_is_the_short_one(save, tmp_path):
    path = save(tmp_path / "m.onnx")
    proto = onnx.load(path)
    proto.opset_import[0].domain = "ai.onnx"
    onnx.save(proto, path)
    assert dict(load_graph(path).opset_imports) == {"": 18}


def test_a_link_to_a_private_file_is_no_part_of_a_model(tiny_folder, tmp_path):
    private = tmp_path / "private"
    private.write_text("secret")
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("BertModel"), folder)
    (folder / "chat_template.jinja").symlink_to(private)
    refused(folder, tmp_path / "w", r"chat_template\.jinja is a link that leads out of")


def test_a_private_file_beside_an_onnx_file_is_no_part_of_it(save, tmp_path):
    (tmp_path / "private").write_text("{}")
    path = save(tmp_path / "model/m.onnx")
    (tmp_path / "model/tokenizer.json").symlink_to(tmp_path / "private")
    refused(path, tmp_path / "w", r"tokenizer\.json is a link that leads out of")


def modules(folder, place, kind="Pooling"):
    told = [{"path": place, "type": f"sentence_transformers.models.{kind}"}]
    (folder / "modules.json").write_text(json.dumps(told))
    (folder / place).mkdir(parents=True)


@pytest.mark.parametrize(("place", "why"), [("a/b/c", "is a link that"), (".a", "leads out")])
@pytest.mark.parametrize("kind", ["Pooling", "StaticEmbedding"])
def test_a_private_file_deep_in_a_model_or_hidden_is_no_part_of_it(
    tiny_folder, tmp_path, place, why, kind
):
    (tmp_path / "private").write_text("{}")
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("BertModel"), folder)
    modules(folder, place, kind)
    (folder / place / "config.json").symlink_to(tmp_path / "private")
    (folder / place / "tokenizer.json").symlink_to(tmp_path / "private")
    refused(folder, tmp_path / "w", why)


def test_hidden_files_do_not_travel(tiny_folder, tmp_path):
    (tmp_path / "private").write_text("secret")
    shutil.copytree(tiny_folder("BertModel"), tmp_path / "model")
    for name in (".x.model", ".x.spm", ".x.tiktoken"):
        (tmp_path / "model" / name).symlink_to(tmp_path / "private")
    (tmp_path / "model/vocab.txt").write_text("a")
    assert set(read_facts(tmp_path / "model").assets) == {
        "config.json",
        "vocab.txt",
    }


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"transformers_weights": "../private/model.safetensors"}, "names the weights"),
        ({"_attn_implementation": "evil/kernel"}, "asks for code of 'evil/kernel'"),
    ],
)
def test_settings_that_reach_out_are_refused(tiny_folder, tmp_path, settings, why):
    """Either would be obeyed by transformers, whose model is then another, or runs that code."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("BertModel"), folder)
    shutil.copytree(folder, tmp_path / "private")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    refused(folder, tmp_path / "w", why)
    with pytest.raises(InputError, match=why):
        read_table(str(folder))


def test_a_tokenizer_beside_an_onnx_file_reads_its_own_files(save, tmp_path):
    (tmp_path / "private").write_text("secret")
    path = save(tmp_path / "model/m.onnx")
    told = {"vocab_file": str(tmp_path / "private")}
    (tmp_path / "model/tokenizer_config.json").write_text(json.dumps(told))
    refused(path, tmp_path / "w", "as vocab_file, outside of its folder")


@pytest.mark.parametrize(
    "name", ["../secret.safetensors", "/etc/passwd", "a\\b", ".a.safetensors", 3]
)
def test_an_index_of_shards_that_leads_out_is_refused(tiny_folder, tmp_path, name):
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("BertModel"), folder)
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, tmp_path / "w", r"index\.json names the file .*, outside of its folder")
