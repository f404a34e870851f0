"""The main job: a source and a budget in, a checked bundle out."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from toolkit import Budget, CompressedEmbedding, compress
from toolkit.allocate.importance import zipf_prior
from toolkit.bundle.manifest import MANIFEST_NAME, Footprint, Healed, Manifest
from toolkit.errors import BudgetError, InputError
from toolkit.files import folder_aside
from toolkit.graph.files import model_nbytes
from toolkit.graph.heads import Head, find_heads, serves_heads_alone
from toolkit.graph.load import load_graph
from toolkit.graph.rows import table_values
from toolkit.graph.tables import TableUse, find_tables, find_token_table
from toolkit.methods.config import LightTokenConfig, PaperConfig
from toolkit.progress import Progress

from .bundle.ort_format import SUFFIX, save_ort
from .bundle.structure import check_layout
from .bundle.write import write_bundle
from .healing import check_healable, export_trained, heal_table
from .options import ExportOptions, decided
from .passes.add_pooling import AddPooling
from .passes.compress_table import CompressTable, check_opset, inline_decoder
from .passes.fuse_attention import count_fusible, join
from .passes.inputs import FixShapes, Int32Inputs
from .passes.quantized_gathers import QuantizedGathers
from .sources.facts import TOKENIZER
from .sources.prior import (
    HEAL_POWER,
    HEAL_PRIOR_SHARE,
    corpus_ids,
    corpus_importance,
    token_importance,
)
from .sources.source import LoadedModel, load_source
from .tables import PackedTable, choose_tables, out_of_reach, share_out
from .targets import TARGETS
from .verify.check import check_model, check_same
from .weights.products import Product
from .weights.shrink import Inputs, shrink_body

_TEXT_IDS = 1_000_000  # of a corpus, to round an int4 body by
_PACKAGES = ("lighttoken", "torch", "transformers", "onnx", "onnx-ir", "onnxscript", "onnxruntime")

_Weigh = Callable[[int], NDArray[np.float64] | None]  # the importance of each of so many rows

# What each part of the work takes of the whole, on a small encoder.
_SHARES = {
    "export": 0.0,
    "fuse": 0.18,
    "compress": 0.2,
    "heal": 0.7,
    "body": 0.7,
    "rewrite": 0.8,
    "check": 0.85,
    "write": 0.97,
}


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
    chosen, out = decided(options or ExportOptions()), Path(out)
    target = TARGETS[chosen.target]
    say = _Said(progress, heal=chosen.heal is not None)
    if force:
        _check_replaceable(out)
    with folder_aside(out, force=force) as aside, tempfile.TemporaryDirectory() as work:
        say("export", "exporting to ONNX")
        place = keep_original or Path(work)
        loaded = load_source(
            source,
            place,
            exporter=chosen.exporter,
            revision=chosen.revision,
            trust_remote_code=chosen.trust_remote_code,
            with_past=chosen.with_past,
        )
        if chosen.heal is not None:
            check_healable(loaded)
        layout = check_layout(chosen.structure, loaded)
        path = aside / layout.model
        model = load_graph(loaded.path)
        check_opset(model)
        tables = choose_tables(model.graph, chosen.table, chosen.all_tables)
        ids_input = tables[0].ids_input
        original = {table.name: table for table in tables}
        tokenizer = loaded.folder / TOKENIZER
        weigh = cache(lambda rows: importance_of(tokenizer, rows, chosen.corpus, chosen.heal))
        fused = None
        if chosen.fuse:
            say("fuse", "looking for nodes to join")
            fused = count_fusible(loaded.path)

        say("compress", "compressing the table")
        embeddings = _compress(tables, budget, chosen, weigh, say.part("compress", "heal"))
        healing, body = None, loaded  # the model that the rest comes from
        if chosen.heal is not None:
            dense = table_values(tables[0])
            part = say.part("heal", "body")
            embeddings, healing, body = _heal(
                embeddings, loaded, dense, weigh(len(dense)), chosen, Path(work) / "healed", part
            )
        graph = body.path
        if chosen.weights != "fp32" or chosen.head == "nbits":
            say("body", "making the rest of the model smaller")
            graph = _shrink(body, tables, chosen, weigh, Path(work) / "body")
        if graph != loaded.path:
            model = load_graph(graph)
            tables = [find_token_table(model.graph, table.name) for table in tables]
        packed = _describe(tables, embeddings, original, chosen)
        if chosen.with_pooling:
            _add_pooling(model, loaded)

        say("rewrite", "rewriting the graph")
        for table in packed:
            heads = bool(table.heads)
            CompressTable(table.name, table.embedding, heads=heads, floats=target.floats)(model)
        if target.int32:
            Int32Inputs()(model)
        if chosen.batch is not None and chosen.sequence is not None:
            FixShapes(chosen.batch, chosen.sequence)(model)
        if chosen.decode == "inline":
            inline_decoder(model)
        if target.quantized:
            QuantizedGathers()(model)
        joining = partial(join, attention=bool(fused)) if chosen.fuse else None
        if joining is not None:
            fused = joining(model)
        path.parent.mkdir(exist_ok=True)
        ir.save(model, path, external_data=layout.data)

        say("check", "checking every token id and the whole model")
        parity = check_model(path, graph, packed, uncompressed=loaded.path, joining=joining)
        nbytes = model_nbytes(path)
        if chosen.format == "ort":
            path = _as_ort(path, layout.data)
            nbytes = path.stat().st_size

        say("write", "writing the bundle")
        manifest = Manifest(
            source=replace(loaded.source, name=chosen.name or loaded.source.name),
            task=loaded.facts.task,
            exporter=loaded.exporter,
            target=chosen.target,
            batch=chosen.batch,
            sequence=chosen.sequence,
            decode=str(chosen.decode),
            opset=model.opset_imports[""],
            rows=packed[0].embedding.rows,
            width=packed[0].embedding.width,
            table=packed[0].name,
            ids_input=ids_input,
            tied_head=any(table.tied for table in packed),
            packed_heads=sum(table.heads for table in packed),
            fused=fused,
            body=chosen.weights,
            body_block=chosen.group_size if chosen.weights == "int4" else None,
            method=chosen.method if chosen.packed is None else "given",
            seed=chosen.seed,
            footprint=_footprint(packed, nbytes, loaded),
            parity=parity,
            healed=healing,
            pooling=loaded.facts.pooling,
            max_length=loaded.facts.max_length,
            model=path.relative_to(aside).as_posix(),
            cached=any((value.name or "").startswith("past") for value in model.graph.inputs),
            pooled=chosen.with_pooling,
            tables=tuple(table.described() for table in packed),
            made_with=_versions(),
        )
        manifest = write_bundle(aside, loaded, manifest)
        say.done()
    return manifest


def _as_ort(path: Path, data: str) -> Path:
    """The bundle's model in onnxruntime's format, in place of the .onnx file."""
    target = path.with_suffix(SUFFIX)
    save_ort(path, target)
    check_same(path, target)
    path.unlink()
    path.with_name(data).unlink(missing_ok=True)
    return target


def _shrink(
    loaded: LoadedModel,
    tables: list[TableUse],
    chosen: ExportOptions,
    weigh: _Weigh,
    work: Path,
) -> Path:
    """The model with a smaller body, its tables as they were."""
    work.mkdir()
    first = tables[0]
    ids_inputs = {look.ids_input for table in tables for look in table.lookups}
    importance = weigh(first.rows)
    text = None
    if importance is None:
        importance = zipf_prior(first.rows)
    if chosen.corpus is not None:
        text = corpus_ids(loaded.folder / TOKENIZER, chosen.corpus, first.rows, _TEXT_IDS)
    names = frozenset(table.name for table in tables)
    kept = names | {
        str(head.weight.name) for table in tables for head in find_heads(table.graph, table)
    }
    return shrink_body(
        loaded.path,
        work,
        chosen.weights,
        Inputs(tuple(sorted(ids_inputs)), importance, text, chosen.seed),
        kept=kept,
        heads=(lambda model: _head_products(model, names)) if chosen.head == "nbits" else None,
        block=chosen.group_size,
    )


def _head_products(model: ir.Model, names: frozenset[str]) -> list[Product]:
    """Output heads that share a table, as products with it or with their copy of it.

    Of float32 tables: heads of others have few bits already, or stay what they are.
    """
    products = []
    for table in find_tables(model.graph):
        if table.name not in names or table.value.dtype != ir.DataType.FLOAT:
            continue
        for head in find_heads(table.graph, table):
            own = head.weight.is_initializer() and head.weight is not table.value
            weight = head.weight if own else table.value
            products.append(Product(head.node, weight, by_rows=not own, bias=head.bias))
    return products


def _add_pooling(model: ir.Model, loaded: LoadedModel) -> None:
    if loaded.facts.pooling is None:
        raise InputError(
            f"{loaded.source.name} says nothing of pooling (no modules.json with a Pooling module "
            "beside it); leave --with-pooling out"
        )
    AddPooling(loaded.facts.pooling)(model)


def _for_heads(chosen: ExportOptions) -> LightTokenConfig | PaperConfig | None:
    if chosen.method != "lighttoken" or isinstance(chosen.config, PaperConfig):
        return chosen.config
    return replace(chosen.config or LightTokenConfig(), split=True)


def _check_replaceable(out: Path) -> None:
    """A mistyped OUT with --force must not cost anyone a folder of photos."""
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST_NAME).is_file():
        raise InputError(f"{out} is no bundle, so --force does not replace it; choose another name")


def importance_of(
    tokenizer: Path, rows: int, corpus: Path | None, heal: Path | None = None
) -> NDArray[np.float64] | None:
    """Importance of each row: what the tokenizer knows, and counts where there is a text.

    Counts in a text to heal on are mixed with as much of the tokenizer's prior, and flattened: see
    ``HEAL_POWER``.
    """
    prior = token_importance(tokenizer, rows)
    if corpus is not None:
        return corpus_importance(tokenizer, corpus, rows, prior)
    if heal is not None:
        return corpus_importance(tokenizer, heal, rows, prior, HEAL_PRIOR_SHARE) ** HEAL_POWER
    return prior


def _compress(
    tables: list[TableUse],
    budget: Budget,
    chosen: ExportOptions,
    weigh: _Weigh,
    report: Callable[[float, str], None],
) -> list[CompressedEmbedding]:
    """Compress each table by its share of the budget, one after another."""
    found = []
    for index, (table, share) in enumerate(zip(tables, share_out(budget, tables), strict=True)):
        of_tokens = table.ids_input == tables[0].ids_input  # positions and types have no tokenizer
        heads = bool(_packed_heads(table, chosen))
        try:
            embedding = _taken(chosen.packed, table) or compress(
                table_values(table),
                share,
                method=chosen.method,
                seed=chosen.seed,
                importance=weigh(table.rows) if of_tokens else None,
                config=_for_heads(chosen) if heads else chosen.config,
                progress=_of(report, index, len(tables)),
            )
        except BudgetError as error:
            raise (out_of_reach(error, table) if len(tables) > 1 else error) from error
        found.append(embedding)
    return found


def _packed_heads(table: TableUse, chosen: ExportOptions) -> list[Head]:
    """The heads that are to read the packed table."""
    return find_heads(table.graph, table) if chosen.head == "packed" else []


def _describe(
    tables: list[TableUse],
    embeddings: list[CompressedEmbedding],
    original: dict[str, TableUse],
    chosen: ExportOptions,
) -> list[PackedTable]:
    """What becomes of each table in the graph as it is to be rewritten."""
    packed = []
    for table, embedding in zip(tables, embeddings, strict=True):
        heads = _packed_heads(table, chosen)
        tied = not serves_heads_alone(table, heads)
        stood = original[table.name]
        packed.append(
            PackedTable(table.name, embedding, len(heads), tied, stood.nbytes, stood.form)
        )
    return packed


def _taken(path: Path | None, table: TableUse) -> CompressedEmbedding | None:
    """The packed table that was given, None without one."""
    if path is None:
        return None
    embedding = CompressedEmbedding.load(path)
    if (embedding.rows, embedding.width) != (table.rows, table.width):
        raise InputError(
            f"{path} holds a table of {embedding.rows} x {embedding.width}, the model's is "
            f"{table.rows} x {table.width}; pack the table of this model"
        )
    return embedding


def _heal(
    embeddings: list[CompressedEmbedding],
    loaded: LoadedModel,
    dense: NDArray[np.floating],
    importance: NDArray[np.float64] | None,
    chosen: ExportOptions,
    work: Path,
    report: Callable[[float, str], None],
) -> tuple[list[CompressedEmbedding], Healed, LoadedModel]:
    """The one table, healed; what that gained; and the model around it, trained too or not."""
    from toolkit.finetune.distil import DistilConfig
    from toolkit.finetune.heal import HealConfig

    assert chosen.heal is not None
    (embedding,) = embeddings
    rounds = HealConfig.rounds
    distil = DistilConfig(steps=chosen.heal_steps // rounds)
    embedding, healing = heal_table(
        loaded,
        embedding,
        dense,
        chosen.heal,
        HealConfig(distil, rounds, seed=chosen.seed, train=chosen.heal_train),
        importance=importance,
        trust_remote_code=chosen.trust_remote_code,
        progress=report,
    )
    healed = Healed(healing.texts, healing.before, healing.after, healing.steps, chosen.heal_train)
    if healing.body:
        loaded = export_trained(
            loaded,
            healing.body,
            work,
            trust_remote_code=chosen.trust_remote_code,
            with_past=chosen.with_past,
        )
    return [embedding], healed, loaded


def _of(
    report: Callable[[float, str], None], index: int, count: int
) -> Callable[[float, str], None]:
    """Progress of one of several equal parts."""
    return lambda share, what: report((index + share) / count, what)


def _footprint(packed: list[PackedTable], nbytes: int, loaded: LoadedModel) -> Footprint:
    several = len(packed) > 1
    parts = {
        f"{table.name}.{name}" if several else name: count
        for table in packed
        for name, count in table.parts().items()
    }
    held, dense = sum(parts.values()), sum(table.embedding.dense_nbytes for table in packed)
    return Footprint(
        ratio=dense / held,
        bits_per_parameter=8 * held / (dense // 4),
        embedding_bytes=held,
        dense_bytes=dense,
        model_bytes=nbytes,
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
    """Progress of the whole from the progress of its parts; ``heal`` is most of it, if at all."""

    def __init__(self, progress: Progress | None, *, heal: bool) -> None:
        self._progress = progress
        self._shares = dict(_SHARES)
        if heal:
            self._shares |= {"fuse": 0.04, "compress": 0.05, "heal": 0.13, "body": 0.88}
            self._shares |= {"rewrite": 0.95, "check": 0.96, "write": 0.99}

    def __call__(self, part: str, what: str) -> None:
        if self._progress is not None:
            self._progress(self._shares[part], what)

    def part(self, part: str, following: str) -> Callable[[float, str], None]:
        start, end = self._shares[part], self._shares[following]

        def report(share: float, what: str) -> None:
            if self._progress is not None:
                self._progress(start + share * (end - start), what)

        return report

    def done(self) -> None:
        if self._progress is not None:
            self._progress(1.0, "done")
