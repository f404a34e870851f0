"""The job for a device of the user's, and its results joined to a report made here."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from toolkit.errors import InputError

from ..profile.measure.job import Job
from ..profile.measure.launch import Launcher
from ..profile.measure.parity import compare, draw_check_ids
from ..profile.model import Model, read_models
from ..profile.report.report import (
    MEASURED,
    WRONG,
    Comparison,
    Measurement,
    OutputCheck,
    ProfileReport,
    Statistic,
)
from .results import DeviceResults

_LIMIT = 0.02  # relative: a phone's provider may compute in float16
_CHECKED = (1, 16)  # texts and tokens of the call whose outputs come back, unless shapes are fixed
_WARMUP = 5


def device_job(
    path: Path, grid: Sequence[tuple[int, int]], *, provider: str, threads: int, runs: int
) -> Job:
    """A job for the model at ``path``, with ids for the call whose outputs are compared here.

    Raises:
        InputError: nothing at this path.
        FormatError: a damaged bundle or model.
    """
    model = read_models([path])[0]
    points = model.possible(grid)
    job = _job(model)
    return dataclasses.replace(
        job, provider=provider, grid=points, threads=threads, runs=runs, warmup=_WARMUP
    )


def join(
    report: ProfileReport, results: Sequence[DeviceResults], paths: Sequence[Path]
) -> ProfileReport:
    """The report with a measurement for each of ``results``, in the places where they were taken.

    Outputs that came back are compared with those of the same file on the CPU here.

    Args:
        report: of the models at ``paths``.
        results: read by :func:`runtime.devices.results.read_results`.
        paths: bundle folders or model files.

    Raises:
        InputError: results of a model that is not in the report.
    """
    if not results:
        return report
    models = {model.name: model for model in read_models(paths)}
    for one in results:
        if one.subject not in models:
            raise InputError(
                f"results are of {one.subject!r}, which is none of {', '.join(models)}; "
                "profile that model, or give it with --against"
            )
    with Launcher(timeout_s=600.0) as launcher:
        added = [_measurement(one, _parity(one, models[one.subject], launcher)) for one in results]
    first = report.subjects[0].name
    there = {one.place: one for one in added if one.subject == first}
    compared = [
        Comparison.of(there[one.place], one)
        for one in added
        if one.subject != first and one.place in there
    ]
    return dataclasses.replace(
        report,
        places=tuple(dict.fromkeys([*report.places, *(one.place for one in added)])),
        measurements=(*report.measurements, *added),
        comparisons=(*report.comparisons, *compared),
    )


def _job(model: Model) -> Job:
    point = model.possible([_CHECKED])[0]
    return Job(
        measure="values",
        model=str(model.path),
        provider="",
        grid=(point,),
        runs=1,
        warmup=0,
        data=model.data,
        ids_input=model.ids_input,
        rows=model.rows,
        ids=draw_check_ids(model.rows, point),
    )


def _parity(results: DeviceResults, model: Model, launcher: Launcher) -> OutputCheck | None:
    """None where no outputs came back."""
    found = results.of("values")
    if not found:
        return None
    return compare(found[0], launcher.reference(_job(model)), max(_LIMIT, model.limit))


def _measurement(results: DeviceResults, parity: OutputCheck | None) -> Measurement:
    taken: dict[str, list[float]] = {}
    for one in results.answers:
        for name, value in one.answer.figures.items():
            taken.setdefault(name, []).append(value)
    right = parity is None or parity.right
    device = results.environment
    note = f"on a device: {', '.join(filter(None, (device.machine, device.system)))}"
    if parity is None:
        note += "; its outputs did not come back"
    return Measurement(
        subject=results.subject,
        place=results.place,
        status=MEASURED if right else WRONG,
        note=note,
        runtime=results.answers[0].answer.runtime,
        figures={name: Statistic.of(values) for name, values in taken.items()} if right else {},
        parity=parity,
        environment=device,
    )
