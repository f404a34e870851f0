"""The README's commands and the programs of README and docs run, and every link leads somewhere."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.pages import (
    DOCS,
    PAGES,
    README,
    ROOT,
    TUTORIALS,
    commands,
    dead_links,
    programs,
    run_line,
    run_program,
    text_of,
)
from toolkit.cli.app import run

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
PAIRS = "A cat sleeps.,A kitten naps.,4.0\nStocks fell.,Rain fell.,1.0\nA cat.,A dog.,2.5\n"
WORDS = 1200  # of the README, at most


def test_readme_has_what_is_run_below():
    verbs = {shlex.split(line)[1] for line in commands(README)}
    assert {"demo", "export", "run", "evaluate", "profile", "inspect"} <= verbs
    pages = [page.name for page, _ in programs()]
    assert pages == [
        "README.md",
        "evaluate.md",
        "native-op.md",
        "python.md",
        "python.md",
        "training.md",
    ]


def test_readme_is_short():
    assert len(text_of(README).split()) <= WORDS


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"[`$] ?make ([\w-]+)", text_of(page)):
            assert re.search(rf"^{target}\b[^=]*:", makefile, re.MULTILINE), (page.name, target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path):
    assert dead_links(page) == []


def test_the_checker_finds_dead_links(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# What's `here`?\n[a](gone.md) [b](#whats-here) [c](#gone) [d](https://e.f/g)")
    assert dead_links(page) == ["gone.md", "#gone"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_of_the_repository_exist(page: Path):
    named = re.findall(
        r"`((?:toolkit|exporters|runtime|tests|benchmarks|docs)/[\w./-]*)`", text_of(page)
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_map_is_short():
    rows = text_of(ROOT / "CONTRIBUTING.md").split("| to change | open |\n|---|---|\n")[1]
    assert len(re.match(r"(?:\|.*\n)*", rows)[0].splitlines()) <= 15


def test_the_index_names_every_page():
    index = text_of(DOCS / "README.md")
    for page in [*DOCS.glob("*.md"), *TUTORIALS]:
        name = page.relative_to(DOCS).as_posix()
        assert name == "README.md" or f"]({name})" in index, name


@pytest.fixture(scope="module")
def workplace(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder, in which the README's commands have run: it has the bundle ``minilm``."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        Path("stsb-en-dev.csv").write_text(PAIRS)
        for line in commands(README):
            if line != "lighttoken demo":  # tests/toolkit/cli/test_demo.py
                assert run_line(line, {HUB_ID: minilm_folder}) == 0, line
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "program"), programs(), ids=lambda part: getattr(part, "name", "")
)
def test_commands_and_programs_run(workplace: Path, minilm_folder: Path, page: Path, program: str):
    if page.name == "evaluate.md":  # the original, in one file; here the bundle stands for it
        shutil.copy("minilm/model.onnx", "original.onnx")
        shutil.copy("minilm/model.onnx.data", "model.onnx.data")
    if page.name == "native-op.md" and run(["op", "--out", "."]) != 0:
        pytest.skip("the native kernel cannot be built here")
    run_program(program, page, {HUB_ID: minilm_folder})
