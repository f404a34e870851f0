"""Run random command lines over damaged files, each in a process of its own, and judge how it ends.

    python -m tests.fuzz.cli.run --runs 10000 --seed 1

A run must end with 0 or 2, within a minute and some gigabytes, with one line of error at most,
without a traceback, and without a file left behind but what it was asked to write. What does not is
printed with its seed and kept in ``build/fuzz/cli``; ``--seed N --runs 1`` runs one again.
"""

import argparse
import contextlib
import gc
import importlib
import os
import pkgutil
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from .calls import command_line
from .damage import damage_of, seal
from .material import make

_SECONDS, _MEMORY = 60, 6 << 30  # address space, most of it libraries
_SEALED = 0.6  # of the runs are of bundles whose digests were made right again
_KEPT = Path("build/fuzz/cli")
_MAY_APPEAR = ("out", "out.lt", "r.html", "deep", "nothing", "a\x1bb", "a\udcff")  # as OUT
_OF_TORCH = "tmp/torchinductor"  # a cache of its own


def main() -> int:
    """Exit status 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    asked = parser.parse_args()
    import_all()
    ends: Counter[int] = Counter()
    found = 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        material = Path(work) / "material"
        material.mkdir()
        make(material)
        for seed in range(asked.seed, asked.seed + asked.runs):
            if time.monotonic() - start > asked.seconds:
                break
            code, reason, arguments = one(seed, material, Path(work))
            ends[code] += 1
            if reason:
                found += 1
                print(f"seed {seed}: {reason}\n  lighttoken {arguments}", flush=True)
    total = sum(ends.values())
    told = ", ".join(f"{count} ended with {code}" for code, count in sorted(ends.items()))
    print(f"{total} runs in {time.monotonic() - start:.0f} s: {told}; {found} findings")
    return 1 if found else 0


def one(seed: int, material: Path, work: Path) -> tuple[int, str, str]:
    """One run: its exit code, what is wrong with it or "", and its arguments."""
    rng = random.Random(seed)
    place = work / "run"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(material, place / "here")
    (place / "tmp").mkdir()
    files = sorted(path for path in (place / "here").rglob("*") if path.is_file())
    for path in rng.sample(files, rng.choice([0, 1, 1, 1, 2])):
        path.write_bytes(rng.choice(damage_of(path))(path.read_bytes(), rng))
    if rng.random() < _SEALED:
        for bundle in ("bundle", "decoder"):
            seal(place / "here" / bundle)
    arguments = command_line(rng)
    before = _names(place)
    status = _in_a_child(arguments, place)
    reason = _judged(status, place, before)
    if reason:
        kept = _KEPT / str(seed)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(place, kept, ignore_dangling_symlinks=True)
    return status, reason, " ".join(map(repr, arguments))


def _in_a_child(arguments: list[str], place: Path) -> int:
    child = os.fork()
    if not child:
        _run(arguments, place)
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGALRM


def settle(place: Path) -> None:
    """Let this process write, work and keep its caches in ``place`` alone."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.chdir(place / "here")
    os.environ["TMPDIR"] = tempfile.tempdir = str(place / "tmp")
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    os.environ["HF_HUB_OFFLINE"] = "1"


def _run(arguments: list[str], place: Path) -> None:
    """Never returns."""
    code = 99
    try:
        settle(place)
        os.dup2(os.open(place / "here/text.txt", os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        from toolkit.cli.app import run

        code = run(arguments)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _judged(status: int, place: Path, before: set[str]) -> str:
    stderr = (place / "stderr").read_bytes().decode("utf-8", "backslashreplace")
    said = [line for line in stderr.splitlines() if line.strip()]
    if status == -signal.SIGALRM:
        return f"still running after {_SECONDS} s"
    if status not in (0, 2):
        return f"ended with {status}: {' / '.join(said[-3:])[:400]}"
    if "Traceback" in stderr:
        return f"a traceback: {said[-1][:300]}"
    errors = [line for line in said if line.startswith("error:")]
    if status == 2 and len(errors) != 1:
        return f"{len(errors)} lines of error: {' / '.join(said)[:300]}"
    for text in (stderr, (place / "stdout").read_bytes().decode("utf-8", "replace")):
        raw = next((one for one in text if ord(one) < 32 and one not in "\n\t\r"), None)
        if raw is not None:
            return f"a raw control character {raw!r} was printed"
    left = [name for name in _names(place) - before if not _may_appear(name)]
    return f"left {sorted(left)[:3]} behind" if left else ""


def _names(place: Path) -> set[str]:
    parts = (place / "here", place / "tmp")
    return {path.relative_to(place).as_posix() for part in parts for path in part.rglob("*")}


def _may_appear(name: str) -> bool:
    if name.startswith(_OF_TORCH):
        return True
    return name.startswith("here/") and name.split("/")[1] in _MAY_APPEAR


def import_all() -> None:
    """Once, before the first child: most of a run's time is that of imports."""
    import scipy  # noqa: F401
    import tokenizers  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    import exporters
    import runtime
    import toolkit.cli

    for package in (toolkit.cli, exporters, runtime):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            with contextlib.suppress(ImportError):  # a program that is carried elsewhere
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # else a child's first collection copies every page of it


if __name__ == "__main__":
    sys.exit(main())
