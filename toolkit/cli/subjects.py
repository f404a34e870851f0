"""What ``evaluate`` compares: the subject, its original, and rivals; which they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.bundle.manifest import MANIFEST_NAME, Pooling, read_manifest
from toolkit.errors import InputError

from .originals import original_onnx, recall
from .rivals import WORDS

if TYPE_CHECKING:
    from runtime.evaluate.model import Subject

_TABLES = (".lt", ".safetensors")  # what `lighttoken compress` writes, and what it is often called


@dataclass(frozen=True)
class Original:
    """The uncompressed model, and what models made of it are opened with.

    Attributes:
        given: as the user or the cache named it.
        path: the .onnx file.
        folder: where tokenizer and config are.
        task: in the hub's words.
        pooling: of a sentence encoder.
        max_length: tokens that texts are cut to.
        sha256: of its weights.
    """

    given: str
    path: Path
    folder: Path
    task: str
    pooling: Pooling | None
    max_length: int | None
    sha256: str


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        subject: a bundle folder, or a packed table's file.
        model: of a table: the model that it goes into.
        origin: where the original of a bundle is.
        against: rivals: words, bundles, tables, .onnx files, folders, hub ids.
        work: a folder for models that are made on the way.
        threads: that one operator may use.
        op: use the native kernel.
        trust: run Python code that a model brings.
    """

    subject: Path
    model: str | None
    origin: str | None
    against: tuple[str, ...]
    work: Path
    threads: int | None = None
    op: bool = True
    trust: bool = False

    def task(self) -> str:
        """In the hub's words; nothing is exported for it.

        Raises:
            InputError, FormatError: no subject, or options that do not fit it.
        """
        if not is_table(self.subject):
            manifest = read_manifest(self.subject)  # says what is wrong with it
            if self.model is not None:
                raise InputError(
                    f"{self.subject} is a bundle, which brings its model; leave --model out"
                )
            return manifest.task
        if self.model is None:
            raise InputError(
                f"{self.subject} is a table; say with --model into which model it goes (a folder, "
                "a hub id or an .onnx file)"
            )
        if self.origin is not None:
            raise InputError("a table's original is the model of --model; leave --original out")
        from exporters.sources.facts import read_facts
        from exporters.sources.source import find_folder, load_source

        if Path(self.model).expanduser().is_file():
            return load_source(self.model, self.work).facts.task
        return read_facts(find_folder(self.model, code=self.trust)).task

    def original(self) -> Original:
        """The uncompressed model, exported under ``work`` where necessary.

        Of a bundle that is what ``origin`` names, else what the cache knows, else the first of
        ``against`` that names a model.

        Raises:
            InputError: nobody knows where it is.
        """
        work = self.work / "original"
        work.mkdir(parents=True, exist_ok=True)
        if self.model is not None:
            from exporters.sources.source import load_source

            loaded = load_source(self.model, work, trust_remote_code=self.trust)
            facts, sha256 = loaded.facts, loaded.source.sha256
            return Original(
                self.model, loaded.path, loaded.folder, facts.task, facts.pooling,
                facts.max_length, sha256,
            )  # fmt: skip
        manifest = read_manifest(self.subject)
        named = next((word for word in self.against if _is_model(word)), None)
        given = self.origin or recall(manifest) or named
        if given is None:
            raise InputError(
                f"the original of this bundle ({manifest.source.name}) is not known on this "
                "machine; give it with --original (a folder, a hub id or an .onnx file)"
            )
        path = original_onnx(manifest, given, work, trust_remote_code=self.trust)
        return Original(
            given, path, self.subject, manifest.task, manifest.pooling, manifest.max_length,
            manifest.source.sha256,
        )  # fmt: skip

    def open(self) -> "tuple[list[Subject], list[str]]":
        """The original, the subject and the rivals, and what a reader should know of them.

        Raises:
            InputError, FormatError: one line on the first that cannot be had.
        """
        from .opened import Opened

        opened = Opened(self, self.original())
        opened.add_original()
        if is_table(self.subject):
            opened.add_table(self.subject)
        else:
            opened.add_bundle(self.subject, with_parts=True)
        for number, word in enumerate(self.against):
            opened.add_rival(word, self.work / f"against{number}")
        return opened.subjects, opened.notes


def is_bundle(path: Path) -> bool:
    """Whether a manifest is there."""
    return (path / MANIFEST_NAME).is_file()


def is_table(path: Path) -> bool:
    """Whether it is a file called as packed tables are."""
    return path.is_file() and path.suffix in _TABLES


def _is_model(word: str) -> bool:
    """Whether ``--against`` names a model that may be an original: folder, hub id, .onnx."""
    path = Path(word).expanduser()
    return word not in WORDS and not is_bundle(path) and not is_table(path)
