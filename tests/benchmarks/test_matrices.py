"""The contest on made-up matrices: figures that come from the methods, and files of them."""

import json

import matrices
import numpy as np
import pytest
from click.testing import CliRunner


def test_a_contest_tells_the_best_rival_from_the_others(monkeypatch):
    pytest.importorskip("faiss")  # its codebooks are rivals
    table = np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32)
    outcome = matrices.contest("tiny", table, 8, 0)
    assert 0 < outcome.error < 1
    assert outcome.rival in matrices._RIVALS
    alone = {outcome.rival: matrices._RIVALS[outcome.rival]}
    monkeypatch.setattr(matrices, "_RIVALS", alone)
    assert matrices.contest("tiny", table, 8, 0).rival_error == outcome.rival_error


def test_every_matrix_is_finite_and_two_dimensional():
    for name, make in matrices.MATRICES.items():
        table = make()
        assert table.ndim == 2, name
        assert np.isfinite(table).all(), name


def test_the_script_writes_a_row_for_each_contest(tmp_path):
    pytest.importorskip("faiss")  # its codebooks are rivals
    arguments = ["--matrices", "small (512 x 64)", "--ratios", "6,12", "--out", str(tmp_path)]
    result = CliRunner().invoke(matrices.command, arguments)
    assert result.exit_code == 0, result.output
    data = json.loads((tmp_path / "matrices.json").read_text())
    assert [row["ratio"] for row in data] == [6, 12]
    assert data[0]["error"] < data[1]["error"]
    assert (tmp_path / "matrices.md").read_text().count("small (512 x 64)") == 2


def test_an_unknown_matrix_is_one_line():
    result = CliRunner().invoke(matrices.command, ["--matrices", "cube"])
    assert result.exit_code != 0
    assert "no matrix 'cube'" in result.output
