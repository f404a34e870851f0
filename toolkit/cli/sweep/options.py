"""Options of a verb, given in a file: read as its command line reads them."""

import difflib
from collections.abc import Mapping
from typing import Any

import click

from toolkit.errors import InputError

from .plan import Value

Given = Mapping[str, Value | tuple[Value, ...]]


class Options:
    """What a verb may be given in a plan.

    Args:
        command: the verb's.
        name: of the verb.
        without: parameters that a plan cannot set, as the sweep itself does.
    """

    def __init__(self, command: click.Command, name: str, without: tuple[str, ...]) -> None:
        self._command, self._verb = command, name
        places = {one.name for one in command.params if isinstance(one, click.Argument)}
        self._left_out = {*places, *without}
        self._places = ["x"] * len(places)  # no option is read by what stands there
        self._options = {  # by each of their names, which are words with underscores
            word.lstrip("-").replace("-", "_"): one
            for one in command.params
            if isinstance(one, click.Option) and one.name not in without
            for word in one.opts
        }

    def check_name(self, name: str) -> None:
        """Raise InputError, with the nearest known name, where it is none of the options."""
        if name in self._options:
            return
        near = difflib.get_close_matches(name, self._options, 1)
        hint = f"use {near[0]}, or see" if near else "use one of"
        raise InputError(f"{name!r} is no option here; {hint} `lighttoken {self._verb} --help`")

    def read(self, given: Given) -> tuple[dict[str, Any], dict[str, Any]]:
        """All parameters of the verb but its arguments, and those that differ from the default.

        Raises:
            InputError: an option that is unknown, or a value that the verb refuses.
        """
        words = [word for name, value in given.items() for word in self._words(name, value)]
        usual = self._params([])
        try:
            params = self._params(words)
        except click.ClickException as error:
            raise InputError(
                f"{error.format_message().rstrip('.')}; see `lighttoken {self._verb} --help`"
            ) from error
        return params, {name: value for name, value in params.items() if value != usual[name]}

    def _params(self, words: list[str]) -> dict[str, Any]:
        context = self._command.make_context(self._verb, [*self._places, *words])
        return {k: v for k, v in context.params.items() if k not in self._left_out}

    def _words(self, name: str, value: Value | tuple[Value, ...]) -> list[str]:
        """The option as words of a command line."""
        self.check_name(name)
        option = self._options[name]
        flag = next(word for word in option.opts if word.startswith("--"))
        values = value if isinstance(value, tuple) else (value,)
        if not (option.multiple or option.nargs > 1) and len(values) != 1:
            raise InputError(f"{name} takes one value, got {len(values)}; leave out all but one")
        if option.nargs > 1 and len(values) != option.nargs:
            raise InputError(f"{name} takes {option.nargs} values, got {len(values)}; give a list")
        if option.is_flag:
            return self._flag(name, flag, option, values[0])
        if any(isinstance(one, bool) for one in values):
            raise InputError(
                f"{name} is {str(values[0]).lower()}, where a text or a number should be; set one "
                "(YAML takes no, yes, on and off for truth values: put such words in quotes)"
            )
        if option.nargs > 1:
            return [f"{flag}={values[0]}", *map(str, values[1:])]
        return [f"{flag}={one}" for one in values]

    def _flag(self, name: str, flag: str, option: click.Option, value: Value) -> list[str]:
        if not isinstance(value, bool):
            raise InputError(f"{name} is {value!r}; set it to true or false")
        return [flag] if value else option.secondary_opts[:1]
