import json

import pytest

from runtime.devices.join import device_job, join
from runtime.devices.results import KIND, SCHEMA, read_results
from runtime.profile.measure.launch import Launcher
from runtime.profile.measure.rounds import profile
from runtime.profile.places import find_place
from runtime.profile.report.report import MEASURED, WRONG
from toolkit.errors import InputError

FEW = {"runs": 2, "warmup": 0, "repeats": 1, "lengths": (3,)}


@pytest.fixture(scope="module")
def answered():
    """``answered(path)``: what a device of this very kind answers to its job."""

    def run(path):
        job = device_job(path, [(1, 3)], provider="CPUExecutionProvider", threads=1, runs=2)
        with Launcher(60) as launcher:
            answer = launcher.run(find_place("cpu"), job).answer
        return job, {"runtime": answer.runtime, "outputs": answer.outputs}

    return run


@pytest.fixture
def results(tmp_path):
    """``results(subject, *answers)``, as read from a file."""

    def write(subject, *answers):
        path = tmp_path / "results.json"
        data = {
            "kind": KIND,
            "schema": SCHEMA,
            "place": "android",
            "subject": subject,
            "environment": {
                "system": "Android 15",
                "machine": "a phone",
                "cores": 8,
                "memory_bytes": 1,
            },
            "answers": [{"measure": measure, "answer": answer} for measure, answer in answers],
        }
        path.write_text(json.dumps(data))
        return read_results(path)

    return write


def timed(load):
    return "time", {"runtime": "onnxruntime 9", "figures": {"load_ms": load}}


def test_a_device_joins_the_report(bundle, answered, results):
    _, values = answered(bundle)
    report = profile(bundle, **FEW)
    joined = join(report, [results("bundle", ("values", values), timed(3.0), timed(5.0))], [bundle])
    assert joined.places == ("cpu", "android")
    assert joined.measurements[0] == report.measurements[0]
    there = joined.measurement("bundle", "android")
    assert (there.status, there.parity.error) == (MEASURED, 0)
    assert there.figures["load_ms"].values == (3.0, 5.0)
    assert there.environment.machine == "a phone"
    assert "a phone" in there.note


def test_wrong_outputs_of_a_device_leave_no_figures(bundle, answered, results):
    _, values = answered(bundle)
    name, output = next(iter(values["outputs"].items()))
    broken = {**values, "outputs": {name: {**output, "dims": [1]}}}
    report = profile(bundle, **FEW)
    joined = join(report, [results("bundle", ("values", broken), timed(3.0))], [bundle])
    there = joined.measurement("bundle", "android")
    assert (there.status, there.figures) == (WRONG, {})


def test_outputs_that_did_not_come_back_are_told(bundle, results):
    report = profile(bundle, **FEW)
    there = join(report, [results("bundle", timed(3.0))], [bundle]).measurement("bundle", "android")
    assert there.status == MEASURED
    assert there.parity is None
    assert "its outputs did not come back" in there.note


def test_devices_are_compared_with_one_another(bundle, tmp_path, tiny, results):
    other = tiny.model(tmp_path / "o.onnx", tiny.graphs["feature-extraction"], tiny.table())
    report = profile(bundle, [other], **FEW)
    ours, theirs = results("bundle", timed(2.0)), results("o.onnx", timed(8.0))
    joined = join(report, [ours, theirs], [bundle, other])
    assert joined.comparisons[-1].place == "android"
    assert joined.comparisons[-1].ratios == {"load_ms": 0.25}


def test_results_of_another_model(bundle, results):
    report = profile(bundle, **FEW)
    with pytest.raises(InputError, match="results are of 'else', which is none of bundle"):
        join(report, [results("else", timed(1.0))], [bundle])


def test_a_job_for_a_device_has_ids_to_compare(bundle):
    job = device_job(bundle, [(1, 3), (2, 5)], provider="X", threads=2, runs=7)
    assert (job.provider, job.threads, job.runs, job.rows) == ("X", 2, 7, 10)
    assert job.grid == ((1, 3), (2, 5))
    assert [len(row) for row in job.ids] == [16]
    assert all(0 <= token < 10 for token in job.ids[0])
