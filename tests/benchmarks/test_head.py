"""The head benchmark runs, compares what it times, and says what it could not time."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "head.py"


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    path = tmp_path_factory.mktemp("head") / "table.npy"
    np.save(path, np.random.default_rng(0).normal(size=(600, 32)).astype(np.float32))
    return path


def run(*arguments):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("warm", [(), ("--warm",)])
def test_every_head_is_timed_and_compared(matrix, warm):
    done = run(matrix, "--quick", "--runs", 3, "--lengths", "1,9", "--ratio", 4, "--json", *warm)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    heads = [row["head"] for row in results]
    assert heads[: len(heads) // 2] == heads[len(heads) // 2 :]
    assert {row["states"] for row in results} == {1, 9}
    by_name = {row["head"]: row for row in results}
    dense, graph = by_name["dense MatMul, fp32"], by_name["packed, standard graph"]
    assert dense["of_dense"] == 1
    assert dense["bytes"] == 600 * 32 * 4
    assert graph["bytes"] < dense["bytes"] / 3
    for exact in (dense, graph):
        assert exact["error"] < 1e-5
        assert exact["top1"] == 1
    native = "packed, additive, native kernel"
    assert (native in by_name) != ("the kernel is not built" in done.stderr)
    if native in by_name:
        assert by_name[native]["top1"] == 1
        assert 0 < by_name[native]["error"] < 0.05
    assert 0 < by_name["MatMulNBits, int4, block 32"]["error"] < 0.2


def test_a_wrong_logit_is_seen(matrix, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import head

    table = np.load(matrix)
    embedding = head.compress(table, head.Budget(ratio=4))
    found = head.subjects({"packed": embedding}, table)
    states = head.draw_states(table, 60, np.random.default_rng(0))
    assert head.check(found[0], table, states).error < 1e-5
    wrong = head.check(found[0], np.roll(table, 1, axis=0), states)
    assert wrong.error > 0.5
    assert wrong.top1 < 0.5


def test_a_missing_matrix_is_one_line(tmp_path):
    done = run(tmp_path / "none.npy")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
