"""The site: every page is in its table of contents, the API page has what is public, it builds."""

import inspect
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import lighttoken
from tests.contract.pages import DOCS, ROOT, text_of

NEEDED = ("sphinx", "myst_parser", "furo", "sphinx_copybutton")
NO_PAGE = {"README.md", "downstream.md"}  # the index; what benchmarks/downstream writes
API = text_of(DOCS / "api.md")
SETTINGS = runpy.run_path(str(DOCS / "conf.py"))
CONTENTS = SETTINGS["contents"](text_of(DOCS / "README.md"))


def directives() -> list[tuple[str, str]]:
    """What docs/api.md has Sphinx read: the kind and the full name."""
    return re.findall(r"^\.\. auto(\w+):: ([\w.]+)", API, re.MULTILINE)


def thing(kind: str, name: str):
    """What the name stands for."""
    if kind == "module":
        return import_module(name)
    module, _, last = name.rpartition(".")
    return getattr(import_module(module), last)


def described(docstring: str) -> set[str]:
    """Names that «Args» and «Attributes» of a docstring in Google's style tell of."""
    found = set()
    for section in re.findall(
        r"^(?:Args|Attributes):\n((?: {4}.*\n|\n)+)", docstring + "\n", re.MULTILINE
    ):
        for names in re.findall(r"^ {4}(\w+(?:, \w+)*):", section, re.MULTILINE):
            found |= set(names.split(", "))
    return found


def test_every_page_is_in_the_contents_once():
    listed = [page for _, pages in CONTENTS for page in pages]
    of_docs = [page.relative_to(ROOT).as_posix() for page in DOCS.rglob("*.md")]
    wanted = {page for page in of_docs if page.removeprefix("docs/") not in NO_PAGE}
    wanted |= {page.name for page in ROOT.glob("*.md") if page.name != "README.md"}
    assert sorted(listed) == sorted(wanted)


def test_the_contents_are_the_sections_of_the_index():
    index = "# Pages\n\n## One\n\n| q | page |\n|---|---|\n| A? | [a.md](a.md) |\n\n## Two\n\n"
    index += "| Of [a.md](a.md)? | [B](../B.md) |\n| C? | [c.md](d/c.md) |\n"
    assert SETTINGS["contents"](index) == [
        ("One", ["docs/a.md"]),
        ("Two", ["B.md", "docs/d/c.md"]),
    ]


def test_the_api_page_has_every_public_name():
    named = {name for _, name in directives()}
    public = {f"lighttoken.{name}" for name in lighttoken.__all__} - {"lighttoken.__version__"}
    assert public - named == {"lighttoken.LightTokenError"}  # with all errors, below
    assert ("module", "toolkit.errors") in directives()
    for kind, name in directives():
        assert thing(kind, name).__doc__, name


@pytest.mark.parametrize(("kind", "name"), directives(), ids=lambda part: part)
def test_docstrings_tell_of_parameters_that_are_there(kind: str, name: str):
    found = thing(kind, name)
    if kind == "module":
        return
    members = [one for _, one in inspect.getmembers(found, callable)] if kind == "class" else []
    for one in [found, *members]:
        home = getattr(one, "__module__", None) or ""
        if home.split(".")[0] not in ("toolkit", "exporters", "runtime"):
            continue
        there = set(inspect.signature(one).parameters)
        assert described(inspect.getdoc(one) or "") <= there, one


def test_what_a_docstring_tells_of_is_found():
    text = (
        "Do it.\n\nArgs:\n    one, two: so that\n        more: of it.\n    three: x.\n\nReturns:\n"
    )
    assert described(text + "    four: y.\n") == {"one", "two", "three"}


class _Page(HTMLParser):
    """Anchors of a page and what it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.anchors.add(given["id"])
        for link in (given.get("href"), given.get("src")):
            if link and not urlsplit(link).scheme:
                self.links.append(link)


def dead(site: Path) -> list[str]:
    """Links between files of a site that lead nowhere."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (
                anchor and target in pages and anchor not in pages[target].anchors
            ):
                found.append(f"{path.relative_to(site)}: {link}")
    return found


@pytest.fixture
def build(tmp_path: Path):
    """``build()``: Sphinx as `make docs` calls it, and the site's folder."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install -e '.[docs]'")

    def call(*options: str) -> tuple[subprocess.CompletedProcess[str], Path]:
        site = tmp_path / "site"
        command = [sys.executable, "-m", "sphinx", "-q", "-E", "-a", "-W", "--keep-going"]
        command += ["-c", "docs", "-d", str(tmp_path / "doctrees"), *options, ".", str(site)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True), site.resolve()

    return call


def test_the_site_builds_without_a_warning_and_links_lead_somewhere(build):
    made, site = build()
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""
    assert dead(site) == []
    start = (site / "index.html").read_text(encoding="utf-8")
    for caption, pages in CONTENTS:
        assert caption in start
        for page in pages:
            assert f'href="{page.removesuffix(".md")}.html"' in start, page
    api = (site / "docs" / "api.html").read_text(encoding="utf-8")
    for kind, name in directives():
        if kind != "module":
            assert f'id="{name}"' in api, name


def test_dead_links_are_found(tmp_path: Path):
    (tmp_path / "b.html").write_text('<h1 id="here">B</h1>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">b</a> <a href="b.html#gone">b</a> <img src="c.png">'
        '<a href="https://d.e/f">f</a>'
    )
    assert dead(tmp_path.resolve()) == ["a.html: b.html#gone", "a.html: c.png"]
