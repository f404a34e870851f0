"""Bundles of the real model, and a driver of pages."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exporters import ExportOptions, export
from runtime.profile.browser import find_browser, missing, modules
from toolkit import Budget, LightTokenConfig

DRIVER = Path(__file__).with_name("page.mjs")


@pytest.fixture(scope="session")
def need_browser() -> None:
    """Skip where nothing can run in a browser, and say why."""
    lacking = missing()
    if lacking is not None:
        pytest.skip(lacking)


@pytest.fixture(scope="session")
def bundle(need_browser, minilm_folder, tmp_path_factory):
    """``bundle(target, body)``: the real model, trained briefly: whether it runs is asked."""
    made: dict[tuple[str, str], Path] = {}

    def make(target: str, body: str = "fp32") -> Path:
        if (target, body) not in made:
            out = tmp_path_factory.mktemp("browser") / f"{target}-{body}"
            options = ExportOptions(
                target=target, weights=body, config=LightTokenConfig(rounds=1), name="minilm"
            )
            export(str(minilm_folder), out, Budget(ratio=25), options=options)
            made[target, body] = out
        return made[target, body]

    return make


@dataclass(frozen=True)
class Seen:
    """What a page showed: the script's result, the addresses asked for, the errors logged."""

    found: Any
    asked: list[str]
    errors: list[str]


@pytest.fixture
def look(need_browser) -> Callable[..., Seen]:
    """``look(address, script)``: open a page and run ``script``, which knows it as ``page``."""

    def open_page(
        address: str, script: str, *, flags: Sequence[str] = (), cdn: bool = False
    ) -> Seen:
        task = {
            "modules": str(modules()),
            "browser": str(find_browser()),
            "address": address,
            "script": script,
            "flags": list(flags),
            "cdn": cdn,
        }
        done = subprocess.run(
            ["node", str(DRIVER)],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return Seen(**json.loads(done.stdout))

    return open_page
