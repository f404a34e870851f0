"""Manners towards the Hugging Face hub: its cache, revisions, gated and missing models."""

import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from exporters.sources.source import find_folder
from toolkit.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASK = "import sys; from exporters.sources.source import find_folder as f; print(f(*sys.argv[1:]))"


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the hub is asked for; it answers with ``tmp_path``."""
    calls = []

    def download(name, **settings):
        calls.append((name, settings))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


def refusal(error):
    def refuse(*_, **__):
        raise error

    return refuse


def test_safetensors_are_enough(asked, tmp_path):
    (tmp_path / "model.safetensors").touch()
    assert find_folder("owner/name", "v2") == tmp_path
    ((name, settings),) = asked
    assert (name, settings["revision"]) == ("owner/name", "v2")
    assert "*.safetensors" in settings["allow_patterns"]
    assert not any("bin" in pattern for pattern in settings["allow_patterns"])


def test_pickled_weights_are_fetched_only_where_there_is_nothing_else(asked):
    find_folder("owner/name")
    assert [call[1]["allow_patterns"][-1] for call in asked] == [
        "*.safetensors",
        "pytorch_model*.bin",
    ]


def test_tokenizers_of_every_family_are_fetched(asked):
    find_folder("owner/name")
    patterns = asked[0][1]["allow_patterns"]
    for name in ("spm.model", "source.spm", "bpe.codes", "qwen.tiktoken", "vocab.txt"):
        assert any(fnmatch(name, pattern) for pattern in patterns), name


@pytest.mark.parametrize("code", [False, True])
def test_code_is_fetched_only_for_those_who_trust_it(asked, code):
    find_folder("owner/name", code=code)
    assert all(("*.py" in call[1]["allow_patterns"]) == code for call in asked)


def test_where_and_as_whom_is_left_to_the_hubs_own_settings(asked):
    """No folder and no token of ours: HF_HOME, HF_HUB_CACHE, HF_TOKEN and `hf auth login` hold."""
    find_folder("owner/name")
    assert all(set(settings) == {"revision", "allow_patterns"} for _, settings in asked)


@pytest.mark.parametrize("revision", [None, "main", "v2", COMMIT])
def test_what_is_in_the_cache_needs_no_network(tmp_path, revision):
    home = tmp_path / "home"
    repository = home / "hub" / "models--owner--name"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").touch()
    (repository / "refs").mkdir()
    for name in ("main", "v2"):
        (repository / "refs" / name).write_text(COMMIT)
    done = subprocess.run(
        [sys.executable, "-c", ASK, "owner/name", *([revision] if revision else [])],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == snapshot
    shutil.rmtree(home)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.GatedRepoError, "gated: accept its terms on its hub page and run `hf auth login`"),
        (errors.RepositoryNotFoundError, r"the hub knows no model 'owner/name' \(or it is private"),
        (errors.RevisionNotFoundError, "owner/name has no revision 'v9'; check --revision"),
        (errors.HfHubHTTPError, "cannot be reached for it; check the spelling and the network"),
        (errors.LocalEntryNotFoundError, "cannot be reached for it; check the spelling"),
        (errors.OfflineModeIsEnabled, "cannot be reached for it; check the spelling"),
        (ConnectionError, "cannot be reached for it; check the spelling"),
    ],
)
def test_each_refusal_says_what_to_do(monkeypatch, error, line):
    if issubclass(error, errors.HfHubHTTPError) and error is not errors.LocalEntryNotFoundError:
        response = SimpleNamespace(headers={}, request=None)  # whichever library asks the hub
        raised = error("two\nlines", response=response)
    else:
        raised = error("two\nlines")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refusal(raised))
    with pytest.raises(InputError, match=line) as caught:
        find_folder("owner/name", "v9")
    assert "\n" not in str(caught.value)
