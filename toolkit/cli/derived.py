"""Options of a command, made of the fields of ``ExportOptions``."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import click

from exporters.options import CliOption, ExportOptions, cli_options

from .console import AliasedOption, whole

Command = TypeVar("Command", bound=Callable[..., Any])


def export_options(command: Command) -> Command:
    """An option for each field of ``ExportOptions`` that is one, in their order."""
    return export_option(*cli_options())(command)


def export_option(*names: str) -> Callable[[Command], Command]:
    """The options of these fields alone, for a verb that has some of them too."""
    types = get_type_hints(ExportOptions)
    defaults = {one.name: one.default for one in fields(ExportOptions)}

    def add(command: Command) -> Command:
        for name in reversed(names):
            option = _option(name, cli_options()[name], types[name], defaults[name])
            command = option(command)
        return command

    return add


def _option(name: str, option: CliOption, kind: Any, default: Any) -> Callable[[Command], Command]:
    flag = f"--{name.replace('_', '-')}"
    settings: dict[str, Any] = {"help": option.help, "metavar": option.metavar}
    if kind is bool:
        settings["is_flag"] = True
    elif option.negation is not None:
        flag = f"{flag}/{option.negation}"
        settings["default"] = None
    else:
        settings |= {"default": default, "show_default": default is not None}
        settings["type"] = _type(kind) if option.whole is None else whole(option.whole)
    if option.choices:
        shown = [str(each) for each in option.choices]
        settings |= {
            "type": str,
            "metavar": f"[{'|'.join(shown)}]",
            "callback": _one_of(option),
            "shell_complete": lambda ctx, param, begun: [w for w in shown if w.startswith(begun)],
        }
    return click.option(flag, name, cls=AliasedOption, aliases=option.aliases, **settings)


def _type(kind: Any) -> Any:
    """click's type of ``str``, ``int | None``, ``float | None``, ``Path | None``."""
    plain = {
        int: int,
        int | None: int,
        float | None: float,
        Path | None: click.Path(path_type=Path),
    }
    return plain.get(kind, str)


def _one_of(option: CliOption) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Turns a word into the choice that it names, an integer perhaps."""
    known = {str(each): each for each in (*option.choices, *option.hidden)}
    shown = ", ".join(repr(str(each)) for each in option.choices)

    def choose(ctx: click.Context, param: click.Parameter, value: str | None) -> str | int | None:
        if value is None:
            return None
        if value not in known:
            raise click.BadParameter(f"{value!r} is not one of {shown}.", ctx, param)
        return known[value]

    return choose
