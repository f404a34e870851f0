"""Kill verbs at random moments, and look at what they leave.

    python -m tests.fuzz.cli.kills --runs 1000 --seed 1

SIGTERM, SIGHUP and SIGINT leave no temporary file, here or in TMPDIR; SIGKILL may, and the next run
tidies up. After every one of them an output is absent, or whole; one that is replaced is the old or
the new; and every other file is as it was.
"""

import argparse
import contextlib
import faulthandler
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from toolkit.bundle.manifest import read_manifest, verify_files
from toolkit.errors import LightTokenError
from toolkit.table.embedding import CompressedEmbedding

from .material import make
from .run import import_all, settle

_SIGNALS = (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL)
_FAST = ("--ratio", "4", "--effort", "fast")
_VERBS = (  # a command line, what it writes, how often it is drawn, and how long it may take
    (("export", "original.onnx", "out", *_FAST), "out", 8, 3.0),
    (("export", "original.onnx", "bundle", "--force", *_FAST), "bundle", 8, 3.0),
    (("export", "model", "out", *_FAST), "out", 2, 12.0),
    (("compress", "matrix.npy", "out.lt", *_FAST), "out.lt", 6, 1.0),
    (("compress", "matrix.npy", "table.lt", "--force", *_FAST), "table.lt", 6, 1.0),
    (("profile", "bundle", "--runs", "2", "--repeats", "1"), "", 2, 8.0),
    (("serve", "bundle", "--no-open"), "", 2, 1.5),
)
_END = 20.0  # seconds that a stopped verb has to end


def main() -> int:
    """Exit status 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    import_all()
    ends: Counter[str] = Counter()
    found = 0
    with tempfile.TemporaryDirectory() as work:
        material = Path(work) / "material"
        material.mkdir()
        make(material)
        for seed in range(asked.seed, asked.seed + asked.runs):
            how, reason = _one(seed, material, Path(work) / "run")
            ends[how] += 1
            if reason:
                found += 1
                print(f"seed {seed}, {how}: {reason}", flush=True)
    for how, count in sorted(ends.items()):
        print(f"{count:5} {how}")
    print(f"{sum(ends.values())} kills, {found} findings")
    return 1 if found else 0


def _one(seed: int, material: Path, place: Path) -> tuple[str, str]:
    """One kill: what was killed and how, and what is wrong after it or ""."""
    rng = random.Random(seed)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(material, place / "here")
    (place / "tmp").mkdir()
    arguments, out, _, longest = rng.choices(_VERBS, [each[2] for each in _VERBS])[0]
    number = rng.choice(_SIGNALS)
    before = _content(place)
    child = os.fork()
    if not child:
        os.setsid()
        _run(list(arguments), place)
    time.sleep(rng.uniform(0, longest))
    os.kill(child, number)
    status = _end_of(child)
    how = f"{arguments[0]} by {number.name}"
    if status is None:
        said = (place / "stderr").read_text("utf-8", "backslashreplace")
        return how, f"it goes on for {_END:g} s\n{said}"
    if number == signal.SIGKILL:
        return how, _whole(place / "here", out, before)
    return how, _whole(place / "here", out, before) or _left(place, out, before)


def _end_of(child: int) -> int | None:
    end = time.monotonic() + _END
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGABRT)  # on which it says where it is
    time.sleep(1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _run(arguments: list[str], place: Path) -> None:
    """As the console script runs it; never returns."""
    code = 99
    try:
        settle(place)
        faulthandler.enable()
        for number in _SIGNALS[:-1]:  # a run in the background, or by nohup, ignores some
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from toolkit.cli.app import main as console_script

        sys.argv = ["lighttoken", *arguments]
        console_script()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _whole(here: Path, out: str, before: dict[str, str]) -> str:
    """What is wrong with an output, or with the user's other files."""
    now = _content(here.parent)
    for name, digest in before.items():
        mine = out and (name == f"here/{out}" or name.startswith(f"here/{out}/"))
        if not mine and now.get(name) != digest:
            return f"{name} was changed or is gone"
    path = here / out
    was_there = any(name.startswith(f"here/{out}") for name in before)
    if out and was_there and not path.exists() and not _waits(here):
        return f"{out} is gone"
    if not out or not path.exists():
        return ""
    try:
        if path.is_dir():
            verify_files(path, read_manifest(path))
        else:
            CompressedEmbedding.load(path)
    except LightTokenError as error:
        return f"{out} is not whole: {error}"
    return ""


def _waits(here: Path) -> bool:
    """After SIGKILL between two renames the old output waits beside; the next run puts it back."""
    return any(path.name.startswith(".") for path in here.iterdir())


def _left(place: Path, out: str, before: dict[str, str]) -> str:
    new = [name for name in _content(place) if name not in before]
    left = [n for n in new if n != f"here/{out}" and not n.startswith(f"here/{out}/")]
    left = [name for name in left if not name.startswith("tmp/torchinductor")]
    return f"left {sorted(left)[:3]} behind" if left else ""


def _content(place: Path) -> dict[str, str]:
    """Digest of every file, and of every empty folder, by name."""
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(
            path.read_bytes() if path.is_file() else b""
        ).hexdigest()
        for part in ("here", "tmp")
        for path in (place / part).rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


if __name__ == "__main__":
    sys.exit(main())
