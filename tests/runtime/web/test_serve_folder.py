"""``python serve.py`` in a folder that measures elsewhere, with Python alone."""

import http.client
import shutil
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from runtime.devices.web import _AS_THEY_ARE
from runtime.web.files import WEB


@pytest.fixture
def folder(tmp_path):
    """As it is written, without a bundle."""
    made = tmp_path / "device"
    made.mkdir()
    for name, kept in _AS_THEY_ARE.items():
        shutil.copyfile(WEB / kept, made / name)
    (tmp_path / "secret.txt").write_text("outside")
    (made / "link.txt").symlink_to(tmp_path / "secret.txt")
    return made


def test_what_is_in_the_folder_and_nothing_else(folder):
    command = [sys.executable, "-I", "-S", "serve.py", "0"]  # no packages, nothing of a checkout
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as run:
        try:
            address = urlsplit(run.stdout.readline().strip())
            assert address.path == "/measure.html"
            asked = {
                "/measure.html": 200,
                "/": 200,
                "/file_server.py": 200,
                "/link.txt": 404,
                "/../secret.txt": 404,
                "/nowhere/": 404,
            }
            for target, wanted in asked.items():
                client = http.client.HTTPConnection(address.netloc, timeout=10)
                client.request("GET", target)
                answer = client.getresponse()
                assert answer.status == wanted, target
                assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            client = http.client.HTTPConnection(address.netloc, timeout=10)
            client.request("GET", "/", headers={"Host": f"evil.example:{address.port}"})
            assert client.getresponse().status == 421
        finally:
            run.kill()
