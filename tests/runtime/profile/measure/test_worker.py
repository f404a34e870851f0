import ast
import base64
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from runtime.profile.measure.carry import MODULE, carry
from runtime.profile.measure.job import Answer, Job
from runtime.profile.measure.worker.energy import joules, read_counters
from runtime.profile.measure.worker.memory_job import EMPTY

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MB = 1_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worker")
    carry(folder)
    return folder


@pytest.fixture
def ask(folder):
    """``ask(job)``: what the worker prints, as a process that finds nothing of the repository."""

    def run(job, *prefix):
        done = subprocess.run(
            [*prefix, sys.executable, "-P", "-m", MODULE],
            input=job.to_json(),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done, [json.loads(line) for line in done.stdout.splitlines()]

    return run


def job_of(model, measure, **changes):
    facts = {
        "provider": "CPUExecutionProvider",
        "grid": ((1, 2), (2, 3)),
        "runs": 4,
        "warmup": 1,
        "rows": 10,
    }
    return Job(measure, str(model), **{**facts, **changes})


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A model whose weights, beside the file, take 40 MB; it looks ten rows up."""
    path = tmp_path_factory.mktemp("big") / "big.onnx"
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64[b,s] input_ids) => (float[b,s,1000] y) { y = Gather(table, input_ids) }""")
    values = np.ones((10_000, 1000), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "table"))
    onnx.save(model, path, save_as_external_data=True, location="big.data")
    return path


