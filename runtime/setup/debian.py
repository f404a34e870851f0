"""Debian's packages, unpacked into a folder: nothing is installed, and nobody has to be root."""

from collections.abc import Sequence
from pathlib import Path

from toolkit.errors import InputError
from toolkit.temporary import temporary_folder

from .calls import call, need

_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_GET = "it is part of Debian and its kin; run this on one of them"


def unpack(
    packages: Sequence[str], suite: str, root: Path, *, architecture: str | None = None
) -> None:
    """Unpack ``packages`` and all they depend on into ``root``; no package's own script runs.

    From the mirror that this machine's apt uses, whose signatures apt checks.

    Args:
        packages: names.
        suite: Debian's release, as ``trixie``.
        root: made anew.
        architecture: Debian's name of it; None for this machine's own.

    Raises:
        MissingDependencyError: no apt-get or no dpkg-deb.
        InputError: apt knows no mirror of Debian, or cannot download.
    """
    for tool in ("apt-get", "dpkg-deb"):
        need(tool, _GET)
    with temporary_folder(".apt.", root.parent) as work:
        apt = _private_apt(work, suite, architecture)
        retry = "; check the network and try again"
        call([*apt, "update"], f"apt cannot read the lists of {suite}{retry}")
        call(
            [*apt, "install", "--yes", "--download-only", "--no-install-recommends", *packages],
            f"apt cannot download {' '.join(packages)} of {suite}{retry}",
        )
        root.mkdir()
        for deb in sorted((work / "cache" / "archives").glob("*.deb")):
            call(["dpkg-deb", "-x", deb, root], f"{deb.name} cannot be unpacked{retry}")


def _private_apt(work: Path, suite: str, architecture: str | None) -> list[str]:
    """apt-get with lists and a state of its own, as on a machine where nothing is installed."""
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "cache" / "archives" / "partial").mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(f"deb [signed-by={_KEYS}] {_mirror()} {suite} main\n")
    settings = {
        "Dir::Etc::SourceList": str(work / "sources.list"),
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": str(work / "lists"),
        "Dir::State::Status": str(work / "status"),
        "Dir::Cache": str(work / "cache"),
        "APT::Sandbox::User": "root",  # the folder is private; apt would drop to a user of its own
    }
    if architecture is not None:
        settings |= {"APT::Architecture": architecture, "APT::Architectures": architecture}
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    return ["apt-get", "-qq", *options]


def _mirror() -> str:
    missing = "apt knows no mirror of Debian here; run apt-get update first, on Debian"
    form = ["--format", "$(REPO_URI)", "Created-By: Packages"]
    known = call(["apt-get", "indextargets", *form], missing).split()
    mirrors = [mirror for mirror in known if mirror.endswith("/debian/")]
    if not mirrors:
        raise InputError(missing)
    return mirrors[0]
