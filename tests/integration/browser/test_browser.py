"""Bundles run in a browser: onnxruntime-web in headless Chromium, on WASM and on WebGPU."""

import base64
from dataclasses import replace

import numpy as np
import pytest

from runtime import open_session
from runtime.profile.browser import run_in_browser
from runtime.profile.measure.job import Job
from toolkit.bundle.feeds import build_feeds
from toolkit.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("need_browser")]

IDS = np.random.default_rng(0).integers(1000, 30000, (2, 24))
GRID = ((1, 8), (2, 16))
TIMEOUT_S = 300.0


def job(folder, measure, provider, **more):
    manifest = open_session(folder, op=False).manifest
    model = folder / manifest.model
    return Job(
        **{
            "measure": measure,
            "model": str(model),
            "provider": provider,
            "grid": GRID,
            "runs": 3,
            "warmup": 1,
            "data": (f"{model.name}.data",),
            "ids_input": manifest.ids_input,
            "rows": manifest.rows,
            "ids": tuple(map(tuple, IDS.tolist())),
            **more,
        }
    )


def outputs(folder, provider, **more):
    """In the browser, and in onnxruntime here."""
    answer = run_in_browser(job(folder, "values", provider, **more), TIMEOUT_S)
    values = {
        name: np.frombuffer(base64.b64decode(told["data"]), "<f4").reshape(told["dims"])
        for name, told in answer.outputs.items()
    }
    session = open_session(folder, op=False)
    return values, session.run(build_feeds(session.inputs, session.ids_input, IDS))


def assert_alike(found, limit):
    values, wanted = found
    assert values.keys() == wanted.keys()
    for name, value in values.items():
        assert np.abs(value - wanted[name]).max() <= limit * np.abs(wanted[name]).max()


@pytest.mark.parametrize("threads", [1, 2])
def test_wasm_gives_what_onnxruntime_gives(bundle, threads):
    assert_alike(outputs(bundle("wasm"), "wasm", threads=threads), 1e-5)


def test_wasm_runs_an_int4_body(bundle):
    # Activations are rounded to eight bits on the way.
    assert_alike(outputs(bundle("wasm", "int4"), "wasm"), 0.05)


def test_webgpu_gives_what_onnxruntime_gives(bundle):
    assert_alike(outputs(bundle("webgpu"), "webgpu"), 1e-5)


def test_webgpu_runs_an_int4_body(bundle):
    assert_alike(outputs(bundle("webgpu", "int4"), "webgpu"), 0.05)


def test_webgpu_decodes_on_the_gpu(bundle):
    facts = run_in_browser(job(bundle("webgpu"), "places", "webgpu"), TIMEOUT_S).facts
    placed = {provider: {node[0] for node in nodes} for provider, nodes in facts["assigned"]}
    on_gpu, on_cpu = placed["WebGpuExecutionProvider"], placed["CPUExecutionProvider"]
    assert {"Gather", "MatMul", "Where"} <= on_gpu
    # What is left to the CPU computes shapes.
    assert not {"MatMul", "MatMulInteger", "Where", "Mul", "Add", "Sub"} & on_cpu
    assert facts["counts"] == {provider: len(nodes) for provider, nodes in facts["assigned"]}
    assert facts["adapter"]["name"]


def test_one_provider_for_all_nodes_is_counted(bundle):
    facts = run_in_browser(job(bundle("wasm"), "places", "wasm"), TIMEOUT_S).facts
    assert list(facts["counts"]) == ["CPUExecutionProvider"]
    assert facts["counts"]["CPUExecutionProvider"] > 50
    assert "assigned" not in facts


def test_wasm_tells_what_each_node_costs(bundle):
    facts = run_in_browser(job(bundle("wasm"), "places", "wasm"), TIMEOUT_S).facts
    providers, operators, names, times = zip(*facts["profiled"], strict=True)
    assert set(providers) == {"CPUExecutionProvider"}
    assert {"Gather", "MatMul"} <= set(operators)
    assert len(set(names)) == len(names) == facts["counts"]["CPUExecutionProvider"]
    assert min(times) >= 0
    assert max(times) > 0


