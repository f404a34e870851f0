"""Models of images and text: rows are looked up in one file, and a head in another holds them."""

import json

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest

from exporters import export
from exporters.sources.several import find_several
from exporters.steps.keep import made_up
from runtime import open_pipeline
from toolkit import Budget
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import InputError

ROWS, WIDTH = 600, 32
EMBED = f"""
<ir_version: 10, opset_import: ["" : 17]>
embed (int64[batch, length] input_ids) => (float[batch, length, {WIDTH}] inputs_embeds) {{
   rows = Gather (table, input_ids)
   scale = Constant <value_float = 5.5> ()
   inputs_embeds = Mul (rows, scale)
}}
"""
DECODER = f"""
<ir_version: 10, opset_import: ["" : 17]>
decoder (float[batch, length, {WIDTH}] inputs_embeds, int64[batch, total] attention_mask,
         float[batch, 2, past, 16] past_key_values_0_key) =>
        (float[batch, length, {ROWS}] logits, float[batch, 2, total, 16] present_0_key) {{
   apart = Constant <value_ints = [0, 0, 2, 16]> ()
   four = Reshape (inputs_embeds, apart)
   keys = Transpose <perm = [0, 2, 1, 3]> (four)
   present_0_key = Concat <axis = 2> (past_key_values_0_key, keys)
   axes = Constant <value_ints = [1, 2]> ()
   all = ReduceMean <axes = [1, 2], keepdims = 0> (present_0_key)
   one = Constant <value_ints = [1]> ()
   mean = Unsqueeze (all, one)
   twice = Concat <axis = 2> (mean, mean)
   hidden = Add (inputs_embeds, twice)
   body = MatMul (hidden, weights)
   logits = MatMul (body, head)
}}
"""
SAME = np.eye(WIDTH, dtype=np.float32)
VISION = f"""
<ir_version: 10, opset_import: ["" : 17]>
vision (float[batch, 3, 8, 8] pixel_values) => (float[batch, 1, {WIDTH}] image_features) {{
   flat = Flatten (pixel_values)
   vector = MatMul (flat, projection)
   one = Constant <value_ints = [1]> ()
   image_features = Unsqueeze (vector, one)
}}
"""
CONFIG = {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}


def save(path, text, **weights):
    model = onnx.parser.parse_model(text)
    for name, values in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.copy(), name))
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path)


@pytest.fixture
def table():
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


@pytest.fixture
def hub(tmp_path, table):
    """A folder as transformers.js reads it."""
    folder = tmp_path / "llava"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save(folder / "onnx/embed_tokens.onnx", EMBED, table=table)
    save(folder / "onnx/decoder_model_merged.onnx", DECODER, head=table.T, weights=SAME)
    random = np.random.default_rng(1).normal(size=(192, WIDTH)).astype(np.float32)
    save(folder / "onnx/vision_encoder.onnx", VISION, projection=random)
    return folder


def run(path, **feeds):
    return ort.InferenceSession(path).run(None, feeds)


def nothing_before(rows):
    return {
        "inputs_embeds": rows,
        "attention_mask": np.ones(rows.shape[:2], np.int64),
        "past_key_values_0_key": np.zeros((len(rows), 2, 0, 16), np.float32),
    }


def test_rows_and_head_are_packed_once_where_they_are_read(hub, table, quick, tmp_path):
    out = tmp_path / "out"
    manifest = export(str(hub), out, Budget(ratio=6), options=quick(decode="function"))
    assert manifest.source.name == "llava"
    assert manifest.task == "image-text-to-text"
    assert manifest.model == "embed_tokens.onnx"
    decoder, vision = manifest.further
    assert (decoder.model, vision.model) == ("decoder_model_merged.onnx", "vision_encoder.onnx")
    assert [(head.rows, head.width) for head in decoder.heads] == [(ROWS, WIDTH)]
    assert decoder.heads[0].parity < 1e-4
    assert decoder.original_model_bytes - decoder.model_bytes > ROWS * WIDTH * 4 / 2
    assert not vision.tables
    assert not vision.heads

    # One code: the head multiplies by the rows that the look-up gives.
    (rows,) = run(out / "embed_tokens.onnx", input_ids=np.arange(ROWS)[None])
    logits = run(out / "decoder_model_merged.onnx", **nothing_before(rows[:, :7]))[0]
    mean = rows[0, :7].reshape(7, 2, 16).mean(axis=(0, 1))
    hidden = rows[0, :7] + np.concatenate([mean, mean])
    wanted = hidden @ (rows[0] / 5.5).T
    # Made for a head: rows are as long as they were, seen from the original's.
    lengths = (rows[0] / 5.5 * table).sum(1) / np.square(table).sum(1)
    assert lengths.mean() == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(logits[0], wanted, atol=1e-3 * np.abs(wanted).max())
    pixels = np.random.default_rng(2).normal(size=(2, 3, 8, 8)).astype(np.float32)
    before, after = (
        run(folder / "vision_encoder.onnx", pixel_values=pixels)[0]
        for folder in (hub / "onnx", out)
    )
    np.testing.assert_array_equal(before, after)


