from pathlib import Path

import pytest

PAIRS = """\
a cat sleeps,a kitten naps,4.5
stocks fell,the rain fell,2.0
a cat,stocks,0.5
the river,the rain,3.0
"""


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text(PAIRS)
    return path


def test_against_the_original(lighttoken, tiny_bundle: Path, tiny_model: Path, pairs: Path):
    outcome = lighttoken(
        "evaluate", tiny_bundle, "--pairs", pairs, "--against", tiny_model, "--json"
    )
    assert outcome.code == 0
    assert outcome.json["count"] == 4
    assert 0.5 < outcome.json["cosine_mean"] < 1


def test_the_original_is_remembered(lighttoken, tiny_model: Path, pairs: Path, tmp_path: Path):
    assert lighttoken("export", tiny_model, tmp_path / "out", "--ratio", 5).code == 0
    outcome = lighttoken("evaluate", tmp_path / "out", "--pairs", pairs)
    assert outcome.code == 0
    assert "Spearman x 100, original" in outcome.out


def test_an_unknown_original_is_asked_for(fails, tiny_bundle: Path, pairs: Path):
    assert "--against" in fails("evaluate", tiny_bundle, "--pairs", pairs)


def test_a_bundle_against_itself_loses_nothing(lighttoken, tiny_bundle: Path, pairs: Path):
    outcome = lighttoken(
        "evaluate", tiny_bundle, "--pairs", pairs, "--against", tiny_bundle, "--json"
    )
    assert outcome.json["drop"] == 0
    assert outcome.json["cosine_mean"] == pytest.approx(1)


def test_pairs_that_are_not_there(fails, tiny_bundle: Path, tmp_path: Path):
    assert "no.csv" in fails("evaluate", tiny_bundle, "--pairs", tmp_path / "no.csv")
