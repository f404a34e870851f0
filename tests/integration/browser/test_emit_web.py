"""What ``emit_web`` writes: the files, and what the page measures."""

import json
import subprocess
import sys
from urllib.request import urlopen

import pytest

from runtime.devices.join import device_job, join
from runtime.devices.results import read_results
from runtime.devices.web import emit_web
from runtime.profile.measure.job import Answer, Job
from runtime.profile.measure.rounds import profile
from runtime.profile.report.report import metrics
from runtime.web.files import library_files
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import InputError

GRID = ((1, 8), (1, 32))
MEASURE = """
    await page.click("#measure:enabled");
    await page.waitForSelector("#download:not([hidden])", { timeout: 240000 });
    const [file] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
    const { readFileSync } = await import("node:fs");
    return {
      status: await page.innerText("#status"),
      shown: await page.innerText("#figures"),
      name: file.suggestedFilename(),
      results: JSON.parse(readFileSync(await file.path(), "utf8")),
    };
"""


def a_job(provider="wasm", **more):
    return Job("time", "/elsewhere/model.onnx", provider, GRID, 3, 1, rows=30522, **more)


@pytest.mark.slow
def test_the_page_measures(bundle, look, tmp_path):
    folder = bundle("wasm")
    job = device_job(folder, GRID, provider="wasm", threads=1, runs=3)
    emit_web(folder, tmp_path / "site", job)
    command = [sys.executable, "-I", str(tmp_path / "site" / "serve.py"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().strip()
            seen = look(address, MEASURE)
        finally:
            server.terminate()
    assert seen.errors == []
    assert seen.found["status"] == "Done."
    assert seen.found["name"] == "results.json"
    results = seen.found["results"]
    assert (results["kind"], results["schema"]) == ("lighttoken device results", 1)
    assert (results["place"], results["subject"]) == ("web", folder.name)
    assert results["environment"]["cores"] >= 1
    answers = {one["measure"]: Answer.from_dict(one["answer"]) for one in results["answers"]}
    assert set(answers) == {"values", "time", "memory"}
    known = {metric.name for metric in metrics(GRID)}
    assert set(answers["time"].figures) <= known
    weights = read_manifest(folder).files["model.onnx.data"].bytes
    assert answers["memory"].figures["steady_page_bytes"] > 0.9 * weights
    assert "wasm heap in use" in seen.found["shown"]

    (tmp_path / "results.json").write_text(json.dumps(results))
    report = profile(folder, lengths=(8,), runs=1, warmup=0, repeats=1)
    joined = join(report, [read_results(tmp_path / "results.json")], [folder])
    there = joined.measurement(folder.name, "web")
    assert there.parity.error < 1e-4
    assert there.figures["load_ms"].median > 0


@pytest.mark.slow
def test_the_folder_holds_all_that_it_needs(bundle, tmp_path):
    folder = bundle("wasm")
    emit_web(folder, tmp_path / "site", a_job())
    settings = json.loads((tmp_path / "site" / "settings.json").read_text())
    assert settings["libraries"] == "local"
    assert settings["job"]["model"] == "bundle/model.onnx"
    assert settings["job"]["data"] == ["model.onnx.data"]
    for name in library_files(["wasm"]):
        assert (tmp_path / "site" / name).is_file()
    assert not list((tmp_path / "site").rglob("*asyncify*"))  # WebGPU's, 27 MB
    command = [sys.executable, "-I", str(tmp_path / "site" / "serve.py"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            with urlopen(server.stdout.readline().strip()) as page:
                assert page.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        finally:
            server.terminate()


def test_a_provider_that_browsers_lack(tmp_path):
    with pytest.raises(InputError, match=r"CUDA.*wasm or webgpu"):
        emit_web(tmp_path, tmp_path / "site", a_job("CUDAExecutionProvider"))
