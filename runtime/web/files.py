"""What a page needs, by the address it has there: scripts, libraries, the bundle."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from toolkit.bundle.manifest import MANIFEST_NAME, Manifest
from toolkit.errors import FormatError
from toolkit.graph.files import model_files
from toolkit.inside import is_in_folder

from ..setup import home

WEB = Path(__file__).parent
PROVIDERS = ("wasm", "webgpu")
LOCAL, CDN = "local", "cdn"
CDN_ADDRESS = "https://cdn.jsdelivr.net"

_TYPES = (".css", ".mjs")
_BESIDE_NODE = ("headless.mjs", "headless_server.mjs")  # no page loads them
_RUNTIME = "onnxruntime-web/dist/"
_TEXT = ("@huggingface/tokenizers/dist/tokenizers.min.mjs", "@huggingface/jinja/dist/index.js")
_BUILDS = {  # the build of onnxruntime-web, and the WASM that it loads
    "wasm": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded"),
    "webgpu": ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify"),
}


def page_files() -> dict[str, Path]:
    """Scripts and styles, under ``web/`` as they lie in this folder."""
    ours = [
        path
        for path in sorted(WEB.rglob("*"))
        if path.suffix in _TYPES and path.name not in _BESIDE_NODE
    ]
    return {
        f"web/{path.relative_to(WEB).as_posix()}": path for path in (*ours, WEB / "package.json")
    }


def library_files(providers: Iterable[str] = PROVIDERS) -> dict[str, Path]:
    """Under ``lib/``; empty where one is not installed, and pages then ask :data:`CDN_ADDRESS`."""
    names = [*_TEXT]
    for provider in providers:
        script, core = _BUILDS[provider]
        names += [_RUNTIME + name for name in (script, f"{core}.mjs", f"{core}.wasm")]
    modules = home() / "web" / "node_modules"
    files = {f"lib/{name}": modules / name for name in names}
    return files if all(path.is_file() for path in files.values()) else {}


def bundle_files(bundle: Path, manifest: Manifest) -> dict[str, Path]:
    """The manifest and what it lists, under ``bundle/``.

    Raises:
        FormatError: the manifest lists a file outside of the bundle.
    """
    for name in manifest.files:
        if not is_in_folder(bundle / name, bundle):
            raise FormatError(f"{bundle} lists {name!r}, outside of it; export the bundle again")
    return {f"bundle/{name}": bundle / name for name in (MANIFEST_NAME, *manifest.files)}


def external_data(bundle: Path, manifest: Manifest) -> list[str]:
    """Names of the model's external data files, relative to its own folder.

    Raises:
        FormatError: no model, or a file of it is missing.
    """
    model = bundle / manifest.model
    return [path.relative_to(model.parent).as_posix() for path in model_files(model)[1:]]


def libraries_from(files: Mapping[str, Path]) -> str:
    """:data:`LOCAL` if there are library files among these, else :data:`CDN`."""
    return LOCAL if any(name.startswith("lib/") for name in files) else CDN
