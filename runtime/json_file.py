"""The small JSON files beside a model."""

import json
from pathlib import Path
from typing import Any

from toolkit.errors import FormatError


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``, or an empty one if there is no such file.

    Raises:
        FormatError: no JSON, or JSON that is no object.
    """
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"{path} is damaged ({error}); copy it again") from error
    if not isinstance(data, dict):
        raise FormatError(f"{path} holds a {type(data).__name__}, not an object; copy it again")
    return data
