"""Writes docs/cli.md from the commands of toolkit/cli.

Example:
    python -m tests.contract.cli_page
"""

import inspect
import re
from pathlib import Path

import click

from toolkit.cli.app import app
from toolkit.files import write_aside

FILE = Path(__file__).parents[2] / "docs" / "cli.md"

PAGE = """\
# The command line

Every verb of `lighttoken` and every option, as `lighttoken VERB --help` prints them. This page is
written from the code (`python -m tests.contract.cli_page`; a test fails where they differ).

Exit code 0 says that all went well, 2 that input or options are wrong, 1 that LightToken has a bug.
Errors are one line on standard error. `--json` prints one JSON object on standard output and
nothing else there.

{contents}

{verbs}
"""


def page() -> str:
    """The page's text."""
    context = click.Context(app, info_name="lighttoken")
    commands = {name: app.get_command(context, name) for name in app.list_commands(context)}
    found = {name: command for name, command in commands.items() if command is not None}
    contents = "\n".join(
        f"- [`{name}`](#{name}): {command.get_short_help_str(limit=200)}"
        for name, command in found.items()
    )
    verbs = "\n\n".join(_verb(name, command, context) for name, command in found.items())
    return PAGE.format(contents=contents, verbs=verbs)


def _verb(name: str, command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, parent=parent, info_name=name)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    options = [param for param in command.params if isinstance(param, click.Option)]
    records = [option.get_help_record(context) for option in options]
    rows = "\n".join(_row(*record) for record in records if record is not None)
    return "\n\n".join(
        [
            f"## {name}",
            f"```\n{usage}\n```",
            inspect.cleandoc(command.help or ""),
            f"| option | what it does |\n|---|---|\n{rows}",
            f"```console\n{_examples(command.epilog or '')}\n```",
        ]
    )


def _row(names: str, text: str) -> str:
    escaped = (re.sub(r"\s+", " ", each).replace("|", r"\|") for each in (names, text))
    return "| `{}` | {} |".format(*escaped)


def _examples(epilog: str) -> str:
    lines = (line.strip() for line in epilog.splitlines())
    return "\n".join(f"$ {line}" for line in lines if line.startswith("lighttoken "))


if __name__ == "__main__":
    with write_aside(FILE) as aside:
        aside.write_text(page(), encoding="utf-8")
