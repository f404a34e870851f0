"""Pages of the documentation as the tests read them: blocks of code, commands, links.

Commands and programs of pages run in this process, with the folders of small models in place of the
ids that pages name.
"""

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from toolkit.cli.app import run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *TUTORIALS]
# What a page's commands are told besides, so that a test need not take as long as a measurement.
QUICKER = {"profile": ["--runs", "3", "--repeats", "1"]}

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    """The page as it stands."""
    return page.read_text(encoding="utf-8")


def all_blocks(page: Path) -> list[tuple[str, str]]:
    """Blocks of code from top to bottom: their language and their text."""
    return _BLOCK.findall(text_of(page))


def blocks(page: Path, kind: str) -> list[str]:
    """Those of one language."""
    return [text for language, text in all_blocks(page) if language == kind]


def lines(console: str) -> list[str]:
    """Commands of a console block, without the prompt; an installation is not among them.

    A line that ends with a backslash goes on in the next.
    """
    whole = re.sub(r"\\\n\s*", "", console)
    found = [line for line in whole.splitlines() if line.startswith("$ ")]
    return [line.removeprefix("$ ") for line in found if not line.startswith("$ pip install ")]


def commands(page: Path) -> list[str]:
    """Lines of console blocks that call ``lighttoken``."""
    found = [line for text in blocks(page, "console") for line in lines(text)]
    return [line for line in found if line.startswith("lighttoken ")]


def programs() -> list[tuple[Path, str]]:
    """Every program in Python with the page that it stands on; tutorials run their own."""
    pages = [page for page in PAGES if page not in TUTORIALS]
    return [(page, text) for page in pages for text in blocks(page, "python")]


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


def run_line(line: str, models: Mapping[str, Path], more: Mapping[str, list[str]] = QUICKER) -> int:
    """Run one line of a console block in the current folder; returns its exit code.

    Args:
        line: a call of ``lighttoken``, or of ``printf``, which writes the files of a page.
        models: folders of small models by the ids that stand on the page.
        more: arguments by verb that are added.
    """
    if line.startswith("printf "):
        return subprocess.run(["sh", "-c", line], check=False).returncode
    program, *arguments = shlex.split(line)
    assert program == "lighttoken", f"no test can run {line!r}; put it into a block of text"
    given = [str(models.get(argument, argument)) for argument in arguments]
    return run([*given, *more.get(given[0], [])])


def run_program(program: str, page: Path, models: Mapping[str, Path]) -> None:
    """Run a program in Python of ``page`` in the current folder."""
    for name, folder in models.items():
        program = program.replace(name, str(folder))
    exec(compile(program, page.name, "exec"), {})
