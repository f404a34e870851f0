"""The report: averages, what is said of the mode, and the picture, from a file of results."""

import pytest
from downstream.__main__ import main
from downstream.report import cells, heading, markdown, summarise, titles
from downstream.results import append

SIZES = {None: 1.0, 5: 5.1, 25: 25.3, 103: 104.0}


def row(method, ratio, task, score, seed=0, **other):
    arm = method if ratio is None else f"{method} {ratio}x"
    common = {"model": "m", "data": task, "task": task, "arm": arm, "method": method}
    common |= {"ratio": ratio, "stored": arm, "seed": seed, "table": "trainable", "recipe": "r"}
    common |= {"train": 100, "test": 50, "remark": "", "nbytes": 1000, "stored_ratio": SIZES[ratio]}
    common |= {"seconds": 30.0}
    return common | {"score": score, "unpacked_score": score + 0.5} | other


def before(method, ratio, score):
    return row(method, ratio, "sts", score, seed=None) | {"table": None, "recipe": None}


ROWS = [
    row("lighttoken", 25, "mrpc", 80.0),
    row("lighttoken", 25, "mrpc", 84.0, seed=1),
    row("lighttoken", 25, "cola", 40.0),
    row("svd", 25, "mrpc", 70.0),
    row("svd", 25, "cola", 10.0),
    row("uncompressed", None, "mrpc", 86.0),
    row("uncompressed", None, "cola", 44.0),
    row("svd", 103, "mrpc", 66.0),
    before("lighttoken", 25, 85.5),
]


def test_the_average_is_over_tasks_of_means_over_seeds():
    (group,) = summarise(ROWS)
    lines = {(line.method, line.asked): line for line in group.lines}
    ours = lines["lighttoken", 25]
    assert ours.average == pytest.approx((82 + 40) / 2)
    assert ours.cells["mrpc"].seeds == 2
    assert ours.cells["mrpc"].spread == pytest.approx(8**0.5)
    assert ours.sts == 85.5
    assert ours.lost == pytest.approx(0.5)
    assert lines["svd", 25].average == pytest.approx(40)
    assert lines["svd", 25].kept == pytest.approx(100 * 40 / 65)
    assert lines["uncompressed", None].kept == pytest.approx(100)
    assert lines["svd", 103].kept is None
    assert lines["uncompressed", None].lost is None


def test_an_arm_that_lacks_a_task_has_a_line_and_no_average():
    (group,) = summarise(ROWS)
    line = next(line for line in group.lines if line.asked == 103)
    assert line.average is None
    shown = dict(zip(titles(group), cells(line, group), strict=True))
    assert shown["average"] == shown["cola"] == ""
    assert shown["mrpc"] == "66.0 (1)"


def test_the_uncompressed_model_comes_first_and_tasks_in_their_order():
    (group,) = summarise(ROWS)
    assert group.tasks == ("mrpc", "cola")
    order = [(line.method, line.asked) for line in group.lines]
    assert order == [("uncompressed", None), ("svd", 25), ("svd", 103), ("lighttoken", 25)]


def test_modes_and_recipes_are_never_averaged_together():
    others = [row("svd", 25, "mrpc", 60.0, table="frozen"), row("svd", 25, "mrpc", 9.0, recipe="s")]
    groups = summarise([*ROWS, *others])
    assert [(group.table, group.recipe) for group in groups] == [
        ("trainable", "r"),
        ("frozen", "r"),
        ("trainable", "s"),
    ]
    assert groups[0].lines[1].cells["mrpc"].mean == 70
    assert "frozen" in heading(groups[1])
    assert groups[1].lines[0].lost is None


def test_a_page_says_what_the_figures_are():
    text = markdown(summarise([*ROWS, row("svd", 25, "xquad", 5.0, remark="divided by article")]))
    assert "Tables trainable: codes fixed" in text
    assert "xquad: F1, 100 to train on, 50 to test, divided by article" in text
    assert "mrpc: mean of accuracy and F1" in text
    assert "over 1 to 2 seeds" in text
    assert "| svd | 25.3x | 1,000 |" in text
    assert "82.0 ± 2.8 (2)" in text
    assert "9 trainings, 4 minutes one after another" in text


