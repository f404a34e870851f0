"""The ids of tokens in a model's settings, and the settings of a model with fewer tokens."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from toolkit.errors import InputError

ROWS = "vocab_size"
# Lists of ids, some of them of lists; where a token is gone, so is the rule about it.
_LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "force_words_ids")
_ENDS = ("_token_id", "_token_ids", "_token_index", "_token_indices")
_BY_TOKEN = ("lang_to_id", "task_to_id")  # names to ids
_PAIRS = "forced_decoder_ids"  # [position, id]


def rows_of(config: Mapping[str, Any], name: str) -> int:
    """Rows of the token table that a config.json tells.

    Raises:
        InputError: none, or several that differ: tables of their own on both sides.
    """
    found = {value for key, value in _walk(config) if key.endswith(ROWS) and "type" not in key}
    sizes = {value for value in found if isinstance(value, int) and value > 0}
    if len(sizes) != 1:
        told = ", ".join(f"{size:,}" for size in sorted(sizes)) or "none"
        raise InputError(
            f"{name} tells of no one size of its vocabulary ({told}), so it cannot be cut to some "
            "languages; leave --languages and --vocabulary out"
        )
    (size,) = sizes
    again = [key for key, value in _walk(config) if value == size and not key.endswith(ROWS)]
    if again and not isinstance(size, bool):
        raise InputError(
            f"{name} has {size:,} tokens and a {again[0]} of as many, so rows cannot be told from "
            "others; leave --languages and --vocabulary out"
        )
    return size


def ids_in(settings: Mapping[str, Any]) -> set[int]:
    """Ids of tokens that settings name one by one, without lists of what is suppressed."""
    found = set()
    for key, value in _walk(settings):
        if key.endswith(_ENDS) or key in _BY_TOKEN or key == _PAIRS:
            found |= set(_ids(key, value))
    return {id_ for id_ in found if id_ >= 0}


def with_new_ids(settings: Any, places: Mapping[int, int], rows: int) -> Any:
    """Settings of the model whose token ``old`` has become ``places[old]``, of ``rows`` in all."""
    if isinstance(settings, list):
        return [with_new_ids(each, places, rows) for each in settings]
    if not isinstance(settings, dict):
        return settings
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key.endswith(ROWS) and "type" not in key and isinstance(value, int):
            found[key] = rows
        elif key.endswith(_ENDS):
            found[key] = _map(value, lambda id_: places.get(id_, id_))
        elif key in _BY_TOKEN and isinstance(value, dict):
            found[key] = {name: places[id_] for name, id_ in value.items() if _is_in(places, id_)}
        elif key == _PAIRS and isinstance(value, list):
            pairs = [pair for pair in value if _is_pair(pair)]
            found[key] = [[at, places.get(id_, id_)] for at, id_ in pairs]
        elif key in _LISTS and isinstance(value, list):
            found[key] = _left(value, places)
        else:
            found[key] = with_new_ids(value, places, rows)
    return found


def _walk(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its key, in nested settings too."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield str(name), value
            yield from _walk(value, str(name))
    elif isinstance(data, list):
        for value in data:
            if isinstance(value, Mapping):
                yield from _walk(value, key)


def _ids(key: str, value: Any) -> Iterator[int]:
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        yield value
    elif key == _PAIRS and isinstance(value, list):
        yield from (pair[1] for pair in value if _is_pair(pair))
    elif isinstance(value, list):
        for each in value:
            yield from _ids(key, each)
    elif isinstance(value, Mapping):
        yield from (each for each in value.values() if isinstance(each, int))


def _map(value: Any, new: Callable[[int], int]) -> Any:
    if isinstance(value, list):
        return [_map(each, new) for each in value]
    return new(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _left(value: list[Any], places: Mapping[int, int]) -> list[Any]:
    """Ids that are still there; of lists of them those that are so whole."""
    if value and all(isinstance(each, list) for each in value):
        whole = [each for each in value if all(_is_in(places, id_) for id_ in each)]
        return [[places[id_] for id_ in each] for each in whole]
    return [places[id_] for id_ in value if _is_in(places, id_)]


def _is_in(places: Mapping[int, int], id_: Any) -> bool:
    return isinstance(id_, int) and id_ in places


def _is_pair(value: Any) -> bool:
    """A position and an id; some have none for the language that a user is to name."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[1], int)
