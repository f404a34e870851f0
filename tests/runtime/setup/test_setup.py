"""Foreign runtimes: what is there, how it comes and goes; no downloads, but stand-ins for apt."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runtime import setup
from runtime.setup import arm64, catalogue, debian, home, qnn, web, xnnpack
from runtime.setup.calls import call, write_program
from toolkit.errors import InputError, MissingDependencyError
from toolkit.owned import LISTING


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(setup.VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def fake(monkeypatch):
    """``fake(fill)``: ``fill(folder)`` makes "qnn", which is whole with a file "whole"."""

    def use(fill):
        runtime = replace(
            catalogue.FOREIGN["qnn"], fill=fill, is_whole=lambda folder: (folder / "whole").exists()
        )
        monkeypatch.setitem(catalogue.FOREIGN, "qnn", runtime)

    return use


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """``programs(name=script)``: these shell scripts, and only they and sh's, are on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(**scripts):
        for name, script in scripts.items():
            write_program(folder / name.replace("_", "-"), f"#!/bin/sh\n{script}\n")
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin" if scripts else str(folder))
        return folder

    return put


def test_home_is_where_the_environment_says(place, monkeypatch):
    assert home() == place
    monkeypatch.delenv(setup.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert home() == Path("/somewhere/lighttoken")


def test_nothing_is_here_at_first():
    states = catalogue.states()
    assert [state.name for state in states] == ["xnnpack", "qnn", "arm64", "web"]
    assert not any(state.here or state.bytes for state in states)
    assert all(state.about_bytes and state.purpose for state in states)


def test_sets_up_once(fake, place):
    calls = []

    def fill(folder):
        calls.append(folder)
        (folder / "whole").write_bytes(b"12345")

    fake(fill)
    assert catalogue.set_up("qnn") == place / "qnn"
    catalogue.set_up("qnn")
    assert len(calls) == 1
    state = next(state for state in catalogue.states() if state.name == "qnn")
    assert (state.here, state.bytes) == (True, 5)
    assert [path.name for path in place.iterdir()] == ["qnn"]


def test_a_failed_attempt_leaves_what_was_there(fake, place):
    fake(lambda folder: [(folder / name).touch() for name in ("whole", "old")])
    catalogue.set_up("qnn")
    (place / "qnn" / "whole").unlink()

    def fill(folder):
        (folder / "half").touch()
        raise InputError("no network")

    fake(fill)
    with pytest.raises(InputError, match="no network"):
        catalogue.set_up("qnn")
    assert {path.name for path in place.rglob("*")} == {"qnn", "old", LISTING}


def test_what_is_not_whole_is_no_success_and_is_made_anew(fake, place):
    fake(lambda folder: None)
    with pytest.raises(InputError, match="came without its files"):
        catalogue.set_up("qnn")
    fake(lambda folder: (folder / "whole").touch())
    catalogue.set_up("qnn")
    (place / "qnn" / "whole").unlink()
    assert not catalogue.is_here("qnn")
    catalogue.set_up("qnn")
    assert {path.name for path in (place / "qnn").iterdir()} == {"whole", LISTING}


def test_removes(fake, place):
    fake(lambda folder: (folder / "whole").touch())
    catalogue.set_up("qnn")
    assert catalogue.remove("qnn")
    assert not (place / "qnn").exists()
    assert not catalogue.remove("qnn")


def test_what_setup_did_not_write_is_not_deleted(fake, place):
    (place / "qnn").mkdir(parents=True)
    (place / "qnn" / "mine").touch()
    fake(lambda folder: (folder / "whole").touch())
    for act in (catalogue.set_up, catalogue.remove):
        with pytest.raises(InputError, match="qnn holds mine, which lighttoken did not write"):
            act("qnn")
    assert [path.name for path in place.rglob("*")] == ["qnn", "mine"]
    (place / "qnn" / "mine").rename(place / "mine")
    catalogue.set_up("qnn")
    (place / "qnn" / "notes").touch()
    with pytest.raises(
        InputError, match=r"notes, which lighttoken did not write .*, so it is not del"
    ):
        catalogue.remove("qnn")
    assert (place / "qnn" / "whole").exists()
    (place / "web").symlink_to("qnn")
    with pytest.raises(InputError, match="no folder that setup made; remove it yourself"):
        catalogue.remove("web")
    assert (place / "web").is_symlink()


def test_in_the_cache_what_older_versions_set_up_can_go(fake, monkeypatch, tmp_path):
    monkeypatch.delenv(setup.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (home() / "qnn" / "below").mkdir(parents=True)
    (home() / "qnn" / "below" / "half").touch()
    fake(lambda folder: (folder / "whole").touch())
    catalogue.set_up("qnn")
    assert {path.name for path in (home() / "qnn").iterdir()} == {"whole", LISTING}
    (home() / "qnn" / LISTING).unlink()
    assert catalogue.remove("qnn")
    assert not (home() / "qnn").exists()


@pytest.mark.parametrize("act", [catalogue.set_up, catalogue.remove])
def test_an_unknown_name_is_refused(act):
    with pytest.raises(InputError, match=r"no runtime is called '../x'; choose one of xnnpack"):
        act("../x")


def test_a_failed_call_quotes_the_error_and_not_the_chatter():
    script = "import sys; print('hm'); sys.exit('working\\nE: no such suite\\nbye')"
    with pytest.raises(InputError) as caught:
        call([sys.executable, "-c", script], "apt failed")
    assert str(caught.value) == "apt failed (E: no such suite)"
    with pytest.raises(InputError, match=r"^failed \(exit status 3\)$"):
        call([sys.executable, "-c", "import sys; sys.exit(3)"], "failed")


@pytest.mark.parametrize(
    ("fill", "missing"),
    [(xnnpack.fill, "apt-get"), (arm64.fill, "qemu-aarch64-static"), (web.fill, "npm")],
)
def test_a_missing_program_is_one_line(fill, missing, programs, tmp_path):
    programs()
    with pytest.raises(MissingDependencyError, match=f"^{missing} is not here; .+$"):
        fill(tmp_path)


APT = """
case "$*" in
  *indextargets*) echo "$MIRRORS" ;;
  *install*)
    echo "$@" > "$ASKED"
    for word; do case $word in Dir::Cache=*) touch "${word#*=}/archives/one.deb" ;; esac; done ;;
esac
"""


@pytest.fixture
def apt(programs, monkeypatch, tmp_path):
    """Stand-ins for apt-get and dpkg-deb; the file that the call of "install" is written to."""
    programs(apt_get=APT, dpkg_deb='mkdir -p "$3/usr" && cp "$2" "$3/usr/"')
    monkeypatch.setenv("MIRRORS", "http://a/security/ http://a/debian/")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    return tmp_path / "asked"


def test_packages_are_unpacked_and_nothing_else_stays(apt, tmp_path):
    folder = tmp_path / "aside"
    folder.mkdir()
    debian.unpack(["one", "two"], "trixie", folder / "root", architecture="arm64")
    assert [path.name for path in folder.iterdir()] == ["root"]
    assert (folder / "root" / "usr" / "one.deb").exists()
    asked = apt.read_text().split()
    assert asked[-2:] == ["one", "two"]
    assert {"--download-only", "APT::Architecture=arm64"} <= set(asked)


def test_without_a_mirror_of_debian_it_says_so(apt, monkeypatch, tmp_path):
    monkeypatch.setenv("MIRRORS", "http://a/ubuntu/")
    with pytest.raises(InputError, match="apt knows no mirror of Debian here"):
        debian.unpack(["one"], "trixie", tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_pip_that_fails_is_one_line(programs, monkeypatch, tmp_path):
    folder = programs(python="echo 'ERROR: No matching distribution found' >&2; exit 1")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    with pytest.raises(InputError, match=r"onnxruntime-qnn .*\(ERROR: No matching distribution"):
        qnn.fill(tmp_path)


def test_npm_installs_what_is_pinned(programs, place):
    programs(npm="mkdir -p node_modules/onnxruntime-web")
    folder = catalogue.set_up("web")
    assert (folder / "package.json").read_bytes() == web.PACKAGES.read_bytes()
    assert catalogue.is_here("web")
    (folder / "package.json").write_text("{}")  # of another version of LightToken
    assert not catalogue.is_here("web")


def test_launchers_are_shell():
    for script in (arm64._PYTHON, xnnpack._PYTHON):
        done = subprocess.run(["sh", "-n"], input=script, text=True, check=False)
        assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xnnpack", "arm64"])
def test_a_python_that_is_here_has_onnxruntime(name, monkeypatch):
    monkeypatch.delenv(setup.VARIABLE)
    python = home() / name / "python"
    if not python.exists():
        pytest.skip(f"{name} is not set up: lighttoken setup {name}")
    code = "import onnxruntime, platform; print(platform.machine(), onnxruntime.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    machine = "aarch64" if name == "arm64" else ""
    assert done.stdout.startswith(machine)
