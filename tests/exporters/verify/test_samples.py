"""Inputs that the checks run a model with: made up in a few ways, or the user's own."""

import json

import numpy as np
import onnx_ir as ir
import pytest

from exporters import ExportOptions, export
from exporters.verify.differences import CheckError, difference_of
from exporters.verify.samples import fit_samples, read_samples
from toolkit import Budget, LightTokenConfig
from toolkit.bundle.tensors import TensorInfo
from toolkit.errors import InputError

TABLE = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
# Each refuses what is made up first: how it may be made up instead.
PICKY = {
    "an end of each text": (
        "(int64[b, s] input_ids) => (float[b, d] y)",
        "e = Equal(input_ids, two) k = Cast<to = 7>(e) n = ReduceSum<keepdims = 1>(k, last) "
        "o = Sub(n, one) none = Gather(probe, o) x = Gather(w, input_ids) m = ReduceMean(x, last1) "
        "f = ReduceSum<keepdims = 0>(none) y = Add(m, f)",
        {"two": 2, "one": 1, "last": [1], "last1": [1], "probe": np.zeros(1, np.float32)},
    ),
    "ids that are moved": (
        "(int64[b, s] input_ids) => (float[b, s, d] y)",
        "i = Add(input_ids, far) y = Gather(w, i)",
        {"far": 140},
    ),
    "lengths": (
        "(int64[b, s] input_ids, int64[b] lengths) => (float[b, s, d] y)",
        "o = Sub(lengths, one) p = Neg(o) none = Gather(probe, p) x = Gather(w, input_ids) "
        "f = ReduceSum<keepdims = 0>(none) y = Add(x, f)",
        {"one": 1, "probe": np.zeros(1, np.float32)},
    ),
}
WISHES = (
    "(int64[b, s] input_ids, int64[b] speed) => (float[b, s, d] y)",
    "o = Sub(speed, far) p = Abs(o) none = Gather(probe, p) x = Gather(w, input_ids) "
    "f = ReduceSum<keepdims = 0>(none) y = Add(x, f)",
    {"far": 77, "probe": np.zeros(1, np.float32)},
)


def saved(graph, folder, signature, body, given):
    tensors = {name: np.asarray(value) for name, value in given.items()}
    ir.save(graph(signature, body, w=TABLE, **tensors), folder / "model.onnx")
    return folder / "model.onnx"


def exported(path, **options):
    asked = ExportOptions(config=LightTokenConfig(rounds=1), **options)
    return export(str(path), path.parent / "out", Budget(ratio=2), options=asked)


@pytest.mark.parametrize("wish", PICKY)
def test_a_model_that_refuses_what_is_made_up_first_is_asked_again(graph, tmp_path, wish):
    path = saved(graph, tmp_path, *PICKY[wish])
    assert difference_of(path, path, "input_ids", {"input_ids": 300}).scale > 0
    assert exported(path).parity.rewrite < 1e-4


def test_other_models_take_the_users_inputs(graph, tmp_path):
    path = saved(graph, tmp_path, *WISHES)
    with pytest.raises(CheckError, match="give real ones with --sample-inputs FILE") as error:
        exported(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
    given = {"input_ids": [[5, 299, 7]], "speed": [77]}
    (tmp_path / "given.json").write_text(json.dumps(given))
    np.savez(tmp_path / "given.npz", **{name: np.array(each) for name, each in given.items()})
    for suffix in ("json", "npz"):
        manifest = exported(path, sample_inputs=tmp_path / f"given.{suffix}")
        assert manifest.parity.compression > 0
        (tmp_path / "out").rename(tmp_path / f"out.{suffix}")


def test_what_is_no_file_of_inputs_is_one_line(tmp_path):
    cases = {
        "none.npz": "is not here",
        "table.csv": "neither .npz nor .json",
        "text.json": "cannot be read",
        "ragged.json": "cannot be read",
        "words.json": "x is of type <U1; give numbers",
        "broken.npz": "cannot be read",
    }
    (tmp_path / "table.csv").write_text("1,2")
    (tmp_path / "text.json").write_text("[1, 2")
    (tmp_path / "ragged.json").write_text('{"x": [[1], [1, 2]]}')
    (tmp_path / "words.json").write_text('{"x": ["a"]}')
    (tmp_path / "broken.npz").write_bytes(b"PK")
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as error:
            read_samples(tmp_path / name)
        assert "\n" not in str(error.value)


def test_inputs_that_are_not_the_models_are_refused():
    inputs = [TensorInfo("ids", "int32", ("b", 4))]
    fitted = fit_samples({"ids": np.ones((2, 4), np.int64)}, inputs)
    assert fitted["ids"].dtype == np.int32
    with pytest.raises(InputError, match="lacks the input ids; it holds x"):
        fit_samples({"x": np.ones(1)}, inputs)
    with pytest.raises(InputError, match=r"ids has shape \[2, 5\], the model takes"):
        fit_samples({"ids": np.ones((2, 5))}, inputs)
    with pytest.raises(InputError, match=r"ids has shape \[4\]"):
        fit_samples({"ids": np.ones(4)}, inputs)
