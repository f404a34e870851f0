"""The source becomes an ONNX model on disk, and the tables to pack are found in it."""

from dataclasses import replace

from toolkit import Budget
from toolkit.allocate.budget import DECODER_RATIO, DEFAULT_RATIO
from toolkit.errors import InputError
from toolkit.graph.plain import load_plain
from toolkit.graph.rows import table_values
from toolkit.graph.tables import find_tables
from toolkit.lines import check_texts

from ..bundle.structure import check_structure
from ..exact import exact_rows
from ..healing import check_healable
from ..options import DECODER_GROUP, GROUP, ExportOptions
from ..passes.fuse_attention import find_fusible
from ..passes.packed_layers import check_opset
from ..sources.facts import WRITING
from ..sources.several import plain_stem
from ..sources.source import load_source
from ..tables import check_goes, choose_own_heads, choose_tables, packed_heads
from ..verify.check import check_runs
from ..verify.samples import read_samples
from ..vocabulary.choose import Wanted
from ..vocabulary.words import known_languages
from .others import begin_others
from .shrink import check_can_shrink
from .state import Export, Report

_WORTH = 0.1  # of the packed table's bytes: another table as large is named


def load(state: Export, report: Report) -> None:
    """Export to ONNX what is not ONNX yet; refuse what cannot work before minutes are spent.

    Raises:
        InputError: no such source, no table in it, or an option that does not fit this model.
    """
    options = state.options
    _check_files(options)
    if options.sample_inputs is not None:
        state.samples = read_samples(options.sample_inputs)
    state.loaded = state.trained = load_source(
        state.source,
        state.original_folder,
        exporter=options.exporter,
        revision=options.revision,
        trust_remote_code=options.trust_remote_code,
        with_past=options.with_past,
        wanted=Wanted(options.language_codes, options.vocabulary) if options.cuts else None,
    )
    if options.heals:
        check_healable(state.loaded)
    decoder = state.loaded.facts.task in WRITING
    if options.group_size is None and options.max_model_bytes is None:
        state.options = replace(options, group_size=DECODER_GROUP if decoder else GROUP)
    ratio = DECODER_RATIO if decoder else DEFAULT_RATIO
    if state.budget is None and not options.stock:
        state.budget = Budget(ratio=ratio)
    state.head_budget = options.head_budget(ratio)
    state.structure = check_structure(options.structure, state.loaded)
    if state.loaded.further:
        state.is_part = True
        state.structure = state.structure.named(plain_stem(state.loaded.path))
    state.weights_path = state.loaded.path
    state.model = load_plain(state.loaded.path)
    check_opset(state.model)
    state.tables = choose_tables(state.model.graph, options.table, options.all_tables)
    _say_what_stays(state)
    _keep_exact(state)
    for table in state.tables:
        check_goes(table)
    state.not_here = check_runs(state.loaded.path, state.tables, state.samples)
    if state.not_here:
        _say_rows_alone(state)
    state.stored = {table.name: table for table in state.tables}
    state.others = begin_others(state)
    if any(other.own_heads for other in state.others):  # whose size may be the one asked for
        options = replace(options, head_ratio=None, head_bytes=None)
    state.own_heads = choose_own_heads(state.model.graph, options)


def _check_files(options: ExportOptions) -> None:
    """What is read late can be read: minutes of export come first."""
    if options.corpus is not None and not options.corpus.is_dir():  # as recordings are
        check_texts(options.corpus)
    if options.heal_text is not None:
        check_texts(options.heal_text)
    if options.vocabulary is not None:
        check_texts(options.vocabulary)
    known_languages(options.language_codes)
    if options.packed is not None and not options.packed.is_file():
        raise InputError(f"packed table {options.packed} is not here; give a file of `compress`")


def _say_what_stays(state: Export) -> None:
    """A note of tables that would be worth packing too."""
    options, packed = state.options, {table.value for table in state.tables}
    if options.all_tables or options.table is not None:
        return
    left = [table for table in find_tables(state.model.graph) if table.value not in packed]
    left = [table for table in left if table.nbytes > _WORTH * state.tables[0].nbytes]
    if left:
        names = ", ".join(f"{each.name} ({each.rows:,} x {each.width})" for each in left)
        note = f"only {state.tables[0].name} was packed; --all-tables packs {names} too"
        _note(state, note)


def _say_rows_alone(state: Export) -> None:
    """A note that the whole model was not run; refuse what cannot be done without.

    Raises:
        InputError: smaller weights, which are found by running it.
    """
    check_can_shrink(state)
    _note(
        state,
        f"onnxruntime cannot run the whole model here, for want of {state.not_here}: the rows of "
        "the table are checked, and nothing else",
    )


def _note(state: Export, note: str) -> None:
    facts = replace(state.loaded.facts, notes=(*state.loaded.facts.notes, note))
    state.loaded = state.trained = replace(state.loaded, facts=facts)


def _keep_exact(state: Export) -> None:
    """The rows of the token table that a user wants as they are."""
    asked, table = state.options.exact_rows, state.tables[0]
    if asked is None:
        return
    if packed_heads(table, state.options):
        raise InputError(
            f"{table.name} is read by an output head too, whose packed rows cannot be exact; add "
            "--head nbits or dense, or leave --exact-rows out"
        )
    state.exact[table.name] = exact_rows(asked, table_values(table), state.tokenizer)


def find_attentions(state: Export, report: Report) -> None:
    """Find which attentions can become one node each, by trying it on the float model."""
    grouped = state.target.grouped and not state.loaded.further  # theirs attend to two sequences
    for each in (state, *(other for other in state.others if other.tables)):
        if each.not_here:
            continue
        each.fusible = find_fusible(each.loaded.path, grouped=grouped)
        each.fused = each.fusible.attentions
