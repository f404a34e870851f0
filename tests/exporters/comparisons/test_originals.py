"""Where originals are, remembered in the user's cache."""

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from exporters.comparisons.originals import recall, remember
from toolkit.bundle.manifest import Source


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lighttoken"


def source(number=0, kind="folder"):
    return Source(f"model{number}", kind, f"{number:064x}")


def recalled(number=0, kind="folder"):
    return recall(SimpleNamespace(source=source(number, kind)))


def test_what_was_given_comes_back_while_it_is_there(cache, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    assert recalled() is None
    remember(source(), str(model))
    assert recalled() == str(model)
    model.rmdir()
    assert recalled() is None
    assert recalled(1, "hub") is None  # what a manifest names is not fetched from the hub
    remember(source(1, "hub"), "who/what")
    assert recalled(1, "hub") == "who/what"


def test_many_at_once_undo_nothing(cache, tmp_path):
    models = [tmp_path / f"model{number}" for number in range(40)]
    for model in models:
        model.mkdir()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda n: remember(source(n), str(models[n])), range(40)))
    assert [recalled(number) for number in range(40)] == [str(model) for model in models]


@pytest.mark.parametrize(
    "content",
    ["", "[", "[" * 100_000, "7", "[]", '{"source": 7}', '{"source": {"a": 1}}', "\xff", "9" * 5000,
     '{"source": "\\u0000"}'],
)  # fmt: skip
@pytest.mark.parametrize("name", [f"originals/{0:064x}.json", "originals.json"])
def test_an_entry_that_cannot_be_read_is_none(cache, tmp_path, content, name):
    path = cache / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="latin-1")
    assert recalled() is None
    remember(source(), str(tmp_path))
    assert recalled() == str(tmp_path)


@pytest.mark.parametrize("name", ["originals.json", f"originals/{0:064x}.json"])
def test_a_folder_where_the_file_should_be_is_no_failure(cache, tmp_path, name):
    (cache / name).mkdir(parents=True)
    assert recalled() is None
    remember(source(), str(tmp_path))
    assert recalled() == (str(tmp_path) if name == "originals.json" else None)


def test_a_file_where_the_folder_should_be_is_no_failure(cache, tmp_path):
    cache.mkdir(parents=True)
    (cache / "originals").write_text("")
    remember(source(), str(tmp_path))
    assert recalled() is None


def test_what_an_older_version_wrote_is_still_known(cache, tmp_path):
    cache.mkdir(parents=True)
    (cache / "originals.json").write_text(json.dumps({source().sha256: str(tmp_path)}))
    assert recalled() == str(tmp_path)


def test_a_digest_that_is_a_path_leads_nowhere(cache, tmp_path):
    (cache / "originals").mkdir(parents=True)
    (cache / "secret.json").write_text(json.dumps({"source": str(tmp_path)}))
    there = Source("model", "folder", "../secret")
    assert recall(SimpleNamespace(source=there)) is None
    remember(there, str(tmp_path))
    assert not list((cache / "originals").iterdir())


@pytest.mark.parametrize(
    "name", ["who/what", "here", "/etc", "../here", "a/b/c", ".", "a b", "\x1b[31m", "a" * 99]
)
def test_a_bundle_of_somebody_else_names_nothing_that_is_opened_or_fetched(
    cache, tmp_path, monkeypatch, name
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert recall(SimpleNamespace(source=Source(name, "hub", "0" * 64))) is None
