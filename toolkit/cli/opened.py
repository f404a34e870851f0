"""The models of an evaluation, made where necessary and opened."""

from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from toolkit import CompressedEmbedding
from toolkit.bundle.manifest import read_manifest
from toolkit.errors import InputError

from .rivals import QUANTISERS, in_one_file, quantise
from .subjects import Original, Request, is_bundle, is_table

if TYPE_CHECKING:
    from runtime.evaluate.model import Subject
    from toolkit.graph.tables import TableUse

_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")


class Opened:
    """Collects ``subjects``, and ``notes`` on them."""

    def __init__(self, request: Request, original: Original) -> None:
        self.request, self.base = request, original
        self.subjects: list[Subject] = []
        self.notes: list[str] = []
        # First of all: onnx reads no weights that have a second link, as replaced models make.
        self._quantised = {
            word: self._quantise(word) for word in request.against if word in QUANTISERS
        }

    def add_original(self) -> None:
        """First of all."""
        from runtime.evaluate.figures import ORIGINAL

        self._add(self.base.path, ORIGINAL, verify=False)

    def add_bundle(self, folder: Path, *, with_parts: bool = False) -> None:
        """A bundle with its own tokenizer.

        ``with_parts``: where its output head reads the packed table too, also the original with
        its input table alone replaced, to tell what either costs.
        """
        manifest = read_manifest(folder)
        shared = with_parts and manifest.packed_heads > 0
        name = folder.name or folder.resolve().name
        label = f"{name}: input table and head" if shared else name
        self._open(folder, label, threads=self.request.threads, op=self.request.op)
        if not shared:
            return
        from toolkit.graph.rows import packed_rows

        try:
            rows = packed_rows(folder / manifest.model, manifest.rows)
        except InputError as error:
            self.notes.append(f"the input table alone is not measured: {error}")
            return
        use = self._table_like(rows.shape, manifest.table)
        packed = manifest.tables[0].bytes if manifest.tables else None
        self._add_replaced(f"{name}: input table alone", use, rows, head=False, packed=packed)

    def add_table(self, file: Path) -> None:
        """The original with this table; where a head shares it, also in the input alone."""
        table = CompressedEmbedding.load(file)
        rows = table.dense()
        use = self._table_like(rows.shape)
        from toolkit.graph.heads import find_heads

        if find_heads(use.graph, use):
            label = f"{file.stem}: input table and head"
            self._add_replaced(label, use, rows, head=True, packed=table.nbytes)
            label = f"{file.stem}: input table alone"
        else:
            label = file.stem
        self._add_replaced(label, use, rows, head=False, packed=table.nbytes)

    def add_rival(self, word: str, work: Path) -> None:
        """What ``--against`` names; the original itself is there already."""
        path = Path(word).expanduser()
        if word == "original" or self._is_original(word):
            return
        if word in QUANTISERS:
            self._add(self._quantised[word], word, verify=False)
        elif is_bundle(path):
            self.add_bundle(path)
        elif is_table(path):
            self.add_table(path)
        else:
            self._add_model(word, work)

    def _add_model(self, word: str, work: Path) -> None:
        """Another model, with its own tokenizer where it has one."""
        from exporters.sources.source import load_source

        loaded = load_source(word, work, trust_remote_code=self.request.trust)
        if loaded.source.sha256 == self.base.sha256:
            return
        facts = loaded.facts
        own: dict[str, Any] = {}
        if any((loaded.folder / name).is_file() for name in _TOKENIZERS):
            own = {
                "folder": loaded.folder,
                "task": facts.task,
                "pooling": facts.pooling,
                "max_length": facts.max_length,
            }
        name = Path(word).name.removesuffix(".onnx")
        self._add(loaded.path, name, verify=False, **own)

    def _is_original(self, word: str) -> bool:
        given = Path(self.base.given).expanduser()
        path = Path(word).expanduser()
        return word == self.base.given or (path.exists() and path.resolve() == given.resolve())

    def _add(self, path: Path, name: str, *, verify: bool, **own: Any) -> None:
        """An .onnx file, opened as the original is unless ``own`` says otherwise."""
        from toolkit.graph.files import model_nbytes

        settings: dict[str, Any] = {
            "folder": self.base.folder,
            "task": self.base.task,
            "pooling": self.base.pooling,
            "max_length": self.base.max_length,
            "nbytes": model_nbytes(path) if path.suffix == ".onnx" else path.stat().st_size,
            "threads": self.request.threads,
            "op": self.request.op,
        }
        self._open(path, name, verify=verify, **(settings | own))

    def _open(self, path: Path, name: str, **settings: Any) -> None:
        from runtime.evaluate.model import open_subject

        taken = {subject.name for subject in self.subjects}
        unique = next(
            each
            for number in range(1, len(taken) + 2)
            if (each := f"{name} ({number})" if number > 1 else name) not in taken
        )
        self.subjects.append(open_subject(path, unique, **settings))

    def _table_like(self, shape: tuple[int, ...], name: str | None = None) -> "TableUse":
        """The original's table of this name and shape, else the largest of this shape."""
        from toolkit.graph.load import load_graph
        from toolkit.graph.tables import find_tables

        uses = [
            use
            for use in find_tables(load_graph(self.base.path).graph)
            if (use.rows, use.width) == shape
        ]
        if not uses:
            raise InputError(
                f"the packed table is {shape[0]} x {shape[1]}, and {self.base.given} looks tokens "
                "up in none of this shape; give the model that it is from"
            )
        return next((use for use in uses if use.name == name), uses[0])

    def _add_replaced(
        self, name: str, use: "TableUse", rows: Any, *, head: bool, packed: int | None
    ) -> None:
        """The original with ``rows`` in place of a table.

        Its bytes are those of a model that holds the table in ``packed`` bytes: the dense one goes
        unless a head keeps it.
        """
        from exporters.verify.replaced import save_replaced
        from toolkit.graph.files import model_nbytes
        from toolkit.graph.heads import find_heads

        # Beside it there will be links to the original's files, which no new file may replace.
        path = self.request.work / f"replaced{len(self.subjects)}" / f"{token_hex(8)}.onnx"
        path.parent.mkdir(parents=True)
        save_replaced(self.base.path, {use.name: rows}, {use.name} if head else set(), path)
        nbytes = None
        if packed is not None:
            kept = not head and bool(find_heads(use.graph, use))
            nbytes = model_nbytes(self.base.path) + packed - (0 if kept else use.nbytes)
        self._add(path, name, verify=False, nbytes=nbytes)

    def _quantise(self, word: str) -> Path:
        """The original as onnxruntime's own tools make it smaller."""
        path = self.request.work / f"{word}.onnx"
        if not path.is_file():
            source = in_one_file(self.base.path, self.request.work / "original.onnx")
            quantise(word, source, path, of=self.base.given)
        return path
