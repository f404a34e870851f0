"""The fuzz targets: each is known where it must be, and takes its seeds."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fuzz import run, seeds
from tests.fuzz.run import native_targets, python_targets

ROOT = Path(__file__).parents[2]
OSS_FUZZ = Path(__file__).parent / "oss-fuzz"
ALL = [*native_targets(), *python_targets()]


def test_there_are_targets_for_what_reads_bytes():
    assert {"fuzz_read", "fuzz_load", "fuzz_lookup", "fuzz_head"} <= set(native_targets())
    assert python_targets() == ["fuzz_manifest", "fuzz_table_file"]


def test_every_target_has_been_run_and_its_totals_are_here():
    totals = json.loads(run.TOTALS.read_text())
    assert sorted(totals) == sorted(ALL)
    assert all(each["executions"] > 0 and each["coverage"] > 0 for each in totals.values())


@pytest.mark.parametrize("target", ALL)
def test_seeds_are_the_same_each_time_and_small(target):
    found = seeds.of(target)
    assert found
    assert found == seeds.of(target)
    assert max(map(len, found.values())) <= seeds.MOST_BYTES.get(target, run.MOST_BYTES)


def test_seeds_of_python_targets_are_sound(tmp_path):
    from toolkit.bundle.manifest import MANIFEST_NAME, read_manifest
    from toolkit.table.embedding import CompressedEmbedding

    for content in seeds.table_files().values():
        (tmp_path / "table").write_bytes(content)
        assert CompressedEmbedding.load(tmp_path / "table").rows == 6
    for content in seeds.manifests().values():
        (tmp_path / MANIFEST_NAME).write_bytes(content)
        assert read_manifest(tmp_path).rows == 6


def test_totals_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "TOTALS", tmp_path / "TOTALS.json")
    for executions in (5, 7):
        once = {"executions": executions, "seconds": 2, "coverage": executions, "features": 9}
        run.add("fuzz_read", once)
    assert json.loads(run.TOTALS.read_text()) == {
        "fuzz_read": {"executions": 12, "seconds": 4, "coverage": 7, "features": 9}
    }


def test_the_folder_for_oss_fuzz_builds_every_target():
    """By patterns, which every target's name fits."""
    script = (OSS_FUZZ / "build.sh").read_text()
    patterns = re.findall(r"tests/fuzz/\S*fuzz_\*\.\w+", script)
    matched = {path.stem for pattern in patterns for path in ROOT.glob(pattern)}
    assert matched == set(ALL)
    assert os.access(OSS_FUZZ / "build.sh", os.X_OK)
    assert (OSS_FUZZ / "Dockerfile").read_text().startswith("FROM gcr.io/oss-fuzz-base/")
    assert "language: c++" in (OSS_FUZZ / "project.yaml").read_text()


@pytest.fixture
def clang():
    try:
        return shutil.which(run.compiler())
    except SystemExit as missing:
        pytest.skip(str(missing))


@pytest.mark.slow
def test_oss_fuzz_builds_here(tmp_path, clang):
    """With the variables that its container sets; each target then takes its seed corpus."""
    (tmp_path / "out").mkdir()
    sanitizers = "-fsanitize=address,undefined -fsanitize=fuzzer-no-link"
    variables = {
        "SRC": str(ROOT.parent),
        "OUT": str(tmp_path / "out"),
        "WORK": str(tmp_path / "work"),
        "CXX": clang,
        "CXXFLAGS": f"-O1 -gline-tables-only {sanitizers}",
        "LIB_FUZZING_ENGINE": "-fsanitize=fuzzer",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    script = str(OSS_FUZZ / "build.sh")
    subprocess.run(["bash", script], cwd=ROOT, env=os.environ | variables, check=True)
    for target in native_targets():
        with zipfile.ZipFile(tmp_path / "out" / f"{target}_seed_corpus.zip") as file:
            file.extractall(tmp_path / target)
        done = subprocess.run(
            [tmp_path / "out" / target, "-runs=0", tmp_path / target],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"{seeds.COUNT} files found" in done.stderr
