"""The base installation runs, evaluates, profiles and inspects; export names its extra."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = (
    "toolkit", "exporters", "runtime", "lighttoken", "pyproject.toml", "hatch_build.py",
    "README.md", "LICENSE",
)  # fmt: skip
EXTRA = ("torch", "transformers", "onnxscript", "scipy", "sklearn", "matplotlib")
EXTRA_DISTRIBUTIONS = {"torch", "transformers", "onnxscript", "scipy", "scikit-learn", "matplotlib"}
UNREACHABLE = ("No matching distribution", "Could not find a version", "Retrying", "Connection")

# Runs the command line in its process, then says on stderr which packages of extras it imported.
DRIVER = f"""
import sys
from toolkit.cli.app import run
code = run(sys.argv[1:])
print("imported:", *sorted(set({EXTRA!r}) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
LISTED = "from importlib.metadata import distributions\nfor d in distributions(): print(d.name)"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The Python of a virtual environment that has the project and no extra; a minute."""
    folder = tmp_path_factory.mktemp("base")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:  # a copy, because the wheel's build writes the kernel beside its source
        path = ROOT / name
        if path.is_dir():
            skipped = shutil.ignore_patterns("__pycache__", "lighttoken_op.*")
            shutil.copytree(path, source / name, ignore=skipped)
        else:
            shutil.copyfile(path, source / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    flags = os.environ.get("PIP_FLAGS", "").split()
    command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *flags]
    done = subprocess.run(
        [*command, "-c", ROOT / "constraints.txt", source],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and any(word in done.stderr for word in UNREACHABLE):
        pytest.skip(f"pip reaches no packages: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Text, scored pairs and labelled texts of the tiny encoder's words."""
    folder = tmp_path_factory.mktemp("data")
    contents = {
        "text.txt": "word1 word2 word3\nword4 word5\n",
        "pairs.csv": "word1,word2 word3,1\nword2 word5,word4 word5,5\nword7,word8 word9,2\n",
        "labels.csv": "word1,a\nword2,b\nword3,a\nword4,b\n",
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def call(tmp_path):
    """``call(python, *arguments)``: the command line in a process of its own."""

    def run(python, *arguments):
        # With `-c` the working folder comes first on the path: an empty one, so that a Python that
        # has the project installed takes that. This one is given the tree under test.
        here = {"PYTHONPATH": str(ROOT)} if python == sys.executable else {}
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [python, "-c", DRIVER, *map(str, arguments)],
            cwd=tmp_path,
            env=kept | here | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        *errors, last = done.stderr.splitlines()
        assert last.startswith("imported:"), done.stderr
        return SimpleNamespace(
            code=done.returncode, out=done.stdout, errors=errors, imported=last.split()[1:]
        )

    return run


def commands(exported, data):
    """Each verb that the base serves, with its arguments."""
    original = ("--original", exported.original)
    return {
        "help": ["--help"],
        "run": ["run", exported.bundle, "word1", "word2"],
        "inspect": ["inspect", exported.bundle],
        "inspect a model": ["inspect", exported.original],
        "text": ["evaluate", exported.bundle, *original, "--text", data / "text.txt"],
        "pairs": [
            "evaluate", exported.bundle, *original, "--against", "int8",
            "--pairs", data / "pairs.csv",
        ],
        "profile": [
            "profile", exported.bundle, *original, "--against", "original", "--length", "4",
            "--runs", "2", "--repeats", "1", "--nodes",
        ],
        "doctor": ["doctor"],
    }  # fmt: skip


VERBS = list(commands(SimpleNamespace(bundle=None, original=None), Path()))


@pytest.mark.parametrize("verb", VERBS)
def test_imports_nothing_of_an_extra_even_where_it_is_installed(exported, data, call, verb):
    outcome = call(sys.executable, *commands(exported, data)[verb])
    assert (outcome.code, outcome.imported) == (0, []), outcome.errors


@pytest.mark.slow
def test_the_base_brings_no_package_of_an_extra(base):
    listed = subprocess.run([base, "-c", LISTED], capture_output=True, text=True, check=True)
    assert "onnxruntime" in listed.stdout.split()
    assert EXTRA_DISTRIBUTIONS & set(listed.stdout.split()) == set()


VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PUBLIC = """
import lighttoken, sys
assert not {"torch", "onnxruntime", "onnx"} & set(sys.modules), sorted(sys.modules)
print(lighttoken.__version__, lighttoken.open_session.__name__, lighttoken.get_library_path())
from optimum.commands.register import register_lighttoken
"""


@pytest.mark.slow
def test_the_wheel_has_our_name_our_kernel_and_a_command_for_optimum(base, tmp_path):
    """Which needs optimum, as its only reason to fail."""
    done = subprocess.run(
        [base, "-c", PUBLIC], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    *_, last = done.stderr.splitlines()
    assert last == "ModuleNotFoundError: No module named 'optimum.commands.base'"
    version, name, library = done.stdout.split()
    assert (version, name, Path(library).parent.name) == (VERSION, "open_session", "custom_op")


@pytest.mark.slow
def test_an_extra_that_shares_a_folder_with_us_is_still_missing(base, call, tmp_path):
    outcome = call(base, "export", tmp_path, "out", "--exporter", "optimum")
    assert (outcome.code, len(outcome.errors)) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_the_base_serves_every_verb_that_needs_no_extra(base, exported, data, call, verb):
    outcome = call(base, *commands(exported, data)[verb])
    assert (outcome.code, outcome.imported) == (0, []), outcome.errors
    assert outcome.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["export", "MODEL", "out"], "torch is not installed; pip install 'lighttoken[export]'"),
        (["plan", "MODEL"], "torch is not installed; pip install 'lighttoken[export]'"),
        (["sweep", "plan.yaml", "out"], "torch is not installed; pip install 'lighttoken[export]'"),
        (
            ["compress", "m.npy", "m.safetensors"],
            "torch is not installed; pip install 'lighttoken[export]'",
        ),
        (["demo"], "torch is not installed; pip install 'lighttoken[export]'"),
        (
            ["evaluate", "BUNDLE", "--original", "MODEL", "--text", "text.txt"],
            "torch is not installed; pip install 'lighttoken[export]'",
        ),
        (
            ["evaluate", "BUNDLE", "--original", "ONNX", "--probe", "labels.csv", "labels.csv"],
            "scikit-learn is not installed; pip install 'lighttoken[probe]'",
        ),
        (
            ["profile", "BUNDLE", "--report", "page.html"],
            "matplotlib is not installed; pip install 'lighttoken[report]'",
        ),
    ],
)
def test_a_missing_extra_is_one_line(base, exported, data, call, arguments, line):
    places = {"BUNDLE": exported.bundle, "MODEL": exported.source, "ONNX": exported.original}
    places |= {path.name: path for path in data.iterdir()}
    outcome = call(base, *(places.get(each, each) for each in arguments))
    assert (outcome.code, outcome.errors) == (2, [f"error: {line}"])
