import base64
import dataclasses
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from rich.console import Console

from runtime.profile import places as places_module
from runtime.profile.measure import cell as cell_module
from runtime.profile.measure.disk import drop, read_afresh
from runtime.profile.measure.job import Answer, Job
from runtime.profile.measure.launch import Launcher
from runtime.profile.measure.parity import compare
from runtime.profile.measure.rounds import profile
from runtime.profile.measure.watch import Watch, timeline
from runtime.profile.model import read_models
from runtime.profile.places import PLACES, Place, find_place
from runtime.profile.report.report import (
    FAILED,
    FUNCTION_ONLY,
    MEASURED,
    SCHEMA,
    WRONG,
    Comparison,
    Measurement,
    Statistic,
    metrics,
)
from runtime.profile.report.terminal import render
from toolkit.errors import FormatError, InputError
from toolkit.graph.files import model_files

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MB = 1_000_000
FEW = {"runs": 3, "warmup": 1, "repeats": 1, "lengths": (2,)}


def measured(name, **figures):
    return Measurement(
        name, "cpu", MEASURED, figures={k: Statistic.of(v) for k, v in figures.items()}
    )


def shown(report, **options):
    console = Console(width=220, record=True, file=io.StringIO())
    console.print(render(report, **options))
    return console.export_text()


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A model whose weights, inside the file, take 40 MB; it uses them all."""
    path = tmp_path_factory.mktemp("big") / "big.onnx"
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64[b,s] input_ids) => (float[b,s,1000] y) { y = Gather(table, input_ids) }""")
    values = np.ones((10_000, 1000), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "table"))
    onnx.save(model, path)
    return path


@pytest.fixture
def place(monkeypatch):
    """``place(word, **changes)``: the CPU under another name, as if it were another place."""

    def make(word, **changes):
        cpu = find_place("cpu")
        there = dataclasses.replace(cpu, word=word, measures=("time",), **changes)

        def find(name):
            return there if name == word else cpu

        monkeypatch.setattr(sys.modules["runtime.profile.measure.rounds"], "find_place", find)
        return there

    return make


