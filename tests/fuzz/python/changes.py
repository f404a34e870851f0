"""Sound data with a few changes that a fuzzer draws: these get past parsers, drawn bytes do not."""

from typing import Any

import atheris

CHANGED = b"\xff"  # inputs that start so are changes; others are the file itself
_EDGES = (None, True, False, "", [], {}, -1, 0, 1, 2**31, 2**40, 2**63, 2**64, 1e308, float("nan"))


def value(draw: atheris.FuzzedDataProvider) -> Any:
    """Anything that JSON holds."""
    kind = draw.ConsumeIntInRange(0, 5)
    if kind < 3:
        return _EDGES[draw.ConsumeIntInRange(0, len(_EDGES) - 1)]
    if kind == 3:
        return draw.ConsumeIntInRange(-300, 300)
    if kind == 4:
        return draw.ConsumeUnicodeNoSurrogates(8)
    return [value(draw) for _ in range(draw.ConsumeIntInRange(0, 2))]


def change(draw: atheris.FuzzedDataProvider, data: Any) -> Any:
    """``data`` with something in it that is another value, gone, or new."""
    if not isinstance(data, dict | list) or not data or draw.ConsumeIntInRange(0, 7) == 0:
        return value(draw)
    keys = sorted(data) if isinstance(data, dict) else range(len(data))
    key = keys[draw.ConsumeIntInRange(0, len(keys) - 1)]
    what = draw.ConsumeIntInRange(0, 9)
    if what == 0:
        del data[key]
    elif what == 1 and isinstance(data, dict):
        data[draw.ConsumeUnicodeNoSurrogates(6)] = value(draw)
    else:
        data[key] = change(draw, data[key])
    return data
