"""The command group, and what becomes of errors: one line and exit code 2, never a traceback."""

import contextlib
import errno
import io
import os
import sys
from typing import Any, NoReturn

import click

from toolkit.errors import LightTokenError
from toolkit.extras import explain
from toolkit.files import complete, kept
from toolkit.signals import Stopped, ignore_signals, raise_on_signals
from toolkit.visible import as_line

from .output import OutputError

EXIT_BAD_INPUT = 2
EXIT_BUG = 1
_DEBUG = "LIGHTTOKEN_DEBUG"
_VERBS = (
    "demo",
    "plan",
    "export",
    "run",
    "serve",
    "push",
    "evaluate",
    "sweep",
    "profile",
    "inspect",
    "compress",
    "op",
    "setup",
    "doctor",
)


class Verbs(click.Group):
    """Subcommands loaded on use: ``lighttoken --help`` imports neither torch nor onnxruntime."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order a newcomer meets them."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command ``verb`` of module ``.verb``."""
        if cmd_name not in _VERBS:
            return None
        from importlib import import_module

        command: click.Command = getattr(import_module(f".{cmd_name}", __package__), "command")  # noqa: B009
        return command


@click.command(
    cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96}
)
@click.version_option(package_name="lighttoken", prog_name="lighttoken")
def app() -> None:
    """Make a language model's token table 25 times smaller, packed on disk and in memory."""


def main(
    arguments: list[str] | None = None, command: click.Command = app, name: str = "lighttoken"
) -> NoReturn:
    """Entry point of the console script.

    Args:
        arguments: the words after the name, None for those of the process.
        command: one verb alone, for another program that has it as its own.
        name: what the help calls it.
    """
    # OpenMP threads that wait by spinning make training several times slower as soon as anything
    # else runs on the machine. Read once, when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # one that knows ASCII alone, say, still works
            stream.reconfigure(errors="backslashreplace")
    raise_on_signals()
    code = run(sys.argv[1:] if arguments is None else arguments, command, name)
    ignore_signals()
    sys.exit(code)


def run(arguments: list[str], command: click.Command = app, name: str = "lighttoken") -> int:
    """Run the command line; returns its exit code."""
    complete.clear()
    kept.clear()
    try:
        outcome: Any = command.main(arguments, prog_name=name, standalone_mode=False)
    except LightTokenError as error:
        return _fail(str(error))
    except click.ClickException as error:
        usage = isinstance(error, click.UsageError) and error.ctx is not None
        hint = f"; see `{error.ctx.command_path} --help`" if usage else ""  # type: ignore[attr-defined]
        return _fail(error.format_message().rstrip(".") + hint)
    except (KeyboardInterrupt, click.Abort):
        return _fail(f"interrupted; {_written()}")
    except Stopped as stopped:
        return _fail(f"stopped; {_written()}", 128 + stopped.number)
    except BrokenPipeError:  # `lighttoken ... | head`
        _forget_output()
        return 0
    except OutputError as error:
        _forget_output()
        what = error.cause.strerror or str(error.cause)
        written = f"wrote {_listed()}, but s" if complete else "s"
        return _fail(f"{written}tandard output failed ({what.lower()})")
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        if isinstance(error, ModuleNotFoundError) and (line := explain(error)) is not None:
            return _fail(line)
        if isinstance(error, OSError) and error.errno is not None:
            return _fail(_system_error(error))
        kind = type(error).__name__
        first = (str(error).splitlines() or [""])[0]
        _fail(f"unexpected {kind}: {first}; set {_DEBUG}=1 for the traceback and please report it")
        return EXIT_BUG
    return outcome if isinstance(outcome, int) else 0


def _system_error(error: OSError) -> str:
    what = (error.strerror or str(error)).lower()
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{what}{where}; free some space and run again, {_written()}"
    return f"{what}{where}; {_written()}"


def _written() -> str:
    """What an end by a signal leaves: nothing, or what was complete before it."""
    if kept:
        return kept[-1]
    if not complete:
        return "nothing was written"
    return f"{_listed()} was complete before"


def _listed() -> str:
    return ", ".join(map(str, complete))


def _forget_output() -> None:
    """What Python still holds of it would fail again at the end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int = EXIT_BAD_INPUT) -> int:
    with contextlib.suppress(OSError):  # a terminal that is closed sends SIGHUP
        print(f"error: {as_line(message)}", file=sys.stderr)
    return code