def test_profile_of_a_bundle_beside_other_models(tmp_path, bundle, tiny, big):
    small = tiny.model(tmp_path / "small.onnx", tiny.graphs["feature-extraction"], tiny.table())
    seen = []
    report = profile(
        bundle,
        [big, small],
        lengths=(2, 5),
        batches=(1, 2),
        runs=4,
        warmup=1,
        repeats=2,
        progress=lambda share, what: seen.append((share, what)),
    )

    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    times = [what.split()[0] for _, what in seen if what.endswith("time")]
    there = ["bundle", "big.onnx", "small.onnx"]
    assert times == there + there[::-1]

    assert [subject.name for subject in report.subjects] == there
    for one in report.measurements:
        assert (one.status, one.place) == (MEASURED, "cpu")
        assert one.parity.error <= one.parity.limit
        figures = one.figures
        assert figures.keys() <= {metric.name for metric in metrics(report.grid)}
        if sys.platform == "linux":
            assert {
                "load_mapped_bytes",
                "peak_rss_bytes",
                "unmapped_peak_rss_bytes",
            } <= figures.keys()
        # The system may keep pages that it was asked to drop; the round then has no cold load.
        assert all(
            len(f.values) == 2 for name, f in figures.items() if not name.startswith("cold_")
        )
        assert all(f.low <= f.median <= f.high for f in figures.values())
        for round_ in range(2):
            at = {
                name: figure.values[round_]
                for name, figure in figures.items()
                if not name.startswith("cold_")
            }
            assert 0 < at["load_ms"] < at["first_result_ms"]
            assert at["peak_rss_bytes"] >= at["load_peak_rss_bytes"] >= 0
            for point in ("1x2", "1x5", "2x2", "2x5"):
                assert 0 < at[f"latency_{point}_p50_ms"] <= at[f"latency_{point}_p99_ms"]

    disk = [one.figures["disk_bytes"].median for one in report.measurements]
    stored = sum((bundle / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert disk == [stored, big.stat().st_size, small.stat().st_size]
    for subject, size in zip(report.subjects, disk, strict=True):
        assert sum(subject.parts.values()) == size
    # Forty million bytes of ones pack well.
    assert report.measurements[1].figures["download_bytes"].median < MB
    # The 40 MB of weights are the difference, of which the bundle has nothing.
    assert report.measurements[1].figures["steady_rss_bytes"].median > 40 * MB
    assert report.measurements[0].figures["steady_rss_bytes"].median < 20 * MB

    first, second = report.comparisons
    assert (first.against, second.against) == ("big.onnx", "small.onnx")
    assert first.ratios["disk_bytes"] == pytest.approx(disk[0] / disk[1])
    assert first.ratios["steady_rss_bytes"] < 0.5

    data = json.loads(json.dumps(report.to_dict()))
    assert (data["schema"], data["kind"]) == (SCHEMA, "lighttoken profile")
    assert data["environment"]["onnxruntime"]
    assert data["text_tokens"] == 0
    load = report.measurements[0].figures["load_ms"].median
    assert data["measurements"][0]["figures"]["load_ms"]["median"] == load

    text = shown(report)
    assert "to big.onnx" in text
    assert "latency, 2 x 5 tokens, p95" in text
    assert "p99" not in text
    assert f"{first.ratios['disk_bytes']:.3f}" in text
    assert "latency, 2 x 5 tokens, p99" in shown(report, everything=True)


@LINUX
def test_memory_over_time_is_seen_from_outside(big):
    for _ in range(3):  # who watches may miss a short peak where other tests take the cores
        one = profile(big, **FEW).measurements[0]
        assert [stage for _, stage in one.timeline.marks] == ["load", "first", "steady"]
        at = [ms for ms, _ in one.timeline.points]
        assert at == sorted(at)
        most = max(size for _, size in one.timeline.points)
        # The process's own word for it, by another counter of the system.
        told = pytest.approx(one.figures["peak_rss_bytes"].median, rel=0.03, abs=2 * MB)
        if most == told:
            break
    assert most == told


def test_a_bundle_alone_on_real_text(bundle):
    report = profile(bundle, lengths=[3], runs=2, warmup=0, repeats=1, texts=["red sea", "sky"])
    assert len(report.subjects) == 1
    assert report.comparisons == ()
    assert report.text_tokens == 7


def test_a_graph_of_fixed_shape_is_measured_at_it(tmp_path, bundle, tiny):
    graph = tiny.graphs["feature-extraction"].replace("[b,s", "[1,6")
    path = tiny.model(tmp_path / "m.onnx", graph, tiny.table())
    report = profile(bundle, [path], **{**FEW, "lengths": (2, 6), "batches": (1, 3)})
    figures = report.measurements[1].figures
    assert [name for name in figures if name.endswith("p50_ms")] == ["latency_1x6_p50_ms"]


def test_where_shapes_have_to_be_fixed_each_point_has_a_session(bundle, place):
    place("nnapi", static=True)
    report = profile(bundle, places=["nnapi"], **{**FEW, "lengths": (2, 5)})
    assert {"latency_1x2_p50_ms", "latency_1x5_p50_ms"} <= report.measurements[0].figures.keys()


def test_wrong_values_are_not_timed(bundle, place, monkeypatch):
    place("nnapi")
    monkeypatch.setattr(cell_module, "compare", lambda *_: cell_module.OutputCheck(0.3, 1e-4))
    report = profile(bundle, places=["nnapi", "cpu"], **FEW)
    for one in report.measurements:
        assert one.status == WRONG
        assert one.figures == {}
        assert "differ by 0.3" in one.note
    assert "wrong values" in shown(report)


def test_what_fails_in_the_middle_leaves_the_rest(bundle, place, monkeypatch):
    place("nnapi")
    run = Launcher.run

    def dies_at_time(self, there, job, **options):
        if there.word == "nnapi" and job.measure == "time":
            raise InputError("the driver is gone")
        return run(self, there, job, **options)

    monkeypatch.setattr(Launcher, "run", dies_at_time)
    report = profile(bundle, places=["nnapi", "cpu"], **FEW)
    dead, alive = report.measurements
    assert (dead.place, dead.status, dead.note) == ("nnapi", FAILED, "the driver is gone")
    assert dead.parity is not None
    assert (alive.place, alive.status) == ("cpu", MEASURED)
    assert "nnapi: failed: the driver is gone" in shown(report)


def test_a_runtime_that_takes_no_weights_from_memory_is_measured_without(bundle, monkeypatch):
    run = Launcher.run

    def refuses(self, there, job, **options):
        if job.load == "bytes":
            raise InputError("no such function")
        return run(self, there, job, **options)

    monkeypatch.setattr(Launcher, "run", refuses)
    (one,) = profile(bundle, **FEW).measurements
    assert one.status == MEASURED
    assert "load_rss_bytes" in one.figures
    assert "unmapped_load_rss_bytes" not in one.figures


def test_a_place_that_only_functions_has_no_times(bundle, place):
    there = dataclasses.replace(place("nnapi", note="emulated"), measures=())
    model = read_models([bundle])[0]
    with Launcher(60) as launcher:
        cell = cell_module.Cell(model, there, job_of("", grid=((1, 2),)), op=False)
        cell.check(launcher)
    one = cell.measurement()
    assert (one.status, one.note, one.figures) == (FUNCTION_ONLY, "emulated", {})
    assert one.parity.error <= one.parity.limit


def test_a_place_that_is_missing_is_told_beside_the_others(bundle):
    report = profile(bundle, places=["cpu", "tensorrt"], **FEW)
    assert [one.status for one in report.measurements] == [MEASURED, FAILED]
    assert "tensorrt is not in this onnxruntime" in report.measurements[1].note


def test_nothing_that_can_be_measured(bundle):
    with pytest.raises(InputError, match="tensorrt is not in this onnxruntime"):
        profile(bundle, places=["tensorrt"])


def test_the_smallest_vocabulary_bounds_the_ids_of_all(tmp_path, tiny, bundle):
    graph = tiny.graphs["feature-extraction"]
    few = tiny.model(tmp_path / "few.onnx", graph, tiny.table()[:4])
    assert [model.rows for model in read_models([few, bundle, bundle / "model.onnx"])] == [
        4,
        10,
        10,
    ]
    report = profile(bundle, [few], **FEW)
    assert [one.status for one in report.measurements] == [MEASURED, MEASURED]


def test_texts_need_a_bundle(big):
    with pytest.raises(InputError, match="texts need a tokenizer"):
        profile(big, texts=["red"])


@pytest.mark.parametrize("name", ["runs", "repeats", "threads"])
def test_numbers_out_of_range(bundle, name):
    with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
        profile(bundle, **{name: 0})


def test_points_out_of_range(bundle):
    with pytest.raises(InputError, match="length 0 must be at least 1"):
        profile(bundle, lengths=(8, 0))
    with pytest.raises(InputError, match="batch -1 must be at least 1"):
        profile(bundle, batches=(-1,))
    with pytest.raises(InputError, match="no text length"):
        profile(bundle, lengths=())
    with pytest.raises(InputError, match="no place given"):
        profile(bundle, places=())


def test_unknown_place(bundle):
    with pytest.raises(InputError, match=r"place 'gpu9' is unknown; there are cpu, "):
        profile(bundle, places=["cpu", "gpu9"])


def test_missing_model(bundle, tmp_path):
    with pytest.raises(InputError, match=r"none\.onnx is not here"):
        profile(bundle, [tmp_path / "none.onnx"])


def test_altered_bundle(bundle):
    (bundle / "config.json").write_text("{ }")
    with pytest.raises(FormatError, match=r"config\.json"):
        profile(bundle)


@pytest.mark.parametrize("word", PLACES)
def test_every_place_opens_or_says_in_one_line_what_is_missing(word, monkeypatch, tmp_path):
    monkeypatch.setenv("LIGHTTOKEN_HOME", str(tmp_path))
    try:
        said = find_place(word).word
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert said == word or "install" in said or "`lighttoken setup" in said


def test_places_of_a_home(monkeypatch, tmp_path):
    monkeypatch.setenv("LIGHTTOKEN_HOME", str(tmp_path))
    for name in ("xnnpack", "arm64"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "python").touch()
    (tmp_path / "qnn" / "onnxruntime_qnn").mkdir(parents=True)
    assert find_place("xnnpack").python == str(tmp_path / "xnnpack" / "python")
    assert find_place("xnnpack").static
    assert not find_place("arm64").timed
    assert "qemu" in find_place("arm64").note
    assert find_place("qnn").path == (str(tmp_path / "qnn"),)
    monkeypatch.setattr(
        places_module.onnxruntime, "get_available_providers", lambda: ["XnnpackExecutionProvider"]
    )
    assert find_place("xnnpack").python == sys.executable


def launched(job, timeout=60.0, place=None):
    with Launcher(timeout) as launcher:
        return launcher.run(place or find_place("cpu"), job)


def job_of(path, **changes):
    facts = {"measure": "time", "grid": ((1, 2),), "runs": 1, "warmup": 0, "rows": 10}
    return Job(model=str(path), provider="CPUExecutionProvider", **{**facts, **changes})


def test_worker_error_becomes_one_line(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("no model")
    with pytest.raises(InputError, match=r"measuring failed: .*text\.onnx") as info:
        launched(job_of(path))
    assert "\n" not in str(info.value)
    assert "Traceback" not in str(info.value)


def test_ids_beyond_a_models_table(tmp_path, tiny):
    path = tiny.model(tmp_path / "m.onnx", tiny.graphs["feature-extraction"], tiny.table())
    with pytest.raises(InputError, match=r"measuring failed: .*out of data bounds"):
        launched(job_of(path, rows=0, stream=(5, 77)))


def test_crash_is_told(big):
    with pytest.raises(InputError, match=r"failed with status 1 \(KeyError.*'none'") as info:
        launched(job_of(big, measure="none"))
    assert "\n" not in str(info.value)


def test_killed_process_is_told(big, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -9 $$\n")
    python.chmod(0o755)
    there = Place("cpu", "CPUExecutionProvider", python=str(python))
    with pytest.raises(InputError, match=r"big\.onnx was ended by SIGKILL; is there memory"):
        launched(job_of(big), place=there)


def test_a_python_that_is_not_there(big):
    there = Place("cpu", "CPUExecutionProvider", python="/no/such/python")
    with pytest.raises(InputError, match="/no/such/python does not start"):
        launched(job_of(big), place=there)


def test_a_hanging_process_is_given_up(big):
    with pytest.raises(InputError, match=r"took longer than 0\.01 s"):
        launched(job_of(big), timeout=0.01)


def test_ratio_is_the_median_within_rounds():
    # The machine slowed down in round 3: medians alone would give 2 / 10.
    ours = measured("b", load_ms=[1.0, 2.0, 60.0], gone=[1.0, 1.0, 1.0])
    theirs = measured("a", load_ms=[2.0, 10.0, 100.0], gone=[0.0, -1.0, 0.0], only=[1.0] * 3)
    comparison = Comparison.of(ours, theirs)
    assert comparison.ratios == {"load_ms": 0.5}


def answer(**outputs):
    return Answer(
        "r",
        outputs={
            name: {
                "dims": list(np.shape(value)),
                "data": base64.b64encode(np.asarray(value, "<f4").tobytes()).decode(),
            }
            for name, value in outputs.items()
        },
    )


def test_parity_is_relative_and_of_the_worst_output():
    wanted = answer(a=[[0.0, 4.0]], b=[1.0])
    assert compare(wanted, wanted, 0.1).error == 0
    assert compare(answer(a=[[1.0, 4.0]], b=[1.0]), wanted, 0.1).error == pytest.approx(0.25)
    assert compare(answer(a=[[1.0, 4.0]], b=[0.5]), wanted, 0.1).error == pytest.approx(0.5)
    assert compare(answer(a=[[0.0, 4.0]], b=[1.0], more=[7.0]), wanted, 0.1).error == 0


@pytest.mark.parametrize(
    "found", [answer(), answer(a=[0.0]), answer(a=[0.0, np.nan]), answer(a=[np.inf, 4.0])]
)
def test_parity_of_what_is_no_answer(found):
    parity = compare(found, answer(a=[0.0, 4.0]), 0.1)
    assert parity.error is None
    assert not parity.right


def test_a_timeline_keeps_every_peak():
    samples = [(i / 1000, 100 + (i == 500) * 900) for i in range(2000)]
    line = timeline(samples, [(0.1, "before"), (1.0, "load"), (1.5, "first")])
    assert len(line.points) <= 242
    assert max(size for _, size in line.points) == 900
    assert line.marks == ((900.0, "load"), (1400.0, "first"))
    assert line.points[0][0] == 0
    assert line.points[-1][0] <= 1400


def test_no_timeline_without_a_start():
    assert timeline([(0.0, 1)], [(1.0, "load")]) is None
    assert timeline([], [(1.0, "before")]) is None


def test_a_watch_ends_with_its_process():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.3)"])
    watch = Watch(process.pid)
    watch.start()
    process.wait()
    watch.stop()
    assert len(watch.samples) > 10
    assert all(size > 0 for _, size in watch.samples[5:50])


def test_external_files_count(tmp_path, bundle):
    assert [p.name for p in model_files(bundle / "model.onnx")] == ["model.onnx", "model.onnx.data"]
    (bundle / "model.onnx.data").unlink()
    with pytest.raises(FormatError, match=r"model\.onnx\.data is missing"):
        model_files(bundle / "model.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(FormatError, match="is no ONNX model"):
        model_files(tmp_path / "text.onnx")


def test_external_constants_count_too(tmp_path):
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32))
    onnx.external_data_helper.set_external_data(tensor, "constant.bin")
    tensor.ClearField("raw_data")
    node = onnx.helper.make_node("Constant", [], ["y"], value=tensor)
    graph = onnx.helper.make_graph([node], "g", [], [])
    model = onnx.helper.make_model(graph)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "constant.bin").write_bytes(bytes(16))
    assert [path.name for path in model_files(tmp_path / "m.onnx")] == ["m.onnx", "constant.bin"]


@pytest.mark.parametrize("system_can_drop", [True, False])
def test_reading_afresh_leaves_the_file_as_it_is(tmp_path, monkeypatch, system_can_drop):
    if not system_can_drop:
        monkeypatch.delattr(os, "posix_fadvise", raising=False)
    content = np.random.default_rng(2).bytes(5 * MB)
    path = tmp_path / "weights"
    path.write_bytes(content)
    read_afresh([path])
    assert path.read_bytes() == content
    if not system_can_drop:
        assert drop([path]) is False


def test_a_decoder_is_measured_as_it_writes(decoder_file, tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(decoder_file.read_bytes())
    few = {"lengths": (3, 8), "runs": 1, "warmup": 1, "tokens": 4, "repeats": 2}
    report = profile(decoder_file, [other], **few)
    assert report.tokens == 4
    for one in report.measurements:
        assert (one.status, one.parity.error) == (MEASURED, 0)
        assert one.figures.keys() <= {metric.name for metric in metrics(report.grid)}
        assert not any(name.startswith(("latency", "embedding_1x")) for name in one.figures)
        for length in (3, 8):
            read, share, speed = (
                one.figures[f"writing_{length}_{name}"]
                for name in ("read_bytes", "bandwidth_share", "tokens_s")
            )
            table, cache = 300 * 32 * 4, 2 * 32 * 4
            assert read.median == pytest.approx(table + (length + 2.5) * cache, abs=100)
            copied = one.figures["copy_bytes_s"].values
            for round_ in range(2):
                wanted = read.values[round_] * speed.values[round_] / copied[round_]
                assert share.values[round_] == pytest.approx(wanted)
    ratios = report.comparisons[0].ratios
    assert ratios["writing_8_read_bytes"] == 1
    text = shown(report)
    for words in ("first token after 8 tokens", "tokens/s", "read for a token", "GB/s"):
        assert words in text
    assert "the cache" not in text
    assert "read for a token: the cache" in shown(report, everything=True)


def test_a_decoder_writes_one_text_within_its_room(decoder_file, monkeypatch):
    with pytest.raises(InputError, match="one text at a time; got batch 2"):
        profile(decoder_file, batches=(1, 2))
    with pytest.raises(InputError, match="tokens must be at least 1, got 0"):
        profile(decoder_file, tokens=0)
    (model,) = read_models([decoder_file])
    facts = SimpleNamespace(ids_input="input_ids", max_length=40)
    short = dataclasses.replace(model, manifest=facts)
    module = sys.modules["runtime.profile.measure.rounds"]
    monkeypatch.setattr(module, "read_models", lambda _: [short])
    with pytest.raises(InputError, match=r"prompt of 32 tokens and 9 more are 41, .* room for 40"):
        profile(decoder_file, lengths=(32,), tokens=9)
