"""Text of others in lines, cells and titles, and standard output that fails."""

import ast
import io
import math
import os
import sys
from pathlib import Path

import pytest
from rich.color import ColorSystem
from rich.text import Text

from toolkit.cli import console, output
from toolkit.cli.console import PlainConsole, plain_table, print_json, progress, say

HOSTILE = "[red]a[/red] [/] [link=http://x]b\x1b[31m\x1b]0;t\x07\r\x9b2J\u202e\u2028:smile:"
SHOWN = "[red]a[/red] [/] [link=http://x]b\\x1b[31m\\x1b]0;t\\x07\\r\\x9b2J\\u202e\\u2028:smile:"


def test_a_line_is_shown_as_it_is(capfd):
    say(HOSTILE)
    assert capfd.readouterr().out == f"{SHOWN}\n"


def test_cells_titles_and_headings_too(capfd, monkeypatch):
    monkeypatch.setattr(console.out, "_width", 400)
    table = plain_table(HOSTILE, HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE, "1\n2")
    console.out.print(table)
    told = capfd.readouterr().out
    assert told.count(SHOWN) == 4
    assert "1\\n2" in told
    assert told.replace("\n", "").isprintable()


def terminal() -> tuple[PlainConsole, io.StringIO]:
    """A console that takes its file for a wide terminal with colours."""
    file = io.StringIO()
    made = PlainConsole(file)
    made._force_terminal = made.is_interactive = True
    made._color_system, made.width = ColorSystem.STANDARD, 400
    return made, file


def test_on_a_terminal_only_our_own_styles_are_sequences():
    made, file = terminal()
    table = plain_table("", "")
    table.add_row(HOSTILE, Text("ours", "bold red"))
    made.print(table)
    assert SHOWN in file.getvalue()
    left = file.getvalue().replace("\x1b[1;31mours\x1b[0m", "").replace("\x1b[1m", "")
    assert left.replace("\x1b[0m", "").replace("\n", "").isprintable()


def test_a_progress_title_too(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    made, file = terminal()
    monkeypatch.setattr(console, "err", made)
    with progress(HOSTILE) as report:
        report(0.5, f"{HOSTILE}!")
    told = file.getvalue()
    assert f"{SHOWN}!" in told
    assert "\x1b]0;" not in told
    assert "\x9b" not in told


def test_a_written_text_keeps_its_lines_alone(capfd):
    output.write("a\n\tb\x1b[31m\r\n")
    assert capfd.readouterr().out == "a\n\tb\\x1b[31m\\r\n"


def test_printed_json_has_no_nan(capfd):
    print_json({"a": math.nan})
    assert capfd.readouterr().out == '{\n  "a": null\n}\n'


def test_closed_output_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    say("nobody reads this")
    output.write("nor this")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("show", [say, output.write, print_json])
def test_output_that_takes_no_more_is_told_from_other_files(monkeypatch, show):
    full = Path("/dev/full").open("w")  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(output.OutputError, match="No space"):
        show("text")
    os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    full.close()


def test_no_line_of_ours_holds_a_line_end():
    """It would be shown as its escape: an empty line is a ``say()`` of its own."""
    found = [
        f"{path.name}:{call.lineno}"
        for path in sorted(Path(console.__file__).parent.glob("*.py"))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "say"
        for each in ast.walk(call)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and "\n" in each.value
    ]
    assert found == []
