"""The main job: a source and a budget in, a checked bundle out."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit import Budget, CompressedEmbedding, compress
from toolkit.config import LightTokenConfig, PaperConfig
from toolkit.errors import InputError
from toolkit.files import folder_aside
from toolkit.manifest import MANIFEST_NAME, Footprint, Manifest
from toolkit.progress import Progress

from .bundle import MODEL_NAME, model_nbytes, write_bundle
from .check import check_model
from .facts import TOKENIZER
from .find import TableUse, find_token_table
from .heads import find_heads, serves_heads_alone
from .layer import graph_tensors
from .prior import corpus_importance, token_importance
from .rewrite import CompressTable, check_opset, inline_decoder
from .source import LoadedModel, load_graph, load_source

DECODES = ("function", "inline")
HEADS = ("packed", "dense")
_PACKAGES = ("lighttoken", "torch", "transformers", "onnx", "onnx-ir", "onnxscript", "onnxruntime")

# What each part of the work takes of the whole, on a small encoder.
_SHARES = {"export": 0.0, "compress": 0.25, "rewrite": 0.8, "check": 0.85, "write": 0.97}


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Attributes:
        exporter: auto, dynamo or optimum.
        decode: "function" keeps the decode graph a function of the model, "inline" dissolves it.
        head: what an output head reads that shares the table: the "packed" one, or a "dense" copy
            that stays for it. Packed, the recipe's codebooks are sums (``LightTokenConfig.split``),
            which heads read several times faster.
        method: of compression.
        seed: equal seeds give equal bytes.
        revision: branch, tag or commit of a hub id.
        name: what the bundle calls its source; by default the hub id, folder or file name.
        corpus: a text file, one text a line, to count tokens in; the tokenizer's prior is used
            without.
        config: constants of the method; its own without.
    """

    exporter: str = "auto"
    decode: str = "function"
    head: str = "packed"
    method: str = "lighttoken"
    seed: int = 0
    revision: str | None = None
    name: str | None = None
    corpus: Path | None = None
    config: LightTokenConfig | PaperConfig | None = None

    def __post_init__(self) -> None:
        if self.decode not in DECODES:
            raise InputError(f"decode {self.decode!r} is unknown; choose from {', '.join(DECODES)}")
        if self.head not in HEADS:
            raise InputError(f"head {self.head!r} is unknown; choose from {', '.join(HEADS)}")


def export(
    source: str,
    out: str | Path,
    budget: Budget,
    *,
    options: ExportOptions | None = None,
    force: bool = False,
    keep_original: Path | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Compress a model's token table and write the bundle ``out``.

    Args:
        source: a Hugging Face hub id, a model folder, or an .onnx file.
        out: folder to make; it appears only once it is complete and checked.
        budget: for the token table.
        options: exporter, form of the decode graph, seed.
        force: replace an ``out`` that exists: a bundle or an empty folder, nothing else.
        keep_original: a folder to keep the uncompressed .onnx in that is exported on the way.
        progress: told how far the work is.

    Returns:
        The bundle's manifest, with every figure that was measured.

    Raises:
        InputError, BudgetError, MissingDependencyError, CheckError: one line each; nothing is
            left behind.
    """
    chosen, out = options or ExportOptions(), Path(out)
    say = _Said(progress)
    if force:
        _check_replaceable(out)
    with folder_aside(out, force=force) as aside, tempfile.TemporaryDirectory() as work:
        say("export", "exporting to ONNX")
        place = keep_original or Path(work)
        loaded = load_source(source, place, exporter=chosen.exporter, revision=chosen.revision)
        model = load_graph(loaded.path)
        check_opset(model)
        table = find_token_table(model.graph)
        heads = find_heads(model.graph, table) if chosen.head == "packed" else []
        tied = not serves_heads_alone(table, heads)

        say("compress", "compressing the table")
        embedding = compress(
            table_values(table),
            budget,
            method=chosen.method,
            seed=chosen.seed,
            importance=importance_of(loaded.folder / TOKENIZER, table.rows, chosen.corpus),
            config=_for_heads(chosen) if heads else chosen.config,
            progress=say.part("compress", "rewrite"),
        )

        say("rewrite", "rewriting the graph")
        name, ids_input = table.name, table.ids_input
        CompressTable(name, embedding, heads=bool(heads))(model)
        if chosen.decode == "inline":
            inline_decoder(model)
        ir.save(model, aside / MODEL_NAME, external_data=f"{MODEL_NAME}.data")

        say("check", "checking every token id and the whole model")
        parity = check_model(
            aside / MODEL_NAME, loaded.path, name, embedding, tied=tied, heads=bool(heads)
        )

        say("write", "writing the bundle")
        manifest = Manifest(
            source=replace(loaded.source, name=chosen.name or loaded.source.name),
            task=loaded.facts.task,
            exporter=loaded.exporter,
            decode=chosen.decode,
            opset=model.opset_imports[""],
            rows=embedding.rows,
            width=embedding.width,
            table=name,
            ids_input=ids_input,
            tied_head=tied,
            packed_heads=len(heads),
            method=chosen.method,
            seed=chosen.seed,
            footprint=_footprint(embedding, aside, loaded, planes=bool(heads)),
            parity=parity,
            pooling=loaded.facts.pooling,
            max_length=loaded.facts.max_length,
            made_with=_versions(),
        )
        manifest = write_bundle(aside, loaded, manifest)
        say.done()
    return manifest


def _for_heads(chosen: ExportOptions) -> LightTokenConfig | PaperConfig | None:
    if chosen.method != "lighttoken" or isinstance(chosen.config, PaperConfig):
        return chosen.config
    return replace(chosen.config or LightTokenConfig(), split=True)


def _check_replaceable(out: Path) -> None:
    """A mistyped OUT with --force must not cost anyone a folder of photos."""
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST_NAME).is_file():
        raise InputError(f"{out} is no bundle, so --force does not replace it; choose another name")


def importance_of(tokenizer: Path, rows: int, corpus: Path | None) -> NDArray[np.float64] | None:
    """Importance of each row: counts where there is a corpus, else what the tokenizer knows."""
    prior = token_importance(tokenizer, rows)
    return prior if corpus is None else corpus_importance(tokenizer, corpus, rows, prior)


def table_values(table: TableUse) -> NDArray[np.floating]:
    """The table as an array [V, d]."""
    assert table.value.const_value is not None
    return table.value.const_value.numpy()


def _footprint(
    embedding: CompressedEmbedding, aside: Path, loaded: LoadedModel, *, planes: bool
) -> Footprint:
    tensors = graph_tensors(embedding, planes=planes)
    parts = {name: array.nbytes for name, array in tensors.items()}
    packed = sum(parts.values())
    return Footprint(
        ratio=embedding.dense_nbytes / packed,
        bits_per_parameter=8 * packed / (embedding.rows * embedding.width),
        embedding_bytes=packed,
        dense_bytes=embedding.dense_nbytes,
        model_bytes=model_nbytes(aside / MODEL_NAME),
        original_model_bytes=model_nbytes(loaded.path),
        by_part=parts,
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that was not installed
            continue
    return found


class _Said:
    """Progress of the whole from the progress of its parts."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def __call__(self, part: str, what: str) -> None:
        if self._progress is not None:
            self._progress(_SHARES[part], what)

    def part(self, part: str, following: str) -> Callable[[float, str], None]:
        start, end = _SHARES[part], _SHARES[following]

        def report(share: float, what: str) -> None:
            if self._progress is not None:
                self._progress(start + share * (end - start), what)

        return report

    def done(self) -> None:
        if self._progress is not None:
            self._progress(1.0, "done")
