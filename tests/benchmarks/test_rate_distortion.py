"""The script: a table and figures out, resuming, and one line for what a user got wrong."""

import json

import numpy as np
import pytest
import rate_distortion
from rate_distortion import main


@pytest.fixture
def matrix(tmp_path, gaussian_table):
    path = tmp_path / "table.npy"
    np.save(path, gaussian_table)
    return path


def read(folder):
    return json.loads((folder / "rate_distortion.json").read_text())


def run(matrix, folder, *arguments):
    base = [str(matrix), "--out", str(folder), "--ratios", "8,16", "--methods", "rtn,rotation"]
    return main([*base, *arguments])


def test_a_run_writes_rows_bound_and_environment(matrix, tmp_path, capsys):
    assert run(matrix, tmp_path / "out") == 0
    data = read(tmp_path / "out")
    rows = {row["key"]: row for row in data["rows"]}
    assert {row["method"] for row in data["rows"]} == {"rtn", "rotation"}
    assert rows["rotation 16x"]["ratio"] >= 16
    assert rows["rotation 8x"]["relative_error"] < rows["rotation 16x"]["relative_error"]
    assert rows["rtn #0"]["asked_ratio"] is None
    assert data["environment"]["packages"]["numpy"]
    assert data["table"]["rows"] == 1500
    assert "rotation" in capsys.readouterr().out


def test_a_second_run_measures_only_what_is_missing(matrix, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run(matrix, out) == 0
    first = read(out)["rows"]
    measured = []
    real = rate_distortion.measure_cell
    monkeypatch.setattr(
        rate_distortion, "measure_cell", lambda c, b: measured.append(c.key) or real(c, b)
    )
    assert run(matrix, out) == 0
    assert measured == []
    assert read(out)["rows"] == first
    assert main([str(matrix), "--out", str(out), "--ratios", "8,4", "--methods", "rotation"]) == 0
    assert measured == ["rotation 4x"]
    assert {row["key"] for row in first} < {row["key"] for row in read(out)["rows"]}
    assert run(matrix, out, "--fresh") == 0
    assert len(measured) == 1 + len(first)
    assert run(matrix, out, "--seed", "1") == 0
    assert len(measured) == 1 + 2 * len(first)


def test_a_cell_that_fails_is_a_row_and_is_tried_again(matrix, tmp_path, capsys):
    out = tmp_path / "out"
    for _ in range(2):
        assert (
            main([str(matrix), "--out", str(out), "--ratios", "9,5000", "--methods", "rotation"])
            == 0
        )
        errors = [row["error"] for row in read(out)["rows"] if "error" in row]
        assert len(errors) == 1
        assert errors[0].startswith("CannotFitError")
        assert "CannotFitError" in capsys.readouterr().out


def test_jobs_give_the_same_figures(matrix, tmp_path):
    assert run(matrix, tmp_path / "one") == 0
    assert run(matrix, tmp_path / "two", "--jobs", "2", "--backend", "threading") == 0
    for one, two in zip(
        read(tmp_path / "one")["rows"], read(tmp_path / "two")["rows"], strict=True
    ):
        assert one | {"seconds": 0} == two | {"seconds": 0}


def test_a_picture_is_drawn(matrix, tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install -e '.[bench]'")
    assert run(matrix, tmp_path) == 0
    assert (tmp_path / "rate_distortion.svg").stat().st_size > 10_000
    assert (tmp_path / "rate_distortion.png").read_bytes().startswith(b"\x89PNG")


def test_quick_takes_some_rows(matrix, tmp_path, monkeypatch):
    monkeypatch.setattr(rate_distortion, "_QUICK_ROWS", 100)
    assert run(matrix, tmp_path, "--quick") == 0
    assert read(tmp_path)["table"]["rows"] == 100


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--ratios", "ten"], "'ten'"),
        (["--ratios", "0.5"], "from 1 up"),
        (["--methods", "magic"], "'magic' is unknown"),
        (["--methods", "lighttoken+tokenizer"], "needs --tokenizer"),
        (["--tokenizer", "nowhere.json"], "nowhere.json"),
        (["--pairs", "nowhere.csv"], "--model"),
        (["--pairs", "nowhere.csv", "--model", "."], "nowhere.csv"),
        (["--pairs", "x.csv", "--quick"], "--quick"),
        (["--jobs", "0"], "jobs"),
        (["--seed", "-1"], "seed"),
        (["--backend", "slurm"], "slurm"),
        (["--colour"], "--colour"),
    ],
)
def test_bad_arguments_give_one_line(matrix, tmp_path, capsys, arguments, told):
    assert main([str(matrix), "--out", str(tmp_path / "out"), *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    assert told in lines[0]


def test_a_matrix_that_is_not_there_gives_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none.npy")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_backend_that_is_not_installed_gives_one_line(matrix, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray.util.joblib", None)
    assert run(matrix, tmp_path, "--jobs", "2", "--backend", "ray") == 2
    assert "backend ray is not installed" in capsys.readouterr().err


def test_a_damaged_report_gives_one_line(matrix, tmp_path, capsys):
    (tmp_path / "rate_distortion.json").write_text("{")
    assert run(matrix, tmp_path) == 2
    assert "damaged" in capsys.readouterr().err


def test_ablations_run_in_place_of_the_rivals(matrix, tmp_path):
    out = tmp_path / "out"
    names = "lighttoken,no row_counts,every row alike"
    arguments = [str(matrix), "--out", str(out), "--ratios", "24", "--ablations"]
    assert main([*arguments, "--methods", names]) == 0
    rows = {row["method"]: row for row in read(out)["rows"]}
    assert set(rows) == set(names.split(","))
    alike = rows["every row alike"]
    assert alike["relative_error"] < rows["lighttoken"]["relative_error"]
    assert alike["weighted_error"] > rows["lighttoken"]["weighted_error"]
    assert not (out / "rate_distortion.svg").exists()
