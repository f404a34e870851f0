"""The server that goes into a folder: two files, and Python alone."""

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import runtime.web

HERE = Path(runtime.web.__path__[0])


def test_it_serves_its_folder_by_itself(tmp_path):
    shutil.copy(HERE / "serve_folder.py", tmp_path / "serve.py")
    shutil.copy(HERE / "file_server.py", tmp_path)
    (tmp_path / "measure.html").write_text("a page")
    command = [sys.executable, "-I", str(tmp_path / "serve.py"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().strip()
            assert address.endswith("/measure.html")
            with urlopen(address) as page:
                assert page.read() == b"a page"
                assert page.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            with urlopen(address.removesuffix("measure.html")) as page:
                assert page.read() == b"a page"
        finally:
            server.terminate()
