"""Calls in this process, in two others, in one that dies, and by backends that are not here."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from toolkit.errors import InputError, MissingDependencyError
from toolkit.jobs import Workers, run_jobs

TWO = Workers(2)


def square(number, plus):
    return number * number + plus


def process(number):
    Path(tempfile.mkdtemp(), "left").write_text("behind")
    return os.getpid(), tempfile.gettempdir()


def dies(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fails(number):
    raise KeyError(number)


def test_one_worker_is_this_process():
    assert list(run_jobs(square, [1, 2, 3], Workers(), shared=(1,))) == [2, 5, 10]
    assert {pid for pid, _ in run_jobs(process, [1, 2], Workers())} == {os.getpid()}


@pytest.mark.parametrize("workers", [TWO, Workers(2, "threading")], ids=lambda one: one.backend)
def test_two_workers_give_every_result(workers):
    assert sorted(run_jobs(square, [1, 2, 3], workers, shared=(1,))) == [2, 5, 10]


def test_processes_leave_nothing_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = list(run_jobs(process, range(4), TWO))
    assert os.getpid() not in {pid for pid, _ in found}
    assert all(Path(place).is_relative_to(tmp_path) for _, place in found)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_dies_costs_its_own_item_alone():
    found = list(run_jobs(dies, range(6), TWO, died=lambda number: -number))
    assert sorted(found) == [-3, 0, 1, 2, 4, 5]


def test_nothing_is_imported_from_the_current_folder(tmp_path):
    for name in ("joblib", "numpy", "toolkit"):
        (tmp_path / f"{name}.py").write_text("import pathlib; pathlib.Path('imported').touch()")
    code = "from toolkit.jobs import *; print(sum(run_jobs(abs, range(4), Workers(2))))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("6\n", "")
    assert not (tmp_path / "imported").exists()


def test_an_error_of_a_call_is_raised():
    with pytest.raises(KeyError):
        list(run_jobs(fails, [1, 2], TWO))


def test_who_stops_early_ends_the_workers():
    jobs = run_jobs(square, range(100), TWO, shared=(0,))
    next(jobs)
    jobs.close()
    assert sorted(run_jobs(square, [1, 2], TWO, shared=(0,))) == [1, 4]


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed"), ("ray", "ray.util")])
def test_a_backend_that_is_not_installed_is_one_line(monkeypatch, backend, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=f"backend {backend} is not installed; pip"):
        next(run_jobs(square, [1], Workers(2, backend)))


def test_what_cannot_be_is_one_line():
    with pytest.raises(InputError, match="at least 1, got 0"):
        Workers(0)
    with pytest.raises(InputError, match="'x:1' is for dask and ray, not for loky"):
        Workers(2, "loky", "x:1")
