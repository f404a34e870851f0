"""``results.json``, what a device of the user's sends back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import FormatError
from toolkit.json_files import JsonError, load_json, to_dataclass

from ..profile.measure.job import MEASURES, Answer
from ..profile.report.report import Environment

KIND = "lighttoken device results"
SCHEMA = 1
"""Rises when a reader of the file could misread a newer one."""

PLACES = ("linux-arm64", "android", "web")


@dataclass(frozen=True)
class DeviceAnswer:
    """What one process on the device answered to ``measure``, one of :data:`MEASURES`."""

    measure: str
    answer: Answer


@dataclass(frozen=True)
class DeviceResults:
    """All of a device's answers.

    Attributes:
        subject: name of the model.
        place: one of :data:`PLACES`.
        answers: in the order in which they were taken; a measure repeats, once a round.
    """

    subject: str
    place: str
    environment: Environment
    answers: tuple[DeviceAnswer, ...]

    def of(self, measure: str) -> tuple[Answer, ...]:
        """The answers to one measure."""
        return tuple(one.answer for one in self.answers if one.measure == measure)


def read_results(path: Path) -> DeviceResults:
    """Read what a folder of ``profile --emit`` left on a device.

    Raises:
        FormatError: no such file, or it holds something else, or is of a newer LightToken.
    """
    try:
        data = load_json(path, strict=True)
    except (OSError, JsonError) as error:
        why = " ".join(str(error).split())
        raise FormatError(
            f"{path} cannot be read ({why}); give the results.json of a device"
        ) from error
    kind = data.get("kind") if isinstance(data, dict) else type(data).__name__
    if kind != KIND:
        raise FormatError(f"{path} holds {kind!r}, not {KIND!r}; give the results.json of a device")
    if data.get("schema") != SCHEMA:
        raise FormatError(
            f"{path} has schema {data.get('schema')!r}, this version reads {SCHEMA}; measure with "
            "a folder of this version"
        )
    try:
        return _results(data)
    except (FormatError, KeyError, TypeError, AttributeError) as error:
        why = str(error) if isinstance(error, FormatError) else f"{type(error).__name__}: {error}"
        raise FormatError(f"{path} is damaged ({why}); measure on the device again") from error


def _results(data: dict[str, Any]) -> DeviceResults:
    """What a device does not tell is null or absent."""
    environment = {"system": "", "machine": "", "cores": 0, "memory_bytes": 0}
    environment |= _told(data["environment"])
    answers = []
    for one in data["answers"]:
        figures = _told(one["answer"].get("figures", {}))
        answers.append({**one, "answer": {**one["answer"], "figures": figures}})
    results = to_dataclass(
        DeviceResults, {**data, "environment": environment, "answers": answers}, "results"
    )
    if results.place not in PLACES:
        raise FormatError(f"place {results.place!r} is none of {', '.join(PLACES)}")
    for answer in results.answers:
        if answer.measure not in MEASURES:
            raise FormatError(f"measure {answer.measure!r} is none of {', '.join(MEASURES)}")
    if not results.answers:
        raise FormatError("no answers")
    return results


def _told(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
