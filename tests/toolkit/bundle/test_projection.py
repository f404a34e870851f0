"""Whether a graph's token vectors are projected already."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from toolkit.bundle.projection import dense_folders, needed_projection
from toolkit.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """``folder((8, 4), (4, 3))``: a folder with modules of these sizes."""

    def write(*sizes):
        modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
        for number, (inputs, outputs) in enumerate(sizes, 1):
            here = tmp_path / f"{number}_Dense"
            here.mkdir()
            config = {"in_features": inputs, "out_features": outputs}
            (here / "config.json").write_text(json.dumps(config))
            weight = np.full((outputs, inputs), number, np.float32)
            save_file({"linear.weight": weight}, here / "model.safetensors")
            modules.append({"path": here.name, "type": "pylate.models.Dense.Dense"})
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("name", "width", "layers"),
    [
        ("last_hidden_state", 8, 2),
        ("anything", 8, 2),
        ("last_hidden_state", 3, 0),
        ("token_embeddings", 3, 0),
        ("last_hidden_state", None, 2),
        ("token_embeddings", None, 0),
    ],
)
def test_the_width_says_and_else_the_name(folder, name, width, layers):
    found = needed_projection(folder((8, 4), (4, 3)), name, width)
    assert [dense.weight.shape for dense in found] == [(4, 8), (3, 4)][:layers]


@pytest.mark.parametrize(("name", "layers"), [("last_hidden_state", 1), ("output", 0)])
def test_of_one_width_the_name_says(folder, name, layers):
    assert len(needed_projection(folder((4, 4)), name, 4)) == layers


def test_vectors_that_do_not_fit(folder):
    with pytest.raises(InputError, match=r"token vectors of 7 numbers, and .*1_Dense takes 8"):
        needed_projection(folder((8, 4)), "last_hidden_state", 7)


def test_without_modules_there_is_nothing_to_do(tmp_path):
    assert needed_projection(tmp_path, "last_hidden_state", 8) == ()


def test_weights_are_only_read_where_they_are_needed(folder):
    place = folder((8, 4))
    (place / "1_Dense" / "model.safetensors").unlink()
    assert needed_projection(place, "token_embeddings", 4) == ()
    with pytest.raises(InputError, match="is missing"):
        needed_projection(place, "last_hidden_state", 8)


def test_no_folder_leads_outside():
    kind = "pylate.models.Dense.Dense"
    paths = ["../away", "/etc", "1_Dense"]
    modules = [{"type": kind, "path": path} for path in paths]
    assert dense_folders([*modules, "damaged", {"type": "Pooling", "path": "2"}]) == ("1_Dense",)
