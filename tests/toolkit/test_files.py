import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from toolkit import files, hidden
from toolkit.errors import InputError
from toolkit.files import check_apart, folder_aside, sha256, write_aside
from toolkit.owned import LISTING

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
    with pytest.raises(InputError, match="is a folder"), write_aside(tmp_path / "out") as aside:
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
        p.relative_to(folder).as_posix(): p.read_text()
        for p in folder.rglob("*")
        if p.is_file() and p.name != LISTING
    }


def test_a_folder_appears_whole_when_the_block_ends(tmp_path):
    path = tmp_path / "out"
    with folder_aside(path) as aside:
        (aside / "a").write_text("1")
        assert not path.exists()
    assert tree(tmp_path) == {"out/a": "1"}
    assert (path / LISTING).is_file()
    assert path.stat().st_mode & 0o777 == 0o755


def test_an_existing_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out exists; pass --force"):
        make_folder(tmp_path / "out", "new", ending=AssertionError)


def test_force_replaces_a_folder_and_keeps_no_file_of_the_old_one(tmp_path):
    with folder_aside(tmp_path / "out") as aside:
        (aside / "below").mkdir()
        (aside / "below/b").write_text("old")
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


def refused(line, writing, *acts):
    """``acts`` while something is written, which is refused in the end."""

    def write_all():
        with writing as aside:
            for act in acts:
                act(aside)

    with pytest.raises(InputError, match=line):
        write_all()


SWAPS = pytest.mark.parametrize("swaps", [True, False], ids=["in one step", "in two renames"])


@pytest.fixture
def renames(monkeypatch):
    """``renames(swaps)``: whether the system lets folders change places."""

    def use(swaps):
        if not swaps:
            monkeypatch.setattr("toolkit.hidden.exchange", lambda *_: False)

    return use


@SWAPS
def test_a_swap_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch, renames, swaps):
    make_folder(tmp_path / "out", "old")
    renames(swaps)

    def fail(*_):
        raise OSError("device busy")

    if swaps:
        monkeypatch.setattr("toolkit.hidden.exchange", fail)
    else:
        real, calls = hidden.move_new, []
        monkeypatch.setattr(
            "toolkit.hidden.move_new",
            lambda *names: fail() if calls.append(1) or len(calls) == 1 else real(*names),
        )
    with pytest.raises(OSError, match="device busy"):
        make_folder(tmp_path / "out", "new", force=True)
    assert tree(tmp_path) == {"out/a": "old"}
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@SWAPS
def test_force_replaces_in_either_way(tmp_path, renames, swaps):
    renames(swaps)
    make_folder(tmp_path / "out", "old")
    make_folder(tmp_path / "out", "new", force=True)
    assert tree(tmp_path) == {"out/a": "new"}
    (tmp_path / "empty").mkdir()
    make_folder(tmp_path / "empty", "new", force=True)
    assert tree(tmp_path) == {"out/a": "new", "empty/a": "new"}
    assert len(list(tmp_path.iterdir())) == 2


@SWAPS
def test_a_file_that_comes_in_at_the_last_moment_is_kept(tmp_path, monkeypatch, renames, swaps):
    renames(swaps)
    make_folder(tmp_path / "out", "old")
    checked = files.check_owned

    def check_and_add(folder, *arguments, **options):
        checked(folder, *arguments, **options)
        (folder / "notes.txt").write_text("mine")

    refused(
        r"notes\.txt came into .*out meanwhile",
        folder_aside(tmp_path / "out", force=True),
        lambda aside: monkeypatch.setattr("toolkit.files.check_owned", check_and_add),
    )
    assert tree(tmp_path) == {"out/a": "old", "out/notes.txt": "mine"}
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


FOREIGN = {
    ".git/HEAD": lambda out: write(out / ".git/HEAD"),
    "notes.txt": lambda out: write(out / "notes.txt"),
    "below/more": lambda out: write(out / "below/more"),
    "drafts": lambda out: (out / "drafts").mkdir(),
    "link": lambda out: (out / "link").symlink_to("a"),
    "pipe": lambda out: os.mkfifo(out / "pipe"),
}


