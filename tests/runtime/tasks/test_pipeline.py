from types import SimpleNamespace

import numpy as np
import pytest

from runtime.tasks.batches import find_output
from runtime.tasks.fill_mask import FillMask
from runtime.tasks.pipeline import open_pipeline
from toolkit.bundle.manifest import Pooling
from toolkit.bundle.tensors import TensorInfo
from toolkit.errors import FormatError, InputError


def test_bare_model_borrows_a_bundles_facts(tmp_path, tiny):
    bundle = tiny.bundle(tmp_path / "b", pooling=Pooling("cls", True), max_length=3)
    other = tiny.table() * 2 + 1
    path = tiny.model(tmp_path / "other.onnx", tiny.graphs["feature-extraction"], other)
    pipeline = open_pipeline(path, like=bundle)
    want = other[2] / np.linalg.norm(other[2])
    np.testing.assert_allclose(pipeline(["red green blue"]), [want], rtol=1e-5)
    assert pipeline.model.tokenizer.max_length == 3


def test_bare_model_with_a_plain_tokenizer_folder(tmp_path, tiny):
    path = tiny.model(tmp_path / "m.onnx", tiny.graphs["feature-extraction"], tiny.table())
    tiny.tokenizer(tmp_path)
    pipeline = open_pipeline(
        path, like=tmp_path, task="feature-extraction", pooling=Pooling("max", False), max_length=4
    )
    want = tiny.table()[[2, 5, 6, 3]].max(0)
    np.testing.assert_allclose(pipeline(["red green blue"]), [want], rtol=1e-6)


def test_a_given_task_wins(tmp_path, tiny):
    folder = tiny.bundle(
        tmp_path / "b", "feature-extraction", tiny.table(10), graph=tiny.graphs["fill-mask"]
    )
    assert isinstance(open_pipeline(folder, task="fill-mask"), FillMask)


def test_bare_model_alone(tmp_path, tiny):
    path = tiny.model(tmp_path / "m.onnx", tiny.graphs["feature-extraction"], tiny.table())
    with pytest.raises(InputError, match="give like=FOLDER"):
        open_pipeline(path)


def test_plain_folder_without_a_task(tmp_path, tiny):
    path = tiny.model(tmp_path / "m.onnx", tiny.graphs["feature-extraction"], tiny.table())
    tiny.tokenizer(tmp_path)
    with pytest.raises(InputError, match="give task=, one of feature-extraction"):
        open_pipeline(path, like=tmp_path)


def test_task_without_a_pipeline(tmp_path, tiny):
    folder = tiny.bundle(
        tmp_path / "b",
        graph=tiny.graphs["fill-mask"],
        values=tiny.table(10),
        task="image-to-text",
    )
    with pytest.raises(InputError, match="'image-to-text' has no pipeline; those that run are"):
        open_pipeline(folder)


def test_an_encoder_decoder_of_one_file_says_what_would_run(tmp_path, tiny):
    folder = tiny.bundle(
        tmp_path / "b",
        graph=tiny.graphs["fill-mask"],
        values=tiny.table(10),
        task="text2text-generation",
    )
    with pytest.raises(InputError, match=r"alone, and a text needs .*--with-past"):
        open_pipeline(folder)


def test_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(FormatError, match="is no bundle"):
        open_pipeline(tmp_path)


def test_altered_bundle(bundle):
    with (bundle / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(FormatError, match=r"tokenizer\.json has"):
        open_pipeline(bundle)
    assert open_pipeline(bundle, verify=False)(["red"]).shape == (1, 4)


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ({"extra": ("b", "s", 4), "logits": ("b", "s", 9)}, "logits"),
        ({"extra": ("b", "s", 4), "logits": ("b", 9)}, "extra"),
        ({"extra": ("b", "s", 4), "logits": ()}, "logits"),  # a graph that does not say
        ({"extra": ("b", 4), "other": ()}, None),
    ],
)
def test_output_is_found_by_name_then_by_rank(shapes, found):
    outputs = tuple(TensorInfo(name, "float32", shape) for name, shape in shapes.items())
    output = find_output(SimpleNamespace(outputs=outputs), ("scores", "logits"), 3)
    assert (output and output.name) == found
