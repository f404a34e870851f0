"""Sweeps of tiny models: results, going on, what fails, what is ended, what is in the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from toolkit.bundle.manifest import read_manifest
from toolkit.locks import only_one

MAIN = "from toolkit.cli.app import main; main()"


def read(out: Path) -> dict:
    return json.loads((out / "sweep.json").read_text())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_twelve_cells_on_two_workers(lighttoken, plan, tiny_models, tmp_path: Path):
    file = plan(models=tiny_models, ratio=[4, 5, 6], weights=["fp32", "int8"])
    outcome = lighttoken("sweep", file, tmp_path / "out", "--workers", 2)
    assert outcome.code == 0, outcome.err
    cells = read(tmp_path / "out")["cells"]
    tried = [
        (cell["model"], cell["settings"]["ratio"], cell["settings"]["weights"]) for cell in cells
    ]
    assert tried == [(m, r, w) for m in tiny_models for r in (4, 5, 6) for w in ("fp32", "int8")]
    assert all(cell["export"]["ratio"] >= cell["settings"]["ratio"] for cell in cells)
    by_setting = {key[1:]: cell["bundle_bytes"] for key, cell in zip(tried, cells, strict=True)}
    assert by_setting[4, "fp32"] > by_setting[6, "fp32"] > by_setting[6, "int8"] > 0
    cosines = [figure["score"]["value"] for figure in cells[0]["evaluation"]["figures"]]
    assert all(0.5 < cosine <= 1.0001 for cosine in cosines)
    assert names(tmp_path / "out") == [
        ".lighttoken-sweep", "cells", "sweep.json", "sweep.md", "sweep.svg"
    ]  # fmt: skip
    assert len(names(tmp_path / "out" / "cells")) == 12
    assert "everywhere: effort=fast" in outcome.out
    assert "first.onnx, original" in outcome.out
    table = (tmp_path / "out" / "sweep.md").read_text()
    assert table.count("\n| second.onnx | ") == 6
    assert "| model | ratio | weights | bundle | model alone | table | cosine, mean |" in table
    assert "12/12" in outcome.err


def test_a_second_call_runs_what_is_missing(lighttoken, plan, ran, tmp_path: Path):
    out = tmp_path / "out"
    assert lighttoken("sweep", plan(ratio=[4, 6]), out).code == 0
    assert [cell["ratio"] for cell in ran] == [4, 6]
    first = read(out)
    ran.clear()
    again = lighttoken("sweep", plan(ratio=[4.0, "6"], weights="fp32"), out)
    assert again.code == 0
    assert ran == []
    assert "2 of 2 cells are there from before" in again.err
    assert [cell["bundle_bytes"] for cell in read(out)["cells"]] == [
        cell["bundle_bytes"] for cell in first["cells"]
    ]
    assert lighttoken("sweep", plan(ratio=[6, 5]), out).code == 0
    assert [cell["ratio"] for cell in ran] == [5]
    assert [cell["settings"]["ratio"] for cell in read(out)["cells"]] == [6, 5]
    assert len(names(out / "cells")) == 3
    ran.clear()
    (tmp_path / "text.txt").write_text("the rain\na cat\n" * 20)
    assert lighttoken("sweep", plan(ratio=[6]), out).code == 0
    assert [cell["ratio"] for cell in ran] == [6]


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "wrong", "figures"])
def test_a_damaged_result_is_run_again(lighttoken, plan, ran, tmp_path: Path, damage):
    out, file = tmp_path / "out", plan(ratio=4)
    assert lighttoken("sweep", file, out).code == 0
    (cell,) = (out / "cells").iterdir()
    text, whole = cell.read_text(), json.loads(cell.read_text())
    cell.write_text(
        {
            "cut": text[: len(text) // 2],
            "empty": "",
            "other": json.dumps(whole | {"identity": "0" * 64}),
            "wrong": json.dumps(whole | {"bundle_bytes": "many"}),
            "figures": json.dumps(whole | {"export": {}}),
        }[damage]
    )
    ran.clear()
    assert lighttoken("sweep", file, out).code == 0
    assert len(ran) == 1
    assert json.loads(cell.read_text())["bundle_bytes"] == whole["bundle_bytes"]


def test_a_cell_that_fails_is_told_and_tried_again(lighttoken, plan, ran, tmp_path: Path):
    out, file = tmp_path / "out", plan(ratio=[900, 4])
    for _ in range(2):
        outcome = lighttoken("sweep", file, out)
        assert outcome.code == 2
        last = outcome.err.splitlines()[-1]
        assert last.startswith("error: 1 of 2 cells failed; read why in ")
        assert "failed: first.onnx ratio=900: " in outcome.out
        failed, done = read(out)["cells"]
        assert "nearest" in failed["error"]
        assert done["error"] is None
        assert "## Failed" in (out / "sweep.md").read_text()
    assert [cell["ratio"] for cell in ran] == [900, 4, 900]
    told = lighttoken("sweep", file, out, "--json")
    assert told.code == 2
    assert told.json == read(out)


def test_a_bug_in_one_cell_is_its_own(lighttoken, plan, monkeypatch, tmp_path: Path):
    import exporters

    real = exporters.export

    def export(source, out, budget, **given):
        if budget.ratio == 4:
            raise RuntimeError("what nobody\nexpects")
        return real(source, out, budget, **given)

    monkeypatch.setattr(exporters, "export", export)
    outcome = lighttoken("sweep", plan(ratio=[4, 5]), tmp_path / "out")
    assert outcome.code == 2
    errors = [cell["error"] for cell in read(tmp_path / "out")["cells"]]
    assert errors == ["unexpected RuntimeError: what nobody", None]


def test_bundles_are_kept_where_that_is_asked_for(lighttoken, plan, ran, tmp_path: Path):
    out, file = tmp_path / "out", plan(ratio=[4, 5])
    assert lighttoken("sweep", file, out).code == 0
    assert not (out / "bundles").exists()
    ran.clear()
    assert lighttoken("sweep", file, out, "--keep").code == 0
    assert len(ran) == 2
    kept = names(out / "bundles")
    assert [name[: len("first.onnx-effort-fast-ratio-4")] for name in kept] == [
        "first.onnx-effort-fast-ratio-4", "first.onnx-effort-fast-ratio-5"
    ]  # fmt: skip
    assert read_manifest(out / "bundles" / kept[0]).footprint.ratio >= 4
    shutil.rmtree(out / "bundles" / kept[1])
    ran.clear()
    assert lighttoken("sweep", file, out, "--keep").code == 0
    assert [cell["ratio"] for cell in ran] == [5]
    assert names(out / "bundles") == kept


def test_exports_alone(lighttoken, plan, tmp_path: Path):
    outcome = lighttoken("sweep", plan(ratio=4, evaluate=None), tmp_path / "out", "--json")
    assert outcome.code == 0
    assert outcome.json["cells"][0]["evaluation"] is None
    assert not (tmp_path / "out" / "sweep.svg").exists()


def test_a_folder_is_exported_once_and_compared(lighttoken, plan, tiny_model, tmp_path: Path):
    from exporters.sources import to_onnx

    calls = []
    real = to_onnx.export_onnx
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_onnx, "export_onnx", lambda *a, **k: calls.append(a) or real(*a, **k))
        file = plan(models=[str(tiny_model)], ratio=4)
        outcome = lighttoken("sweep", file, tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    assert len(calls) == 1
    evaluation = outcome.json["cells"][0]["evaluation"]
    assert evaluation["models"][0]["name"] == "original"
    assert evaluation["notes"] == []


def test_a_cell_that_repeats_another_is_run_once(lighttoken, plan, tiny_models, ran, tmp_path):
    file = plan(models=[tiny_models[0]] * 2, ratio=[4, 4.0])
    outcome = lighttoken("sweep", file, tmp_path / "out")
    assert outcome.code == 0
    assert len(ran) == 1
    assert "3 cells repeat others, which are run once" in outcome.err


def test_two_sweeps_in_one_folder(fails, plan, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    with only_one(out / ".lighttoken-sweep", ""):
        assert "another sweep works in" in fails("sweep", plan(ratio=4), out)


def test_a_folder_of_something_else_is_left_as_it_is(fails, plan, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sweep.md").write_text("mine")
    assert "holds files of something else" in fails("sweep", plan(ratio=4), tmp_path / "mine")
    assert (tmp_path / "mine" / "sweep.md").read_text() == "mine"
    assert "is no folder" in fails("sweep", plan(ratio=4), tmp_path / "text.txt")
    assert "create it first" in fails("sweep", plan(ratio=4), tmp_path / "no" / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lighttoken-sweep").touch()
    (tmp_path / "out" / "cells").symlink_to(tmp_path / "mine")
    assert "is no folder of a sweep" in fails(
        "sweep", plan(ratio=4, weights="int8"), tmp_path / "out"
    )
    assert names(tmp_path / "mine") == ["sweep.md"]


@pytest.mark.parametrize("missing", ["joblib", "matplotlib", "yaml"])
def test_a_missing_library_names_the_extra(fails, plan, monkeypatch, tmp_path: Path, missing):
    from toolkit import extras

    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == missing else real(name))
    line = fails("sweep", plan(ratio=4), tmp_path / "out")
    assert line.endswith("is not installed; pip install 'lighttoken[sweep]'")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_signal_ends_workers_and_the_rest_goes_on(
    lighttoken, plan, ran, tmp_path, number, workers
):
    """What was done is kept; nobody runs on, and nothing is left in the temporary folder."""
    out, file = tmp_path / "out", plan(ratio=[4, 4.5, 5, 5.5, 6, 6.5])
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "sweep", file, out, "--workers", str(workers)],
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp"), "XDG_CACHE_HOME": str(tmp_path / "c")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        until = time.monotonic() + 240
        while not list((out / "cells").glob("*.json")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.01)
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, number)  # as a terminal does
        told, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    *lines, last = err.strip().splitlines()
    assert process.returncode == (2 if number == signal.SIGINT else 143)
    assert last.startswith(
        "error: interrupted; " if number == signal.SIGINT else "error: stopped; "
    )
    assert last.endswith(" of 6 cells, run again to go on")
    assert all("done in" in line for line in lines if line), err
    assert told == ""
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert names(tmp_path / "tmp") == []
    done = len(names(out / "cells"))
    assert 1 <= done < 6
    assert lighttoken("sweep", file, out).code == 0
    assert len(ran) == 6 - done
