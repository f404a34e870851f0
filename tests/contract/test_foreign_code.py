"""No library runs a model's own code, or asks a person whether to, unless the user said so; and no
process of ours runs what lies where it was started."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LOADERS = ("from_pretrained", "from_config", "main_export")


def calls_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in _LOADERS:
                yield node


@pytest.mark.parametrize("package", ["toolkit", "exporters", "runtime", "lighttoken"])
def test_every_loader_is_told_whether_to_trust(package):
    silent = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for call in calls_of(path)
        if "trust_remote_code" not in {keyword.arg for keyword in call.keywords}
    ]
    assert not silent, "transformers asks on standard input where trust_remote_code is not given"


def packages():
    for package in ("toolkit", "exporters", "runtime", "lighttoken"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_no_process_imports_from_where_it_was_started():
    """People work in folders that they downloaded. There may be a torch.py, or a pip.py."""
    calls = []
    for path, tree in packages():
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(tree):
            words = [ast.unparse(one) for one in getattr(node, "elts", [])]
            if "'-m'" in words:
                safe = "'-P'" in words[: words.index("'-m'")] or '"PYTHONSAFEPATH": "1"' in text
                calls.append((str(path.relative_to(ROOT)), safe or "cwd=HERE" in text))
    assert len(calls) > 4
    assert [path for path, safe in calls if not safe] == []


def test_nothing_is_unpickled():
    for path, tree in packages():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {one.name for one in node.names} | {getattr(node, "module", None)}
                if names <= {"joblib", "Parallel", "delayed", "parallel_config"}:  # no files
                    assert path == ROOT / "toolkit" / "jobs.py"
                    names = set()
                assert not names & {"pickle", "cloudpickle", "dill", "joblib", "marshal"}, path
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load"):
                word = {"torch.load": "weights_only", "np.load": "allow_pickle"}
                wanted = word[ast.unparse(node.func)]
                given = {one.arg: ast.unparse(one.value) for one in node.keywords}
                assert given.get(wanted) == str(wanted == "weights_only"), f"{path}:{node.lineno}"
