"""Which tokens end a text, of the files that say so."""

import json

import pytest

from toolkit.bundle.generation import end_ids
from toolkit.errors import FormatError


def write(folder, name, value):
    (folder / name).write_text(json.dumps({"eos_token_id": value}))


def test_both_files_count_and_each_id_once(tmp_path):
    assert end_ids(tmp_path, error=FormatError) == ()
    write(tmp_path, "config.json", 1)
    assert end_ids(tmp_path, error=FormatError) == (1,)
    write(tmp_path, "generation_config.json", [106, 1])
    assert end_ids(tmp_path, error=FormatError) == (106, 1)


@pytest.mark.parametrize("value", [None, [], True, "</s>"])
def test_what_is_no_id_ends_nothing(tmp_path, value):
    write(tmp_path, "config.json", value)
    assert end_ids(tmp_path, error=FormatError) == ()


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FormatError, match=r"config\.json is damaged .*; copy the bundle again"):
        end_ids(tmp_path, error=FormatError, remedy="copy the bundle again")


def test_folders_of_onnxruntime_genai_say_it_there(tmp_path):
    told = {"model": {"eos_token_id": [5, 1]}}
    (tmp_path / "genai_config.json").write_text(json.dumps(told))
    assert end_ids(tmp_path, error=FormatError) == (5, 1)
    write(tmp_path, "config.json", 1)
    assert end_ids(tmp_path, error=FormatError) == (1, 5)
    (tmp_path / "genai_config.json").write_text('{"model": []}')
    assert end_ids(tmp_path, error=FormatError) == (1,)
