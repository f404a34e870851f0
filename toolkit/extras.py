"""The optional parts of an installation: what each brings, and the one line if it is missing.

The base installation runs, evaluates, profiles and inspects bundles. Whatever needs more calls
:func:`require` before it starts.
"""

from importlib.util import find_spec

from .errors import MissingDependencyError

# Packages by import name, for each extra of pyproject.toml that code of this project imports.
EXTRAS = {
    "export": ("torch", "transformers", "onnxscript", "scipy", "huggingface_hub"),
    "optimum": ("torch", "transformers", "optimum"),
    "speech": ("torch", "transformers", "optimum", "soundfile", "scipy"),
    "probe": ("sklearn",),
    "report": ("jinja2", "markupsafe", "matplotlib"),
}
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "huggingface_hub": "huggingface-hub"}


def require(extra: str) -> None:
    """Check that the packages of ``extra`` are installed; none of them is imported.

    Raises:
        MissingDependencyError: one is not; the message names it and the extra.
    """
    for package in EXTRAS[extra]:
        if find_spec(package) is None:
            raise MissingDependencyError(_line(package, extra))


def explain(error: ModuleNotFoundError) -> str | None:
    """The same line for an import that failed; None if no extra brings the package."""
    package = (error.name or "").split(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return _line(package, extra)
    return None


def _line(package: str, extra: str) -> str:
    name = _DISTRIBUTIONS.get(package, package)
    return f"{name} is not installed; pip install 'lighttoken[{extra}]'"
