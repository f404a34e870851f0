"""What a plan may say, and the one line for everything else; nothing is run for it."""

from pathlib import Path

import pytest

from toolkit.cli.sweep.cells import cells_of
from toolkit.cli.sweep.plan import read_plan
from toolkit.errors import InputError, LightTokenError

YAML = """\
models: {models}
export:
  - ratio: [12, 25]
    weights: [fp32, int4]
  - max-bytes: 9000
    fuse: false
evaluate:
  text: {text}
  against: [int8, int4]
"""
TOML = """\
models = {models}
[[export]]
ratio = [12, 25]
weights = ["fp32", "int4"]
[[export]]
max-bytes = 9000
fuse = false
[evaluate]
text = "{text}"
against = ["int8", "int4"]
"""


def cells(path: Path):
    return cells_of(read_plan(path), lambda share, what: None)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("a cat\nthe rain\n")
    return tmp_path / "text.txt"


@pytest.mark.parametrize(("name", "content"), [("p.yaml", YAML), ("p.yml", YAML), ("p.toml", TOML)])
def test_lists_are_crossed(tmp_path: Path, tiny_models, text, name, content):
    (tmp_path / name).write_text(content.format(models=tiny_models, text=text))
    found = cells(tmp_path / name)
    assert len(found) == 10
    assert [dict(cell.settings) for cell in found[:5]] == [
        {"ratio": 12, "weights": "fp32"},
        {"ratio": 12, "weights": "int4"},
        {"ratio": 25, "weights": "fp32"},
        {"ratio": 25, "weights": "int4"},
        {"max_bytes": 9000, "fuse": False},
    ]
    assert [cell.model for cell in found] == [tiny_models[0]] * 5 + [tiny_models[1]] * 5
    assert (found[1].budget.ratio, found[1].options.weights) == (12, "int4")
    assert (found[4].budget.max_bytes, found[4].options.fuse) == (9000, False)
    assert found[0].evaluate["against"] == ("int8", "int4")
    assert found[0].evaluate["resamples"] == 1000
    assert len({cell.identity for cell in found}) == len({cell.name for cell in found}) == 10
    assert all(cell.name.endswith(cell.mark) for cell in found)


def test_what_an_option_is_by_default_makes_no_other_cell(plan):
    usual, other, more = (
        cells(plan(ratio=4, **given))[0].identity
        for given in ({}, {"weights": "fp32"}, {"seed": 1})
    )
    assert usual == other != more


def test_what_is_in_a_file_counts_and_not_its_name(plan, tmp_path: Path):
    def identity(corpus: str) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.txt"
        path.write_text(corpus)
        return cells(plan(ratio=4, corpus=str(path)))[0].identity

    assert identity("a cat\n") == identity("a cat\n") != identity("a kitten\n")


