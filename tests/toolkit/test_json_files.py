import json
from dataclasses import dataclass, field

import pytest

from toolkit.errors import FormatError, InputError
from toolkit.json_files import (
    JsonError,
    last_json,
    load_json,
    parse_json,
    read_json,
    to_dataclass,
)


@dataclass(frozen=True)
class Inner:
    name: str
    pair: tuple[int, str] = (1, "a")


@dataclass(frozen=True)
class Outer:
    share: float
    one: Inner
    by_name: dict[str, Inner] = field(default_factory=dict)
    many: tuple[Inner, ...] = ()
    limit: int | None = None
    either: int | str = 0


GOOD = {"share": 1, "one": {"name": "x", "pair": [2, "b"]}, "many": [{"name": "y"}], "later": 3}


def test_dataclasses_with_tuples_unions_and_defaults():
    found = to_dataclass(Outer, GOOD, "data")
    assert found == Outer(1.0, Inner("x", (2, "b")), {}, (Inner("y"),))
    assert isinstance(found.share, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": "1"}, "data.share should be float, got '1'"),
        ({"share": True}, "data.share should be float, got True"),
        ({"one": None}, "data.one should be an object, got None"),
        ({"one": {}}, "data.one.name is missing"),
        ({"one": {"name": "x", "pair": [1]}}, "data.one.pair should be a list of 2, got [1]"),
        ({"many": {}}, "data.many should be a list, got {}"),
        ({"many": [{"name": "x"}, {"name": 5}]}, "data.many[1].name should be str, got 5"),
        ({"limit": "no"}, "data.limit should be int or None, got 'no'"),
        ({"either": 1.5}, "data.either should be int or str, got 1.5"),
        (
            {"by_name": {"a": {"name": "x"}, "b": {"name": 7}}},
            "data.by_name['b'].name should be str, got 7",
        ),
        ({"share": ["long"] * 50}, f"data.share should be float, got {str(['long'] * 50)[:40]}…"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(change, message):
    with pytest.raises(FormatError) as caught:
        to_dataclass(Outer, {**GOOD, **change}, "data")
    assert str(caught.value) == message


def test_what_is_no_object_at_all():
    with pytest.raises(FormatError, match=r"^data should be an object, got \[1\]$"):
        to_dataclass(Outer, [1], "data")


def test_small_files(tmp_path):
    path = tmp_path / "config.json"
    assert read_json(path) == {}
    path.write_text(json.dumps({"a": 1}))
    assert read_json(path) == {"a": 1}
    path.write_text("[1]")
    with pytest.raises(FormatError, match=r"config.json should hold a JSON object, found list"):
        read_json(path)
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(InputError, match=r"config.json is damaged \(.*\); load it again"):
        read_json(path, error=InputError, remedy="load it again")


@pytest.mark.parametrize("text", ["", "no json", "{}\n[1]", '{"a": 1}\nlast words'])
def test_a_last_line_that_is_no_object(text):
    assert last_json(text) == {}


def test_the_last_line_of_a_process():
    assert last_json('talk\n{"a": 1}\n') == {"a": 1}


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, null, "b"]}', b'\xef\xbb\xbf{"a": 1}', "3"])
def test_json_is_read_as_it_stands(text):
    told = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    assert parse_json(text) == parse_json(text, strict=True) == json.loads(told)


def test_what_configs_of_models_hold_is_read():
    most = 1000000000000000019884624838656  # of many a tokenizer_config.json
    assert parse_json(f'{{"model_max_length": {most}}}') == {"model_max_length": most}
    assert parse_json('{"time_step_limit": [0.0, Infinity]}')["time_step_limit"][1] == float("inf")
    assert parse_json('{"token": "\\ud800"}')["token"] == "\ud800"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 70 + "]" * 70, "nested deeper than 64 levels"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested deeper than 64 levels"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ('{"a":' * 100_000, "nested deeper than 64 levels"),
        ("1" * 400, "an integer of 400 digits"),
        ("-" + "1" * 5000, "an integer of 5001 digits"),
        ("1e999", "a number that is too large: 1e999"),
        ('{"a": 1} 2', "Extra data"),
        (b"\xff", "not UTF-8: .*codec can't decode"),
        ("", "Expecting value"),
    ],
)
def test_json_beyond_a_limit_is_one_line(text, message):
    for strict in (False, True):
        with pytest.raises(JsonError, match=message) as caught:
            parse_json(text, strict=strict)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "NaN, which is no number"),
        ("[-Infinity]", "-Infinity, which is no number"),
        ('{"a": 1, "a": 2}', "'a' twice in one object"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_files_of_ours_are_stricter(text, message):
    parse_json(text)
    with pytest.raises(JsonError, match=message):
        parse_json(text, strict=True)


def test_a_file_that_is_too_long_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("toolkit.json_files.MOST_BYTES", 10)
    path = tmp_path / "a.json"
    path.write_text("[1, 2, 3]")
    assert load_json(path) == [1, 2, 3]
    path.write_text("[1, 2, 3, 4]")
    with pytest.raises(JsonError, match="more than 10 bytes"):
        load_json(path)
