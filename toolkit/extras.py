"""The optional parts of an installation: what each brings, and the one line if it is missing.

The base installation runs, evaluates, profiles and inspects bundles. Whatever needs more calls
:func:`require` before it starts.
"""

from importlib.util import find_spec

from .errors import MissingDependencyError

# Packages by import name, for each extra of pyproject.toml that code of this project imports.
EXTRAS = {
    "export": ("torch", "transformers", "onnxscript", "scipy", "huggingface_hub"),
    "optimum": ("torch", "transformers", "optimum.exporters.onnx"),
    "speech": ("torch", "transformers", "optimum.exporters.onnx", "soundfile", "scipy"),
    "languages": ("wordfreq",),
    "probe": ("sklearn",),
    "report": ("jinja2", "markupsafe", "matplotlib"),
    "sweep": ("joblib", "matplotlib", "yaml"),
}
# optimum's packages share a folder, in which a command of ours lies too: it is there without them.
_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "huggingface_hub": "huggingface-hub",
    "optimum.exporters.onnx": "optimum-onnx",
    "yaml": "pyyaml",
}


def require(extra: str) -> None:
    """Check that the packages of ``extra`` are installed; none of them is imported.

    Raises:
        MissingDependencyError: one is not; the message names it and the extra.
    """
    for package in EXTRAS[extra]:
        if not installed(package):
            raise MissingDependencyError(_line(package, extra))


def installed(package: str) -> bool:
    """Whether ``package``, such as ``torch`` or ``optimum.exporters.onnx``, can be imported."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even what holds it
        return False


def explain(error: ModuleNotFoundError) -> str | None:
    """The same line for an import that failed; None if no extra brings the package."""
    missing = (error.name or "").split(".")[0]
    for extra, packages in EXTRAS.items():
        for package in packages:
            if package.split(".")[0] == missing:
                return _line(package, extra)
    return None


def _line(package: str, extra: str) -> str:
    name = _DISTRIBUTIONS.get(package, package)
    return f"{name} is not installed; pip install 'lighttoken[{extra}]'"
