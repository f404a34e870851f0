import json
from dataclasses import replace

import pytest

from toolkit.bundle.manifest import (
    BUNDLE_VERSION,
    MANIFEST_NAME,
    Footprint,
    FurtherModel,
    Manifest,
    Parity,
    Pooling,
    Source,
    StoredFile,
    StoredHead,
    StoredTable,
    describe_files,
    read_manifest,
    verify_files,
)
from toolkit.errors import FormatError

MANIFEST = Manifest(
    source=Source("some/model", "hub", "ab" * 32, revision="main"),
    task="feature-extraction",
    exporter="optimum",
    decode="integer",
    opset=18,
    rows=707,
    width=48,
    table="embeddings.word_embeddings.weight",
    ids_input="input_ids",
    tied_head=False,
    method="lighttoken",
    seed=0,
    footprint=Footprint(25.1, 1.27, 5407, 135744, 90000, 220337, {"codes": 5000, "mean": 192}),
    parity=Parity(1e-6, 2e-5, 0.03),
    pooling=Pooling("mean", normalize=True),
    max_length=256,
    made_with={"onnx": "1.18.0"},
    files={"model.onnx": StoredFile(3, "00" * 32)},
)


def write(folder, text):
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "manifest",
    [MANIFEST, replace(MANIFEST, pooling=None, max_length=None, files={}, made_with={})],
    ids=["full", "least"],
)
def test_a_written_manifest_reads_as_it_was(tmp_path, manifest):
    assert read_manifest(write(tmp_path, manifest.to_json())) == manifest


def test_equal_manifests_give_equal_text():
    turned = dict(reversed(MANIFEST.footprint.by_part.items()))
    assert replace(MANIFEST, footprint=replace(MANIFEST.footprint, by_part=turned)).to_json() == (
        MANIFEST.to_json()
    )
    assert MANIFEST.to_json().endswith("}\n")


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(FormatError, match=r"is no bundle \(no lighttoken.json\)"):
        read_manifest(tmp_path)


def test_a_newer_version_asks_for_an_upgrade(tmp_path):
    write(tmp_path, replace(MANIFEST, version=BUNDLE_VERSION + 1).to_json())
    with pytest.raises(FormatError, match=f"version {BUNDLE_VERSION + 1}, .*pip install -U"):
        read_manifest(tmp_path)


def changed(**changes):
    return json.dumps({**json.loads(MANIFEST.to_json()), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        MANIFEST.to_json()[:-20],
        changed(source="a name"),
        changed(footprint={"ratio": 25}),
        changed(parity=None),
        changed(files=[1]),
        changed(files={"model.onnx": {"bytes": 3}}),
        changed(unknown=1),
        changed(tables=[{"name": "t"}]),
        changed(model="/etc/passwd"),
        changed(model="onnx/../../model.onnx"),
        changed(model=None),
        json.dumps({"version": 1}),
    ],
)
def test_a_damaged_manifest_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(
        FormatError, match=r"lighttoken.json is damaged \(.*export the bundle again"
    ):
        read_manifest(write(tmp_path, text))


def test_a_manifest_of_before_layouts_means_the_model_beside_it(tmp_path):
    data = json.loads(MANIFEST.to_json())
    del data["model"], data["pooled"]
    assert read_manifest(write(tmp_path, json.dumps(data))) == MANIFEST


def test_tables_read_as_they_were_written_and_old_manifests_have_none(tmp_path):
    table = StoredTable("t", 707, 48, 5407, 135744, 33936, "uint8, DequantizeLinear")
    manifest = replace(MANIFEST, tables=(table, replace(table, name="u")))
    assert read_manifest(write(tmp_path, manifest.to_json())) == manifest
    data = json.loads(manifest.to_json())
    del data["tables"]
    assert read_manifest(write(tmp_path, json.dumps(data))).tables == ()


def test_text_in_another_encoding_is_damage_too(tmp_path):
    (tmp_path / MANIFEST_NAME).write_bytes(b'{"version": "\xff\xfe"}')
    with pytest.raises(FormatError, match="is damaged"):
        read_manifest(tmp_path)


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/vocab.txt").write_text("[PAD]")
    manifest = replace(MANIFEST, files=describe_files(tmp_path))
    write(tmp_path, manifest.to_json())
    return tmp_path


def test_all_files_but_the_manifest_are_described(bundle):
    described = describe_files(bundle)
    assert list(described) == ["model.onnx", "tokenizer/vocab.txt"]
    assert described["model.onnx"].bytes == 5
    assert len(described["model.onnx"].sha256) == 64


def test_an_untouched_bundle_is_verified(bundle):
    verify_files(bundle, read_manifest(bundle))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "vocab.txt is missing"),
        (lambda path: path.write_text("[PA"), "vocab.txt has 3 bytes where the manifest says 5"),
        (lambda path: path.write_text("[pad]"), r"vocab.txt was altered \(its sha256 differs\)"),
    ],
    ids=["missing", "truncated", "altered"],
)
def test_a_damaged_file_is_named(bundle, damage, message):
    damage(bundle / "tokenizer/vocab.txt")
    with pytest.raises(FormatError, match=message):
        verify_files(bundle, read_manifest(bundle))


def test_other_files_beside_the_bundle_do_no_harm(bundle):
    (bundle / "notes.txt").write_text("mine")
    verify_files(bundle, read_manifest(bundle))


HEAD = StoredHead("h", 707, 48, 5600, 135744, 135744, "float", {"codes": 5600}, parity=1e-6)


def test_heads_of_their_own_make_another_version(tmp_path):
    """Bundles without them stay what older versions of lighttoken read."""
    plain = json.loads(MANIFEST.to_json())
    assert (plain["version"], "heads" in plain) == (1, False)
    manifest = replace(MANIFEST, heads=(HEAD,))
    assert manifest.version == 2
    found = read_manifest(write(tmp_path, manifest.to_json()))
    assert found == manifest
    assert isinstance(found.heads[0], StoredHead)


ENCODER = FurtherModel("encoder_model.onnx", (), 700, 700, Parity(0.0, 1e-6, 1e-6))


def test_further_files_make_another_version(tmp_path):
    assert "further" not in json.loads(MANIFEST.to_json())
    manifest = replace(MANIFEST, further=(ENCODER,))
    assert manifest.version == BUNDLE_VERSION == 3
    assert read_manifest(write(tmp_path, manifest.to_json())) == manifest


def test_a_further_file_outside_of_the_bundle_is_refused(tmp_path):
    outside = replace(MANIFEST, further=(replace(ENCODER, model="../encoder_model.onnx"),))
    with pytest.raises(FormatError, match=r"'\.\./encoder_model\.onnx', outside of the bundle"):
        read_manifest(write(tmp_path, outside.to_json()))
