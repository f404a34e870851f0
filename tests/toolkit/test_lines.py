"""Texts, one a line."""

import io

import pytest

from toolkit.errors import InputError
from toolkit.lines import check_texts, read_lines, read_stream, split_lines

_ONE = "one\u2028text\x0b\x0c\x85\x1c\rstill"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb", ["a", "b"]),
        ("\n\n", ["", ""]),
        (f"{_ONE}\nb", [_ONE, "b"]),
    ],
)
def test_a_line_ends_at_a_line_feed_alone(text, lines):
    assert split_lines(text) == lines


def test_a_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(b"\xef\xbb\xbf" + f"{_ONE}\r\n \r\nb".encode())
    assert read_lines(path) == [_ONE, "b"]
    check_texts(path)


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [(None, InputError, "not here"), (b"", InputError, "no text"),
     (b" \n\n", InputError, "no text"), ("café".encode("latin-1"), InputError, "UTF-8")],
)  # fmt: skip
def test_a_file_without_texts_is_refused(tmp_path, content, kind, said):
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_bytes(content)
    for read in (read_lines, check_texts):
        with pytest.raises(kind, match=said):
            read(path)


def test_standard_input():
    stream = io.TextIOWrapper(io.BytesIO(f"{_ONE}\n\nb\n".encode()), encoding="ascii")
    assert read_stream(stream) == [_ONE, "b"]
    assert read_stream(io.StringIO("a\nb")) == ["a", "b"]


@pytest.mark.parametrize(
    ("stream", "said"),
    [(None, "closed"), (io.StringIO("\n \n"), "no text"),
     (io.TextIOWrapper(io.BytesIO(b"\xff")), "UTF-8")],
)  # fmt: skip
def test_standard_input_without_texts_is_refused(stream, said):
    with pytest.raises(InputError, match=said):
        read_stream(stream)
