"""Fuzz: `make fuzz FUZZ_SECONDS=60`, or `python -m tests.fuzz.run --seconds 60 [TARGET ...]`.

Builds the kernel's targets with clang, runs each one on its corpus, and adds what was run to
TOTALS.json. Corpora stay in build/fuzz/corpus and grow from run to run. A crash ends the run with
the input that made it, which stays too.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz import seeds

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TOTALS = HERE / "TOTALS.json"
MOST_BYTES = 256  # of an input: enough for every table that targets draw
# ASan keeps freed memory and stacks, for which small inputs have no use.
ENVIRONMENT = {"ASAN_OPTIONS": "malloc_context_size=4:quarantine_size_mb=16"}


def native_targets() -> list[str]:
    return sorted(path.stem for path in (HERE / "native").glob("fuzz_*.cc"))


def python_targets() -> list[str]:
    return sorted(path.stem for path in (HERE / "python").glob("fuzz_*.py"))


def compiler() -> str:
    """clang++, of any version, the newest first."""
    versions = ["", *(f"-{version}" for version in range(25, 10, -1))]
    found = [f"clang++{version}" for version in versions if shutil.which(f"clang++{version}")]
    if not found:
        sys.exit("clang++ is missing; install clang (Debian: clang libclang-rt-dev)")
    return found[0]


def build(folder: Path) -> None:
    """Every native target, with libFuzzer and sanitizers."""
    folder.mkdir(parents=True, exist_ok=True)
    configure = ["cmake", "-S", str(HERE / "native"), "-B", str(folder)]
    options = [f"-DCMAKE_CXX_COMPILER={compiler()}", "-DCMAKE_BUILD_TYPE=Release"]
    for command in ([*configure, *options], ["cmake", "--build", str(folder), "--parallel"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def command_of(target: str, build_folder: Path) -> list[str]:
    if target in python_targets():
        return [sys.executable, "-m", f"tests.fuzz.python.{target}"]
    return [str(build_folder / target)]


def fuzz(target: str, seconds: int, build_folder: Path, corpus: Path) -> dict[str, float]:
    """Run one target; what libFuzzer says of it."""
    corpus.mkdir(parents=True, exist_ok=True)
    seeds.write(target, corpus)
    crashes = corpus.parent.parent / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    most = seeds.MOST_BYTES.get(target, MOST_BYTES)
    options = [
        *(str(corpus), f"-max_total_time={seconds}", f"-max_len={most}", "-timeout=10"),
        *("-rss_limit_mb=2048", "-entropic=0", "-print_final_stats=1"),
        f"-artifact_prefix={crashes}/{target}-",
    ]
    done = subprocess.run(
        [*command_of(target, build_folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
    )
    if done.returncode:
        sys.stderr.write(done.stdout[-4000:])
        sys.exit(f"{target} crashed; the input is in {crashes}")
    (executed,) = re.findall(r"number_of_executed_units:\s*(\d+)", done.stdout)
    coverage, features = re.findall(r"cov: (\d+) ft: (\d+)", done.stdout)[-1]
    return {
        "executions": int(executed),
        "seconds": round(time.monotonic() - started),
        "coverage": int(coverage),
        "features": int(features),
    }


def add(target: str, run: dict[str, float]) -> None:
    """To the totals: executions and seconds add up; coverage is what the corpus has by now."""
    totals = json.loads(TOTALS.read_text()) if TOTALS.exists() else {}
    before = totals.get(target, {})
    summed = {name: before.get(name, 0) + run[name] for name in ("executions", "seconds")}
    totals[target] = {**run, **summed}
    text = json.dumps(dict(sorted(totals.items())), indent=1) + "\n"
    aside = TOTALS.with_suffix(".new")
    aside.write_text(text)
    aside.replace(TOTALS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="all that there are, without any")
    parser.add_argument("--seconds", type=int, default=60, help="of all targets together")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "fuzz")
    given = parser.parse_args()
    known = [*native_targets(), *python_targets()]
    if not given.targets and not find_spec("atheris"):
        print("no atheris here, so the targets in Python are left out", file=sys.stderr)
        known = native_targets()
    targets = given.targets or known
    if unknown := sorted(set(targets) - set(known)):
        sys.exit(f"no target {unknown[0]}; there are {', '.join(known)}")
    if set(targets) & set(native_targets()):
        build(given.out / "native")
    for target in targets:
        seconds = max(1, given.seconds // len(targets))
        run = fuzz(target, seconds, given.out / "native", given.out / "corpus" / target)
        add(target, run)
        print(f"{target}: {run['executions']:,} executions, coverage {run['coverage']}", flush=True)


if __name__ == "__main__":
    main()
