"""JSON that every reader takes."""

import json
import math

import numpy as np
import pytest

from toolkit.json_text import json_text, parse_json


def test_what_is_no_number_is_null():
    data = {"a": [math.nan, 1.5, (math.inf,)], "b": {"c": -math.inf}, "d": np.float64("nan")}
    text = json_text(data)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [None, 1.5, [None]],
        "b": {"c": None},
        "d": None,
    }


def test_a_terminal_may_show_it():
    text = json_text({"\x1b[31m": "\x7f\x9b\u202e\udcff"}, indent=None)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == {"\x1b[31m": "\x7f\x9b\u202e\udcff"}


def test_json_of_others():
    assert parse_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


@pytest.mark.parametrize(
    "text",
    ["NaN", "[Infinity]", "-Infinity", "1e999", "9" * 400, "9" * 5000, "[" * 10**6, '{"a":' * 10**5,
     "", "{"],
)  # fmt: skip
def test_what_is_no_json_is_a_value_error_of_one_short_line(text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 120