def test_what_the_manifest_says_is_read_again(hub, quick, tmp_path):
    manifest = export(str(hub), tmp_path / "out", Budget(ratio=6), options=quick())
    assert read_manifest(tmp_path / "out") == manifest
    written = json.loads((tmp_path / "out/lighttoken.json").read_text())
    assert [bool(further["heads"]) for further in written["further"]] == [True, False]
    with pytest.raises(InputError, match=r"transformers\.js or onnxruntime-genai"):
        open_pipeline(tmp_path / "out")


def test_a_head_of_other_values_gets_codes_of_its_own(hub, quick, tmp_path):
    other = np.random.default_rng(3).normal(size=(WIDTH, ROWS)).astype(np.float32)
    save(hub / "onnx/decoder_model_merged.onnx", DECODER, head=other, weights=SAME)
    manifest = export(str(hub), tmp_path / "out", Budget(ratio=6), options=quick(head_ratio=3))
    (head,) = manifest.further[0].heads
    assert head.dense_bytes / head.bytes > 2.9
    (rows,) = run(tmp_path / "out/embed_tokens.onnx", input_ids=np.arange(7)[None])
    logits = [
        run(folder / "decoder_model_merged.onnx", **nothing_before(rows))[0]
        for folder in (hub / "onnx", tmp_path / "out")
    ]
    cosine = np.vdot(*logits) / np.linalg.norm(logits[0]) / np.linalg.norm(logits[1])
    assert cosine > 0.9


def test_a_dense_head_stays_as_it_was(hub, quick, tmp_path):
    manifest = export(str(hub), tmp_path / "out", Budget(ratio=6), options=quick(head="dense"))
    assert not manifest.further[0].heads
    assert manifest.further[0].model_bytes > ROWS * WIDTH * 4


def test_a_file_that_cannot_be_run_here_is_copied(hub, quick, tmp_path):
    odd = VISION.replace("float[batch, 3, 8, 8]", "float[batch, 3, h, w]")  # 224 x 224 is tried
    random = np.ones((192, WIDTH), np.float32)
    save(hub / "onnx/vision_encoder.onnx", odd, projection=random)
    export(str(hub), tmp_path / "out", Budget(ratio=6), options=quick(weights="int8"))
    decoder = onnx.load(tmp_path / "out/decoder_model_merged.onnx", load_external_data=False)
    assert "MatMulInteger" in {node.op_type for node in decoder.graph.node}
    pixels = np.ones((1, 3, 8, 8), np.float32)
    (features,) = run(tmp_path / "out/vision_encoder.onnx", pixel_values=pixels)
    np.testing.assert_allclose(features, 192)


ONE_TEXT = f"""
<ir_version: 10, opset_import: ["" : 17]>
encoder (float[batch, length, {WIDTH}] features) => (float[batch, length, {WIDTH}] vectors) {{
   shape = Constant <value_ints = [1, -1, {WIDTH}]> ()
   one = Reshape (features, shape)
   sum = Add (features, one)
   vectors = MatMul (sum, weights)
}}
"""


def test_a_file_that_takes_one_text_is_run_with_one(tmp_path):
    save(tmp_path / "encoder.onnx", ONE_TEXT, weights=SAME)
    assert made_up(tmp_path / "encoder.onnx")["features"].shape == (1, 48, WIDTH)


def test_files_that_genai_names_keep_their_names(hub, quick, tmp_path):
    folder = tmp_path / "genai"
    (hub / "onnx").rename(folder)
    names = {"embedding": "phi-embed", "decoder": "phi-text", "vision": "phi-vision"}
    stems = ("embed_tokens", "decoder_model_merged", "vision_encoder")
    for old, new in zip(stems, names.values(), strict=True):
        (folder / f"{old}.onnx").rename(folder / f"{new}.onnx")
    config = {"model": {part: {"filename": f"{name}.onnx"} for part, name in names.items()}}
    config["model"] |= {"type": "phi3v", "context_length": 64}
    (folder / "genai_config.json").write_text(json.dumps(config))
    manifest = export(str(folder), tmp_path / "out", Budget(ratio=6), options=quick())
    assert manifest.model == "phi-embed.onnx"
    assert [further.model for further in manifest.further] == ["phi-text.onnx", "phi-vision.onnx"]
    assert json.loads((tmp_path / "out/genai_config.json").read_text()) == config


def test_no_name_leads_out_of_the_folder(tmp_path):
    config = {"model": {"embedding": {"filename": "../x.onnx"}, "decoder": {"filename": "y.onnx"}}}
    (tmp_path / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="leads out of its folder"):
        find_several(tmp_path)


def test_precisions_are_chosen_file_by_file(tmp_path):
    names = ["embed_tokens_fp16", "decoder_model_merged_q4", "vision_encoder", "vision_encoder_q4"]
    for name in names:
        (tmp_path / f"{name}.onnx").touch()
    assert [path.stem for path in find_several(tmp_path)] == [*names[:2], "vision_encoder"]


def test_a_decoder_alone_says_where_its_rows_are(hub, quick, tmp_path):
    file = hub / "onnx/decoder_model_merged.onnx"
    with pytest.raises(InputError, match="give the folder that holds both files"):
        export(str(file), tmp_path / "out", Budget(ratio=6), options=quick())
