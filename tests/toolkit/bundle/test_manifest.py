import contextlib
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import set_external_data

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
    manifest_digest,
    read_manifest,
    verify_files,
)
from toolkit.errors import FormatError, InputError

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
    [MANIFEST, replace(MANIFEST, pooling=None, max_length=None, made_with={})],
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


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), float("-inf")])
def test_a_figure_that_is_no_number_is_told_in_one_line(figure):
    with pytest.raises(
        InputError, match=r"parity\.compression of this bundle is no finite"
    ) as error:
        replace(MANIFEST, parity=Parity(1e-6, 2e-5, figure)).to_json()
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"tables\.bytes of this"):
        replace(MANIFEST, tables=(StoredTable("t", 1, 1, figure, 1, 1, "float"),)).to_json()


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(FormatError, match=r"is no bundle \(no lighttoken.json\)"):
        read_manifest(tmp_path)


def test_a_newer_version_asks_for_an_upgrade(tmp_path):
    write(tmp_path, replace(MANIFEST, version=BUNDLE_VERSION + 1).to_json())
    with pytest.raises(FormatError, match=f"version {BUNDLE_VERSION + 1}, .*pip install -U"):
        read_manifest(tmp_path)


def sealed(data):
    """A manifest's text, its digest that of ``data``: what somebody makes who knows how."""
    data = {name: value for name, value in data.items() if name != "digest"}
    return json.dumps({**data, "digest": manifest_digest(data)})


def changed(**changes):
    return sealed({**json.loads(MANIFEST.to_json()), **changes})


def older(data, version):
    """As a version of lighttoken wrote it that knew no digest."""
    return json.dumps({n: v for n, v in data.items() if n != "digest"} | {"version": version})


FILE = {"bytes": 3, "sha256": "00" * 32}


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
        changed(files={}),
        changed(files={"other.onnx": FILE}),
        *(
            changed(files={"model.onnx": FILE, name: FILE})
            for name in (
                "../a",
                "/etc/passwd",
                "C:\\a",
                "a\\b",
                "a\0",
                "x" * 5000,
                "lighttoken.json",
            )
        ),
        changed(files={"model.onnx": {"bytes": -1, "sha256": "00" * 32}}),
        changed(files={"model.onnx": {"bytes": 3, "sha256": "no"}}),
        changed(rows="many"),
        changed(rows=0),
        changed(rows=-5),
        changed(rows=[1]),
        changed(rows=10**30),
        changed(width=True),
        changed(max_length="8"),
        changed(max_length=1e30),
        changed(max_length=0),
        changed(ids_input=["a"]),
        changed(files={"model.onnx": FILE}, footprint=None),
        '{"a":' * 100_000,
        '{"version": 4, "version": 1}',
        MANIFEST.to_json().replace("25.1", "NaN"),
        MANIFEST.to_json().replace("25.1", "1e999"),
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
    del data["model"], data["pooled"], data["heads"], data["further"]
    found = read_manifest(write(tmp_path, older(data, 1)))
    assert found == replace(MANIFEST, version=1)


def test_tables_read_as_they_were_written_and_old_manifests_have_none(tmp_path):
    table = StoredTable("t", 707, 48, 5407, 135744, 33936, "uint8, DequantizeLinear")
    manifest = replace(MANIFEST, tables=(table, replace(table, name="u")))
    assert read_manifest(write(tmp_path, manifest.to_json())) == manifest
    data = json.loads(manifest.to_json())
    del data["tables"]
    assert read_manifest(write(tmp_path, older(data, 1))).tables == ()


def test_text_in_another_encoding_is_damage_too(tmp_path):
    (tmp_path / MANIFEST_NAME).write_bytes(b'{"version": "\xff\xfe"}')
    with pytest.raises(FormatError, match="is damaged"):
        read_manifest(tmp_path)


def write_model(path, location=None):
    """A model of one tensor, in the file or in another one."""
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32), "t")
    if location is not None:
        set_external_data(tensor, location)
        tensor.ClearField("raw_data")
        (path.parent / location).write_bytes(b"\0" * 16)
    graph = onnx.helper.make_graph([], "g", [], [], initializer=[tensor])
    onnx.save(onnx.helper.make_model(graph), path)


@pytest.fixture
def bundle(tmp_path):
    write_model(tmp_path / "model.onnx")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/vocab.txt").write_text("[PAD]")
    manifest = replace(MANIFEST, files=describe_files(tmp_path))
    write(tmp_path, manifest.to_json())
    return tmp_path


def test_all_files_but_the_manifest_are_described(bundle):
    described = describe_files(bundle)
    assert list(described) == ["model.onnx", "tokenizer/vocab.txt"]
    assert described["model.onnx"].bytes == (bundle / "model.onnx").stat().st_size
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


def test_heads_of_their_own_read_as_they_were_written(tmp_path):
    manifest = replace(MANIFEST, heads=(HEAD,))
    found = read_manifest(write(tmp_path, manifest.to_json()))
    assert found == manifest
    assert isinstance(found.heads[0], StoredHead)


ENCODER = FurtherModel("encoder_model.onnx", (), 700, 700, Parity(0.0, 1e-6, 1e-6))


WITH_ENCODER = {**MANIFEST.files, "encoder_model.onnx": StoredFile(7, "00" * 32)}


def test_further_files_read_as_they_were_written(tmp_path):
    manifest = replace(MANIFEST, further=(ENCODER,), files=WITH_ENCODER)
    assert read_manifest(write(tmp_path, manifest.to_json())) == manifest


def test_a_further_file_that_is_not_listed_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"encoder_model.onnx, which is not among its files"):
        read_manifest(write(tmp_path, replace(MANIFEST, further=(ENCODER,)).to_json()))


def test_a_further_file_outside_of_the_bundle_is_refused(tmp_path):
    outside = replace(MANIFEST, further=(replace(ENCODER, model="../encoder_model.onnx"),))
    with pytest.raises(FormatError, match=r"'\.\./encoder_model\.onnx', outside of the bundle"):
        read_manifest(write(tmp_path, outside.to_json()))


def test_every_flipped_bit_is_noticed_or_changes_nothing(tmp_path):
    text = MANIFEST.to_json().encode()
    for at in range(len(text)):
        changed = bytes([*text[:at], text[at] ^ 1 << at % 8, *text[at + 1 :]])
        (tmp_path / MANIFEST_NAME).write_bytes(changed)
        with contextlib.suppress(FormatError):
            assert read_manifest(tmp_path) == MANIFEST


def test_a_digest_is_wanted_of_this_version_and_optional_before(tmp_path):
    data = json.loads(MANIFEST.to_json())
    assert read_manifest(write(tmp_path, older(data, 3))) == replace(MANIFEST, version=3)
    with pytest.raises(FormatError, match="it was altered: its digest"):
        read_manifest(write(tmp_path, older(data, BUNDLE_VERSION)))
    with pytest.raises(FormatError, match="it was altered: its digest"):
        read_manifest(write(tmp_path, json.dumps({**data, "version": 3})))


def test_weights_in_a_file_that_is_not_listed_are_refused(bundle):
    write_model(bundle / "model.onnx", "weights")
    manifest = replace(MANIFEST, files=describe_files(bundle))
    verify_files(bundle, manifest)
    rest = {name: stored for name, stored in manifest.files.items() if name != "weights"}
    with pytest.raises(FormatError, match="keeps weights in weights, which the manifest does not"):
        verify_files(bundle, replace(manifest, files=rest))
