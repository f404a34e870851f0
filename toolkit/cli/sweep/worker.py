"""One cell: export, evaluate, and figures back. It runs in a process of its own, or elsewhere."""

import time
from pathlib import Path

from toolkit.errors import LightTokenError
from toolkit.owned import entries
from toolkit.progress import Progress, part
from toolkit.temporary import temporary_folder
from toolkit.visible import as_line

from ..evaluate import evaluate
from ..export import summary
from .cells import Cell
from .results import CellResult, read_evaluation

DIED = "its worker died, as happens where memory runs out; give fewer --workers"


def run_cell(
    cell: Cell, bundles: Path | None, threads: int | None, progress: Progress | None = None
) -> CellResult:
    """Do it; what goes wrong becomes the result's ``error``.

    Args:
        cell: what to do.
        bundles: a folder to keep the bundle in, which the cell's name is given to; None for none.
        threads: of the evaluation, where the plan says nothing.
        progress: told how far the work is.
    """
    started = time.perf_counter()
    result = CellResult.of(cell)
    try:
        with temporary_folder() as work:
            result = _run(cell, result, bundles or work, work, threads, progress)
    except LightTokenError as error:
        result = result.failed(as_line(str(error)))
    except Exception as error:  # one cell's trouble is its own
        first = (str(error).splitlines() or [""])[0]
        result = result.failed(as_line(f"unexpected {type(error).__name__}: {first}"))
    return result.with_(seconds=time.perf_counter() - started)


def _run(
    cell: Cell,
    result: CellResult,
    bundles: Path,
    work: Path,
    threads: int | None,
    progress: Progress | None,
) -> CellResult:
    from exporters import export
    from exporters.sources.source import ORIGINAL
    from runtime.native import find as find_kernel

    notes: list[str] = []
    bundle = bundles / cell.name
    manifest = export(
        cell.source,
        bundle,
        cell.budget,
        options=cell.options,
        force=True,
        keep_original=work,
        kernel=find_kernel().path,
        progress=part(progress, 0.0, 0.7),
        tell=notes.append,
    )
    sizes = (entry.stat().st_size for _, entry in entries(bundle) if entry.is_file())
    result = result.with_(export=summary(manifest) | {"notes": notes}, bundle_bytes=sum(sizes))
    if cell.evaluate is None:
        return result
    kept = next((work / ORIGINAL).glob("*.onnx"), None)  # none where nothing was exported
    report = evaluate(
        bundle,
        **{**cell.evaluate, "threads": cell.evaluate["threads"] or threads},
        original=cell.source,
        exported=kept,
        model=None,
        progress=part(progress, 0.7, 1.0),
    )
    return result.with_(evaluation=read_evaluation(report.to_dict()))
