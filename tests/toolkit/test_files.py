import hashlib
import os
from pathlib import Path

import pytest

from toolkit.errors import InputError
from toolkit.files import folder_aside, sha256, write_aside

ENDINGS = [RuntimeError, OSError, KeyboardInterrupt, SystemExit]


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "out"
    with write_aside(path) as aside:
        aside.write_text("new")
        assert aside.parent == tmp_path
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_cut_short_leaves_the_old_one_and_nothing_else(tmp_path, ending):
    path = tmp_path / "out"
    path.write_text("old")

    def write():
        with write_aside(path) as aside:
            aside.write_text("half")
            raise ending

    with pytest.raises(ending):
        write()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_cut_short_appears_nowhere(tmp_path, ending):
    def write():
        with write_aside(tmp_path / "out") as aside:
            aside.write_text("half")
            raise ending

    with pytest.raises(ending):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    with write_aside(path) as aside:
        aside.write_text("new")
    assert path.read_text() == "new"


def test_a_target_that_is_a_folder_leaves_nothing_behind(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="out"), write_aside(tmp_path / "out") as aside:
        aside.write_text("new")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("aside", [write_aside, folder_aside])
def test_a_missing_parent_is_named(tmp_path, aside):
    with (
        pytest.raises(InputError, match=f"{tmp_path / 'no'} is not here"),
        aside(tmp_path / "no/out"),
    ):
        pass


def make_folder(path, content, *, force=False, ending=None):
    with folder_aside(path, force=force) as aside:
        (aside / "a").write_text(content)
        if ending is not None:
            raise ending


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()
    }


def test_a_folder_appears_whole_when_the_block_ends(tmp_path):
    path = tmp_path / "out"
    with folder_aside(path) as aside:
        (aside / "a").write_text("1")
        assert not path.exists()
    assert tree(tmp_path) == {"out/a": "1"}
    assert path.stat().st_mode & 0o777 == 0o755


def test_an_existing_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out exists; pass --force"):
        make_folder(tmp_path / "out", "new", ending=AssertionError)


def test_force_replaces_a_folder_and_keeps_no_file_of_the_old_one(tmp_path):
    make_folder(tmp_path / "out", "old")
    (tmp_path / "out/b").write_text("old")
    make_folder(tmp_path / "out", "new", force=True)
    assert tree(tmp_path) == {"out/a": "new"}
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("before", [{}, {"out/a": "old"}], ids=["new", "existing"])
def test_a_folder_cut_short_changes_nothing(tmp_path, ending, before):
    if before:
        make_folder(tmp_path / "out", "old")
    with pytest.raises(ending):
        make_folder(tmp_path / "out", "half", force=True, ending=ending)
    assert tree(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == len(before)


@pytest.mark.parametrize("failing", [1, 2], ids=["moving the old out", "moving the new in"])
def test_a_swap_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch, failing):
    make_folder(tmp_path / "out", "old")
    calls, rename = [], os.rename

    def fail_once(self, target):
        calls.append(self)
        if len(calls) == failing:
            raise OSError("device busy")
        rename(self, target)
        return Path(target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OSError, match="device busy"):
        make_folder(tmp_path / "out", "new", force=True)
    assert tree(tmp_path) == {"out/a": "old"}
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_sha256_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"light" * 100_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"light" * 100_000).hexdigest()
