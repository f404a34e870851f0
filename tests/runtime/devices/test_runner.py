"""The C++ runner, built and run here: its values, its figures, its errors."""

import base64
import json
import os
import re
import resource
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx.parser
import onnxruntime
import pytest

from runtime.devices.android import SOURCES
from runtime.devices.runner.job_file import job_file
from runtime.profile.measure.job import Answer, Job
from runtime.setup import home
from toolkit.bundle.feeds import build_feeds
from toolkit.bundle.tensors import describe
from toolkit.errors import InputError, MissingDependencyError

GRID = ((1, 4), (2, 8))
CPU = "CPUExecutionProvider"
EVERY_INPUT = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (int64[b,s] input_ids, float16[b,s] attention_mask, int32[b,s] token_type_ids,
       int64[b,s] position_ids, float[b,2,past_length,3] past_key, bool[b,s] flags)
      => (float[b,s] sum, float16[b,s] half, int64[b,s] ids, double[b,2,p,3] past)
    {
      one = Cast<to = 1>(input_ids)
      half = Identity(attention_mask)
      two = Cast<to = 1>(attention_mask)
      three = Cast<to = 1>(token_type_ids)
      four = Cast<to = 1>(position_ids)
      five = Cast<to = 1>(flags)
      sum = Sum(one, two, three, four, five)
      ids = Identity(input_ids)
      past = Cast<to = 11>(past_key)
    }"""


def library_of(package: Path) -> Path:
    found = sorted((package / "capi").glob("libonnxruntime.so.*"))
    if not found:
        pytest.skip(f"no libonnxruntime.so of its own in {package}")
    return found[0]


@pytest.fixture(scope="module")
def runner(tmp_path_factory, build_runner):
    """The program, built for this machine."""
    try:
        return build_runner(tmp_path_factory.mktemp("runner") / "lighttoken_runner")
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture
def ask(runner, tmp_path):
    """``ask(job)``: what the runner prints, parsed; ``start`` replaces how it is started."""
    library = library_of(Path(onnxruntime.__file__).parent)

    def call(job, start=None, **variables):
        file = tmp_path / "job"
        file.write_text(job_file(job))
        done = subprocess.run(
            [*(start or (runner, library)), file],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        told = json.loads(done.stdout.splitlines()[-1])
        assert done.returncode == ("error" in told)
        return told if "error" in told else Answer.from_dict(told)

    return call


@pytest.fixture
def job(bundle):
    return Job(
        "values",
        str(bundle / "model.onnx"),
        CPU,
        GRID,
        runs=3,
        warmup=1,
        rows=10,
        data=("model.onnx.data",),
        ids=((1, 5, 6, 7), (2, 9, 8, 1)),
    )


@pytest.fixture
def write(tmp_path):
    def save(graph):
        path = tmp_path / "given.onnx"
        onnx.save(onnx.parser.parse_model(graph), path)
        return str(path)

    return save


def wanted(job):
    """Outputs of onnxruntime here that are floats."""
    session = onnxruntime.InferenceSession(job.model, providers=[CPU])
    ids = np.array(job.ids, np.int64)
    values = session.run(None, build_feeds(describe(session.get_inputs()), "input_ids", ids))
    names = [output.name for output in session.get_outputs()]
    return {n: v for n, v in zip(names, values, strict=True) if v.dtype.kind == "f"}


def assert_alike(answer, expected, limit=0.0):
    assert answer.outputs.keys() == expected.keys()
    for name, value in expected.items():
        told = answer.outputs[name]
        found = np.frombuffer(base64.b64decode(told["data"]), "<f4").reshape(told["dims"])
        assert found.shape == value.shape
        if value.size:
            assert np.abs(found - value).max() <= limit * np.abs(value).max()


@pytest.mark.parametrize("load", ["path", "bytes"])
def test_values_are_onnxruntimes(ask, job, load):
    answer = ask(replace(job, load=load))
    assert answer.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert_alike(answer, wanted(job))


def test_every_kind_of_input_is_made_up_as_here(ask, job, write):
    job = replace(job, model=write(EVERY_INPUT), data=())
    answer = ask(job)
    assert {"sum", "half", "past"} == answer.outputs.keys()
    assert_alike(answer, wanted(job))
    assert answer.outputs["past"]["dims"] == [2, 2, 0, 3]


def test_ids_are_drawn_within_the_vocabulary_or_come_from_the_stream(ask, job):
    # An id beyond the ten rows would make Gather fail.
    assert ask(replace(job, measure="time", runs=50)).figures
    assert "error" in ask(replace(job, measure="time", runs=50, rows=1000))
    assert ask(replace(job, measure="time", rows=1000, stream=(1, 2, 3))).figures
    assert "error" in ask(replace(job, measure="time", stream=(1, 2, 10)))


def test_time_has_every_point_of_the_grid(ask, job):
    figures = ask(replace(job, measure="time")).figures
    points = {f"latency_{at}_p{p}_ms" for at in ("1x4", "2x8") for p in (50, 95, 99)}
    rates = {f"throughput_{at}_tokens_s" for at in ("1x4", "2x8")}
    assert figures.keys() == {"load_ms", "first_result_ms"} | points | rates
    assert figures["first_result_ms"] > figures["load_ms"] > 0
    for at in ("1x4", "2x8"):
        shares = [figures[f"latency_{at}_p{p}_ms"] for p in (50, 95, 99)]
        assert shares == sorted(shares)
        assert shares[0] > 0


def test_percentiles_are_numpys(runner, tmp_path):
    compiler = shutil.which("c++") or pytest.skip("no C++ compiler")
    from runtime.custom_op.build import find_headers

    source = tmp_path / "try.cc"
    source.write_text(
        '#include "measures.h"\nint main() { for (double p : {0., 50., 95., 99., 100.}) '
        'std::printf("%.17g\\n", percentile({1, 2, 4, 8, 9.5}, p)); }'
    )
    folders = [f"-I{SOURCES}", f"-I{find_headers(None)}"]
    command = [compiler, "-std=c++17", *folders, source, "-o", tmp_path / "try", "-ldl"]
    subprocess.run(command, check=True)
    told = subprocess.run([tmp_path / "try"], capture_output=True, text=True, check=True).stdout
    expected = np.percentile([1, 2, 4, 8, 9.5], [0, 50, 95, 99, 100])
    np.testing.assert_allclose([float(line) for line in told.split()], expected, rtol=1e-12)


def test_cold_is_load_and_first_result(ask, job):
    assert ask(replace(job, measure="cold")).figures.keys() == {
        "cold_load_ms",
        "cold_first_result_ms",
    }


def test_memory_is_above_the_bare_runtime(ask, job, tmp_path, tiny):
    many = np.random.default_rng(0).normal(size=(10, 500_000)).astype(np.float32)  # 20 MB
    graph = tiny.graphs["feature-extraction"].replace("b,s,4", "b,s,c")
    model = tiny.model(tmp_path / "wide.onnx", graph, many, external=True)
    job = replace(job, measure="memory", model=str(model), data=(f"{model.name}.data",))
    answer = ask(replace(job, grid=((1, 1),)))
    figures = answer.figures
    kinds = ("rss", "uss", "pss", "anonymous", "mapped", "library")
    stages = ("before", "load", "first", "steady")
    assert figures.keys() >= {f"{stage}_{kind}_bytes" for stage in stages for kind in kinds}
    for stage in stages:
        parts = sum(figures[f"{stage}_{kind}_bytes"] for kind in ("anonymous", "mapped", "library"))
        assert figures[f"{stage}_rss_bytes"] == parts
    # The library itself is in «before», the table, which is mapped and read by its rows, above it.
    assert figures["before_rss_bytes"] > 10e6
    assert figures["before_mapped_bytes"] == figures["load_mapped_bytes"] == 0
    assert 1e6 < figures["steady_mapped_bytes"] <= many.nbytes
    assert figures["peak_rss_bytes"] >= figures["steady_rss_bytes"]
    assert figures["peak_rss_bytes"] >= figures["load_peak_rss_bytes"] >= 0
    assert [stage for _, stage in answer.marks] == list(stages)
    assert [at for at, _ in answer.marks] == sorted(at for at, _ in answer.marks)
    read = ask(replace(job, grid=((1, 1),), load="bytes")).figures
    assert read["load_anonymous_bytes"] >= many.nbytes
    assert read["steady_mapped_bytes"] == 0


def test_the_peak_is_the_systems(ask, job, runner):
    """GNU time's, which starts the runner: Python's own size would count in a child of Python."""
    time = shutil.which("time") or pytest.skip("no GNU time")
    library = library_of(Path(onnxruntime.__file__).parent)
    file = job_file(replace(job, measure="memory"))
    Path(job.model).with_name("job").write_text(file)
    done = subprocess.run(
        [time, "-f", "%M", runner, library, Path(job.model).with_name("job")],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)["figures"]["peak_process_rss_bytes"]
    assert told == pytest.approx(1024 * int(done.stderr.split()[-1]), rel=0.03)
    assert told < 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_the_arena_is_told(ask, job):
    figures = ask(replace(job, measure="memory")).figures
    assert figures["arena_total_bytes"] >= figures["arena_used_bytes"] > 0


def test_a_relative_model_is_found_mapped(ask, job, monkeypatch):
    monkeypatch.chdir(Path(job.model).parent)
    relative = replace(job, measure="memory", model="model.onnx")
    assert ask(relative).figures["steady_mapped_bytes"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "/nowhere/model.onnx"}, "/nowhere/model.onnx"),
        ({"provider": "XnnpackExecutionProvider"}, "XNNPACK execution provider is not supported"),
        ({"provider": "NnapiExecutionProvider"}, "NNAPI is not in this onnxruntime"),
        ({"ids": ()}, "the job has no ids"),
        ({"library": "/nowhere.so"}, "nowhere.so"),
    ],
)
def test_what_fails_is_one_line(ask, job, changes, message):
    told = ask(replace(job, **changes))["error"]
    assert message in told
    assert "\n" not in told


def test_a_graph_that_fixes_its_shape_says_so(ask, job, write):
    graph = EVERY_INPUT.replace("int64[b,s] input_ids", "int64[1,8] input_ids")
    told = ask(replace(job, model=write(graph), data=()))
    message = "input 'input_ids' takes exactly 1 texts, asked for 2; use 1"
    assert told == {"error": message}


def test_files_are_dropped_or_it_says_why_not(runner, bundle):
    def drop(path):
        return subprocess.run([runner, "--drop", path], capture_output=True, text=True, check=False)

    assert (drop(bundle / "model.onnx").returncode, drop(bundle / "model.onnx").stdout) == (0, "")
    assert json.loads(drop(bundle / "none").stdout) == {"error": f"{bundle}/none cannot be read"}


def test_the_job_file_has_every_field(job):
    job = replace(
        job,
        settings={"a": "b=c"},
        dimensions={"batch": 2},
        stream=(3, 4),
        provider="XExecutionProvider",
    )
    lines = job_file(job).splitlines()
    assert {"setting=a=b=c", "dimension=batch=2", "grid=2x8", "ids=1 5 6 7", "stream=3 4"} <= {
        *lines
    }
    assert "provider=X" in lines
    with pytest.raises(InputError, match="measure 'places' is not for devices"):
        job_file(replace(job, measure="places"))
    with pytest.raises(InputError, match="has a line break"):
        job_file(replace(job, model="a\nb"))


def test_an_unknown_key_is_refused(runner, tmp_path):
    (tmp_path / "job").write_text("sort=3\n")
    told = subprocess.run(
        [runner, "none.so", tmp_path / "job"], capture_output=True, text=True, check=False
    )
    assert "key 'sort' is unknown" in json.loads(told.stdout)["error"]


def test_the_empty_model_is_what_its_comment_says():
    text = (SOURCES / "empty_model.h").read_text()
    stored = bytes(int(byte, 16) for byte in re.findall(r"0x(\w\w)", text))
    graph = re.search(r"<ir_version.*\}", text).group()
    assert stored == onnx.parser.parse_model(graph).SerializeToString()


def test_building_without_a_compiler_is_one_line(monkeypatch, tmp_path, build_runner):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="cmake is not here"):
        build_runner(tmp_path / "runner")


@pytest.mark.slow
def test_values_in_an_older_onnxruntime_on_xnnpack(ask, job, runner):
    libraries = home() / "xnnpack" / "root" / "usr" / "lib" / "x86_64-linux-gnu"
    library = libraries / "libonnxruntime.so.1.21"
    if not library.exists():
        pytest.skip("no onnxruntime with XNNPACK: lighttoken setup xnnpack")
    beside = f"{libraries}:{libraries}/blas:{libraries}/lapack"
    loader = libraries / "ld-linux-x86-64.so.2"
    start = (loader, "--library-path", beside, runner, library)
    answer = ask(replace(job, provider="XnnpackExecutionProvider"), start)
    assert answer.runtime.startswith("onnxruntime 1.21")
    assert_alike(answer, wanted(job), 1e-5)
    memory = ask(replace(job, measure="memory"), start).figures
    assert "steady_rss_bytes" in memory
    assert "arena_total_bytes" not in memory


@pytest.fixture(scope="module")
def on_arm64(tmp_path_factory, build_runner):
    """How the runner is started for 64-bit ARM, in qemu."""
    root = home() / "arm64" / "root"
    qemu = shutil.which("qemu-aarch64-static") or pytest.skip("no qemu-aarch64-static")
    packages = root / "usr/local/lib/python3.11/dist-packages"
    if not packages.is_dir():
        pytest.skip("no aarch64 onnxruntime: lighttoken setup arm64")
    try:
        runner = build_runner(tmp_path_factory.mktemp("arm64") / "runner", target="aarch64-linux")
    except MissingDependencyError as error:
        pytest.skip(str(error))
    return (qemu, "-L", root, runner, library_of(packages / "onnxruntime"))


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["values", "time", "memory", "cold"])
def test_runs_on_arm64_in_qemu(ask, job, measure, on_arm64):
    answer = ask(replace(job, measure=measure), on_arm64)
    if measure == "values":
        assert_alike(answer, wanted(job), 1e-5)
    else:
        assert answer.figures
