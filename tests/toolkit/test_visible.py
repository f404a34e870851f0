"""What of others' text reaches a terminal."""

import unicodedata

import pytest

from toolkit.visible import as_line, visible

_FINE = "plain, ünïcode, 日本語, 👩\u200d🚀, می\u200cخواهم, a\\b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "plain, ünïcode, 日本語, 👩‍🚀, می‌خواهم, a\\b",
            "plain, ünïcode, 日本語, 👩‍🚀, می‌خواهم, a\\b",
        ),
        ("\x1b[31mred\x1b]8;;http://x\x07", "\\x1b[31mred\\x1b]8;;http://x\\x07"),
        ("a\rb\bc\nd\te\x00", "a\\rb\\x08c\\nd\\te\\x00"),
        ("\x7f\x80\x9b31m\x9f", "\\x7f\\x80\\x9b31m\\x9f"),
        ("user\u202egpj.exe\u2066\u200f", "user\\u202egpj.exe\\u2066\\u200f"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("zero\u200bwidth\ufeff\u00ad", "zero\\u200bwidth\\ufeff\\xad"),
        ("bad\udcffname", "bad\\udcffname"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("[red]x[/] [link=http://x]", "[red]x[/] [link=http://x]"),
    ],
)
def test_what_is_interpreted_is_shown_and_nothing_is_lost(text, shown):
    assert visible(text) == shown


def test_no_character_that_a_terminal_obeys_gets_through():
    every = "".join(map(chr, range(0x3000))) + "\ud800\udfff\U000e0001"
    left = {unicodedata.category(one) for one in visible(every) if one not in "\u200c\u200d"}
    assert not left & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_what_is_kept():
    assert visible("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


def test_a_message_is_one_line():
    assert as_line("first\n  second\r\nthird") == "first second third"
    assert as_line("no \x1b[2J\u2028 here\x85") == "no \\x1b[2J\\u2028 here\\x85"
