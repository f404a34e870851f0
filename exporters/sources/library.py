"""A ``tokenizer.json``, opened by the library ``tokenizers``."""

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import InputError
from toolkit.panics import panics_raised
from toolkit.quiet import first_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def open_library(path: Path, text: str | None = None) -> "Tokenizer":
    """The tokenizer in ``path``, or in ``text``, which came from there; it neither pads nor cuts.

    Raises:
        InputError: no such file, or one that is damaged.
    """
    from tokenizers import Tokenizer

    if text is None and not path.is_file():
        raise InputError(f"{path} is not here; give a model with a tokenizer")
    try:
        with panics_raised():
            found = Tokenizer.from_file(str(path)) if text is None else Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise InputError(
            f"{path} is damaged ({first_line(error)}); download the model again"
        ) from error
    found.no_padding()
    found.no_truncation()
    return found
