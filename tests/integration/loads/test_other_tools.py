"""Tools of others, run on a bundle after us: as it is, or as ``--decode inline`` writes it."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from exporters import export


@pytest.fixture(scope="module")
def inlined(exported, quick, tmp_path_factory):
    out = tmp_path_factory.mktemp("inlined") / "bundle"
    export(str(exported.source), out, exported.budget, options=quick(decode="inline"))
    return out


def outputs(path):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(0, 300, (2, 9))
    feeds = {i.name: ids if i.name == "input_ids" else ids * 0 + 1 for i in session.get_inputs()}
    return session.run(None, feeds)[0]


def near(path, bundle, share):
    found, wanted = outputs(path), outputs(bundle / "model.onnx")
    assert np.abs(found - wanted).max() < share * np.abs(wanted).max()


def test_int8_of_the_default_bundle(exported, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(exported.bundle / "model.onnx"), str(tmp_path / "int8.onnx"))
    assert "MatMulInteger" in {
        node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node
    }
    near(tmp_path / "int8.onnx", exported.bundle, 0.2)


def test_half_precision_of_an_inlined_bundle(inlined, tmp_path):
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(onnx.load(inlined / "model.onnx"), keep_io_types=True)
    onnx.save(half, tmp_path / "half.onnx")
    near(tmp_path / "half.onnx", inlined, 0.02)


def test_another_opset_of_an_inlined_bundle(inlined, tmp_path):
    from onnx import version_converter

    model = version_converter.convert_version(onnx.load(inlined / "model.onnx"), 21)
    assert model.opset_import[0].version == 21
    onnx.save(model, tmp_path / "converted.onnx")
    near(tmp_path / "converted.onnx", inlined, 1e-4)


def test_the_card_names_the_option(exported, inlined):
    assert "with `--decode inline`" in (exported.bundle / "README.md").read_text()
    assert "--decode inline" not in (inlined / "README.md").read_text()
