"""``results.json``, what a device of the user's sends back."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import FormatError

from ..profile.measure.job import MEASURES, Answer
from ..profile.report.report import Environment

KIND = "lighttoken device results"
SCHEMA = 1
"""Rises when a reader of the file could misread a newer one."""

PLACES = ("linux-arm64", "android", "web")


@dataclass(frozen=True)
class DeviceAnswer:
    """What one process on the device answered to ``measure``, of
    ``runtime.profile.measure.job``."""

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
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
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
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise FormatError(f"{path} is damaged ({why}); measure on the device again") from error


def _results(data: dict[str, Any]) -> DeviceResults:
    if data["place"] not in PLACES:
        raise ValueError(f"place {data['place']!r} is none of {', '.join(PLACES)}")
    known = {field.name for field in dataclasses.fields(Environment)}
    told = {key: value for key, value in data["environment"].items() if key in known}
    told |= {key: int(told.get(key) or 0) for key in ("cores", "memory_bytes")}
    told |= {key: str(told.get(key) or "") for key in ("system", "machine")}
    answers = tuple(_answer(one) for one in data["answers"])
    if not answers:
        raise ValueError("no answers")
    return DeviceResults(str(data["subject"]), data["place"], Environment(**told), answers)


def _answer(one: dict[str, Any]) -> DeviceAnswer:
    if one["measure"] not in MEASURES:
        raise ValueError(f"measure {one['measure']!r} is none of {', '.join(MEASURES)}")
    answer = Answer.from_dict(one["answer"])
    figures = {str(name): float(value) for name, value in answer.figures.items()}
    return DeviceAnswer(one["measure"], dataclasses.replace(answer, figures=figures))
