import io
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest
from rich.console import Console

from runtime.profile import launch as launch_module
from runtime.profile import memory
from runtime.profile.disk import model_files, read_afresh
from runtime.profile.launch import launch
from runtime.profile.measure import profile
from runtime.profile.render import render
from runtime.profile.report import SCHEMA, Comparison, ModelProfile, Statistic, metrics
from runtime.profile.spec import WorkerSpec
from toolkit.errors import FormatError, InputError

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MB = 1_000_000


def spec_for(path, **changes):
    facts = {"provider": "cpu", "threads": 1, "lengths": (2,), "runs": 3, "warmup": 1, "rows": 10}
    return WorkerSpec(str(path), **{**facts, **changes})


def profile_of(name, **figures):
    return ModelProfile(name, name, {key: Statistic.of(v) for key, v in figures.items()})


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


def test_profile_of_a_bundle_beside_other_models(tmp_path, bundle, tiny, big):
    small = tiny.model(tmp_path / "small.onnx", tiny.graphs["feature-extraction"], tiny.table())
    seen = []
    report = profile(
        bundle,
        [big, small],
        lengths=(2, 5),
        runs=4,
        warmup=1,
        repeats=2,
        progress=lambda share, what: seen.append((share, what.split()[-1])),
    )

    assert [share for share, _ in seen] == pytest.approx([i / 6 for i in range(1, 7)])
    there = ["bundle", "big.onnx", "small.onnx"]
    assert [name for _, name in seen] == there + there[::-1]

    names = {metric.name for metric in metrics((2, 5))}
    for model in (report.bundle, *report.against):
        figures = model.figures
        if sys.platform == "linux":
            assert figures.keys() == names
        assert all(len(figure.values) == 2 for figure in figures.values())
        assert all(f.low <= f.median <= f.high for f in figures.values())
        for round_ in range(2):
            at = {name: figure.values[round_] for name, figure in figures.items()}
            assert 0 < at["load_ms"] < at["first_result_ms"]
            assert at["peak_rss_bytes"] >= at["load_rss_bytes"] > 0
            for length in (2, 5):
                assert 0 < at[f"latency_{length}_p50_ms"] <= at[f"latency_{length}_p95_ms"]

    disk = [model.figures["disk_bytes"].median for model in (report.bundle, *report.against)]
    stored = sum((bundle / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert disk == [stored, big.stat().st_size, small.stat().st_size]
    # The 40 MB of weights are the difference, of which the bundle has nothing.
    assert report.against[0].figures["steady_rss_bytes"].median > 40 * MB
    assert report.bundle.figures["steady_rss_bytes"].median < 30 * MB

    first, second = report.comparisons
    assert (first.against, second.against) == ("big.onnx", "small.onnx")
    assert first.ratios["disk_bytes"] == pytest.approx(disk[0] / disk[1])
    assert first.ratios["steady_rss_bytes"] < 0.75

    data = json.loads(json.dumps(report.to_dict()))
    assert data["schema"] == SCHEMA == 1
    assert data["environment"]["onnxruntime"]
    assert data["text_tokens"] == 0
    assert data["bundle"]["figures"]["load_ms"]["median"] == report.bundle.figures["load_ms"].median

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(report))
    text = console.export_text()
    assert "bundle / big.onnx" in text
    assert "latency, 5 tokens, p95" in text
    assert f"{first.ratios['disk_bytes']:.3f}" in text


def test_a_bundle_alone_on_real_text(bundle):
    report = profile(bundle, lengths=[3], runs=2, warmup=0, repeats=1, texts=["red sea", "sky"])
    assert report.against == report.comparisons == ()
    assert report.text_tokens == 7
    table = render(report)
    assert len(table.columns) == 2
    assert table.row_count == len(report.bundle.figures)


def test_texts_need_a_bundle(big):
    with pytest.raises(InputError, match="texts need a tokenizer"):
        profile(big, texts=["red"])


@pytest.mark.parametrize("name", ["runs", "repeats", "threads", "batch"])
def test_numbers_out_of_range(bundle, name):
    with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
        profile(bundle, **{name: 0})


def test_lengths_out_of_range(bundle):
    with pytest.raises(InputError, match="length 0 must be at least 1"):
        profile(bundle, lengths=(8, 0))
    with pytest.raises(InputError, match="no text length"):
        profile(bundle, lengths=())


def test_unknown_provider_starts_no_process(bundle):
    with pytest.raises(InputError, match="available here"):
        profile(bundle, provider="gpu9")


def test_missing_model(bundle, tmp_path):
    with pytest.raises(InputError, match=r"none\.onnx is not here"):
        profile(bundle, [tmp_path / "none.onnx"])


def test_altered_bundle(bundle):
    (bundle / "config.json").write_text("{ }")
    with pytest.raises(FormatError, match=r"config\.json"):
        profile(bundle)


def test_worker_error_becomes_one_line(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("no model")
    with pytest.raises(InputError, match="cannot be loaded") as info:
        launch(spec_for(path), 60)
    assert "\n" not in str(info.value)
    assert "Traceback" not in str(info.value)


def test_length_that_the_model_does_not_take(tmp_path, tiny):
    graph = tiny.graphs["feature-extraction"].replace("[b,s", "[1,6")
    path = tiny.model(tmp_path / "m.onnx", graph, tiny.table())
    with pytest.raises(InputError, match="exactly 6 tokens, asked for 2"):
        launch(spec_for(path), 60)
    assert launch(spec_for(path, lengths=(6,)), 60)["load_ms"] > 0


def test_ids_beyond_a_models_table(tmp_path, tiny):
    path = tiny.model(tmp_path / "m.onnx", tiny.graphs["feature-extraction"], tiny.table())
    with pytest.raises(InputError, match=r"measuring failed: .*out of data bounds"):
        launch(spec_for(path, rows=None, stream=(5, 77)), 60)


def test_crash_is_told():
    with pytest.raises(InputError, match=r"failed with status 1 \(TypeError.*'threads'") as info:
        launch(_Broken(), 60)
    assert "\n" not in str(info.value)


class _Broken:
    model = "m.onnx"

    def to_json(self):
        return '{"lengths": [], "stream": []}'


def test_killed_process_is_told(monkeypatch, big):
    done = subprocess.CompletedProcess([], -9, stdout="", stderr="")
    monkeypatch.setattr(launch_module.subprocess, "run", lambda *args, **kwargs: done)
    with pytest.raises(InputError, match=r"big\.onnx was ended by SIGKILL; is there memory"):
        launch(spec_for(big), 60)


def test_a_hanging_process_is_given_up(big):
    with pytest.raises(InputError, match=r"took longer than 0\.01 s"):
        launch(spec_for(big), 0.01)


def test_spec_survives_the_pipe(big):
    spec = spec_for(big, lengths=(8, 128), stream=(1, 2, 3))
    assert WorkerSpec.from_json(spec.to_json()) == spec


def test_ratio_is_the_median_within_rounds():
    # The machine slowed down in round 3: medians alone would give 2 / 10.
    ours = profile_of("b", load_ms=[1.0, 2.0, 60.0], gone=[1.0, 1.0, 1.0])
    theirs = profile_of("a", load_ms=[2.0, 10.0, 100.0], gone=[0.0, -1.0, 0.0], only=[1.0] * 3)
    comparison = Comparison.of(ours, theirs)
    assert comparison.ratios == {"load_ms": 0.5}


def test_external_files_count(tmp_path, bundle):
    assert [p.name for p in model_files(bundle / "model.onnx")] == ["model.onnx", "model.onnx.data"]
    (bundle / "model.onnx.data").unlink()
    with pytest.raises(FormatError, match=r"model\.onnx\.data is missing"):
        model_files(bundle / "model.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(FormatError, match="is no ONNX file"):
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


def in_a_fresh_process(code, *arguments):
    """Run ``code`` where no other test's memory is freed or trimmed while it measures its own."""
    lines = "import sys\nimport numpy as np\nfrom runtime.profile import memory\nMB = 1_000_000\n"
    command = [sys.executable, "-c", lines + textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@LINUX
def test_mapped_file_is_resident_but_not_anonymous(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(20 * MB))
    in_a_fresh_process(
        """
        before = memory.snapshot()
        mapped = np.memmap(sys.argv[1], np.uint8, "r")
        assert mapped[::4096].sum() == 0
        after = memory.snapshot()
        assert after.rss - before.rss > 19 * MB, (before, after)
        assert after.uss - before.uss > 19 * MB, (before, after)
        assert after.anonymous - before.anonymous < 2 * MB, (before, after)
        held = np.ones(64 * MB, np.uint8)
        more = memory.snapshot()
        assert more.anonymous - after.anonymous > 63 * MB, (after, more)
        """,
        path,
    )


@LINUX
def test_peak_outlives_what_caused_it():
    in_a_fresh_process(
        """
        memory.reset_peak()
        before = memory.snapshot().rss
        held = np.ones(64 * MB, np.uint8)
        del held
        peak, after = memory.peak_rss(), memory.snapshot().rss
        assert peak - before > 63 * MB, (before, peak)
        assert after - before < 32 * MB, (before, after)
        """
    )


def test_memory_without_proc(monkeypatch, tmp_path):
    for name in ("_ROLLUP", "_STATUS", "_CLEAR_REFS"):
        monkeypatch.setattr(memory, name, tmp_path / "none" / name)
    memory.reset_peak()
    now = memory.snapshot()
    assert now.anonymous is None
    assert memory.peak_rss() >= now.rss * 0.5 > MB
