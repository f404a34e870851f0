"""The bundle is completed: tokenizer, configuration, model card, manifest."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from toolkit.bundle.manifest import Footprint, Manifest
from toolkit.errors import BudgetError
from toolkit.graph.files import model_nbytes
from toolkit.graph.layer_bytes import layer_bytes
from toolkit.table.grouped import GroupedTable

from ..bundle.genai import write_genai_config, write_parts
from ..bundle.write import write_bundle
from .others import described
from .state import Export, Report

_PACKAGES = ("lighttoken", "torch", "transformers", "onnx", "onnx-ir", "onnxscript", "onnxruntime")


def write(state: Export, report: Report) -> None:
    """Write all that the bundle needs beside its model; the manifest comes last."""
    manifest = describe_bundle(state)
    _check_size(state.options.max_model_bytes, manifest.footprint.model_bytes)
    genai = None
    if state.others and state.loaded.genai_config is not None:
        names = {
            each.loaded.path.name: each.model_path.relative_to(each.folder).as_posix()
            for each in (state, *state.others)
        }
        write_parts(state.folder, state.loaded.genai_config, names)
    elif manifest.task == "text-generation":
        genai = _write_for_genai(state, manifest)
    state.manifest = write_bundle(state.folder, state.loaded, manifest, genai=genai)


def _check_size(most: int | None, nbytes: int) -> None:
    """Raise BudgetError where the whole model takes more bytes than were asked for."""
    if most is not None and nbytes > most:
        raise BudgetError(
            f"the whole model came to {nbytes:,} bytes, more than the {most:,} asked for; give "
            f"--max-model-bytes {max(1, 2 * most - nbytes)} to land there"
        )


def _write_for_genai(state: Export, manifest: Manifest) -> str:
    """Why onnxruntime-genai cannot write with the bundle; "" where it can."""
    if state.options.format != "onnx":
        return f"{manifest.model} is no .onnx file"
    return write_genai_config(
        state.folder,
        state.loaded.folder,
        state.model.graph,
        manifest.model,
        rows=manifest.rows,
        width=manifest.width,
        given=state.loaded.genai_config,
    )


def describe_bundle(state: Export) -> Manifest:
    """The manifest, but for the sizes and digests of files."""
    options, loaded, first = state.options, state.loaded, state.packed[0]
    inputs = state.model.graph.inputs
    return Manifest(
        source=replace(loaded.source, name=options.name or loaded.source.name),
        task=loaded.facts.task,
        exporter=loaded.exporter,
        target=options.target,
        batch=options.batch,
        sequence=options.sequence,
        decode=str(options.decode),
        opset=state.model.opset_imports[""],
        rows=first.embedding.rows,
        width=first.embedding.width,
        table=first.name,
        ids_input=state.ids_input,
        tied_head=any(table.tied for table in state.packed),
        packed_heads=sum(table.heads for table in state.packed),
        fused=state.fused,
        body=options.weights,
        body_block=options.group_size if options.weights == "int4" else None,
        method=_method(state),
        seed=options.seed,
        footprint=_footprint(state),
        parity=state.parity,
        healed=state.healed,
        pooling=loaded.facts.pooling,
        max_length=loaded.facts.max_length,
        model=state.model_path.relative_to(state.folder).as_posix(),
        further=tuple(described(other) for other in state.others),
        cached=any((value.name or "").startswith("past") for value in inputs),
        pooled=options.with_pooling,
        tables=tuple(table.described() for table in state.packed),
        heads=tuple(
            head.described_head(parity)
            for head, parity in zip(state.packed_heads, state.head_parity, strict=True)
        ),
        vocabulary=None if loaded.cut is None else loaded.cut.described(),
        made_with=_versions(),
    )


def _method(state: Export) -> str:
    """What made the first table."""
    options, first = state.options, state.packed[0].embedding
    if isinstance(first, GroupedTable):
        return f"stock {first.code}"
    return options.method if options.packed is None else "given"


def _footprint(state: Export) -> Footprint:
    several = len(state.packed) > 1
    by_part = {
        f"{table.name}.{name}" if several else name: count
        for table in state.packed
        for name, count in table.parts().items()
    }
    held = sum(by_part.values())
    dense = sum(table.embedding.dense_nbytes for table in state.packed)
    files = (state, *state.others)
    return Footprint(
        ratio=dense / held,
        bits_per_parameter=8 * held / (dense // 4),
        embedding_bytes=held,
        dense_bytes=dense,
        model_bytes=sum(model_nbytes(each.model_path) for each in files),
        original_model_bytes=sum(model_nbytes(each.loaded.path) for each in files) + _cut(state),
        by_part=by_part,
        graph_bytes=_graph_bytes(state),
    )


def _cut(state: Export) -> int:
    """Bytes of the tokens that are not wanted, in every file that has them."""
    cut = state.loaded.cut
    return 0 if cut is None else cut.nbytes * sum(bool(e.tables) for e in (state, *state.others))


def _graph_bytes(state: Export) -> int:
    assert state.layers is not None
    if state.model_path.suffix == ".onnx":
        return layer_bytes(state.model_path, state.layers)
    return state.layers.code  # a .ort file tells nobody where its records are


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that was not installed
            continue
    return found
