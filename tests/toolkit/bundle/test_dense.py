"""Dense modules from their files: what they compute, and what is no such module."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from toolkit.bundle.dense import read_dense, read_linear
from toolkit.errors import InputError

RNG = np.random.default_rng(0)
WEIGHT, BIAS, RESIDUAL = (RNG.normal(size=s).astype(np.float32) for s in [(3, 4), 3, (3, 4)])
X = RNG.normal(size=(2, 5, 4)).astype(np.float32)
TENSORS = {"linear.weight": WEIGHT}


def write(folder, config=None, tensors=TENSORS):
    sizes = {"in_features": 4, "out_features": 3}
    (folder / "config.json").write_text(json.dumps(sizes | (config or {})))
    if tensors is not None:
        save_file(tensors, folder / "model.safetensors")
    return folder


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("torch.nn.modules.linear.Identity", lambda x: x),
        ("torch.nn.modules.activation.Tanh", np.tanh),
        ("torch.nn.modules.activation.ReLU", lambda x: np.where(x > 0, x, 0)),
        ("torch.nn.modules.activation.Sigmoid", sigmoid),
        ("torch.nn.modules.activation.SiLU", lambda x: x * sigmoid(x)),
    ],
)
def test_bias_and_activation(tmp_path, name, function):
    config = {"activation_function": name, "bias": True}
    dense = read_dense(write(tmp_path, config, TENSORS | {"linear.bias": BIAS}))
    found = dense(X)
    wanted = function(np.einsum("btd,od->bto", X, WEIGHT) + BIAS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_without_bias_or_activation(tmp_path):
    found = read_dense(write(tmp_path))(X)
    np.testing.assert_allclose(found, X @ WEIGHT.T, atol=1e-6)


def test_a_residual_of_another_width(tmp_path):
    tensors = TENSORS | {"residual.weight": RESIDUAL}
    found = read_dense(write(tmp_path, {"use_residual": True}, tensors))(X)
    np.testing.assert_allclose(found, X @ (WEIGHT + RESIDUAL).T, atol=1e-5)


def test_a_residual_of_the_same_width(tmp_path):
    square = RNG.normal(size=(4, 4)).astype(np.float32)
    config = {"use_residual": True, "out_features": 4}
    found = read_dense(write(tmp_path, config, {"linear.weight": square}))(X)
    np.testing.assert_allclose(found, X @ square.T + X, atol=1e-5)


def test_other_forms_of_the_weights(tmp_path):
    torch = pytest.importorskip("torch")
    write(tmp_path, None, {"linear.weight": WEIGHT.astype(ml_dtypes.bfloat16)})
    found = read_dense(tmp_path).weight
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, WEIGHT, rtol=0.01)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"linear.weight": torch.tensor(WEIGHT)}, tmp_path / "pytorch_model.bin")
    np.testing.assert_array_equal(read_dense(tmp_path).weight, WEIGHT)


def test_among_the_weights_of_the_whole_model(tmp_path):
    save_file(TENSORS | {"bert.x": BIAS}, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(read_linear(tmp_path).weight, WEIGHT)
    save_file({"bert.x": BIAS}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"holds no matrix linear\.weight"):
        read_linear(tmp_path)


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({}, None, r"model\.safetensors is missing, which holds the projection"),
        ({"in_features": None}, TENSORS, "names no in_features and out_features"),
        ({"activation_function": "torch.nn.GELU"}, TENSORS, "the activation GELU, which is not"),
        ({"out_features": 5}, TENSORS, r"is \[3, 4\], where its settings say \[5, 4\]"),
        ({}, {"other": WEIGHT}, r"holds no matrix linear\.weight"),
        ({"use_residual": True}, TENSORS, r"holds no matrix residual\.weight"),
    ],
)
def test_what_is_no_projection(tmp_path, config, tensors, message):
    with pytest.raises(InputError, match=message) as error:
        read_dense(write(tmp_path, config, tensors))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_weights(tmp_path, name):
    if name.endswith(".bin"):
        pytest.importorskip("torch")
    write(tmp_path, tensors=None)
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=f"{name} is no"):
        read_dense(tmp_path)
