"""A folder that measures a bundle in the browser of any device: a page, the bundle, libraries."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from toolkit.bundle.manifest import Manifest, read_manifest, verify_files
from toolkit.errors import InputError
from toolkit.files import folder_aside
from toolkit.json_text import json_text
from toolkit.markdown import prose

from ..profile.measure.job import Job
from ..profile.report.report import metrics
from ..web.files import (
    CDN,
    PROVIDERS,
    WEB,
    bundle_files,
    external_data,
    libraries_from,
    library_files,
    page_files,
)

MEASURES = ("values", "time", "memory")
_AS_THEY_ARE = {
    "measure.html": "measure/measure.html",
    "frame.html": "measure/frame.html",
    "serve.py": "serve_folder.py",
    "file_server.py": "file_server.py",
}
_ISOLATED = (
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
)
_CDN_NOTE = """
`onnxruntime-web` comes from cdn.jsdelivr.net, because it was not installed where this folder was
made; `lighttoken setup web` before that puts it into the folder.
"""


def emit_web(bundle: Path, out: Path, job: Job, *, force: bool = False) -> None:
    """Write ``out``, a static site whose page measures ``bundle`` and gives ``results.json``.

    Args:
        bundle: a bundle folder.
        out: the folder, made anew.
        job: provider (``wasm`` or ``webgpu``), threads, grid, runs, warmup, and ``ids`` of the call
            whose outputs are compared. Its model, data and measure are not read, as the page takes
            each of :data:`MEASURES`.
        force: replace an ``out`` that such a call wrote, if nothing was added to it.

    Raises:
        FormatError: no bundle, or a damaged one.
        InputError: ``out`` exists and is not replaced, or another provider.
    """
    if job.provider not in PROVIDERS:
        raise InputError(f"provider {job.provider!r} is unknown to browsers; use wasm or webgpu")
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    libraries = library_files([job.provider])
    files = {
        **{name: WEB / kept for name, kept in _AS_THEY_ARE.items()},
        **page_files(),
        **libraries,
        **bundle_files(bundle, manifest),
    }
    source = libraries_from(libraries)
    settings = _settings(bundle, manifest, job, source)
    with folder_aside(out, force=force, inputs=[bundle]) as folder:
        for name, path in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
        (folder / "settings.json").write_text(json_text(settings) + "\n")
        (folder / "_headers").write_text(_headers_file())
        (folder / "README.md").write_text(_readme(settings["name"], source), encoding="utf-8")


def _settings(bundle: Path, manifest: Manifest, job: Job, source: str) -> dict[str, Any]:
    """What the page reads."""
    model, data = f"bundle/{manifest.model}", tuple(external_data(bundle, manifest))
    return {
        "name": bundle.resolve().name,
        "libraries": source,
        "measures": MEASURES,
        "job": dataclasses.asdict(dataclasses.replace(job, model=model, data=data)),
        "metrics": [dataclasses.asdict(metric) for metric in metrics(job.grid)],
    }


def _headers_file() -> str:
    """For the static hosts that read a file of this name."""
    return "/*\n" + "".join(f"  {name}: {value}\n" for name, value in _ISOLATED)


def _readme(name: str, source: str) -> str:
    headers = "\n".join(f"{header}: {value}" for header, value in _ISOLATED)
    return f"""# Measure {prose(name)} in a browser

    python serve.py

and open the address that it prints. «Measure» takes time and memory, shows them, and offers
`results.json`. Keep the page in front: browsers slow down pages that nobody sees.

To measure on a phone, put this folder on a static host with HTTPS and open `measure.html` there.
The host has to send these headers with every file, or there is one thread and no figure for the
page's memory:

```text
{headers}
```

Hosts that read a file `_headers` find them there. A phone that hangs on this machine by a cable can
also do without a host: `python serve.py`, `adb reverse tcp:8026 tcp:8026`, and the same address.

Nothing is sent anywhere; `results.json` holds figures, the browser's name, its number of cores and
the memory that it tells.
{_CDN_NOTE if source == CDN else ""}"""
