"""What a device sends back, well and ill."""

import json

import pytest

from runtime.devices.results import KIND, SCHEMA, read_results
from toolkit.errors import FormatError

ANSWER = {"measure": "time", "answer": {"runtime": "onnxruntime 9", "figures": {"load_ms": 1.5}}}
GOOD = {
    "kind": KIND,
    "schema": SCHEMA,
    "place": "web",
    "subject": "[red]a\x1b[31m",
    "environment": {"system": "Android", "machine": "a phone", "cores": 8, "memory_bytes": 1},
    "answers": [ANSWER],
}


def text(**values) -> str:
    return json.dumps({**GOOD, **values})


def test_a_good_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(text())
    found = read_results(path)
    assert found.subject == GOOD["subject"]
    assert found.of("time")[0].figures == {"load_ms": 1.5}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        text().replace("1.5", "NaN"),
        text().replace("1.5", "-Infinity"),
        text().replace("1.5", "1e999"),
        text().replace("1.5", "9" * 400),
        text().replace("1.5", "9" * 5000),
        text().replace("1.5", "[" * 100_000),
        text().replace("1.5", "[" * 500 + "]" * 500),
        text().replace("1.5", '"[red]\\u001b[31m"'),
        text(answers=7),
        text(answers=[]),
        text(environment=[1]),
        text(kind="[red]\x1b[31m"),
        text(schema=[[[1]]]),
        text(place="\x1b[2J"),
    ],
)
def test_what_is_none_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(FormatError) as caught:
        read_results(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        read_results(tmp_path)
