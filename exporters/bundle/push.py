"""A bundle to a repository of the Hugging Face hub, in one commit."""

import hashlib
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.bundle.manifest import (
    MANIFEST_NAME,
    Manifest,
    StoredFile,
    read_manifest,
    verify_files,
)
from toolkit.errors import InputError
from toolkit.extras import require
from toolkit.quiet import first_line

from ..sources.licence import CARD
from .model_index import read_evaluation, with_model_index

_OF_THE_HUB = {".gitattributes"}  # it makes this one by itself
_MESSAGE = "Add a bundle of LightToken"


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        repository: its address.
        commit: the address of the commit.
        files: names in the repository.
        bytes: of all of them.
    """

    repository: str
    commit: str
    files: tuple[str, ...]
    bytes: int


def push(
    bundle: Path,
    repository: str,
    *,
    private: bool = False,
    message: str | None = None,
    force: bool = False,
    figures: Path | None = None,
) -> Pushed:
    """Commit the files that the manifest of ``bundle`` names, and no other, to ``repository``.

    The repository is made where there is none. Whoever is logged in (``hf auth login``, or
    HF_TOKEN) has to be allowed to write there.

    Args:
        bundle: the folder; its files are checked first.
        repository: owner/name.
        private: of a new repository.
        message: of the commit; None says what it is.
        force: replace files of a repository that holds no bundle.
        figures: what ``lighttoken evaluate BUNDLE --json`` printed; the card in the repository
            gets them as a ``model-index``. The bundle on disk stays as it is.

    Raises:
        InputError: figures of another bundle, nobody is logged in, the hub refuses or cannot be
            reached, or the repository holds files of these names that are of no bundle.
        FormatError: a damaged bundle, or figures that cannot be read.
        MissingDependencyError: the extra `export` is not installed.
    """
    require("export")
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    names = (*manifest.files, MANIFEST_NAME)
    sent = {name: bundle / name for name in names} | _with_figures(bundle, manifest, figures)

    import huggingface_hub
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    hub = huggingface_hub.HfApi()
    with _in_one_line(repository):
        address = str(hub.create_repo(repository, private=private, exist_ok=True))
        held = set(hub.list_repo_files(repository))
        if not force:
            _check_free(repository, held, names)
        additions = [
            huggingface_hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
            for name, content in sent.items()
        ]
        done = hub.create_commit(repository, additions, commit_message=message or _MESSAGE)
    count = sum(
        len(content) if isinstance(content, bytes) else content.stat().st_size
        for content in sent.values()
    )
    return Pushed(address, done.commit_url, names, count)


def _with_figures(bundle: Path, manifest: Manifest, figures: Path | None) -> dict[str, bytes]:
    """Card and manifest as they are sent, where figures go into the card; else nothing."""
    if figures is None:
        return {}
    card = (bundle / CARD).read_text(encoding="utf-8")
    text = with_model_index(card, read_evaluation(figures, bundle)).encode()
    files = {**manifest.files, CARD: StoredFile(len(text), hashlib.sha256(text).hexdigest())}
    return {CARD: text, MANIFEST_NAME: replace(manifest, files=files).to_json().encode()}


def _check_free(repository: str, held: Collection[str], names: Collection[str]) -> None:
    """A repository that holds a bundle is ours to replace; another's files are not."""
    if MANIFEST_NAME in held:
        return
    lost = sorted(set(names) & set(held) - _OF_THE_HUB)
    if lost:
        raise InputError(
            f"{repository} holds no bundle, and {lost[0]} of it would be replaced; push to "
            "another repository, or add --force (its history keeps the old files)"
        )


@contextmanager
def _in_one_line(repository: str) -> Iterator[None]:
    """What the hub's library raises becomes an InputError."""
    try:
        yield
    except Exception as error:
        refusal = _refusal(error, repository)
        if refusal is None:
            raise
        raise refusal from error


def _refusal(error: Exception, repository: str) -> InputError | None:
    """Why, as one line; None for what is no refusal of the hub."""
    from huggingface_hub import errors

    if isinstance(error, errors.HFValidationError):
        return InputError(f"{repository!r} is no name of a repository; give owner/name")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return InputError(
            "HF_HUB_OFFLINE is set, so nothing can be sent; set it to 0 and run again"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401 or isinstance(error, errors.LocalTokenNotFoundError):
        return InputError("the hub does not know who you are; run `hf auth login`, or set HF_TOKEN")
    if status == 403:
        return InputError(
            f"the hub does not let you write to {repository}; choose another, or run "
            "`hf auth login` with a token that may write there"
        )
    if isinstance(error, errors.HfHubHTTPError):
        reason = first_line(error)
        return InputError(
            f"the hub refuses {repository} ({reason}); check its name and your rights"
        )
    if isinstance(error, ConnectionError) or _is_of_the_network(error):
        return InputError(
            f"the hub cannot be reached for {repository}; check the network and push again"
        )
    return None


def _is_of_the_network(error: Exception) -> bool:
    """Of the library that huggingface_hub asks by: requests before its version 1, then httpx."""
    return type(error).__module__.split(".")[0] in ("requests", "httpx")
