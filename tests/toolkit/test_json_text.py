"""JSON that every reader takes."""

import json
import math

import numpy as np
import pytest

from toolkit.json_text import json_text


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
