"""The page: its sections gathered and put into the template."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from toolkit.errors import InputError
from toolkit.extras import require
from toolkit.files import check_file, write_aside
from toolkit.visible import visible_in

from ..report import ProfileReport
from . import across, figures, headline, memory, method, partition, sizes, speed, writing
from .words import count, listed

_MADE_BY = b'<meta name="generator" content="lighttoken profile">'  # as the template has it
_HEAD = 2000  # bytes within which it stands
_TEMPLATES = Path(__file__).parent / "templates"


def to_html(report: ProfileReport) -> str:
    """The whole page as text; whatever the report holds is escaped.

    Args:
        report: of this schema, measured here or read back by :func:`..read.read_report`. It has
            at least one subject.

    Raises:
        MissingDependencyError: matplotlib, which draws, is not installed.
    """
    require("report")
    # A chart is XML, which has no place for control characters, and a page should show them.
    report = visible_in(report, keep="\n\t")
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code
    sections = {
        "head": headline.headline(report),
        "sizes": sizes.sizes(report),
        "memory": memory.memory(report),
        "speed": speed.speed(report),
        "writing": writing.writing(report),
        "bars": across.charts(report),
        "statuses": across.statuses(report),
        "placements": partition.placements(report),
        "predictions": partition.predictions(report),
        "tables": figures.tables(report),
    }
    contents = [
        ("bytes", "Bytes"),
        *([("memory", "Memory")] if sections["memory"] else []),
        *([("latency", "Latency")] if sections["speed"] else []),
        *([("writing", "Writing")] if sections["writing"] else []),
        ("places", "Places"),
        *([("partition", "Nodes")] if sections["placements"] else []),
        *([("predicted", "Predicted")] if sections["predictions"] else []),
        ("figures", "Every figure"),
        ("method", "Method"),
    ]
    return environment.get_template("page.html.j2").render(
        report=report,
        others=listed([one.name for one in report.subjects[1:]]),
        place_names=listed(report.places),
        processes=f"{count(report.repeats, 'process', 'es')}",
        contents=contents,
        paragraphs=method.paragraphs(report),
        settings=method.settings(report),
        environments=method.environments(report),
        runtimes=method.runtimes(report),
        files=method.files(report),
        **sections,
    )


def code(text: str) -> Markup:
    """What stands between backticks as code; all of it escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts)
    )


def write_html(report: ProfileReport, path: Path) -> None:
    """Write :func:`to_html` to ``path``, a file that is replaced if it exists.

    Raises:
        InputError: the folder of ``path`` is not here, or a folder, a link or a device is there.
        MissingDependencyError: as :func:`to_html`.
    """
    text = to_html(report)
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def check_page(path: Path) -> None:
    """Whether a page may be written to ``path``; asked before hours of measuring.

    Raises:
        InputError: the folder of ``path`` is not here, or something else than such a page is there.
    """
    check_file(path, replace=True)
    if path.exists():
        with path.open("rb") as file:
            if _MADE_BY not in file.read(_HEAD):
                raise InputError(
                    f"{path} exists and is no page of lighttoken profile; choose another name"
                )
