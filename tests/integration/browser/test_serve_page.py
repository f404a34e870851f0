"""The page of ``lighttoken serve`` in headless Chromium."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from runtime import open_pipeline
from runtime.web.serve import open_server, open_site

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("need_browser")]

TEXTS = ["A cat sleeps.", "A kitten naps in the sun.", "Stocks fell again today.", "word " * 400]
ENTER = """
    await page.waitForSelector(".heat");
    const keep = (texts) => sessionStorage.setItem("lighttoken-texts", JSON.stringify(texts));
    await page.evaluate(keep, TEXTS);
    await page.reload();
    await page.waitForSelector(".heat");
    return page.evaluate(() => ({
      cosines: [...document.querySelectorAll(".heat tbody tr")].map((row) =>
        [...row.querySelectorAll("td")].map((cell) => Number(cell.dataset.cosine))),
      notes: [...document.querySelectorAll(".near")].map((note) => note.textContent),
      runtime: document.getElementById("runtime").textContent,
      status: document.getElementById("status").textContent,
      isolated: self.crossOriginIsolated,
    }));
"""


@contextmanager
def served(site):
    with open_server(site, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()


def enter():
    return ENTER.replace("TEXTS", repr(TEXTS))


def assert_alike(seen, folder):
    vectors = open_pipeline(folder, op=False)(TEXTS)
    wanted = vectors @ vectors.T
    assert np.abs(np.array(seen.found["cosines"]) - wanted).max() < 1e-4
    nearest = np.argmax(wanted - 9 * np.eye(len(TEXTS)), axis=1)
    told = [note.split(",")[0] for note in seen.found["notes"]]
    assert told == [f"nearest: {at + 1}" for at in nearest]
    assert seen.found["status"] == ""
    assert seen.found["isolated"]


def test_the_page_shows_the_pipelines_cosines(bundle, look):
    folder = bundle("wasm")
    with served(open_site(folder)) as address:
        seen = look(address, enter())
    assert_alike(seen, folder)
    assert seen.errors == []
    assert "libraries from this server" in seen.found["runtime"]
    far = [asked for asked in seen.asked if not asked.startswith((address, "blob:", "data:"))]
    assert far == []


def test_libraries_from_the_cdn(bundle, look, monkeypatch):
    monkeypatch.setattr("runtime.web.serve.library_files", dict)
    folder = bundle("wasm")
    with served(open_site(folder)) as address:
        seen = look(f"{address}?threads=2", enter(), cdn=True)
    assert_alike(seen, folder)
    assert seen.errors == []
    assert "libraries from cdn.jsdelivr.net" in seen.found["runtime"]
    assert not any("/lib/" in asked for asked in seen.asked)


def test_what_cannot_run_says_so(bundle, look, tmp_path):
    folder = bundle("wasm")
    site = open_site(folder)
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no model at all")
    site.files["bundle/model.onnx"] = broken
    with served(site) as address:
        seen = look(
            address,
            'await page.waitForSelector("#status.bad"); return page.innerText("#status");',
        )
    assert "does not run here" in seen.found
    assert "protobuf" in seen.found
