"""``lighttoken serve`` over HTTP, without a browser."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urljoin
from urllib.request import urlopen

import pytest

from runtime.web.files import WEB
from runtime.web.serve import PORT, Server, open_server, open_site
from toolkit.bundle.manifest import manifest_digest
from toolkit.errors import FormatError, InputError


@pytest.fixture
def no_libraries(monkeypatch, tmp_path):
    monkeypatch.setenv("LIGHTTOKEN_HOME", str(tmp_path / "home"))


@pytest.fixture
def server(no_libraries, tiny_bundle):
    with open_server(open_site(tiny_bundle), port=0) as opened:
        thread = threading.Thread(target=opened.serve_forever, daemon=True)
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", **headers: str):
    """Status, headers, body; the path goes out as it is."""
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_the_page_and_all_that_it_names(server):
    status, headers, body = ask(server, "/")
    assert status == 200
    assert headers.get_content_type() == "text/html"
    for name in re.findall(r'(?:href|src)="(web/[^"]+)"', body.decode()):
        assert ask(server, f"/{name}")[0] == 200


def test_every_import_of_a_script_is_served(server):
    scripts = list(WEB.rglob("*.mjs"))
    assert {path.parent for path in scripts} == {WEB, WEB / "page", WEB / "measure"}
    for path in scripts:
        address = f"/web/{path.relative_to(WEB).as_posix()}"
        if path.name.startswith("headless"):
            assert ask(server, address)[0] == 404
            continue
        assert ask(server, address)[0] == 200
        for name in re.findall(r'from "(\.[^"]+)"', path.read_text()):
            assert ask(server, urljoin(address, name))[0] == 200


def test_the_bundle_byte_for_byte(server, tiny_bundle):
    files = [path for path in tiny_bundle.rglob("*") if path.is_file()]
    assert files
    for path in files:
        address = "/bundle/" + quote(path.relative_to(tiny_bundle).as_posix())
        status, headers, body = ask(server, address)
        assert status == 200
        assert body == path.read_bytes()
        assert headers["Content-Length"] == str(len(body))


def test_the_page_is_isolated_and_lets_nothing_out(server):
    for path in (
        "/",
        "/web/page/page.mjs",
        "/bundle/lighttoken.json",
        "/settings.json",
        "/nowhere",
    ):
        headers = ask(server, path)[1]
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("name", "kind"), [("page/page.mjs", "text/javascript"), ("style.css", "text/css")]
)
def test_types(server, name, kind):
    assert ask(server, f"/web/{name}")[1].get_content_type() == kind


@pytest.mark.parametrize(
    "path",
    [
        "/../serve.py",
        "/web/../serve.py",
        "/web/..%2fserve.py",
        "/bundle/../../etc/passwd",
        "/bundle/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/bundle/",
        "/bundle",
        "/web/__init__.py",
        "/%00",
    ],
)
def test_nothing_else_is_served(server, path):
    status, _, body = ask(server, path)
    assert status == 404
    assert body == b""


def test_a_file_beside_the_bundles_own_is_not_served(no_libraries, tiny_bundle, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / "secret.txt").write_text("not in the manifest")
    assert "bundle/secret.txt" not in open_site(bundle).files


def test_a_manifest_that_reaches_outside_is_refused(no_libraries, tiny_bundle, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    path = bundle / "lighttoken.json"
    manifest = json.loads(path.read_text())
    (tmp_path / "secret.txt").write_text("x")
    manifest["files"]["../secret.txt"] = {
        "bytes": 1,
        "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    }
    del manifest["digest"]
    path.write_text(json.dumps(manifest | {"digest": manifest_digest(manifest)}))
    with pytest.raises(FormatError, match="outside"):
        open_site(bundle)


def test_what_has_not_changed_is_not_sent_again(server):
    tag = ask(server, "/web/page/page.mjs")[1]["ETag"]
    status, headers, body = ask(server, "/web/page/page.mjs", **{"If-None-Match": tag})
    assert (status, body) == (304, b"")
    assert headers["ETag"] == tag
    assert ask(server, "/web/page/page.mjs", **{"If-None-Match": '"other"'})[0] == 200


def test_head(server):
    status, headers, body = ask(server, "/web/page/page.mjs", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == (WEB / "page" / "page.mjs").stat().st_size


def test_without_libraries_here_the_page_asks_the_cdn(server):
    settings = json.loads(ask(server, "/settings.json")[2])
    assert settings["libraries"] == "cdn"
    assert "https://cdn.jsdelivr.net" in ask(server, "/")[1]["Content-Security-Policy"]


def test_with_libraries_here_nothing_else_may_be_asked(monkeypatch, tiny_bundle, tmp_path):
    monkeypatch.setattr(
        "runtime.web.serve.library_files", lambda: {"lib/a.mjs": tmp_path / "a.mjs"}
    )
    site = open_site(tiny_bundle)
    assert site.libraries == "local"
    assert "jsdelivr" not in site.headers()["Content-Security-Policy"]


def test_settings_name_the_external_data(server):
    settings = json.loads(ask(server, "/settings.json")[2])
    assert settings["data"] == ["model.onnx.data"]
    assert settings["provider"] == "wasm"


def test_a_port_that_is_taken(fails, tiny_bundle):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails("serve", tiny_bundle, "--no-open", "--port", port)
    assert f"port {port} is taken" in line
    assert "--port" in line


def test_the_next_free_port_is_taken_where_none_is_asked_for(no_libraries, tiny_bundle):
    site = open_site(tiny_bundle)
    with open_server(site) as one, open_server(site) as two:
        assert PORT <= one.server_address[1] < two.server_address[1]


def test_a_host_that_is_not_here(fails, tiny_bundle):
    assert "192.0.2.1" in fails("serve", tiny_bundle, "--no-open", "--host", "192.0.2.1")


def test_no_bundle(fails, tmp_path: Path):
    assert "lighttoken export" in fails("serve", tmp_path, "--no-open")


def test_a_damaged_bundle(fails, tiny_bundle, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / "model.onnx.data").write_bytes(b"")
    assert "model.onnx.data" in fails("serve", bundle, "--no-open")


def test_a_provider_that_browsers_lack(no_libraries, tiny_bundle):
    with pytest.raises(InputError, match="wasm or webgpu"):
        open_site(tiny_bundle, "cuda")


@contextmanager
def process(bundle, *options):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "toolkit", "serve", str(bundle), "--no-open", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, *options], text=True, **pipes) as run:
        try:
            yield run
        finally:
            run.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_it(tiny_bundle):
    with process(tiny_bundle) as run:
        assert "http://127.0.0.1:" in run.stdout.readline()
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=20)
        assert run.returncode == 0
    assert "ended" in out
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_json_is_the_address_alone(tiny_bundle):
    with process(tiny_bundle, "--json") as run:
        lines = []
        while not lines or lines[-1] != "}\n":
            lines.append(run.stdout.readline())
        told = json.loads("".join(lines))
        with urlopen(told["address"] + "settings.json") as answer:
            assert json.load(answer)["libraries"] == told["libraries"]
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=20)
        assert (run.returncode, out) == (0, "")
