"""``lighttoken setup``: runtimes that pip does not bring, to measure on."""

from dataclasses import asdict

import click

from toolkit.errors import InputError

from .console import err, json_option, out, plain_table, print_json, say, size

_NAMES = ("xnnpack", "qnn", "arm64", "web")
_EXAMPLE = """\b
Examples:
  lighttoken setup
  lighttoken setup web
  lighttoken setup --remove qnn
"""


@click.command(epilog=_EXAMPLE)
@click.argument("names", nargs=-1, type=click.Choice(_NAMES))
@click.option("--remove", is_flag=True, help="Delete the named runtimes.")
@json_option
def command(names: tuple[str, ...], remove: bool, as_json: bool) -> None:
    """Set up runtimes to measure on; without a name, list them.

    Each goes into a folder of its own in the user's cache, or in LIGHTTOKEN_HOME; nothing is
    installed into the system. What is there already stays.
    """
    from runtime.setup import catalogue, home

    if remove and not names:
        raise InputError("--remove needs the name of a runtime; choose one of " + ", ".join(_NAMES))
    if not names:
        _list(as_json)
        return
    done: list[dict[str, str | bool]] = []
    for name in names:
        if remove:
            was_there = catalogue.remove(name)
            done.append({"name": name, "removed": was_there})
            line = "removed" if was_there else "was not here"
        else:
            was_there = catalogue.is_here(name)
            if not was_there and err.is_terminal and not as_json:
                err.print(f"setting up {name}; this takes some minutes")
            folder = catalogue.set_up(name)
            done.append({"name": name, "path": str(folder), "was_here": was_there})
            line = f"is in {folder}"
        if not as_json:
            say(f"{name} {line}")
    if as_json:
        print_json({"home": str(home()), "runtimes": done})


def _list(as_json: bool) -> None:
    from runtime.setup import catalogue, home

    found = catalogue.states()
    if as_json:
        print_json({"home": str(home()), "runtimes": [asdict(state) for state in found]})
        return
    table = plain_table("runtime", "here", "size", "for")
    table.columns[3].justify = "left"
    for state in found:
        taken = size(state.bytes) if state.bytes else f"about {size(state.about_bytes)}"
        here = "yes" if state.here else "in part" if state.bytes else "no"
        table.add_row(state.name, here, taken, state.purpose)
    out.print(table)
    say()
    say(f"in {home()}")
    missing = [state.name for state in found if not state.here]
    if missing:
        say(f"to set up: lighttoken setup {' '.join(missing)}")
