"""An exporter in a process of its own: what it makes, what it refuses, how it dies."""

import signal
import sys
from dataclasses import replace

import pytest

from exporters import export
from exporters.sources import apart, to_onnx
from exporters.sources.apart import Job, in_own_process
from exporters.sources.facts import read_facts
from toolkit import Budget
from toolkit.errors import InputError
from toolkit.files import sha256

DIES = "import os; os.kill(os.getpid(), {})"


@pytest.fixture
def job(tiny_folder, tmp_path):
    folder = tiny_folder("BertModel")
    out = tmp_path / "made"
    out.mkdir()
    return Job("dynamo", folder, read_facts(folder), "feature-extraction", out, False, False)


@pytest.fixture
def dying(monkeypatch):
    """``dying(signal)``: the process dies of it at once."""
    monkeypatch.setattr(to_onnx, "in_own_process", in_own_process)
    monkeypatch.setattr(to_onnx, "has_optimum", lambda: False)

    def die(number):
        command = (sys.executable, "-c", DIES.format(int(number)))
        monkeypatch.setattr(apart, "_COMMAND", command)

    return die


def test_it_makes_what_this_process_makes(job, tmp_path):
    in_own_process(job)
    here = tmp_path / "here"
    here.mkdir()
    to_onnx.export_here(replace(job, out=here))
    for name in ("model.onnx", "model.onnx.data"):
        assert sha256(job.out / name) == sha256(here / name)


def test_its_refusal_comes_through(job, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    with pytest.raises(InputError, match=r"torch\.onnx\.export cannot take") as error:
        in_own_process(replace(job, folder=tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGSEGV, "the dynamo exporter died of SIGSEGV on BertModel"),
        (signal.SIGKILL, "the dynamo exporter was killed, as happens where memory runs out, on"),
    ],
)
@pytest.mark.usefixtures("made_anew")
def test_a_death_is_told_in_one_line_and_leaves_nothing(job, dying, tmp_path, number, told):
    dying(number)
    job.out.rmdir()
    with pytest.raises(InputError, match=told):
        export(str(job.folder), tmp_path / "out", Budget(ratio=6))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("made_anew")
def test_a_death_does_not_keep_the_other_road_from_being_tried(job, monkeypatch):
    tried = []

    def die(one):
        tried.append(one.road)
        raise InputError(f"the {one.road} exporter died")

    monkeypatch.setattr(to_onnx, "in_own_process", die)
    monkeypatch.setattr(to_onnx, "has_optimum", lambda: True)
    with pytest.raises(InputError, match="the optimum exporter died; before, the dynamo exporter"):
        to_onnx.export_onnx(
            job.folder, job.facts, job.out, "auto", trust_remote_code=False, with_past=False
        )
    assert tried == ["dynamo", "optimum"]
