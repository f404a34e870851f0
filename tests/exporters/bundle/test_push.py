"""A bundle goes to the hub whole, alone, over nobody's files; the hub here is a small server."""

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub.utils import reset_sessions

from exporters.bundle.push import push
from toolkit.bundle.manifest import MANIFEST_NAME, read_manifest, verify_files
from toolkit.cli.app import run
from toolkit.errors import FormatError, InputError

TOKEN = "hf_test"


class Hub:
    """What the hub's interface does for a push: repositories, large files, commits."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.messages: list[str] = []
        self.private: set[str] = set()
        self.large: dict[str, bytes] = {}
        self.status = 0  # of every answer, where it is not 0
        self.address = ""

    def answer(self, method, path, body):
        """A status and JSON."""
        if self.status:
            return self.status, {"error": "not today\x1b[31m"}
        path = path.partition("?")[0]
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.repositories:
                return 409, {"error": "exists", "url": f"{self.address}/{name}"}
            self.repositories[name] = {".gitattributes": b""}
            self.private |= {name} if asked.get("private") else set()
            return 200, {"url": f"{self.address}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.startswith("/upload/"):
            self.large[path.removeprefix("/upload/")] = body
            return 200, {}
        if path.endswith(".git/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            links = [
                each | {"actions": {"upload": {"href": f"{self.address}/upload/{each['oid']}"}}}
                for each in wanted
            ]
            return 200, {"objects": links}
        *_, owner, name, verb, _revision = ["", *path.split("/")]
        files = self.repositories.get(f"{owner}/{name}")
        if verb == "tree":
            return 200, [
                {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
                for path, content in files.items()
            ]
        if verb == "preupload":
            asked = json.loads(body)["files"]
            return 200, {
                "files": [
                    {"path": each["path"], "shouldIgnore": False,
                     "uploadMode": "lfs" if each["path"].endswith(".onnx") else "regular"}
                    for each in asked
                ]
            }  # fmt: skip
        if verb == "commit":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    self.messages.append(value["summary"])
                elif line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.large[value["oid"]]
            commit = "a" * 40
            url = f"{self.address}/{owner}/{name}/commit/{commit}"
            return 200, {"commitUrl": url, "commitOid": commit, "pullRequestUrl": None}
        return 200, {"id": f"{owner}/{name}", "sha": "b" * 40, "xetEnabled": False}


@contextmanager
def serving(hub: Hub) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one(self):
            length = int(self.headers.get("Content-Length") or 0)
            status, found = hub.answer(self.command, self.path, self.rfile.read(length))
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = handle_one  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def online(monkeypatch):
    """The network, which tests have not."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    reset_sessions()
    yield
    reset_sessions()


@pytest.fixture
def hub(monkeypatch, online):
    """A hub that everything of huggingface_hub here asks, logged in to."""
    found = Hub()
    with serving(found):
        real = huggingface_hub.HfApi
        monkeypatch.setattr(
            huggingface_hub, "HfApi", lambda: real(endpoint=found.address, token=TOKEN)
        )
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", found.address)
        yield found


@pytest.fixture
def bundle(exported, tmp_path):
    """A copy, with a file in it that is the user's."""
    shutil.copytree(exported.bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "notes.txt").write_text("mine")
    return tmp_path / "bundle"


def test_what_the_manifest_names_arrives_and_nothing_else(hub, bundle, exported):
    done = push(bundle, "me/small", message="first", private=True)
    files = hub.repositories["me/small"]
    assert set(files) == {*exported.manifest.files, MANIFEST_NAME, ".gitattributes"}
    for name in done.files:
        assert (
            hashlib.sha256(files[name]).digest()
            == hashlib.sha256((bundle / name).read_bytes()).digest()
        )
    assert done.bytes == sum(len(content) for content in files.values())
    assert (hub.messages, hub.private) == (["first"], {"me/small"})
    assert done.repository == f"{hub.address}/me/small"
    assert done.commit.startswith(f"{hub.address}/me/small/commit/")


def test_a_bundle_is_replaced_and_anothers_model_is_not(hub, bundle):
    push(bundle, "me/small")
    push(bundle, "me/small")
    assert len(hub.messages) == 2
    hub.repositories["me/large"] = {".gitattributes": b"", "config.json": b"theirs"}
    with pytest.raises(InputError, match=r"me/large holds no bundle, and config.json of it would"):
        push(bundle, "me/large")
    assert hub.repositories["me/large"]["config.json"] == b"theirs"
    push(bundle, "me/large", force=True)
    assert hub.repositories["me/large"]["config.json"] != b"theirs"


