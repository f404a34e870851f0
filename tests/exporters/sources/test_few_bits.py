"""Checkpoints of 8 bits become float32, number for number, before anything reads them."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from exporters import export
from exporters.sources.few_bits import in_floats
from exporters.sources.source import read_table
from toolkit import Budget
from toolkit.errors import InputError

FP8 = torch.float8_e4m3fn
BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def folder_of(path, tensors, settings=None, name="model.safetensors"):
    path.mkdir(exist_ok=True)
    save_file(tensors, path / name)
    config = {"model_type": "llama", "torch_dtype": "bfloat16"}
    if settings is not None:
        config["quantization_config"] = settings
    (path / "config.json").write_text(json.dumps(config))
    return path


def converted(folder, tmp_path):
    found = in_floats(folder, tmp_path / "floats")
    assert found == tmp_path / "floats"
    config = json.loads((found / "config.json").read_text())
    assert config == {"model_type": "llama", "dtype": "float32"}
    return load_file(found / "model.safetensors")


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(FP8)


def test_blocks_that_do_not_divide_the_matrix(tmp_path):
    values = random(300, 200)
    scale = torch.arange(1.0, 7.0).reshape(3, 2)
    folder = folder_of(tmp_path / "fp8", {"a.weight": values, "a.weight_scale_inv": scale}, BLOCKS)
    held = converted(folder, tmp_path)
    assert set(held) == {"a.weight"}
    wanted = values.float()
    for row in range(300):
        for column in range(0, 200, 50):
            factor = scale[row // 128, column // 128]
            assert held["a.weight"][row, column] == wanted[row, column] * factor


@pytest.mark.parametrize("scale", [torch.tensor(0.5), torch.tensor([0.5]), torch.full((6, 1), 0.5)])
def test_a_scale_for_all_or_for_each_row(tmp_path, scale):
    values = torch.arange(-12, 12, dtype=torch.int8).reshape(6, 4)
    settings = {"quant_method": "compressed-tensors", "config_groups": {}}
    tensors = {"a.weight": values, "a.weight_scale": scale, "a.input_scale": torch.tensor(2.0)}
    held = converted(folder_of(tmp_path / "ct", tensors, settings), tmp_path)
    assert set(held) == {"a.weight"}
    torch.testing.assert_close(held["a.weight"], values.float() * 0.5)


def test_eight_bits_without_scales_are_the_numbers_themselves(tmp_path):
    values = random(8, 4)
    tensors = {"a.weight": values, "b.weight": torch.ones(3, dtype=torch.bfloat16)}
    held = converted(folder_of(tmp_path / "plain", tensors), tmp_path)
    torch.testing.assert_close(held["a.weight"], values.float())
    assert held["b.weight"].dtype == torch.float32


def test_shards_keep_an_index_of_what_is_left(tmp_path):
    folder = folder_of(
        tmp_path / "fp8",
        {"a.weight": random(4, 4), "a.weight_scale_inv": torch.ones(1, 1)},
        BLOCKS,
        "model-00001-of-00002.safetensors",
    )
    save_file({"b.weight": torch.ones(2)}, folder / "model-00002-of-00002.safetensors")
    first, second = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    index = {"a.weight": first, "a.weight_scale_inv": first, "b.weight": second}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    found = in_floats(folder, tmp_path / "floats")
    left = json.loads((found / "model.safetensors.index.json").read_text())["weight_map"]
    assert left == {"a.weight": first, "b.weight": second}
    assert set(load_file(found / first)) == {"a.weight"}


def test_other_folders_are_taken_as_they_are(tmp_path):
    folder = folder_of(tmp_path / "bf16", {"a.weight": torch.ones(3, dtype=torch.bfloat16)})
    assert in_floats(folder, tmp_path / "floats") == folder
    assert not (tmp_path / "floats").exists()


@pytest.mark.parametrize(
    ("tensors", "settings", "told"),
    [
        ({"a.qweight": torch.ones(3)}, {"quant_method": "gptq"}, "are packed by gptq; give the"),
        (
            {"a.weight_packed": torch.ones(3, dtype=torch.int32)},
            {"quant_method": "compressed-tensors"},
            "several numbers to a byte",
        ),
        (
            {"a.weight": random(6, 4), "a.weight_scale": torch.ones(5, 3)},
            {"quant_method": "compressed-tensors"},
            r"scales \[5, 3\]",
        ),
        (
            {"a.weight": torch.ones(2, 2, dtype=torch.int8)},
            {"quant_method": "compressed-tensors"},
            "int8 and no scale",
        ),
    ],
)
def test_what_is_packed_otherwise_takes_one_line(tmp_path, tensors, settings, told):
    folder = folder_of(tmp_path / "other", tensors, settings)
    with pytest.raises(InputError, match=told) as error:
        in_floats(folder, tmp_path / "floats")
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore")
def test_such_a_model_is_exported(decoder_folder, quick, tmp_path):
    """Its products in FP8 with scales: the bundle is that of what these stand for."""
    source = decoder_folder("LlamaForCausalLM", 64)
    folder = tmp_path / "fp8"
    folder.mkdir()
    config = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": BLOCKS}))
    tensors = {}
    for name, values in load_file(source / "model.safetensors").items():
        if "proj" in name and values.ndim == 2:
            tensors[name] = (values * 64).to(FP8)
            tensors[f"{name}_scale_inv"] = torch.full((1, 1), 1 / 64)
        else:
            tensors[name] = values.bfloat16()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    manifest = export(str(folder), tmp_path / "out", Budget(ratio=6), options=quick())
    assert manifest.task == "text-generation"
    written = json.loads((tmp_path / "out/config.json").read_text())
    assert "quantization_config" not in written
    table = read_table(str(folder)).values
    before = read_table(str(source)).values
    np.testing.assert_allclose(table, before, rtol=2**-8)


def test_zero_points_are_refused_where_they_are_not_zero(tmp_path):
    def checkpoint(name, zero):
        values = torch.arange(-12, 12, dtype=torch.int8).reshape(6, 4)
        points = torch.full((6, 1), zero, dtype=torch.int8)
        tensors = {"a.weight": values, "a.weight_scale": torch.full((6, 1), 0.5)}
        settings = {"quant_method": "compressed-tensors"}
        return folder_of(tmp_path / name, tensors | {"a.weight_zero_point": points}, settings)

    assert set(converted(checkpoint("even", 0), tmp_path)) == {"a.weight"}
    with pytest.raises(InputError, match="zero points, which are not known here"):
        in_floats(checkpoint("uneven", 3), tmp_path / "other")
