"""Rows of token ids, and long texts cut into several of them."""

from dataclasses import dataclass
from typing import Any

from toolkit.errors import InputError

Text = str | tuple[str, str]
"""A text, or two that the model reads as a pair."""


@dataclass(frozen=True)
class Tokens:
    """One text's tokens, special ones included: ``ids`` and ``types`` have one length."""

    ids: tuple[int, ...]
    types: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Window(Tokens):
    """Tokens that stand for a part of a text.

    Attributes:
        offsets: for each token, start and end of its characters in the text it is from.
        texts: for each token, which of a pair's texts it is from (0 or 1; 0 where there is but
            one text), None for a special token.
    """

    offsets: tuple[tuple[int, int], ...]
    texts: tuple[int | None, ...]


def cut_windows(library: Any, text: Text, max_length: int | None, overlap: int) -> list[Window]:
    """``text`` in windows of at most ``max_length`` tokens, special ones in each; None for one.

    Of a pair only the second text is cut, and the first stands in every window. Neighbours share
    ``overlap`` tokens of the text, or half of the window's room if that is less. ``library`` is a
    ``tokenizers.Tokenizer``; how it was asked to truncate is forgotten.

    Raises:
        InputError: no room for the text beside special tokens and the first text of a pair.
    """
    one, two = (text, None) if isinstance(text, str) else text
    library.no_truncation()
    if max_length is not None:
        special = library.num_special_tokens_to_add(two is not None)
        first = 0 if two is None else len(library.encode(one, add_special_tokens=False).ids)
        room = max_length - special - first
        if room < 1:
            raise InputError(
                f"a window of {max_length} tokens has no room beside {special} special tokens"
                + (f" and the {first} of {quoted(one)}; shorten that" if two is not None else "")
                + ("" if two is not None else "; give a larger max_length")
            )
        # The library aborts where the overlap leaves no step.
        library.enable_truncation(
            max_length,
            stride=min(overlap, room // 2),
            strategy="longest_first" if two is None else "only_second",
        )
    whole = library.encode(one, two)
    return [
        Window(
            tuple(row.ids),
            tuple(row.type_ids),
            tuple((int(start), int(end)) for start, end in row.offsets),
            tuple(row.sequence_ids),
        )
        for row in (whole, *whole.overflowing)
    ]


def quoted(value: object) -> str:
    """``value`` as a message shows it: between quotes, at most 60 letters."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
