"""The lookup benchmark runs, checks what it times, and would notice a wrong row."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "lookup.py"


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    path = tmp_path_factory.mktemp("lookup") / "table.npy"
    np.save(path, np.random.default_rng(0).normal(size=(600, 32)).astype(np.float32))
    return path


def run(*arguments):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_way_is_timed_at_every_length(matrix):
    done = run(matrix, "--quick", "--runs", 3, "--lengths", "1,9", "--ratio", 6, "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert [row["tokens"] for row in results] == sorted(row["tokens"] for row in results)
    names = {row["model"] for row in results}
    assert {"dense Gather", "float graph", "MatMulInteger graph"} <= names
    assert len(results) == 2 * len(names)
    assert all(row["microseconds"] > 0 for row in results)
    assert ("native kernel" in names) != ("the kernel is not built" in done.stderr)


def test_ids_come_from_a_text(matrix, tmp_path):
    tokenizer = Tokenizer(WordLevel({"<unk>": 0, "a": 7, "b": 599}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "text").write_text("a b a b b a")
    given = ("--text", tmp_path / "text", "--tokenizer", tmp_path / "tokenizer.json")
    short = ("--quick", "--runs", 3, "--ratio", 6)
    done = run(matrix, *given, *short, "--lengths", "4", "--json")
    assert done.returncode == 0, done.stderr
    assert {row["distinct"] for row in json.loads(done.stdout)["results"]} == {2}
    done = run(matrix, *given, *short, "--lengths", "7")
    assert done.returncode == 1
    assert "has 6 tokens, a call 7" in done.stderr


def test_a_wrong_row_ends_the_run(matrix, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import lookup

    table = np.load(matrix)
    embedding = lookup.compress(table, lookup.Budget(ratio=6))
    found = lookup.subjects(embedding, table)
    ids = np.arange(20)[None]
    lookup.check(found, embedding, table, ids)
    with pytest.raises(SystemExit, match="dense Gather decodes other rows"):
        lookup.check(found, embedding, table + 1, ids)


def test_a_missing_matrix_is_one_line(tmp_path):
    done = run(tmp_path / "none.npy")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
