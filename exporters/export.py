"""The main job: a source and a budget in, a checked bundle out."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolkit import Budget
from toolkit.bundle.manifest import Manifest, bundle_entries
from toolkit.errors import InputError
from toolkit.files import folder_aside
from toolkit.owned import check_owned, listed, write_listing
from toolkit.progress import Progress, part
from toolkit.signals import uninterrupted
from toolkit.temporary import temporary_folder

from .options import ExportOptions, decided
from .sources.source import ORIGINAL
from .steps.compress import compress_tables
from .steps.compress_heads import compress_heads
from .steps.heal import choose_again, heal
from .steps.load import find_attentions, load
from .steps.others import pack_others
from .steps.rewrite import rewrite
from .steps.share import share_bytes
from .steps.shrink import shrink
from .steps.state import Export, Report
from .steps.verify import verify
from .steps.write import write


@dataclass(frozen=True)
class Step:
    """One step of an export.

    Attributes:
        what: the step in words, for progress bars.
        weight: its share of the time, beside the other steps that are wanted; as measured on a
            small encoder.
        run: does it; told a function to report how far it is.
        wanted: whether the options ask for it.
    """

    what: str
    weight: float
    run: Callable[[Export, Report], None]
    wanted: Callable[[ExportOptions], bool] = lambda options: True


STEPS = (
    Step("exporting to ONNX", 18, load),
    Step("looking for attentions to fuse", 2, find_attentions, lambda options: bool(options.fuse)),
    Step(
        "sharing the bytes out",
        30,
        share_bytes,
        lambda options: options.max_model_bytes is not None,
    ),
    Step("compressing the table", 50, compress_tables),
    Step("healing the table", 450, heal, lambda options: options.heals),
    Step(
        "choosing codes by what the model makes of their errors",
        30,
        choose_again,
        lambda options: options.chooses_again,
    ),
    Step("compressing the output head", 5, compress_heads, lambda o: o.head == "packed"),
    Step(
        "making the weights smaller",
        10,
        shrink,
        lambda options: options.shrinks or options.max_model_bytes is not None,
    ),
    Step("rewriting the graph", 5, rewrite),
    Step("checking every token id and the whole model", 12, verify),
    Step("packing the model's other files", 1, pack_others),
    Step("writing the bundle", 3, write),
)


def export(
    source: str,
    out: str | Path,
    budget: Budget | None = None,
    *,
    options: ExportOptions | None = None,
    force: bool = False,
    keep_original: Path | None = None,
    kernel: Path | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Manifest:
    """Compress a model's token table and write the bundle ``out``.

    Args:
        source: a Hugging Face hub id, a model folder, or an .onnx file.
        out: folder to make; it appears only once it is complete and checked.
        budget: for the token table; by default what keeps a model of its kind, 12x for decoders
            and 25x for all others.
        options: exporter, form of the decode graph, seed.
        force: replace an ``out`` that exists: an empty folder, or a bundle whose folder holds what
            its manifest names and nothing else.
        keep_original: a folder to keep the uncompressed .onnx in that is exported on the way, as
            ``original``. One of an earlier call is replaced, nothing else is.
        kernel: the library of the native operators, whose outputs are then compared with those of
            the functions in the file.
        progress: told how far the work is.
        tell: told, a line each, what was left out and what was chosen among several files.

    Returns:
        The bundle's manifest, with every figure that was measured.

    Raises:
        InputError, BudgetError, MissingDependencyError, CheckError: one line each; nothing is
            left behind.
    """
    chosen, out = decided(options or ExportOptions()), Path(out)
    if budget is not None and chosen.max_model_bytes is not None:
        raise InputError(
            f"max_model_bytes ({chosen.max_model_bytes:,}) decides the table's bytes too; leave "
            "ratio, max_bytes and min_cosine out"
        )
    given = Path(source).expanduser()
    aside = folder_aside(out, force=force, owned=bundle_entries, inputs=[given])
    with aside as folder, temporary_folder() as work, _kept(keep_original):
        state = Export(
            source=source,
            budget=budget,
            options=chosen,
            folder=folder,
            work=work,
            original_folder=keep_original or work,
            kernel=kernel,
        )
        _run(state, progress or _tell_nobody)
    if tell is not None:
        for note in state.loaded.facts.notes:
            tell(note)
    return state.manifest


@contextmanager
def _kept(folder: Path | None) -> Iterator[None]:
    """What the block keeps in ``folder``: complete, or nothing new."""
    if folder is None:
        yield
        return
    kept = folder / ORIGINAL
    was_there = os.path.lexists(kept)
    if was_there:
        if kept.is_symlink() or not kept.is_dir():
            raise InputError(f"{kept} is no folder, and is not replaced; name another folder")
        check_owned(kept, listed, called=kept)
    try:
        yield
    except BaseException:
        if not was_there:
            with uninterrupted():
                shutil.rmtree(kept, ignore_errors=True)
        raise
    if kept.is_dir():
        write_listing(kept)


def _run(state: Export, progress: Progress) -> None:
    """Every step that is wanted, and how far all of them together are."""
    steps = [step for step in STEPS if step.wanted(state.options)]
    total, done = sum(step.weight for step in steps), 0.0
    for step in steps:
        report = part(progress, done / total, (done + step.weight) / total)
        report(0.0, step.what)
        step.run(state, report)
        done += step.weight
    progress(1.0, "done")


def _tell_nobody(share: float, what: str) -> None:
    """Progress that goes nowhere."""