@pytest.mark.parametrize("provider", ["wasm", "webgpu"])
def test_times_hang_together(bundle, provider):
    answer = run_in_browser(job(bundle(provider), "time", provider), TIMEOUT_S)
    figures = answer.figures
    assert answer.runtime.startswith("onnxruntime-web 1.")
    assert provider in answer.runtime
    assert 0 < figures["load_ms"] < figures["first_result_ms"]
    for texts, tokens in GRID:
        at = f"{texts}x{tokens}"
        p50, p95, p99 = (figures[f"latency_{at}_p{share}_ms"] for share in (50, 95, 99))
        assert 0 < p50 <= p95 <= p99
        # Three calls last as long as their shortest, their median and their longest together.
        calls = 3e3 * texts * tokens / figures[f"throughput_{at}_tokens_s"]
        longest = (p99 - 0.02 * p50) / 0.98
        assert p50 + p99 < calls < 3.01 * longest
    assert [stage for _, stage in answer.marks][:2] == ["load", "first result"]


def test_threads_are_named_in_the_runtime(bundle):
    answer = run_in_browser(job(bundle("wasm"), "cold", "wasm", threads=2), TIMEOUT_S)
    assert "wasm, 2 threads, SIMD" in answer.runtime
    assert set(answer.figures) == {"load_ms", "first_result_ms"}


def test_memory_is_above_the_bare_runtime(bundle):
    folder = bundle("wasm")
    weights = (folder / "model.onnx.data").stat().st_size
    figures = run_in_browser(job(folder, "memory", "wasm"), TIMEOUT_S).figures
    for stage in ("load", "steady"):
        for kind in ("wasm_heap", "page"):
            # All weights are in the heap, and not three times.
            assert 0.9 * weights < figures[f"{stage}_{kind}_bytes"] < 3 * weights
    assert figures["load_wasm_heap_bytes"] <= figures["steady_wasm_heap_bytes"]
    # A runtime that was counted in would be seen: it takes as much as some models.
    assert 2e6 < figures["before_wasm_heap_bytes"] < 40e6
    assert figures["before_wasm_heap_bytes"] < figures["before_page_bytes"]


def test_a_small_model_is_not_hidden_in_the_heap_at_start(bundle):
    folder = bundle("wasm", "int4")
    weights = (folder / "model.onnx.data").stat().st_size
    figures = run_in_browser(job(folder, "memory", "wasm"), TIMEOUT_S).figures
    assert figures["load_wasm_heap_bytes"] > 0.9 * weights


def fails(task, timeout_s=TIMEOUT_S):
    with pytest.raises(InputError) as caught:
        run_in_browser(task, timeout_s)
    line = str(caught.value)
    assert "\n" not in line
    assert "at file:" not in line
    return line


def test_a_model_that_cannot_be_loaded(bundle, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"no model at all")
    line = fails(replace(job(bundle("wasm"), "time", "wasm"), model=str(model), data=()))
    assert str(model) in line
    assert "protobuf" in line


def test_a_text_that_is_too_long(bundle):
    line = fails(job(bundle("wasm"), "time", "wasm", grid=((1, 1000),)))
    assert "512 by 1000" in line


def test_a_file_that_is_not_there(bundle):
    assert "gone.data" in fails(job(bundle("wasm"), "time", "wasm", data=("gone.data",)))


def test_a_provider_that_browsers_lack(bundle):
    assert "cuda" in fails(job(bundle("wasm"), "time", "cuda"))


def test_too_slow(bundle):
    line = fails(job(bundle("wasm"), "time", "wasm", runs=1_000_000), timeout_s=4.0)
    assert "took longer than 4 s" in line