def test_seeds_are_not_counted_where_all_have_as_many():
    text = markdown(summarise([row("svd", 25, "mrpc", 60.0), row("svd", 25, "mrpc", 66.0, seed=1)]))
    assert "63.0 ± 4.2 |" in text
    assert "over 2 seeds;" in text


def test_the_report_needs_its_file_alone(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "some.jsonl"
    for one in ROWS:
        append(path, one)
    append(path, row("direction", 25, "mrpc", 0.0) | {"error": "too small"})
    assert main(["--report", "--out", str(path)]) == 0
    out = capsys.readouterr().out
    assert "lighttoken" in out
    assert "mrpc, direction 25x: too small" in out
    written = {file.name for file in tmp_path.iterdir()}
    assert written == {"some.jsonl", "some.md", "some.svg", "some.png"}
    assert "uncompressed" in (tmp_path / "some.md").read_text()


def test_the_report_can_be_of_some_arms_and_tasks(tmp_path, capsys):
    path = tmp_path / "some.jsonl"
    for one in ROWS:
        append(path, one)
    asked = ["--report", "--out", str(path), "--ratios", "25", "--tasks", "mrpc"]
    assert main(asked) == 0
    table = (tmp_path / "some.md").read_text()
    assert "104.0x" not in table
    assert "cola" not in table
    assert "| uncompressed | 1.0x | 1,000 |  | 86.0 (1) | 86.0 |" in table
    assert "| lighttoken | 25.3x | 1,000 | 85.5 |" in table
    assert main([*asked, "--seeds", "1"]) == 0
    assert "| lighttoken | 25.3x | 1,000 | 85.5 | 80.0 |" in (tmp_path / "some.md").read_text()
    assert main([*asked, "--methods", "svd"]) == 0
    assert "lighttoken" not in (tmp_path / "some.md").read_text()
    capsys.readouterr()
    assert main([*asked, "--methods", "magic"]) == 2
    assert "--methods has 'magic'" in capsys.readouterr().err


def test_the_picture_averages_the_tasks_that_every_arm_has(tmp_path, monkeypatch):
    picture = pytest.importorskip("downstream.picture")
    drawn = {}

    def keep(axis, group, value):
        for line in group.lines:
            drawn[line.method, line.asked] = value(line)

    monkeypatch.setattr(picture, "_draw_panel", keep)
    groups = summarise([one for one in ROWS if one["task"] != "sts"])
    assert picture.draw(groups, tmp_path / "p")
    assert drawn["svd", 25] == 70  # mrpc alone: svd at 103 has no cola
    assert drawn["svd", 103] == 66
    assert "mrpc" in picture.panel_title(groups[0])
    assert "cola" not in picture.panel_title(groups[0])


def test_a_group_of_one_ratio_is_drawn_only_alone(tmp_path, monkeypatch):
    picture = pytest.importorskip("downstream.picture")
    drawn = []
    monkeypatch.setattr(
        picture, "_draw_panel", lambda axis, group, value: drawn.append(group.table)
    )
    frozen = [one | {"table": "frozen"} for one in ROWS if one["seed"] == 0 and one["ratio"] != 103]
    picture.draw(summarise([*ROWS, *frozen]), tmp_path / "p")
    assert drawn == ["trainable", "trainable"]  # before training, and after it
    drawn.clear()
    picture.draw(summarise(frozen), tmp_path / "p")
    assert drawn == ["frozen"]


def test_before_any_training_there_is_a_table_too():
    (group,) = summarise([before("svd", 25, 60.0), before("uncompressed", None, 86.0)])
    assert titles(group) == ["method", "ratio", "bytes", "STS before"]
    assert heading(group) == "before any training"


def test_arms_that_were_not_trained_are_in_a_table_of_their_own():
    groups = summarise([*ROWS, before("svd", 5, 80.0)])
    assert [group.table for group in groups] == ["", "trainable"]
    assert [(line.method, line.sts) for line in groups[0].lines] == [
        ("svd", 80.0),
        ("lighttoken", 85.5),
    ]
    assert 5 not in {line.asked for line in groups[1].lines}


def test_no_results_and_no_model_are_one_line(tmp_path, capsys):
    assert main(["--report", "--out", str(tmp_path / "none.jsonl")]) == 2
    assert "no results yet" in capsys.readouterr().err
    assert main([]) == 2
    assert "MODEL and DATA are missing" in capsys.readouterr().err
