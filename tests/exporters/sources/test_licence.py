"""The licence of a model travels with what is made of it."""

import os

import pytest

from exporters.sources.facts import read_facts
from exporters.sources.licence import licence_files, licence_name


@pytest.mark.parametrize(
    ("card", "wanted"),
    [
        ("---\nlicense: apache-2.0\ntags: [x]\n---\n# Model\n", "apache-2.0"),
        ("---\r\ntags: [x]\r\nlicense: 'MIT'\r\n---\r\n", "mit"),
        ('---\nlicense: "gemma"\n---\n', "gemma"),
        ("---\nlicense:\n- mit\n- gpl\n---\n", None),
        ("---\nlicense: a b\n---\n", None),
        ("---\nlicense: " + "a" * 65 + "\n---\n", None),
        ("---\nname: x\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("---\nlicense: mit\n", None),
        ("", None),
    ],
)
def test_a_card_names_it_in_its_front_matter(tmp_path, card, wanted):
    (tmp_path / "README.md").write_bytes(card.encode())
    assert licence_name(tmp_path) == wanted


def test_cards_that_are_large_or_no_text_are_no_failure(tmp_path):
    assert licence_name(tmp_path) is None
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\n---\n\xff\xfe" + bytes(1 << 20))
    assert licence_name(tmp_path) == "mit"
    (tmp_path / "README.md").unlink()
    os.mkfifo(tmp_path / "README.md")
    assert licence_name(tmp_path) is None


def test_texts_of_licences_travel(tmp_path):
    for name in ("LICENSE", "LICENSE.txt", "NOTICE.md", "licence", "readme"):
        (tmp_path / name).write_text(name)
    (tmp_path / "LICENSES").mkdir()
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert licence_files(tmp_path) == ["LICENSE", "LICENSE.txt", "NOTICE.md"]
    facts = read_facts(tmp_path)
    assert facts.licence == "mit"
    assert set(facts.assets) == {"config.json", "LICENSE", "LICENSE.txt", "NOTICE.md"}
