"""The models that ``evaluate`` compares: the original, the packed one, and others; as files."""

from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

import numpy as np
from numpy.typing import NDArray

from toolkit import CompressedEmbedding
from toolkit.bundle.manifest import MANIFEST_NAME, Manifest, Pooling, StoredHead, read_manifest
from toolkit.errors import InputError
from toolkit.graph.files import model_nbytes
from toolkit.graph.heads import find_heads
from toolkit.graph.own_heads import find_own_heads
from toolkit.graph.plain import load_plain
from toolkit.graph.rows import packed_head, packed_rows
from toolkit.graph.tables import TableUse, find_tables
from toolkit.links import without_links

from ..sources.facts import read_facts
from ..sources.folder_files import TOKENIZER, WEIGHTS, tokenizer_files
from ..sources.source import LoadedModel, find_folder, load_source
from ..sources.static import read_static
from ..verify.replaced import save_replaced
from .originals import OriginalModel, find_original, original_onnx, recall
from .quantised import WORDS, made_of

ORIGINAL = "original"
"""Name of the uncompressed model among the models."""
_OF_TOKENS = ("fill-mask", "text-generation")  # measured by the next token, or a masked one
_TABLES = (".lt", ".safetensors")  # what `lighttoken compress` writes, and what it is often called


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk, and what opening it takes: the arguments of ``runtime.open_model``.

    Attributes:
        model: a bundle's folder, or an .onnx file.
        name: what figures call it.
        folder: where tokenizer and config are; None for ``model`` itself, which is a bundle then.
        task: in the hub's words; None for what the bundle's manifest says, as below.
        pooling: of a sentence encoder.
        max_length: tokens that texts are cut to.
        nbytes: of the graph and its weights.
        verify: compare the files with the manifest of a bundle.
    """

    model: Path
    name: str
    folder: Path | None = None
    task: str | None = None
    pooling: Pooling | None = None
    max_length: int | None = None
    nbytes: int | None = None
    verify: bool = True


@dataclass(frozen=True)
class Comparison:
    """What is asked for.

    Attributes:
        packed: a bundle folder, or a packed table's file.
        model: of a table: the model that it goes into.
        original: where the original of a bundle is.
        against: other models: int8, int4, bundles, tables, .onnx files, folders, hub ids.
        work: a folder for models that are made on the way.
        trust: run Python code that a model brings.
        exported: of a bundle the .onnx file of its original that its export made, if it is kept.
            It is taken where the vocabulary was not cut before.
    """

    packed: Path
    model: str | None
    original: str | None
    against: tuple[str, ...]
    work: Path
    trust: bool = False
    exported: Path | None = None

    def task(self) -> str:
        """In the hub's words; nothing is exported for it.

        Raises:
            InputError, FormatError: no bundle and no table, or options that do not fit it.
        """
        if not _is_table(self.packed):
            manifest = read_manifest(self.packed)  # says what is wrong with it
            if self.model is not None:
                raise InputError(
                    f"{self.packed} is a bundle, which brings its model; leave --model out"
                )
            return manifest.task
        if self.model is None:
            raise InputError(
                f"{self.packed} is a table; say with --model into which model it goes (a folder, "
                "a hub id or an .onnx file)"
            )
        if self.original is not None:
            raise InputError("a table's original is the model of --model; leave --original out")
        return task_of_source(self.model, self.work, trust=self.trust)

    def models(self) -> tuple[list[ModelFiles], list[str]]:
        """The original, the packed model, the others; and what a reader should know of them.

        Raises:
            InputError, FormatError: one line on the first that cannot be had.
        """
        found = _Models(self, _find_original(self))
        if _is_table(self.packed):
            found.add_table(self.packed)
        else:
            found.add_bundle(self.packed, with_parts=True)
        for number, word in enumerate(self.against):
            found.add_other(word, self.work / f"against{number}")
        return found.models, found.notes


def task_of_source(
    source: str, work: Path, *, revision: str | None = None, trust: bool = False
) -> str:
    """The task of a model that is no bundle, in the hub's words; weights are not exported for it.

    Args:
        source: a folder, a hub id or an .onnx file.
        work: a folder for what is made.
        revision: of a hub id.
        trust: fetch Python code that a model brings.

    Raises:
        InputError: nothing is there, or it is not known what the model is for.
    """
    if Path(source).expanduser().is_file():
        return load_source(source, work).facts.task
    folder = find_folder(source, revision, code=trust)
    weighted = any(True for pattern in WEIGHTS for _ in folder.glob(pattern))
    if weighted and read_static(folder) is None:
        return read_facts(folder).task
    return load_source(str(folder), work).facts.task  # is ONNX already, or as good as


@dataclass(frozen=True)
class _Original:
    """The uncompressed model, as ``given`` by the user or the cache; ``sha256`` of its weights.

    ``notes`` say where it is not what the bundle was made from.
    """

    given: str
    files: ModelFiles
    sha256: str
    notes: tuple[str, ...] = ()


def _find_original(asked: Comparison) -> _Original:
    """The uncompressed model, exported under ``asked.work`` where necessary.

    Of a bundle that is what ``original`` names, else what the cache knows, else the first of
    ``against`` that names a model.

    Raises:
        InputError: no source of the original is known.
    """
    work = asked.work / "original"
    work.mkdir(parents=True, exist_ok=True)
    if asked.model is not None:
        loaded = load_source(asked.model, work, trust_remote_code=asked.trust)
        return _Original(asked.model, _files(loaded, ORIGINAL), loaded.source.sha256)
    manifest = read_manifest(asked.packed)
    named = next((word for word in asked.against if _is_model(word)), None)
    given = find_original(manifest, asked.original, recall(manifest), named)
    notes: list[str] = []
    like = None
    if _reads_tokens(manifest):
        like = asked.packed / TOKENIZER
        notes.append(
            "the original's vocabulary was cut as the bundle's was, so that both foretell the same "
            "tokens"
        )
    if asked.exported is not None and manifest.vocabulary is None:
        found = OriginalModel(asked.exported)
    else:
        found = original_onnx(
            manifest, given, work, trust_remote_code=asked.trust, like=like, tell=notes.append
        )
    files = ModelFiles(
        found.path,
        ORIGINAL,
        found.folder or asked.packed,
        manifest.task,
        manifest.pooling,
        manifest.max_length,
        _nbytes(found.path),
        verify=False,
    )
    return _Original(given, files, manifest.source.sha256, tuple(notes))


class _Models:
    """Collects ``models``, the original first, and ``notes`` on them."""

    def __init__(self, asked: Comparison, original: _Original) -> None:
        self._asked, self._base = asked, original
        self.models = [original.files]
        self.notes = list(original.notes)
        # Before all others: onnx reads no weights that have a second link, as replaced models make.
        self._quantised = {
            word: made_of(word, original.files.model, asked.work, called=original.given)
            for word in asked.against
            if word in WORDS and word != ORIGINAL
        }

    def add_bundle(self, folder: Path, *, with_parts: bool = False) -> None:
        """A bundle with its own tokenizer.

        ``with_parts``: where its output head is packed too, also the original with its input table
        alone replaced, and with a head's own matrix alone, to tell what either costs.
        """
        manifest = read_manifest(folder)
        several = with_parts and (manifest.packed_heads > 0 or bool(manifest.heads))
        if several and manifest.vocabulary is not None and not _reads_tokens(manifest):
            self.notes.append("table and head alone are not measured: the vocabulary was cut")
            several = False
        name = folder.name or folder.resolve().name
        self._add(ModelFiles(folder, f"{name}: input table and head" if several else name))
        if not several:
            return
        model = without_links(folder / manifest.model, self._asked.work / "without_links")
        try:
            rows = packed_rows(model, manifest.rows)
        except InputError as error:
            self.notes.append(f"the input table alone is not measured: {error}")
            return
        use = self._table_like(rows.shape, manifest.table)
        packed = manifest.tables[0].bytes if manifest.tables else None
        self._add_replaced(f"{name}: input table alone", use, rows, head=False, packed=packed)
        for head in manifest.heads[:1]:  # of several, in branches, one is none of the model's
            self._add_head(f"{name}: head alone", model, head)

    def _add_head(self, name: str, bundle: Path, head: StoredHead) -> None:
        """The original with a bundle's packed head in place of its own."""
        original = self._base.files.model
        found = find_own_heads(load_plain(original).graph)
        fitting = [own for own in found if (own.rows, own.width) == (head.rows, head.width)]
        if not fitting:
            self.notes.append(
                f"the head alone is not measured: {self._base.given} has no head of its own, "
                f"{head.rows} x {head.width}"
            )
            return
        own, path = fitting[0], self._new_path()
        save_replaced(
            original, {}, set(), path, own_heads={own.name: packed_head(bundle, own.rows)}
        )
        nbytes = model_nbytes(original) + head.bytes - own.nbytes
        self._add(replace(self._base.files, model=path, name=name, nbytes=nbytes))

    def add_table(self, file: Path) -> None:
        """The original with this table; where a head shares it, also in the input alone."""
        table = CompressedEmbedding.load(file)
        rows = table.dense()
        use = self._table_like(rows.shape)
        if find_heads(use.graph, use):
            label = f"{file.stem}: input table and head"
            self._add_replaced(label, use, rows, head=True, packed=table.nbytes)
            label = f"{file.stem}: input table alone"
        else:
            label = file.stem
        self._add_replaced(label, use, rows, head=False, packed=table.nbytes)

    def add_other(self, word: str, work: Path) -> None:
        """What ``--against`` names; the original itself is there already."""
        path = Path(word).expanduser()
        if word == ORIGINAL or self._is_original(word):
            return
        if word in self._quantised:
            self._add(self._like_original(self._quantised[word], word))
        elif _is_bundle(path):
            self.add_bundle(path)
        elif _is_table(path):
            self.add_table(path)
        else:
            self._add_model(word, work)

    def _add_model(self, word: str, work: Path) -> None:
        """Another model, with its own tokenizer where it has one."""
        loaded = load_source(word, work, trust_remote_code=self._asked.trust)
        if loaded.source.sha256 == self._base.sha256:
            return
        name = Path(word).name.removesuffix(".onnx")
        if tokenizer_files(loaded.folder):
            self._add(_files(loaded, name))
        else:
            self._add(self._like_original(loaded.path, name))

    def _is_original(self, word: str) -> bool:
        given = Path(self._base.given).expanduser()
        path = Path(word).expanduser()
        return word == self._base.given or (path.exists() and path.resolve() == given.resolve())

    def _add(self, files: ModelFiles) -> None:
        """``files`` under a name that no other model has."""
        taken = {each.name for each in self.models}
        number, name = 1, files.name
        while name in taken:
            number += 1
            name = f"{files.name} ({number})"
        self.models.append(replace(files, name=name))

    def _like_original(self, path: Path, name: str) -> ModelFiles:
        """An .onnx file with the original's tokenizer and settings."""
        return replace(self._base.files, model=path, name=name, nbytes=_nbytes(path))

    def _table_like(self, shape: tuple[int, ...], name: str | None = None) -> TableUse:
        """The original's table of this name and shape, else the largest of this shape."""
        uses = [
            use
            for use in find_tables(load_plain(self._base.files.model).graph)
            if (use.rows, use.width) == shape
        ]
        if not uses:
            raise InputError(
                f"the packed table is {shape[0]} x {shape[1]}, and {self._base.given} looks tokens "
                "up in none of this shape; give the model that it is from"
            )
        return next((use for use in uses if use.name == name), uses[0])

    def _add_replaced(
        self,
        name: str,
        use: TableUse,
        rows: NDArray[np.floating],
        *,
        head: bool,
        packed: int | None,
    ) -> None:
        """The original with ``rows`` [V, d] in place of a table.

        Its bytes are those of a model that holds the table in ``packed`` bytes: the dense one goes
        unless a head keeps it.
        """
        original, path = self._base.files.model, self._new_path()
        save_replaced(original, {use.name: rows}, {use.name} if head else set(), path)
        nbytes = None
        if packed is not None:
            kept = not head and bool(find_heads(use.graph, use))
            nbytes = model_nbytes(original) + packed - (0 if kept else use.nbytes)
        self._add(replace(self._base.files, model=path, name=name, nbytes=nbytes))

    def _new_path(self) -> Path:
        """For a replaced model. Beside it there will be links to the original's files, which no new
        file may replace."""
        path = self._asked.work / f"replaced{len(self.models)}" / f"{token_hex(8)}.onnx"
        path.parent.mkdir(parents=True)
        return path


def _reads_tokens(manifest: Manifest) -> bool:
    """Whether a cut vocabulary has to be compared token by token."""
    return manifest.vocabulary is not None and manifest.task in _OF_TOKENS


def _files(loaded: LoadedModel, name: str) -> ModelFiles:
    facts = loaded.facts
    return ModelFiles(
        loaded.path,
        name,
        loaded.folder,
        facts.task,
        facts.pooling,
        facts.max_length,
        _nbytes(loaded.path),
        verify=False,
    )


def _nbytes(path: Path) -> int:
    return model_nbytes(path) if path.suffix == ".onnx" else path.stat().st_size


def _is_bundle(path: Path) -> bool:
    return (path / MANIFEST_NAME).is_file()


def _is_table(path: Path) -> bool:
    """Whether it is a file called as packed tables are."""
    return path.is_file() and path.suffix in _TABLES


def _is_model(word: str) -> bool:
    """Whether ``--against`` names a model that may be an original: folder, hub id, .onnx."""
    path = Path(word).expanduser()
    return word not in WORDS and not _is_bundle(path) and not _is_table(path)
