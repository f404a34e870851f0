"""Products with codes of a trellis: every variant of the kernel gives what its rounding says."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from exporters.passes.integer_products import IntegerProducts
from exporters.weights.products import find_products
from toolkit.trellis import TRELLISES, hadamard, trellis

KERNELS = ("scalar", "avx2", "avx512", "neon", "dotprod")
SHAPES = [(64, 24), (384, 130), (640, 300), (20, 7), (5, 13), (36, 64), (128, 1)]  # inputs, outputs


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def sizes(inputs):
    return np.geomspace(0.1, 10, inputs, dtype=np.float32)


@pytest.fixture
def made(graph):
    """A model of one product, and its matrix."""

    def make(inputs, outputs, form):
        w = gaussian(inputs, outputs)
        model = graph(
            f"(float[b, s, {inputs}] x) => (float[b, s, {outputs}] y)", "y = MatMul(x, w)", w=w
        )
        moments = np.diag(np.square(sizes(inputs), dtype=np.float64))  # so that columns are scaled
        IntegerProducts(find_products(model), [{"x": moments}], form=form)(model)
        return ir.to_proto(model), w

    return make


@pytest.fixture
def opened(library, monkeypatch):
    """A session with the named kernel; skips where it does not run."""

    def open_model(proto, kernel="", threads=1, **entries):
        monkeypatch.setenv("LIGHTTOKEN_KERNEL", kernel)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        for name, value in entries.items():
            setattr(options, name, value)
        options.register_custom_ops_library(str(library))
        try:
            return ort.InferenceSession(proto.SerializeToString(), options)
        except Exception as error:
            if kernel and f"no kernel '{kernel}' runs here" in str(error):
                pytest.skip(f"this processor has no {kernel}")
            raise

    return open_model


def tensor(proto, suffix):
    (found,) = [each for each in proto.graph.initializer if each.name.endswith(suffix)]
    return found


def turned(rows, block):
    """Hadamard's matrix by butterflies, in the order of their additions, in float32."""
    values = rows.reshape(len(rows), block, -1).copy()
    half = 1
    while half < block:
        pairs = values.reshape(len(rows), block // (2 * half), 2, half, -1)
        upper, lower = pairs[:, :, 0].copy(), pairs[:, :, 1].copy()
        pairs[:, :, 0], pairs[:, :, 1] = upper + lower, upper - lower
        half *= 2
    return values.reshape(rows.shape)


def expected(proto, rows, form):
    """The kernel's own rounding, written down again: rows [n, k] float32 to [n, outputs]."""
    codes = numpy_helper.to_array(tensor(proto, ".codes"))
    columns = numpy_helper.to_array(tensor(proto, ".columns")).astype(np.float32)
    factors = numpy_helper.to_array(tensor(proto, "w.factors")).astype(np.float32)
    steps = numpy_helper.to_array(tensor(proto, ".steps")).astype(np.float32)
    (unit,) = [each for each in proto.graph.initializer if ".unit" in each.name]
    (rotation,) = [each for each in proto.graph.initializer if ".hadamard" in each.name]
    values = turned(rows * columns, rotation.dims[0])
    np.testing.assert_allclose(
        values,
        np.einsum(
            "ij,njk->nik",
            hadamard(rotation.dims[0]),
            (rows * columns).reshape(len(rows), rotation.dims[0], -1),
        ).reshape(rows.shape),
        rtol=1e-3,
        atol=1e-3,
    )
    largest = np.abs(values).max(axis=1, keepdims=True)
    inverse = np.float32(63) / largest
    rounded = np.floor(values * inverse + np.float32(64.5)).astype(np.int64) - 64
    numbers = trellis(form).values(codes)[:, : len(factors)].astype(np.int64)
    sums = (rounded @ numbers).astype(np.float32)
    scale = factors * numpy_helper.to_array(unit) * steps
    return sums * scale * (largest / np.float32(63))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("form", TRELLISES)
def test_every_kernel_multiplies_by_the_codes(made, opened, form, kernel):
    for inputs, outputs in SHAPES:
        proto, _ = made(inputs, outputs, form)
        session = opened(proto, kernel)
        x = gaussian(1, 37, inputs, seed=1)
        wanted = expected(proto, x[0], form)
        for count in (37, 17, 2, 1):
            found = session.run(None, {"x": x[:, :count]})[0][0]
            np.testing.assert_array_equal(found, wanted[:count])


@pytest.mark.parametrize("form", TRELLISES)
def test_the_product_is_as_near_as_the_function_in_the_file(made, opened, form):
    proto, w = made(384, 128, form)
    x = gaussian(2, 40, 384, seed=1) * sizes(384)
    plain = ort.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
    native = opened(proto).run(None, {"x": x})[0]
    errors = [np.linalg.norm(each - x @ w) for each in (plain, native)]
    assert errors[1] < 1.02 * errors[0]
    assert np.linalg.norm(native - plain) < 0.03 * np.linalg.norm(plain)


def test_codes_stay_packed(made, opened, tmp_path):
    proto, _ = made(384, 1000, "trellis4")
    opened(proto, optimized_model_filepath=str(tmp_path / "loaded.onnx"))
    loaded = onnx.load(tmp_path / "loaded.onnx")
    assert [node.op_type for node in loaded.graph.node] == ["TrellisProduct"]
    assert sum(len(each.raw_data) for each in loaded.graph.initializer) < 0.6 * 384 * 1000


def test_threads_change_nothing(made, opened):
    proto, _ = made(384, 1500, "trellis3")
    x = gaussian(3, 30, 384, seed=1)
    one, four = (opened(proto, threads=n).run(None, {"x": x})[0] for n in (1, 4))
    np.testing.assert_array_equal(one, four)


@pytest.mark.parametrize("count", [1, 5])
def test_what_is_no_number_stays_in_its_row(made, opened, count):
    proto, _ = made(64, 24, "trellis4")
    session = opened(proto)
    x = gaussian(1, count, 64)
    clean = session.run(None, {"x": x})[0][0]
    for value in (np.nan, np.inf, -np.inf, np.float32(3e38)):
        spoilt = x.copy()
        spoilt[0, 0, 3:5] = value
        found = session.run(None, {"x": spoilt})[0][0]
        assert not np.isfinite(found[0]).any()
        np.testing.assert_array_equal(found[1:], clean[1:])
    for value in (0, 1e-44):
        assert not session.run(None, {"x": x * np.float32(value)})[0].any()
    assert session.run(None, {"x": x[:, :0]})[0].shape == (1, 0, 24)


def replaced(proto, suffix, array):
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    found = tensor(changed, suffix)
    found.CopyFrom(numpy_helper.from_array(array, found.name))
    return changed


@pytest.mark.parametrize(
    ("suffix", "array", "message"),
    [
        (".codes", np.zeros((64, 11), np.uint8), "11 bytes for 24 outputs"),
        (".codes", np.zeros((63, 12), np.uint8), "columns .* does not fit"),
        (".codes", np.zeros(64, np.uint8), "other ranks"),
        (".codes", np.zeros((64, 12), np.int8), "codes of ONNX type"),
        ("w.factors", np.zeros(0, np.uint8), "steps .* does not fit"),
        (".current", np.zeros((256, 5), np.int8), "previous .* does not fit"),
        (".current", np.arange(512).reshape(256, 2).astype(np.int8), "other entries for equal"),
        (".previous", np.zeros((255, 2), np.int8), "previous .* does not fit"),
        (".hadamard64", np.zeros((3, 3), np.int8), "64 inputs are rotated by 3"),
        (".steps", np.zeros(23, np.float32), "steps .* does not fit"),
        (".unit64", np.zeros(1, np.float32), "unit .* does not fit"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(made, opened, suffix, array, message):
    proto, _ = made(64, 24, "trellis4")
    with pytest.raises(Exception, match=message) as refusal:
        opened(replaced(proto, suffix, array))
    assert "\n" not in str(refusal.value).strip()


def test_codes_that_are_computed_are_refused(made, opened):
    proto, _ = made(64, 24, "trellis4")
    found = tensor(proto, ".codes")
    proto.graph.initializer.remove(found)
    shape = onnx.helper.make_tensor_value_info(found.name, onnx.TensorProto.UINT8, [64, 12])
    proto.graph.input.append(shape)
    with pytest.raises(Exception, match="codes of a trellis product is no initializer"):
        opened(proto)


def test_rows_of_another_width_are_refused(made, opened):
    proto, _ = made(64, 24, "trellis4")
    del proto.graph.input[0].type.tensor_type.shape.dim[:]
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(Exception, match="rows must have 64 columns"):
        opened(proto).run(None, {"x": gaussian(2, 63)})


@pytest.mark.parametrize("form", TRELLISES)
def test_steps_may_be_float32(made, opened, form):
    proto, _ = made(64, 24, form)
    steps = numpy_helper.to_array(tensor(proto, ".steps"))
    wide = replaced(proto, ".steps", steps.astype(np.float32))
    x = gaussian(1, 3, 64, seed=1)
    np.testing.assert_array_equal(
        opened(wide).run(None, {"x": x})[0], opened(proto).run(None, {"x": x})[0]
    )