def write(path, content="mine"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.mark.parametrize("name", FOREIGN)
def test_force_replaces_no_folder_that_holds_anything_else(tmp_path, name):
    with folder_aside(tmp_path / "out") as aside:
        write(aside / "below/b", "old")
    FOREIGN[name](tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    first = name.partition("/HEAD")[0]
    with pytest.raises(
        InputError, match=rf"out holds {re.escape(first)}, which lighttoken did not"
    ):
        make_folder(tmp_path / "out", "new", force=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_list_that_names_files_outside_widens_nothing(tmp_path):
    make_folder(tmp_path / "out", "old")
    write(tmp_path / "mine")
    listing = tmp_path / "out" / LISTING
    told = json.loads(listing.read_text())
    outside = ("../mine", str(tmp_path / "mine"))
    told |= {name: [4, sha256(tmp_path / "mine")] for name in outside}
    listing.write_text(json.dumps(told))
    make_folder(tmp_path / "out", "new", force=True)
    assert tree(tmp_path) == {"out/a": "new", "mine": "mine"}
    (tmp_path / "out" / LISTING).write_text("5")
    with pytest.raises(InputError, match=r"out holds .*, which lighttoken did not write"):
        make_folder(tmp_path / "out", "newer", force=True)


def test_a_list_of_names_makes_no_file_lighttokens(tmp_path):
    """A stranger's folder may bring a list with names that its user gives to files later."""
    make_folder(tmp_path / "out", "old")
    listing = tmp_path / "out" / LISTING
    told = json.loads(listing.read_text())
    write(tmp_path / "out/notes.txt")
    for forged in (["a", "notes.txt"], told | {"notes.txt": None}, told | {"notes.txt": [4, "0"]}):
        listing.write_text(json.dumps(forged))
        with pytest.raises(InputError, match=r"out holds .*, which lighttoken did not write"):
            make_folder(tmp_path / "out", "new", force=True)
        assert (tmp_path / "out/notes.txt").read_text() == "mine"


def test_a_file_that_was_changed_is_the_users(tmp_path):
    make_folder(tmp_path / "out", "old")
    write(tmp_path / "out/a", "mine")
    with pytest.raises(InputError, match="out holds a, which lighttoken did not write as it is"):
        make_folder(tmp_path / "out", "new", force=True)
    assert tree(tmp_path) == {"out/a": "mine"}


NO_FOLDERS = {
    "a file": lambda out: out.write_text("mine"),
    "a link to": lambda out: out.symlink_to("elsewhere"),
    "a device": os.mkfifo,
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("what", NO_FOLDERS)
def test_what_is_no_folder_is_never_replaced(tmp_path, what, force):
    (tmp_path / "elsewhere").mkdir()
    NO_FOLDERS[what](tmp_path / "out")
    before = (tmp_path / "out").lstat()
    with pytest.raises(InputError, match=rf"out is {what}.*which is not replaced"):
        make_folder(tmp_path / "out", "new", force=force)
    assert (tmp_path / "out").lstat() == before


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("what", NO_FOLDERS)
def test_no_file_replaces_what_is_none(tmp_path, what, force):
    if what == "a file":
        return
    (tmp_path / "elsewhere").mkdir()
    NO_FOLDERS[what](tmp_path / "out")
    with (
        pytest.raises(InputError, match=rf"out is {what}.*which is not replaced"),
        write_aside(tmp_path / "out", replace=force),
    ):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "out"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("appears", ["empty folder", "file", "link"])
def test_an_out_that_appears_meanwhile_is_left(tmp_path, force, appears):
    out = tmp_path / "out"
    appear = {
        "empty folder": lambda aside: out.mkdir(),
        "file": lambda aside: out.write_text("mine"),
        "link": lambda aside: out.symlink_to("nowhere"),
    }
    line = "out was made by something else meanwhile"
    refused(line, folder_aside(out, force=force), appear[appears])
    assert list(tmp_path.iterdir()) == [out]
    if appears == "empty folder":
        assert not any(out.iterdir())


def test_an_out_that_is_another_folder_than_before_is_left(tmp_path):
    out = tmp_path / "out"
    make_folder(out, "old")
    make_folder(tmp_path / "other", "other")
    put = [
        lambda aside: out.rename(tmp_path / "moved"),
        lambda aside: (tmp_path / "other").rename(out),
    ]
    refused("meanwhile", folder_aside(out, force=True), *put)
    assert tree(tmp_path) == {"out/a": "other", "moved/a": "old"}


def test_a_file_that_appears_meanwhile_is_left(tmp_path):
    out = tmp_path / "out"
    put = [lambda aside: aside.write_text("new"), lambda aside: out.write_text("mine")]
    refused("out exists", write_aside(out, replace=False), *put)
    assert tree(tmp_path) == {"out": "mine"}


def test_what_is_read_is_no_out(tmp_path):
    write(tmp_path / "in/model", "m")
    (tmp_path / "link").symlink_to("in/model")
    os.link(tmp_path / "in/model", tmp_path / "hard")
    for out in ("in/model", "link", "hard", "in/../in/model"):
        with pytest.raises(InputError, match="which is read; choose another name"):
            check_apart(tmp_path / out, tmp_path / "in/model")
    with pytest.raises(InputError, match=r"in holds .*link, which is read"):
        check_apart(tmp_path / "in", tmp_path / "link")
    check_apart(tmp_path / "other", tmp_path / "in/model", tmp_path / "nowhere")


def test_dots_are_folders_too(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make_folder(Path(), "new", force=True)
    assert tree(tmp_path) == {"here/a": "new"}


def test_sha256_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"light" * 100_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"light" * 100_000).hexdigest()
