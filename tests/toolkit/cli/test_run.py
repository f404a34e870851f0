import shutil
from pathlib import Path

import numpy as np
import pytest

from toolkit.bundle.manifest import BUNDLE_VERSION


def test_cosines_between_sentences(lighttoken, tiny_bundle: Path):
    outcome = lighttoken("run", tiny_bundle, "a cat sleeps", "a kitten naps", "--json")
    assert outcome.code == 0
    cosines = np.array(outcome.json["cosines"])
    assert np.allclose(np.diag(cosines), 1)
    vectors = np.array(outcome.json["vectors"])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.allclose(unit @ unit.T, cosines, atol=1e-5)


def test_people_see_a_table(lighttoken, tiny_bundle: Path):
    outcome = lighttoken("run", tiny_bundle, "a cat sleeps", "stocks fell")
    assert "(2) stocks fell" in outcome.out
    assert "1.000" in outcome.out


def test_one_sentence_shows_its_vector(lighttoken, tiny_bundle: Path):
    assert "32 values" in lighttoken("run", tiny_bundle, "a cat").out


def test_no_bundle(fails, tmp_path: Path):
    assert "lighttoken export" in fails("run", tmp_path, "a cat")


def test_no_text(fails, tiny_bundle: Path):
    assert "TEXTS" in fails("run", tiny_bundle)


def test_unavailable_provider(fails, tiny_bundle: Path):
    assert "cpu" in fails("run", tiny_bundle, "a cat", "--provider", "warp")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "bytes"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x99"), "altered"),
    ],
)
def test_a_damaged_bundle_is_refused(fails, tiny_bundle: Path, tmp_path: Path, damage, expected):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    damage(bundle / "model.onnx.data")
    line = fails("run", bundle, "a cat")
    assert expected in line
    assert "model.onnx.data" in line


def test_a_newer_bundle_asks_for_an_upgrade(fails, tiny_bundle: Path, tmp_path: Path):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    manifest = bundle / "lighttoken.json"
    now, next_ = (f'"version": {version}' for version in (BUNDLE_VERSION, BUNDLE_VERSION + 1))
    text = manifest.read_text()
    assert now in text
    manifest.write_text(text.replace(now, next_))
    assert "upgrade" in fails("run", bundle, "a cat")
