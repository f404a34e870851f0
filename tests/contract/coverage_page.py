"""Writes docs/coverage.md from what tests find of families of models and of forms of a look-up.

Example:
    make coverage
    python -m tests.contract.coverage_page forms  # the second table alone, in a minute
"""

import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from exporters.sources.to_onnx import has_optimum
from tests.exporters.lookup_forms import ROWS, WIDTH
from toolkit.files import write_aside

ROOT = Path(__file__).parents[2]
TESTS = "tests/exporters/test_coverage.py"
FORM_TESTS = "tests/exporters/test_lookup_forms.py"
FILE = ROOT / "docs" / "coverage.md"
PACKAGES = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxscript", "onnxruntime")

PAGE = """\
# Which models export

Written by `make coverage` from what tests found; a test fails where page and tests list other
cases. [Forms of a look-up](#forms-of-a-look-up) and [real checkpoints](#real-checkpoints) stand
below. Here each row of `{tests}` is a model of one or two
layers with random weights and {rows} tokens, exported as `lighttoken export --ratio 8` does it,
and checked: the graphs of a family are found, rewritten and right.

- **form**: an `encoder` gives hidden states; `decoder with cache` is `--with-past`;
  `encoder-decoder` is one graph from `input_ids`, `attention_mask` and `decoder_input_ids` to
  `logits`, which holds the shared table once; `*.onnx` are the files that optimum splits one into,
  each given as it is; `labels of words` is token classification, a `reranker` gives one number a
  pair of texts, and a `text vector` comes out of the text half of a model of images.
- **as torch**: the file before compression against torch, at another batch size and length than the
  export's, with padding; with a cache, in two steps against all tokens at once. The largest
  difference of any number, over the largest number (or 1).
- **rewrite**: the bundle against the same file with its table replaced by the decoded one, the
  largest difference of any output. An export fails above 1e-4 of the largest output (or 1).
- **table**: how many times smaller it is, every stored byte counted.
- **head**, over the vocabulary: reads the `packed` table that it shares; reads weights of its
  `own`, `packed` beside the table or not; or there is `none`.
- **weights in onnxruntime**: bytes of the graph that it makes of the file at load, before and
  after. A dense table is {dense:,} bytes at width 32 (ALBERT has width 16, ELECTRA 24); an export
  fails where it comes back.

{versions}

| {header} |
|{rules}|
{table}
"""
HEADER = (
    *("family", "form", "exporter", "as torch", "rewrite", "table", "head"),
    "weights in onnxruntime",
)
TEXT_COLUMNS = {"family", "form", "exporter", "head", "what varies", "as stored"}
FORMS_BEGIN = "\n## Forms of a look-up\n"
FORMS = """\

Not only families: an .onnx file from anywhere is searched for its tables by use. Each row is a tiny
graph that `{tests}` writes, tables of {rows} x {width}, exported
as `lighttoken export --ratio 6` does it. Then no constant as large as a table is left in the file,
and its output is what numpy makes of the rows that the packed table decodes to.

- **as stored**: how the table stands in the file, and through which nodes it is read; of some
  forms, such as a computed table, that is what the export makes of them first.
- **head**: an output head that shares the table reads the `packed` one; or there is `none`.
- `refused` are forms that leave in one line, with the words that say why; nothing is written then.

| {header} |
|{rules}|
{table}
"""
CHECKPOINTS_BEGIN = "\n## Real checkpoints\n"  # written by hand, and kept
FORM_HEADER = ("what varies", "form", "as stored", "head", "rewrite", "table")


class Results:
    """What each case recorded, in order; and the names of those that failed."""

    def __init__(self) -> None:
        self.rows: list[dict] = []
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each phase of each test."""
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.when == "call":
            self.rows.append(dict(report.user_properties))


def line(row: dict) -> str:
    """A row of the table."""
    cells = [row["family"], row["form"], row["exporter"]]
    if row["unsupported"]:
        cells += [f"does not export: {row['unsupported']}", *[""] * (len(HEADER) - 4)]
    else:
        cells += [
            f"{row['torch']:.1e}",
            f"{row['rewrite']:.1e}",
            f"{row['table']:.1f}x",
            row["head"],
            f"{row['dense']:,} → {row['left']:,}",
        ]
    return f"| {' | '.join(cells)} |"


def form_line(row: dict) -> str:
    """A row of the second table."""
    cells = [row["kind"], row["name"]]
    if row["refused"]:
        cells += [f"refused: {row['refused']}", *[""] * (len(FORM_HEADER) - 3)]
    else:
        figures = [f"{row['rewrite']:.1e}", f"{row['table']:.1f}x"]
        cells += [row["stored"], row["head"], *figures]
    return f"| {' | '.join(cells)} |"


def rules(header: tuple[str, ...]) -> str:
    """The line below a table's header: figures stand to the right."""
    return "|".join("---" if name in TEXT_COLUMNS else "---:" for name in header)


def run(tests: str, only: str) -> list[dict] | None:
    """What each case of a module recorded; None where one fails."""
    results = Results()
    command = [str(ROOT / tests), "-k", only, "-p", "no:cacheprovider"]
    code = pytest.main(command, plugins=[results])
    if code or results.failed:
        print(f"{len(results.failed)} cases fail; the page is as it was", file=sys.stderr)
        return None
    return results.rows


def families() -> str | None:
    """The page's first part."""
    rows = run(TESTS, "family_exports")
    if rows is None:
        return None
    versions = [f"{name} {version(name)}" for name in PACKAGES]
    return PAGE.format(
        tests=TESTS,
        rows="1,000",
        dense=1000 * 32 * 4,
        versions=f"Made with Python {platform.python_version()}, {', '.join(versions)}.",
        header=" | ".join(HEADER),
        rules=rules(HEADER),
        table="\n".join(map(line, rows)),
    )


def forms() -> str | None:
    """The page's second part."""
    rows = run(FORM_TESTS, "form_exports")
    if rows is None:
        return None
    return FORMS_BEGIN + FORMS.format(
        tests=FORM_TESTS,
        rows=ROWS,
        width=WIDTH,
        header=" | ".join(FORM_HEADER),
        rules=rules(FORM_HEADER),
        table="\n".join(map(form_line, rows)),
    )


def main(arguments: list[str]) -> int:
    """Run the cases and write the page; nothing is written where one fails."""
    first: str | None
    before, begin, checkpoints = FILE.read_text(encoding="utf-8").partition(CHECKPOINTS_BEGIN)
    if arguments == ["forms"]:
        first = before.split(FORMS_BEGIN)[0]
    elif not has_optimum():
        print("half of the cases need optimum: pip install -e '.[optimum]'", file=sys.stderr)
        return 2
    else:
        first = families()
    second = forms() if first is not None else None
    if first is None or second is None:
        return 1
    with write_aside(FILE) as aside:
        aside.write_text(first + second + begin + checkpoints, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
