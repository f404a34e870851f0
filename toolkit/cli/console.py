"""What the verbs share: options, progress, tables, sizes, and the way to standard output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from toolkit.allocate.budget import DECODER_RATIO, DEFAULT_RATIO, Budget
from toolkit.errors import InputError
from toolkit.json_text import json_text
from toolkit.limits import BYTES, Whole
from toolkit.methods.config import EFFORTS, LightTokenConfig
from toolkit.progress import Progress as Report
from toolkit.visible import visible

from .output import stdout, write


class PlainConsole(Console):
    """Shows strings as they are: square brackets are no markup, control characters no orders.

    All text of others goes out as str, in lines, cells and titles; a ``Text`` is of our own words,
    or made by ``visible``.
    """

    def __init__(self, file: IO[str] | None = None, *, stderr: bool = False) -> None:
        super().__init__(file=file, stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **settings: Any) -> Text:
        """What every str passes through before it is measured and shown."""
        return super().render_str(visible(text), **settings)


out = PlainConsole(stdout)
if not out.is_terminal:  # a pipe or a file has no width of its own; 80 columns would cut names
    out.width = 120
err = PlainConsole(stderr=True)

Command = TypeVar("Command", bound=Callable[..., Any])


class AliasedOption(click.Option):
    """An option that older names reach too: ``aliases``, which help does not show."""

    def __init__(self, names: list[str], aliases: tuple[str, ...] = (), **settings: Any) -> None:
        super().__init__([*names, *aliases], **settings)
        self.aliases = aliases

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The line of ``--help``."""
        every = self.opts
        self.opts = [name for name in every if name not in self.aliases]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = every


class _WholeNumber(click.types.IntParamType):
    """An integer within limits; what lies outside is refused in the words that they have."""

    def __init__(self, numbers: Whole) -> None:
        self._numbers = numbers

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; click's error for any other value."""
        number = int(super().convert(value, param, ctx))
        name = param.opts[0].removeprefix("--") if param is not None else "it"
        if (problem := self._numbers.problem(name, number)) is not None:
            self.fail(problem, param, ctx)
        return number


def whole(numbers: Whole) -> click.types.IntParamType:
    """The type of an option that takes such a number."""
    return _WholeNumber(numbers)


def json_option(command: Command) -> Command:
    """``--json``: one JSON object on stdout and nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def no_op_option(command: Command) -> Command:
    """``--no-op``: as on a machine that has no native kernel."""
    return click.option("--no-op", is_flag=True, help="Run without the native kernel.")(command)


def original_option(command: Command) -> Command:
    """``--original``, for the verbs that compare a bundle with it."""
    return click.option(
        "--original",
        help="Where the original is, if it is not known here: a folder, a hub id or an .onnx file.",
    )(command)


def budget_options(command: Command) -> Command:
    """``--ratio``, ``--max-bytes`` and ``--min-cosine``; see :func:`read_budget`."""
    ratio = click.option(
        "--ratio",
        type=float,
        help=f"Times smaller than in float32 [default: {DEFAULT_RATIO:g}; {DECODER_RATIO:g} where "
        "a decoder is exported].",
    )
    max_bytes = click.option(
        "--max-bytes", type=whole(BYTES), help="Bytes of the packed table, at most."
    )
    min_cosine = click.option(
        "--min-cosine",
        type=float,
        help="Mean cosine of a row to its decoded form, at least; takes several times as long.",
    )
    return ratio(max_bytes(min_cosine(command)))


def read_budget(
    ratio: float | None, max_bytes: int | None, min_cosine: float | None
) -> Budget | None:
    """The budget that the options ask for, None if they ask for none."""
    if ratio is None and max_bytes is None and min_cosine is None:
        return None
    return Budget(ratio=ratio, max_bytes=max_bytes, min_cosine=min_cosine)


def effort_options(command: Command) -> Command:
    """``--effort`` and ``--additive-codebooks``; see :func:`config_of`."""
    effort = click.option(
        "--effort",
        type=click.Choice(list(EFFORTS)),
        default="normal",
        show_default=True,
        help="How long method lighttoken searches for better codes; other methods ignore it.",
    )
    additive = click.option(
        "--additive-codebooks",
        cls=AliasedOption,
        aliases=("--split-codebooks",),
        is_flag=True,
        help="Additive 4+4-bit codebooks: an output head runs several times faster, with a few "
        "per cent more error.",
    )
    return effort(additive(command))


def config_of(method: str, effort: str, additive_codebooks: bool) -> LightTokenConfig | None:
    """Constants of an effort; None, the method's own, where it has no efforts.

    Raises:
        InputError: additive codebooks of a method that has none.
    """
    if method == "lighttoken":
        return replace(LightTokenConfig.of_effort(effort), additive=additive_codebooks)
    if additive_codebooks:
        raise InputError(
            f"method {method} has no codebooks; leave --additive-codebooks out or choose "
            "--method lighttoken"
        )
    return None


def say(line: str = "") -> None:
    """A line of prose to stdout, as it is: no markup, and the terminal does the wrapping."""
    out.print(line, soft_wrap=True)


def print_json(data: Any) -> None:
    """To stdout, keys in the order given; what is no number is null."""
    write(json_text(data) + "\n")


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """A bar with the time left, on stderr; nothing where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(visible(title), total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=visible(what))


def plain_table(*columns: str, title: str | None = None) -> Table:
    """First column to the left, the others, which hold figures, to the right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left")
    return table


def size(count: float) -> str:
    """Bytes for people: decimal units, three digits that matter."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= factor:
            return f"{count / factor:.2f} {unit}"
    return f"{count:.0f} B"
