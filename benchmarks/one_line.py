"""A benchmark's command, run so that what a user got wrong is one line."""

import sys
from pathlib import Path

import click

from toolkit.errors import LightTokenError
from toolkit.visible import as_line


def run(command: click.Command, script: str, arguments: list[str] | None, *, kept: str) -> int:
    """The exit code: 2 with one line on stderr for an error that a user can cause, else 0.

    ``kept``: what an interrupted run of ``script`` leaves to go on from, in the plural.
    """
    try:
        command.main(arguments, prog_name=Path(script).name, standalone_mode=False)
    except LightTokenError as error:
        message = str(error)
    except click.ClickException as error:
        message = error.format_message()
    except (KeyboardInterrupt, click.Abort):
        message = f"interrupted; {kept} that were done are kept, run again to resume"
    else:
        return 0
    print(f"error: {as_line(message)}", file=sys.stderr)
    return 2
