"""Tools of others, run on a bundle after us: as it is, or as ``--decode inline`` writes it.

``docs/after.md`` has a line for each.
"""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from exporters import export
from exporters.bundle.card import model_card

ROWS, WIDTH, HEADS = 300, 32, 4


@pytest.fixture(scope="module")
def inlined(exported, quick, tmp_path_factory):
    out = tmp_path_factory.mktemp("inlined") / "bundle"
    export(str(exported.source), out, exported.budget, options=quick(decode="inline"))
    return out


@pytest.fixture(params=["function", "inline"])
def bundle(request, exported):
    return exported.bundle if request.param == "function" else request.getfixturevalue("inlined")


def feeds(names, seed=0):
    ids = np.random.default_rng(seed).integers(0, ROWS, (2, 9))
    return {name: ids if name == "input_ids" else ids * 0 + 1 for name in names}


def outputs(path):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, feeds(i.name for i in session.get_inputs()))[0]


def near(path, bundle, share):
    """It loads, gives nearly what the bundle gives, and holds no table that is not packed."""
    found, wanted = outputs(path), outputs(bundle / "model.onnx")
    assert np.abs(found - wanted).max() < share * np.abs(wanted).max()
    if path.suffix == ".onnx":
        stored = onnx.load(path, load_external_data=False).graph.initializer
        assert [ROWS, WIDTH] not in [list(tensor.dims) for tensor in stored]


def test_dynamic_int8(bundle, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(bundle / "model.onnx"), str(tmp_path / "int8.onnx"))
    assert "MatMulInteger" in {
        node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node
    }
    near(tmp_path / "int8.onnx", bundle, 0.2)


def test_static_int8_of_the_default_bundle(exported, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    path = exported.bundle / "model.onnx"

    class Texts(CalibrationDataReader):
        def __init__(self):
            names = [i.name for i in onnx.load(path, load_external_data=False).graph.input]
            self.texts = iter([feeds(names, seed) for seed in range(4)])

        def get_next(self):
            return next(self.texts, None)

    quantize_static(str(path), str(tmp_path / "int8.onnx"), Texts())
    near(tmp_path / "int8.onnx", exported.bundle, 0.3)


def test_half_precision(bundle, tmp_path):
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(onnx.load(bundle / "model.onnx"), keep_io_types=True)
    assert not any(t.data_type == onnx.TensorProto.FLOAT for t in half.graph.initializer)
    onnx.save(half, tmp_path / "half.onnx")
    near(tmp_path / "half.onnx", bundle, 0.02)


def test_the_transformer_optimizer(bundle, tmp_path):
    from onnxruntime.transformers.optimizer import optimize_model

    path = str(bundle / "model.onnx")
    model = optimize_model(path, model_type="bert", num_heads=HEADS, hidden_size=WIDTH, opt_level=1)
    model.save_model_to_file(str(tmp_path / "optimized.onnx"))
    near(tmp_path / "optimized.onnx", bundle, 1e-3)


def test_a_fixed_shape(bundle, tmp_path):
    program = [sys.executable, "-m", "onnxruntime.tools.make_dynamic_shape_fixed"]
    batch = onnx.load(bundle / "model.onnx", load_external_data=False).graph.input[0]
    name = batch.type.tensor_type.shape.dim[0].dim_param
    model = onnx.load(bundle / "model.onnx")
    onnx.save(model, tmp_path / "model.onnx")
    files = [str(tmp_path / "model.onnx"), str(tmp_path / "fixed.onnx")]
    subprocess.run([*program, "--dim_param", name, "--dim_value", "2", *files], check=True)
    near(tmp_path / "fixed.onnx", bundle, 1e-4)


def test_the_ort_format(bundle, tmp_path):
    onnx.save(onnx.load(bundle / "model.onnx"), tmp_path / "model.onnx")
    program = "onnxruntime.tools.convert_onnx_models_to_ort"
    words = ["-m", program, str(tmp_path), "--optimization_style", "Fixed"]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    near(tmp_path / "model.ort", bundle, 1e-4)


def test_optimums_quantizer(bundle, tmp_path):
    optimum = pytest.importorskip("optimum.onnxruntime")
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    quantizer = optimum.ORTQuantizer.from_pretrained(bundle, file_name="model.onnx")
    quantizer.quantize(AutoQuantizationConfig.avx2(is_static=False), save_dir=tmp_path)
    near(tmp_path / "model_quantized.onnx", bundle, 0.2)


@pytest.mark.parametrize("level", ["O1", "O2", "O3", "O4"])
def test_optimums_optimizer(bundle, tmp_path, level):
    optimum = pytest.importorskip("optimum.onnxruntime")
    from optimum.onnxruntime.configuration import AutoOptimizationConfig

    optimizer = optimum.ORTOptimizer.from_pretrained(bundle, file_names=["model.onnx"])
    optimizer.optimize(getattr(AutoOptimizationConfig, level)(), save_dir=tmp_path)
    near(tmp_path / "model_optimized.onnx", bundle, 0.02)


def test_onnxsim(bundle, tmp_path):
    onnxsim = pytest.importorskip("onnxsim")
    model, same = onnxsim.simplify(onnx.load(bundle / "model.onnx"))
    assert same
    onnx.save(model, tmp_path / "simple.onnx")
    near(tmp_path / "simple.onnx", bundle, 1e-4)


def test_onnxslim(bundle, tmp_path):
    onnxslim = pytest.importorskip("onnxslim")
    onnx.save(onnxslim.slim(onnx.load(bundle / "model.onnx")), tmp_path / "slim.onnx")
    near(tmp_path / "slim.onnx", bundle, 1e-4)


def test_another_opset(bundle, tmp_path):
    """onnx's converter drops functions; the card says how they come back."""
    from onnx import version_converter

    model = onnx.load(bundle / "model.onnx")
    converted = version_converter.convert_version(model, 21)
    assert converted.opset_import[0].version == 21
    converted.functions.extend(model.functions)
    onnx.save(converted, tmp_path / "converted.onnx")
    near(tmp_path / "converted.onnx", bundle, 1e-4)


def test_the_card_names_the_option(exported, inlined):
    card = (exported.bundle / "README.md").read_text()
    assert "So does\nonnxruntime's converter to float16" in card
    assert "`converted.functions.extend(model.functions)`, or give it an export with" in card
    assert "--decode inline" not in (inlined / "README.md").read_text()


def test_the_card_of_an_older_opset_sends_converters_to_the_inlined_form(exported):
    card = model_card(replace(exported.manifest, opset=14))
    assert "So does" not in card
    assert "with `--decode inline`, as the opset of this file, 14, is below 15" in card
