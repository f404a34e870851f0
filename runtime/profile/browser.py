"""Measures in headless Chromium: finds it, hands it a job, reads the answer."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from toolkit.errors import InputError
from toolkit.json_files import last_json
from toolkit.signals import uninterrupted

from ..setup import home
from .measure.job import Answer, Job

RUNNER = Path(__file__).parents[1] / "web" / "measure" / "headless.mjs"
OLDEST_NODE = 20
_VARIABLE = "CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
_MAC = (
    "Google Chrome.app/Contents/MacOS/Google Chrome",
    "Chromium.app/Contents/MacOS/Chromium",
    "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
_WINDOWS = (
    r"Google\Chrome\Application\chrome.exe",
    r"Chromium\Application\chrome.exe",
    r"Microsoft\Edge\Application\msedge.exe",
)
_PROGRAM_FOLDERS = ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")
_GRACE_S = 10.0  # for closing the browser, which outlives a runner that is killed at once


def modules() -> Path:
    """The folder whose ``node_modules`` hold onnxruntime-web, whether or not it is there."""
    return home() / "web"


def find_browser() -> Path | None:
    """Chromium or one of its kin: what ``CHROMIUM`` names, else where systems keep it."""
    named = os.environ.get(_VARIABLE)
    if named:
        found = shutil.which(named)
        return Path(found) if found else None
    on_path = (shutil.which(name) for name in _NAMES)
    usual = (str(path) for path in _usual_places() if path.is_file())
    first = next((path for path in (*on_path, *usual) if path), None)
    return Path(first) if first else None


def missing() -> str | None:
    """What running in a browser lacks here, and what to do: one line. None if nothing."""
    node = shutil.which("node")
    if node is None:
        return f"no node is here; install node {OLDEST_NODE} or newer"
    version = _node_version(node)
    if version < OLDEST_NODE:
        return f"node is version {version}; install node {OLDEST_NODE} or newer"
    for name in ("onnxruntime-web", "playwright-core"):
        if not (modules() / "node_modules" / name).is_dir():
            return f"{name} is not here; run `lighttoken setup web`"
    if find_browser() is None:
        named = os.environ.get(_VARIABLE)
        if named:
            return f"{_VARIABLE} names {named}, which is no program; set it to Chromium's path"
        return f"no Chromium is here; install it or set {_VARIABLE} to its path"
    return None


def run_in_browser(job: Job, timeout_s: float) -> Answer:
    """Measure in a fresh headless Chromium. ``job.threads`` applies to ``wasm``.

    A browser's figures differ from a process's: ``load_ms`` begins when the files are in the page
    and the runtime has started; ``*_wasm_heap_bytes`` reach to the last byte of the runtime's heap
    that was ever written, ``*_page_bytes`` are what Chromium says of the whole page (with one
    thread only), both above a session of an empty model, whose own are ``before_*``. Memory of a
    GPU is told nowhere.

    ``marks`` are in seconds since the page was opened, as pages see no clock of the system's.
    ``facts`` of every answer: ``isolated``, ``browser`` and, on WebGPU, ``adapter`` (its name, and
    whether it is one in software). For ``places``: ``counts`` of nodes by provider, and, where
    there is more than one provider, ``assigned``: ``[[provider, [[op_type, "", node], …]], …]``;
    on WASM ``profiled`` too: ``[[provider, op_type, node, microseconds], …]``, the median of ten
    calls at the last point of the grid.

    Raises:
        InputError: something is missing here, the browser died or took longer than ``timeout_s``
            seconds, or the model cannot be loaded or run.
    """
    lacking = missing()
    if lacking is not None:
        raise InputError(lacking)
    task = {
        "job": dataclasses.asdict(job),
        "modules": str(modules()),
        "browser": str(find_browser()),
    }
    process: subprocess.Popen[str] | None = None
    try:
        with uninterrupted():
            process = subprocess.Popen(
                ["node", str(RUNNER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
            )
        stdout, stderr = process.communicate(json.dumps(task), timeout_s)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"measuring {job.model} in a browser took longer than {timeout_s:g} s; "
            "ask for fewer runs or shorter texts"
        ) from error
    finally:
        if process is not None:
            with uninterrupted():
                _end(process)
    told = last_json(stdout)
    if process.returncode == 0 and "figures" in told:
        return Answer.from_dict(told)
    if isinstance(told.get("error"), str):
        raise InputError(f"measuring {job.model} in a browser failed: {told['error']}")
    last = " ".join(stderr.strip().rsplit("\n", 1)[-1].split())[:300]
    raise InputError(
        f"the browser that measured {job.model} failed with status {process.returncode} "
        f"({last or 'no message'}); report this"
    )


def _end(process: subprocess.Popen[str]) -> None:
    """End a runner that is still there, and let it close its browser first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.communicate(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _node_version(node: str) -> int:
    """Major version; 0 where it does not tell."""
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    match = re.match(r"v(\d+)\.", told.stdout)
    return int(match.group(1)) if match else 0


def _usual_places() -> list[Path]:
    if sys.platform == "darwin":
        return [
            Path(root) / name
            for root in ("/Applications", Path.home() / "Applications")
            for name in _MAC
        ]
    roots = [os.environ.get(folder) for folder in _PROGRAM_FOLDERS]
    return [Path(root) / name for root in roots if root for name in _WINDOWS]