def test_paths_are_as_every_process_may_open_them(plan, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = plan(ratio=4, corpus="text.txt", evaluate={"text": "text.txt"})
    (cell,) = cells(file)
    assert cell.options.corpus == tmp_path / "text.txt"
    assert cell.evaluate["text"] == str(tmp_path / "text.txt")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty; write `models:`"),
        ("# nothing\n", "is empty; write `models:`"),
        ("[1, 2]", "holds a list, no mapping"),
        ("models", "holds a text, no mapping"),
        ("models: [", "is no YAML ("),
        ("models: [a]\nmodels: [b]", "'models' stands twice; leave one"),
        ("export: {ratio: 4}", "names no models; add `models:`"),
        ("models: []", "names no models"),
        ("models: [3]", "models should be a list of folders"),
        ("models: [a]\nexports: {}", "'exports' is unknown; use models, export, evaluate"),
        ("models: [a]\nexport: 4", "export holds a number, no mapping"),
        ("models: [a]\nexport: {ratio: []}", "export ratio has an empty list"),
        ("models: [a]\nexport: {ratio: [[4]]}", "'ratio' has a list where"),
        ("models: [a]\nexport: {ratio: }", "'ratio' has nothing where"),
        ("models: [a]\nexport: {revision: 2024-01-31}", "'revision' has a date where"),
        ("models: [a]\nexport: {4: 4}", "export '4' is no option's name"),
        ("models: [a]\nexport: {max-bytes: 4, max_bytes: 4}", "max_bytes stands twice"),
        ("models: [a]\nexport: {ratios: 4}", "'ratios' is no option here; use ratio, or see"),
        ("models: [a]\nexport: {force: true}", "'force' is no option here"),
        ("models: [a]\nexport: {ratio: many}", "'many' is not a valid float; see `lighttoken exp"),
        ("models: [a]\nexport: {ratio: 0.5}", "ratio must be a number from 1 up, got 0.5"),
        ("models: [a]\nexport: {ratio: true}", "ratio is true, where a text or a number"),
        ("models: [a]\nexport: {languages: no}", "languages is false, where a text or a number"),
        ("models: [a]\nexport: {languages: xx}", "no list of words for 'xx'"),
        ("models: [a]\nexport: {all_tables: 1}", "all_tables is 1; set it to true or false"),
        ("models: [a]\nexport: {weights: int2}", "'int2' is not one of 'fp32'"),
        ("models: [a]\nexport: {seed: -1}", "seed must be at least 0, got -1"),
        ("models: [a]\nexport: {ratio: 4, max_bytes: 9}", "give ratio, max_bytes or min_cosine"),
        ("models: [a]\nexport: {target: mars}", "mars"),
        ("models: [a]\nexport: {target: qnn, batch: 2, sequence: 8}", "use --batch 1"),
        ("models: [a]\nexport: {corpus: no.txt}", "corpus no.txt is not here"),
        ("models: [a]\nexport: {corpus: /dev/zero}", "corpus /dev/zero is not here, or no file"),
        ("models: [a]\nexport: {seed: [" + "1," * 10_001 + "]}", "at most 10000, got 10001"),
        ("models: [a]\nevaluate: {data: x}", "'data' is no option here; use one of `lighttoken ev"),
        ("models: [a]\nevaluate: {original: x}", "'original' is no option here"),
        ("models: [a]\nevaluate: {limit: 1}", "limit must be at least 2, got 1"),
        ("models: [a]\nevaluate: {limit: [2, 3]}", "limit takes one value, got 2"),
        ("models: [a]\nevaluate: {probe: a.csv}", "probe takes 2 values, got 1"),
        ("models: [./nothing]", "./nothing is not here; give a hub id, a model folder"),
        ("models: [nobody-has/this-model]", "the Hugging Face hub cannot be reached"),
        ("a: &a [*a]\nmodels: *a", "'a' is unknown"),
        ("models: &a [*a]", "models should be a list of folders"),
        ("models: !!python/object:os.system []", "is no YAML ("),
        ("[" * 5000, "is no YAML ("),
        ("models: [a]\nexport: {seed: " + "9" * 5000 + "}", "is no YAML ("),
    ],
)
def test_what_is_no_plan_is_one_line(tmp_path: Path, content, told):
    path = tmp_path / "plan.yaml"
    path.write_text(content)
    with pytest.raises(LightTokenError) as caught:
        cells(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert told in line
    assert "\n" not in line


def test_measures_that_do_not_suit_are_refused_before_anything_is_run(plan, tmp_path: Path):
    for evaluate, told in (
        ({"text": "no.txt"}, "no.txt is not here"),
        ({"limit": 4}, "nothing to measure"),
        ({"qa": str(tmp_path / "text.txt")}, "evaluate --qa needs a model that answers questions"),
        ({"text": str(tmp_path / "text.txt"), "against": "./no.onnx"}, "./no.onnx is not here"),
    ):
        with pytest.raises(InputError) as caught:
            cells(plan(ratio=4, evaluate=evaluate))
        assert told in str(caught.value)


def test_files_that_are_no_plan(tmp_path: Path):
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "latin.yaml").write_bytes(b"models: \xff")
    (tmp_path / "bad.toml").write_text("models = [")
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "long.yaml").write_bytes(b"#" * (2 << 20))
    for name, told in (
        ("none.yaml", "is not here"),
        ("plan.json", "give a file in .yaml or .toml"),
        ("latin.yaml", "is no UTF-8 text"),
        ("bad.toml", "is no TOML ("),
        ("empty.toml", "is empty"),
        ("long.yaml", "more than 1,048,576 bytes"),
    ):
        with pytest.raises(InputError, match="; ") as caught:
            read_plan(tmp_path / name)
        assert told in str(caught.value)
