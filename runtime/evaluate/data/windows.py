"""A long text as windows of tokens, the same for every model."""

from collections.abc import Sequence
from dataclasses import replace

from toolkit.errors import InputError

from ...tasks.batches import length_limit
from ...tasks.tokenize import Window
from ..model import EvaluatedModel

LONGEST = 512
"""Tokens of a window, special ones included, where models read as many or more.

More would leave few windows to draw from, and logits [tokens, vocabulary] that fill the memory.
"""


def text_windows(
    models: Sequence[EvaluatedModel], text: str, limit_tokens: int | None = None
) -> list[Window]:
    """``text`` from its start in windows as long as every model reads, none overlapping another.

    Special tokens stand in each window as the tokenizer puts them. The last window is as long as
    what is left of the text, or of ``limit_tokens``, which counts the text's tokens alone.

    Raises:
        InputError: a text without tokens, ``limit_tokens`` below 1, no room beside the special
            tokens, or models whose tokenizers do not give the same tokens.
    """
    if limit_tokens is not None and limit_tokens < 1:
        raise InputError(f"limit_tokens must be at least 1, got {limit_tokens}")
    limits = [length_limit(model.session, model.tokenizer) for model in models]
    length = min([LONGEST, *(limit for limit in limits if limit is not None)])
    first, *others = models
    windows = _cut(first, text, length)
    for other in others:
        if other.tokenizer is not first.tokenizer and _cut(other, text, length) != windows:
            raise InputError(
                f"{other.name} and {first.name} read the text as different tokens, whose figures "
                "cannot be compared; give models with one tokenizer"
            )
    windows = [window for window in _until(limit_tokens, windows) if _text_tokens(window)]
    if not windows:
        raise InputError("the text has no tokens; give one with words in it")
    return windows


def _cut(model: EvaluatedModel, text: str, length: int) -> list[Window]:
    return replace(model.tokenizer, max_length=length).windows(text)


def _text_tokens(window: Window) -> list[int]:
    return [place for place, origin in enumerate(window.texts) if origin is not None]


def _until(limit: int | None, windows: list[Window]) -> list[Window]:
    """The windows up to the text's first ``limit`` tokens; the last may lose some."""
    if limit is None:
        return windows
    kept = []
    for window in windows:
        if limit < 1:
            break
        kept.append(_without(window, _text_tokens(window)[limit:]))
        limit -= len(_text_tokens(window))
    return kept


def _without(window: Window, places: list[int]) -> Window:
    if not places:
        return window
    kept = [place for place in range(len(window)) if place not in set(places)]
    return Window(
        tuple(window.ids[place] for place in kept),
        tuple(window.types[place] for place in kept),
        tuple(window.offsets[place] for place in kept),
        tuple(window.texts[place] for place in kept),
    )
