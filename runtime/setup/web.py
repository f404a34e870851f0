"""onnxruntime-web, a tokenizer and what drives a browser: packages of npm."""

import shutil
from pathlib import Path

from .calls import call, need

PACKAGES = Path(__file__).parents[1] / "web" / "package.json"
_QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error")


def fill(folder: Path) -> None:
    """Install the packages of ``runtime/web/package.json`` into an empty folder.

    Raises:
        MissingDependencyError: no npm.
        InputError: npm failed.
    """
    npm = need("npm", "install node 20 or newer")
    shutil.copy(PACKAGES, folder)
    failed = "npm cannot install what runs in browsers; check the network and try again"
    call([npm, "install", *_QUIET], failed, folder=folder)


def is_whole(folder: Path) -> bool:
    """Whether all packages are there, in the versions that this LightToken asks for."""
    asked = folder / PACKAGES.name
    modules = folder / "node_modules" / "onnxruntime-web"
    return modules.is_dir() and asked.is_file() and asked.read_bytes() == PACKAGES.read_bytes()
