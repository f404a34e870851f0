"""The README's commands and the programs of README and docs run, and every link leads somewhere."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit.cli.app import run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
PAIRS = "A cat sleeps.,A kitten naps.,4.0\nStocks fell.,Rain fell.,1.0\nA cat.,A dog.,2.5\n"
WORDS = 1200  # of the README, at most


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, kind: str) -> list[str]:
    found = re.findall(r"^```(\w+)\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language == kind]


def commands(page: Path) -> list[str]:
    """Lines of console blocks that call ``lighttoken``."""
    lines = [line for text in blocks(page, "console") for line in text.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ lighttoken ")]


def programs() -> list[tuple[Path, str]]:
    """Every program in Python, with the page that it stands on."""
    return [(page, text) for page in PAGES for text in blocks(page, "python")]


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What ``#`` may name on a page, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in kept}


def dead_links(page: Path) -> list[str]:
    """Relative links whose file or heading is not there."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        headless = anchor and (target.suffix != ".md" or anchor not in anchors(target))
        if not target.exists() or headless:
            dead.append(link)
    return dead


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
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


@pytest.fixture(scope="module")
def workplace(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder, in which the README's commands have run: it has the bundle ``minilm``."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        Path("stsb-en-dev.csv").write_text(PAIRS)
        for line in commands(README):
            arguments = shlex.split(line.replace(HUB_ID, str(minilm_folder)))[1:]
            if arguments[0] == "profile":
                arguments += ["--runs", "3", "--repeats", "1"]
            if arguments[0] != "demo":  # tests/toolkit/cli/test_demo.py
                assert run(arguments) == 0, line
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
    program = program.replace(HUB_ID, str(minilm_folder))
    exec(compile(program, page.name, "exec"), {})
