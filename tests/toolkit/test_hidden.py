"""Writers of one output that race, and that are killed at any moment; all are real processes."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.errors import InputError
from toolkit.files import folder_aside
from toolkit.hidden import tidy
from toolkit.owned import LISTING, listed

# Writes {"a": CONTENT} to OUT. It stops itself for good at the call of hidden.py, or of the test's
# block, that STOP names: "block", or a method of Path or function and the number of its call.
WRITER = """
import os, signal, sys, time
from pathlib import Path
from toolkit import hidden
from toolkit.errors import InputError
from toolkit.files import folder_aside

out, content, stop, number, swaps = sys.argv[1:]
if swaps == "no":
    hidden.exchange = lambda *_: False
count = 0

def stopping(real):
    def call(*arguments, **options):
        global count
        count += 1
        if count == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

if stop == "calls":
    Path.rename = stopping(Path.rename)
    hidden.exchange = stopping(hidden.exchange)
    hidden.move_new = stopping(hidden.move_new)
    hidden.shutil.rmtree = stopping(hidden.shutil.rmtree)
try:
    with folder_aside(Path(out), force=True) as aside:
        (aside / "a").write_text(content)
        if stop == "block":
            print("in the block", flush=True)
            sys.stdin.readline()
except InputError as error:
    print(f"error: {error}")
    sys.exit(2)
"""


def writer(out: Path, content: str, *, stop: str = "", number: int = 0, swaps: str = "yes"):
    command = [sys.executable, "-c", WRITER, str(out), content, stop, str(number), swaps]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def make(out: Path, content: str, *, force: bool = False) -> None:
    with folder_aside(out, force=force) as aside:
        (aside / "a").write_text(content)


def contents(folder: Path) -> set[str]:
    """Of every complete folder that can be found."""
    return {path.read_text() for path in folder.rglob("a") if (path.parent / LISTING).exists()}


@pytest.mark.parametrize("swaps", ["yes", "no"])
@pytest.mark.parametrize("before", [True, False], ids=["replacing", "new"])
def test_killed_at_any_moment_old_or_new_is_there_and_the_next_run_tidies_up(
    tmp_path, swaps, before
):
    out, ended = tmp_path / "out", False
    for number in range(1, 20):
        if out.exists():
            make(out, "old", force=True)
        elif before:
            make(out, "old")
        with writer(out, "new", stop="calls", number=number, swaps=swaps) as process:
            _, err = process.communicate(timeout=60)
        if ended := process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, err
        if before:
            assert contents(tmp_path) & {"old", "new"}
            tidy(out, listed)
            assert contents(out) in ({"old"}, {"new"})
        make(tmp_path / "out", "next", force=True)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert contents(out) == {"next"}
        if not before:
            for path in out.iterdir():
                path.unlink()
            out.rmdir()
    assert ended
    assert number > 3  # so many moments were tried


def test_what_a_living_run_writes_is_not_touched(tmp_path):
    out = tmp_path / "out"
    with writer(out, "first", stop="block") as first:
        first.stdout.readline()
        make(out, "second")
        assert len(list(tmp_path.iterdir())) == 2
        told, _ = first.communicate("\n", timeout=60)
    assert first.returncode == 2
    assert told.startswith(f"error: {out} was made by something else meanwhile")
    assert told.count("\n") == 1
    assert contents(out) == {"second"}
    assert list(tmp_path.iterdir()) == [out]


def test_of_several_at_once_one_wins_and_the_others_say_so(tmp_path):
    out = tmp_path / "out"
    writers = [writer(out, str(number), stop="block") for number in range(4)]
    for process in writers:
        process.stdout.readline()
    for process in writers:
        process.stdin.write("\n")
        process.stdin.flush()
    ends = []
    for process in writers:
        told, _ = process.communicate(timeout=60)
        ends.append(process.returncode)
        assert told.count("\n") == (process.returncode != 0)
    assert sorted(ends) == [0, 2, 2, 2]
    assert contents(out) == {str(ends.index(0))}
    assert list(tmp_path.iterdir()) == [out]


def test_leftovers_that_may_be_the_users_stay(tmp_path):
    for folder, name in ((".out.lighttoken-mine", "notes.txt"), (".out.lighttoken-else", "lock")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    (tmp_path / ".out.lighttoken-else" / "photos").mkdir()
    dead = tmp_path / ".out.lighttoken-dead"
    (dead / "old").mkdir(parents=True)
    (dead / "lock").touch()
    (dead / "old" / "notes.txt").write_text("mine")
    make(tmp_path / "out2", "other")
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(InputError, match="out exists; pass --force"):
        make(tmp_path / "out", "new")  # what was there is there again
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    left = {".out.lighttoken-mine", ".out.lighttoken-else", "out", "out2"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_an_old_output_that_is_replaced_stays_where_it_holds_more(tmp_path):
    make(tmp_path / "out", "new")
    dead = tmp_path / ".out.lighttoken-dead"
    (dead / "old").mkdir(parents=True)
    (dead / "lock").touch()
    (dead / "old" / "notes.txt").write_text("mine")
    make(tmp_path / "out", "newer", force=True)
    assert (dead / "old" / "notes.txt").read_text() == "mine"


def test_planted_leftovers_lead_to_no_other_folder(tmp_path):
    """An archive from anyone may hold them: nothing that they link to is touched."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    planted = tmp_path / ".out.lighttoken-evil"
    planted.mkdir()
    (planted / "lock").touch()
    for part in ("new", "trash", "ready", "old"):
        (planted / part).symlink_to(tmp_path / "mine")
    (tmp_path / ".out.lighttoken-link").symlink_to(tmp_path / "mine")
    make(tmp_path / "out", "new")
    make(tmp_path / "out", "newer", force=True)
    assert not (tmp_path / "out").is_symlink()
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


def test_an_empty_leftover_goes_once_it_is_old(tmp_path):
    left = tmp_path / ".out.lighttoken-none"
    left.mkdir()
    tidy(tmp_path / "out", listed)
    assert left.exists()
    os.utime(left, (0, 0))
    tidy(tmp_path / "out", listed)
    assert not left.exists()


@pytest.mark.parametrize("call", ["os.open", "Path.mkdir"])
def test_a_full_disk_leaves_no_hidden_folder(tmp_path, monkeypatch, call):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(f"toolkit.hidden.{call}", fail)
    with pytest.raises(OSError, match="no space"):
        make(tmp_path / "out", "new")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
