"""The picture of a decoder's tables reads what the benchmark prints, and draws all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "decoder_picture.py"
PAGE = """
| table | bits a parameter | input | head | both | top-1 | seconds |
|---|--:|--:|--:|--:|--:|--:|
| float32 | 32.00 | 21.17 | 21.17 | 21.17 | 100.0% | 0 |
| int4, nearest | 5.00 | 21.70 | 22.35 | 22.82 | 85.2% | 0 |
| LightToken 16.0x | 2.00 | 22.31 | 22.80 | 23.93 | 87.8% | 412 |
| LightToken 16.0x, healed | 2.00 |  |  | 23.00 | 88.0% | 600 |

| other | bits |
|---|--:|
| LightToken 9x | 3.00 |
"""


@pytest.fixture
def picture(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import decoder_picture

    return decoder_picture


def test_rows_of_the_table_alone_are_read(picture):
    uncompressed, points = picture.read(PAGE)
    assert uncompressed == 21.17
    found = [(point.series, point.bits, point.perplexity) for point in points]
    assert found == [("nearest", 5, 22.82), ("LightToken", 2, 23.93), ("healed", 2, 23.0)]


def test_the_page_of_decoders_can_be_drawn(tmp_path):
    out = tmp_path / "table.svg"
    command = [sys.executable, SCRIPT, ROOT / "docs" / "decoders.md", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert out.read_text().count("<path") > 20


def test_a_file_without_such_a_table_is_one_line(tmp_path):
    (tmp_path / "page.md").write_text("# Nothing\n")
    command = [sys.executable, SCRIPT, tmp_path / "page.md", tmp_path / "out.svg"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "out.svg").exists()