def test_a_damaged_bundle_is_not_sent(hub, bundle):
    with (bundle / "config.json").open("ab") as file:
        file.write(b" ")
    with pytest.raises(FormatError, match=r"config.json has"):
        push(bundle, "me/small")
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "the hub does not know who you are; run `hf auth login`, or set HF_TOKEN"),
        (403, "the hub does not let you write to me/small; choose another, or run"),
        (500, "the hub refuses me/small (500 Server Error"),
    ],
)
def test_refusals_of_the_hub_are_one_line(hub, bundle, capfd, status, reason):
    hub.status = status
    assert run(["push", str(bundle), "me/small"]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert reason in error
    assert "\x1b" not in error


def test_a_hub_that_is_not_there_and_names_that_are_none(bundle, monkeypatch, online):
    real = huggingface_hub.HfApi
    monkeypatch.setattr(
        huggingface_hub, "HfApi", lambda: real(endpoint="http://127.0.0.1:9", token=TOKEN)
    )
    with pytest.raises(InputError, match="the hub cannot be reached for me/small"):
        push(bundle, "me/small")
    with pytest.raises(InputError, match="'a/b/c' is no name of a repository; give owner/name"):
        push(bundle, "a/b/c")


def test_nothing_is_sent_where_the_user_is_offline(bundle, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    reset_sessions()
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        push(bundle, "me/small")
    reset_sessions()


def test_the_command_says_where_it_went(hub, bundle, capfd):
    assert run(["push", str(bundle), "me/small"]) == 0
    said = capfd.readouterr().out
    assert said.startswith("pushed ")
    assert said.endswith(f"to {hub.address}/me/small\n")
    assert run(["push", str(bundle), "me/small", "--json", "--message", "again"]) == 0
    data = json.loads(capfd.readouterr().out)
    assert data["repository"] == f"{hub.address}/me/small"
    assert hub.messages[-1] == "again"


PAIRS = "word1,word2 word3,1\nword2 word5,word4 word5,5\nword7,word8 word9,2\n"


@pytest.fixture
def figures(bundle, exported, tmp_path, capfd):
    """What ``evaluate --json`` says of the bundle."""
    (tmp_path / "pairs.csv").write_text(PAIRS)
    asked = ["evaluate", str(bundle), "--pairs", str(tmp_path / "pairs.csv"), "--json"]
    assert run([*asked, "--original", str(exported.source)]) == 0
    path = tmp_path / "figures.json"
    path.write_text(capfd.readouterr().out)
    return path


def test_figures_reach_the_card_that_the_hub_reads(hub, bundle, figures, tmp_path):
    before = (bundle / "README.md").read_bytes()
    assert run(["push", str(bundle), "me/small", "--figures", str(figures)]) == 0
    assert (bundle / "README.md").read_bytes() == before
    files = hub.repositories["me/small"]
    card = huggingface_hub.ModelCard(files["README.md"].decode())
    told = {each["metric"]: each for each in json.loads(figures.read_text())["figures"]
            if each["model"] == "bundle"}  # fmt: skip
    spearman = next(each for each in card.data.eval_results if "Spearman" in each.metric_name)
    assert spearman.metric_value == told["Spearman"]["score"]["value"]
    assert spearman.metric_type == "spearman_cosine"
    assert spearman.task_type == "sentence-similarity"
    assert spearman.dataset_name == "pairs.csv"
    assert "(original: " in spearman.metric_name
    assert card.text.strip() == huggingface_hub.ModelCard(before.decode()).text.strip()
    for name, content in files.items():  # what arrived is a sound bundle
        path = tmp_path / "arrived" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    verify_files(tmp_path / "arrived", read_manifest(tmp_path / "arrived"))


def test_figures_of_another_bundle_are_not_shown(hub, bundle, figures, tmp_path):
    data = json.loads(figures.read_text())
    for change, reason in (
        ({"manifest": "0" * 64}, "figures.json is an evaluation of bundle, not of"),
        ({"manifest": None, "packed": None}, "is an evaluation of a table, not of"),
        ({"schema": 9}, "is of schema 9, not 1; give what `lighttoken evaluate"),
        ({"figures": []}, "has no figure of"),
    ):
        figures.write_text(json.dumps(data | change))
        with pytest.raises(InputError, match=reason):
            push(bundle, "me/small", figures=figures)
    figures.write_text("{")
    with pytest.raises(FormatError, match=r"figures.json is damaged"):
        push(bundle, "me/small", figures=figures)
    with pytest.raises(InputError, match="no file"):
        push(bundle, "me/small", figures=tmp_path / "none.json")
    assert hub.repositories == {}
