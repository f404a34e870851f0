"""How Sphinx makes the documentation a site: `make docs`.

The source folder is the root of the repository, so that pages link to each other on the site as
they do on GitHub. What the site lists, and in what order, stands in docs/README.md alone.
"""

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
INDEX = "docs/README.md"

sys.path.insert(0, str(ROOT))  # docstrings of this checkout, whatever is installed

project = "LightToken"
html_title = "LightToken"
root_doc = "README"
include_patterns = ["*.md", "docs/**.md"]
# Files of programs, and what benchmarks/downstream writes beside its data.
exclude_patterns = [".*", "build", "dist", "tests", "benchmarks", "docs/downstream.md"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_heading_anchors = 4  # named as GitHub names them
smartquotes = False  # an option's -- is no dash
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
copybutton_exclude = ".linenos, .gp, .c1"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False


def contents(index: str) -> list[tuple[str, list[str]]]:
    """The site's table of contents: sections of ``index`` with the pages that their tables name.

    Args:
        index: the text of docs/README.md.

    Returns:
        Pairs of a heading and paths from the repository's root, such as ``docs/run.md``.
    """
    sections = []
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        pages = re.findall(r"^\|.*\]\(([^)#]+\.md)\) \|$", section, flags=re.MULTILINE)
        named = [Path(INDEX).parent.joinpath(page) for page in pages]
        caption = section.splitlines()[0]
        sections.append((caption, [re.sub(r"[^/]+/\.\./", "", page.as_posix()) for page in named]))
    return sections


def toctrees(index: str) -> str:
    """The same as hidden directives of Sphinx."""
    first = f"```{{toctree}}\n:hidden:\n\nAll pages <{INDEX}>\n```\n"
    return first + "".join(
        f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{chr(10).join(pages)}\n```\n"
        for caption, pages in contents(index)
    )


def add_contents(app: "Sphinx", name: str, source: list[str]) -> None:
    """The start page is README.md; what stands here is for the site's navigation alone."""
    if name == root_doc:
        source[0] += "\n" + toctrees((ROOT / INDEX).read_text(encoding="utf-8"))


def add_start(app: "Sphinx", error: Exception | None) -> None:
    """Servers look for index.html; links of the site are relative, so that a copy does."""
    if error is None and app.builder.format == "html":
        shutil.copyfile(app.outdir / f"{root_doc}.html", app.outdir / "index.html")


def shorten(
    app: "Sphinx", what: str, name: str, thing: Any, options: Any, given: str, gives: str
) -> tuple[str | None, str | None]:
    """numpy's types of arrays by the names that the code has them by."""
    from numpy.typing import ArrayLike
    from sphinx.util.typing import stringify_annotation

    array = re.escape("~numpy.ndarray[tuple[~typing.Any, ...], ~numpy.dtype[") + r"~\w+\.(\w+)\]\]"
    long = str(stringify_annotation(ArrayLike, "smart"))

    def short(text: str | None) -> str | None:
        if text is None:
            return None
        return re.sub(array, r"NDArray[\1]", text).replace(long, "ArrayLike")

    return short(given), short(gives)


def write_dashes(app: "Sphinx", tree: Any, name: str) -> None:
    """Between a parameter and what it is Sphinx puts two hyphens, for smartquotes to join."""
    from docutils import nodes

    for text in list(tree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def setup(app: "Sphinx") -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-signature", shorten)
    app.connect("doctree-resolved", write_dashes)
    app.connect("build-finished", add_start)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
