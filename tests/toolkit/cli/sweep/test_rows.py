"""The table of results, and the picture's points."""

import re
from pathlib import Path

import pytest

from toolkit.cli.console import PlainConsole
from toolkit.cli.sweep.picture import Point, draw, frontier, kept, marks, points_of, short_size
from toolkit.cli.sweep.results import CellResult, Evaluation, Measured, Range, Score
from toolkit.cli.sweep.rows import markdown, overview, terminal_table


def score(metric, model, value, change=None, *, verdict=None, measure="pairs", higher=True):
    around = None if change is None else Range(change, change - 0.1, change + 0.1)
    whole = Range(value, value, value)
    return Score(measure, metric, model, whole, around, verdict, higher, 9)


def cell(model, ratio, nbytes, spearman, cosine, *, original=80.0, **settings):
    """A result whose bundle has its head apart too, and a rival."""
    name = f"cell-{ratio}: input table and head"
    figures = (
        score("Spearman", "original", original),
        score("Spearman", name, spearman, spearman - original, verdict="noise"),
        score("Spearman", f"cell-{ratio}: input table alone", 1.0, 1.0),
        score("Spearman", "int8", original - 1, -1.0, verdict="worse"),
        score("5th percentile", name, 0.1),
        score("cosine, mean", name, cosine, measure="text"),
        score("cosine, mean", "int8", 0.99, measure="text"),
    )
    names = ["original", name, f"cell-{ratio}: input table alone", "int8"]
    models = tuple(Measured(one, 1000 * (at + 1)) for at, one in enumerate(names))
    evaluation = Evaluation(1, "feature-extraction", 20, 0, models, figures, ())
    export = {"ratio": ratio + 0.04, "model_bytes": nbytes - 10, "original_model_bytes": 9000}
    asked = {"ratio": ratio, "effort": "fast", **settings}
    return CellResult(1, f"cell-{ratio}", "x", model, asked, 7.0, None, nbytes, export, evaluation)


FAILED = CellResult(1, "f", "y", "one/model", {"ratio": 9, "effort": "fast"}, 1.0, "no | room")
RESULTS = [
    cell("one/model", 12, 3_000_000, 79.0, 0.98),
    cell("one/model", 25, 2_000_000, 76.0, 0.91, fuse=False),
    FAILED,
    cell("two/other", 12, 5_000_000, 41.0, 0.97, original=40.0),
]


def test_rows_are_references_and_cells():
    view = overview(RESULTS)
    assert (view.varied, view.constant) == (("ratio", "fuse"), {"effort": "fast"})
    assert view.metrics == ("Spearman", "cosine, mean")
    shown = [(row.model, row.what, row.settings) for row in view.rows]
    assert shown == [
        ("model", "original", {}),
        ("model", "int8", {}),
        ("model", "", {"ratio": "12"}),
        ("model", "", {"ratio": "25", "fuse": "false"}),
        ("model", "", {"ratio": "9"}),
        ("other", "original", {}),
        ("other", "int8", {}),
        ("other", "", {"ratio": "12"}),
    ]
    assert [row.error for row in view.failed] == ["no | room"]
    assert view.rows[2].scores["Spearman"].score.value == 79
    assert view.rows[2].ratio == 12.04


def test_models_of_one_name_keep_their_folders():
    view = overview([cell("a/model", 12, 9, 1, 1), cell("b/model", 12, 9, 1, 1)])
    assert {row.model for row in view.rows} == {"a/model", "b/model"}


def test_the_page_is_a_table_with_what_failed():
    lines = markdown(overview(RESULTS), "sweep.svg").splitlines()
    assert lines[2] == (
        "| model | ratio | fuse | bundle | model alone | table | Spearman | change | cosine, mean "
        "| seconds |"
    )
    assert (
        "| model | 12 |  | 3.00 MB | 3.00 MB | 12.0x | 79.00 | -1.00 noise | 0.9800 | 7 |" in lines
    )
    assert "| model, int8 |  |  |  | 4.00 kB |  | 79.00 | -1.00 | 0.9900 |  |" in lines
    assert r"- model ratio=9: no \| room" in lines
    assert "Everywhere: `effort=fast`." in lines
    assert "![Bytes against quality](sweep.svg)" in lines
    assert "sweep.svg" not in markdown(overview(RESULTS), None)


def test_the_terminals_table_shows_strings_as_they_are(capsys):
    hostile = cell("a/[red]\x1b]0;x", 12, 9, 1, 1)
    console = PlainConsole()
    console.width = 160
    console.print(terminal_table(overview([hostile])))
    out = capsys.readouterr().out
    assert r"[red]\x1b]0;x" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("found", "original", "per_cent"),
    [
        (score("Spearman", "b", 60.0, -20.0), score("Spearman", "original", 80.0), 75),
        (score("perplexity", "b", 40.0, 20.0, higher=False), score("", "original", 20.0), 50),
        (score("cosine, mean", "b", 0.97), None, 97),
        (score("top-1 agreement", "b", 93.0), None, 93),
        (score("KL divergence", "b", 0.3, higher=False), None, None),
        (score("Spearman", "b", 5.0, 9.0), score("Spearman", "original", -4.0), None),
        (score("Spearman", "b", None), None, None),
    ],
)
def test_quality_kept(found, original, per_cent):
    assert kept(found, original) == (per_cent and pytest.approx(per_cent))


def test_points_are_of_cells_that_have_figures():
    found = points_of(overview(RESULTS), "Spearman")
    assert found == {
        "model": [Point(3_000_000, 98.75, "12x"), Point(2_000_000, 95.0, "25x fuse=false")],
        "other": [Point(5_000_000, pytest.approx(102.5), "12x")],
    }


def test_the_line_is_of_what_nothing_smaller_beats():
    points = [Point(*pair, "") for pair in ((5, 90), (3, 80), (4, 70), (5, 85), (9, 90))]
    assert [(one.nbytes, one.kept) for one in frontier(points)] == [(3, 80), (5, 90)]


def test_the_picture_is_drawn_the_same_each_time(tmp_path: Path):
    view = overview(RESULTS)
    assert draw(view, tmp_path / "a.svg")
    assert draw(view, tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert len(re.findall(r'id="axes_\d+"', text)) == 2
    assert not draw(overview([FAILED]), tmp_path / "c.svg")
    assert not (tmp_path / "c.svg").exists()


@pytest.mark.parametrize(
    ("low", "high"), [(41e6, 58e6), (6e4, 1.7e5), (1e4, 1e9), (2.9e7, 1.6e8), (5, 14)]
)
def test_marks_are_few_and_round(low, high):
    found = marks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low <= mark <= high and float(f"{mark:.2g}") == mark for mark in found)


def test_bytes_in_few_letters():
    assert [short_size(n) for n in (5, 1e3, 1.5e6, 2e9)] == ["5 B", "1 kB", "1.5 MB", "2 GB"]
