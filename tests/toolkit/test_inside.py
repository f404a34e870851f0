"""Names and links that a file brings: inside of its folder, or refused."""

import os
from pathlib import Path

import pytest

from toolkit.errors import InputError
from toolkit.inside import check_links, is_hidden, is_in_folder, leads_out


@pytest.mark.parametrize("name", ["model.onnx", "onnx/model.onnx", "a b.txt", "größe.txt", "..a"])
def test_names_of_files_below(name):
    assert not leads_out(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a",
        "a/../../b",
        "a/..",
        "/etc/passwd",
        "C:\\a",
        "C:a",
        "\\\\host\\share\\a",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\x1b[31m",
        "a" * 256,
        "é" * 200,
        "a\ud800",
        "//host/a",
    ],
)
def test_names_that_lead_out_on_any_system(name):
    assert leads_out(name)


def test_files_of_a_folder_and_others(hub_cache, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_text("m")
    snapshot = hub_cache(folder)
    (tmp_path / "other").write_text("")
    (snapshot / "leads_out").symlink_to(tmp_path / "other")
    (folder / "circle").symlink_to("circle")
    assert is_in_folder(folder / "model.onnx", folder)
    assert is_in_folder(snapshot / "model.onnx", snapshot)
    assert not is_in_folder(snapshot / "leads_out", snapshot)
    assert not is_in_folder(folder / ".." / "other", folder)
    assert not is_in_folder(folder / "a\0b", folder)


def test_the_hubs_cache_has_folders_in_its_snapshots(hub_cache, tmp_path):
    (tmp_path / "model/onnx").mkdir(parents=True)
    (tmp_path / "model/onnx/model.onnx").write_text("m")
    snapshot = hub_cache(tmp_path / "model")
    check_links(snapshot)
    assert is_in_folder(snapshot / "onnx/model.onnx", snapshot / "onnx")


@pytest.mark.parametrize(
    "place", ["chat_template.jinja", "1_Pooling/config.json", "a/b/c/d/config.json"]
)
def test_a_link_that_leads_out_is_named(tmp_path, place):
    private = tmp_path / "private"
    private.write_text("secret")
    folder = tmp_path / "model"
    (folder / place).parent.mkdir(parents=True)
    (folder / place).symlink_to(private)
    with pytest.raises(InputError, match=rf"{Path(place).name} is a link .* to .*private; copy"):
        check_links(folder)
    with pytest.raises(InputError, match="is a link"):
        check_links(folder, [place])
    check_links(folder, ["tokenizer.json"])


def test_a_folder_that_is_a_link_is_one_too(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model/onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="onnx is a link"):
        check_links(tmp_path / "model")


def test_hidden_folders_and_links_within_are_left_alone(tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/python").symlink_to(os.devnull)
    (tmp_path / "vocab.txt").write_text("a")
    (tmp_path / "same.txt").symlink_to("vocab.txt")
    check_links(tmp_path)


def test_a_link_to_a_hidden_folder_is_looked_behind(tmp_path):
    (tmp_path / "private").write_text("secret")
    (tmp_path / "model/.below").mkdir(parents=True)
    (tmp_path / "model/.below/config.json").symlink_to(tmp_path / "private")
    (tmp_path / "model/circle").symlink_to(".")
    check_links(tmp_path / "model")
    (tmp_path / "model/1_Pooling").symlink_to(".below")
    with pytest.raises(InputError, match=r"1_Pooling/config\.json is a link"):
        check_links(tmp_path / "model")


@pytest.mark.parametrize("name", [".a", "a/.b", ".a/b"])
def test_hidden_names(name):
    assert is_hidden(name)
    assert not is_hidden(name.replace(".", "_"))
    assert not is_hidden(f"./{name}".replace("/.", "/_"))