def test_it_imports_what_is_carried_and_nothing_else(folder):
    ours = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    allowed = sys.stdlib_module_names | {"numpy", "onnxruntime", "psutil", "runtime", "toolkit"}
    for name in ours:
        for node in ast.walk(ast.parse((folder / name).read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            for module in modules:
                top = module.split(".")[0]
                assert top in allowed, (name, module)
                if top in ("runtime", "toolkit"):
                    assert f"{module.replace('.', '/')}.py" in ours, (name, module)


def test_time(ask, big):
    done, lines = ask(job_of(big, "time"))
    assert done.returncode == 0, done.stderr
    answer = Answer.from_dict(lines[-1]["answer"])
    assert answer.runtime.startswith("onnxruntime 1.")
    figures = answer.figures
    assert 0 < figures["load_ms"] < figures["first_result_ms"]
    for at, tokens in (("1x2", 2), ("2x3", 6)):
        p50, p95, p99 = (figures[f"latency_{at}_p{share}_ms"] for share in (50, 95, 99))
        assert 0 < p50 <= p95 <= p99
        assert tokens / p99 <= figures[f"throughput_{at}_tokens_s"] / 1e3


def test_cold_has_the_load_alone(ask, big):
    answer = ask(job_of(big, "cold"))[1][-1]["answer"]
    assert answer["figures"].keys() == {"cold_load_ms", "cold_first_result_ms"}


@LINUX
def test_memory_tells_mapped_weights_from_copied_ones(ask, big):
    mapped = ask(job_of(big, "memory", data=("big.data",)))[1][-1]["answer"]["figures"]
    copied = ask(job_of(big, "memory", data=("big.data",), load="bytes"))[1][-1]["answer"][
        "figures"
    ]
    # All ten rows that are read lie in the file's first pages.
    assert mapped["steady_rss_bytes"] < 10 * MB
    assert mapped["steady_mapped_bytes"] > 0
    assert copied["load_rss_bytes"] > 39 * MB
    assert copied["load_peak_rss_bytes"] > 79 * MB  # the file's bytes, and the runtime's copy
    assert copied["steady_mapped_bytes"] == 0
    for figures in (mapped, copied):
        for stage in ("load", "first", "steady"):
            parts = [
                figures[f"{stage}_{kind}_bytes"] for kind in ("anonymous", "mapped", "library")
            ]
            assert sum(parts) == figures[f"{stage}_rss_bytes"]
            assert sum(parts[:2]) == figures[f"{stage}_own_bytes"]
        assert figures["peak_rss_bytes"] >= figures["load_peak_rss_bytes"]


@LINUX
def test_memory_as_others_see_it(ask, big):
    """GNU time asks the kernel for the peak of the whole process."""
    if not Path("/usr/bin/time").exists():
        pytest.skip("GNU time is not here")
    job = job_of(big, "memory", data=("big.data",), load="bytes")
    done, lines = ask(job, "/usr/bin/time", "-f", "peak %M")
    ours = lines[-1]["answer"]["figures"]["peak_process_rss_bytes"]
    theirs = 1024 * int(done.stderr.split("peak ")[1])
    assert ours == pytest.approx(theirs, rel=0.03)


def test_places(ask, tmp_path):
    path = tmp_path / "m.onnx"
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64[b,s] input_ids) => (float[b,s] y) { x = Cast<to = 1>(input_ids) y = Exp(x) }""")
    onnx.save(model, path)
    facts = ask(job_of(path, "places"))[1][-1]["answer"]["facts"]
    assert sorted(op for _, op, _, _ in facts["profiled"]) == ["Cast", "Exp"]
    assert all(provider == "CPUExecutionProvider" for provider, *_ in facts["profiled"])
    assert all(microseconds >= 0 for *_, microseconds in facts["profiled"])
    if "assigned" in facts:
        operators = [op for _, nodes in facts["assigned"] for op, _, _ in nodes]
        assert sorted(operators) == ["Cast", "Exp"]


def test_dimensions_fixed_at_load(ask, big):
    done, lines = ask(job_of(big, "time", dimensions={"b": 1, "s": 7}, grid=((1, 7),)))
    assert done.returncode == 0, done.stderr
    done, lines = ask(job_of(big, "time", dimensions={"b": 1, "s": 7}, grid=((1, 8),)))
    assert done.returncode == 1
    assert "exactly 7 tokens, asked for 8" in lines[-1]["error"]


def test_errors_are_one_line(ask, tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    done, lines = ask(job_of(tmp_path / "text.onnx", "time"))
    assert done.returncode == 1
    assert "text.onnx" in lines[-1]["error"]
    assert "\n" not in lines[-1]["error"]
    done, lines = ask(job_of(tmp_path / "text.onnx", "time", provider="NoSuchProvider"))
    assert "NoSuchProvider is not in this onnxruntime" in lines[-1]["error"]


def test_the_empty_model_is_what_it_says():
    text = """<ir_version: 8, opset_import: ["" : 13]>
        empty (int64[b, s] ids) => (int64[b, s] same) { same = Identity(ids) }"""
    assert onnx.load_from_string(EMPTY) == onnx.parser.parse_model(text)


def test_a_job_survives_the_pipe():
    job = job_of(
        "m.onnx", "values", ids=((1, 2),), stream=(3,), data=("m.data",), settings={"a": "b"}
    )
    assert Job.from_dict(json.loads(job.to_json())) == job


def test_an_answer_of_a_newer_worker():
    told = {
        "runtime": "r",
        "figures": {"load_ms": 1.0, "gone": None},
        "marks": [[1, "load"]],
        "new": 1,
    }
    assert Answer.from_dict(told) == Answer("r", {"load_ms": 1.0}, marks=((1.0, "load"),))


def counters(folder, **microjoules):
    for name, now in microjoules.items():
        package = folder / name.replace("_", ":").replace("intel:rapl", "intel-rapl")
        package.mkdir(exist_ok=True)
        (package / "energy_uj").write_text(f"{now}\n")
        (package / "max_energy_range_uj").write_text("1000\n")
    return read_counters(folder)


def test_energy_of_all_packages_and_of_none_twice(tmp_path):
    before = counters(tmp_path, intel_rapl_0=100, intel_rapl_0_0=50, intel_rapl_1=900)
    after = counters(tmp_path, intel_rapl_0=350, intel_rapl_0_0=99, intel_rapl_1=100)
    # 250 of the first; the second has started again at its range of 1000.
    assert joules(before, after) == pytest.approx((250 + 200) / 1e6)


def test_energy_where_there_is_no_counter(tmp_path):
    assert read_counters(tmp_path / "none") == {}
    assert joules({}, {}) is None


def in_a_fresh_process(code, *arguments):
    """Run ``code`` where no other test's memory is freed or trimmed while it measures its own."""
    lines = (
        "import sys\nimport numpy as np\nfrom runtime.profile.measure.worker import memory\n"
        "MB = 10**6\n"
    )
    command = [sys.executable, "-c", lines + textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@LINUX
def test_mapped_file_is_resident_but_not_anonymous(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(20 * MB))
    in_a_fresh_process(
        """
        files = {sys.argv[1]}
        before = memory.snapshot(files)
        mapped = np.memmap(sys.argv[1], np.uint8, "r")
        assert mapped[::4096].sum() == 0
        after = memory.snapshot(files)
        assert after.rss - before.rss > 19 * MB, (before, after)
        assert after.mapped - before.mapped > 19 * MB, (before, after)
        assert after.anonymous - before.anonymous < 2 * MB, (before, after)
        held = np.ones(64 * MB, np.uint8)
        more = memory.snapshot(files)
        assert more.anonymous - after.anonymous > 63 * MB, (after, more)
        assert more.rss == more.anonymous + more.mapped + more.library
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
    from runtime.profile.measure.worker import memory

    for name in ("_SMAPS", "_STATUS", "_CLEAR_REFS"):
        monkeypatch.setattr(memory, name, tmp_path / "none" / name)
    memory.reset_peak()
    now = memory.snapshot()
    assert now.anonymous is None
    assert memory.peak_rss() >= now.rss * 0.5 > MB


def decoder_job(path, measure, **changes):
    facts = {"grid": ((1, 3), (1, 9)), "runs": 2, "rows": 300, "tokens": 4}
    return job_of(path, measure, **{**facts, **changes})


def test_a_decoder_writes(ask, decoder_file):
    done, lines = ask(decoder_job(decoder_file, "write"))
    assert done.returncode == 0, done.stderr
    figures = Answer.from_dict(lines[-1]["answer"]).figures
    assert 0 < figures["load_ms"] < figures["first_result_ms"]
    for length in (3, 9):
        assert figures[f"first_token_{length}_ms"] > 0
        assert figures[f"writing_{length}_tokens_s"] > 0
    assert figures["copy_bytes_s"] > 1e6


def test_a_decoders_values_are_those_of_the_whole_text(ask, decoder_file):
    """The first half in one step, then token by token: the cache is what is compared."""
    ids = tuple(int(id_) for id_ in np.random.default_rng(0).integers(1, 300, 6))
    answer = ask(decoder_job(decoder_file, "values", ids=(ids,)))[1][-1]["answer"]
    assert list(answer["outputs"]) == [f"logits after step {n}" for n in (1, 2, 3, 4)]
    session = onnxruntime.InferenceSession(decoder_file)
    empty = np.zeros((1, 1, 0, 32), np.float32)
    for step, told in enumerate(answer["outputs"].values()):
        text = np.array([ids[: 3 + step]])
        cache = {f"past_key_values.0.{kind}": empty for kind in ("key", "value")}
        feeds = {"input_ids": text, "attention_mask": np.ones_like(text), **cache}
        wanted = session.run(["logits"], feeds)[0][0, -1]
        found = np.frombuffer(base64.b64decode(told["data"]), "<f4")
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@LINUX
def test_memory_of_a_decoder_at_each_length(ask, decoder_file):
    answer = ask(decoder_job(decoder_file, "memory"))[1][-1]["answer"]
    figures = answer["figures"]
    for length in (3, 9):
        assert figures[f"writing_{length}_rss_bytes"] > 0
        assert figures[f"writing_{length}_peak_rss_bytes"] >= figures[f"writing_{length}_rss_bytes"]
    assert [stage for _, stage in answer["marks"]] == ["before", "load", "first", "steady"]


def test_nodes_of_a_decoder_are_those_of_a_step(ask, decoder_file):
    facts = ask(decoder_job(decoder_file, "places"))[1][-1]["answer"]["facts"]
    assert "MatMul" in {operator for _, operator, _, _ in facts["profiled"]}
