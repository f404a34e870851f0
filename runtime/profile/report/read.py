"""A profile that was kept as JSON, back as a report."""

from collections.abc import Mapping
from typing import Any

from toolkit.errors import FormatError
from toolkit.json_files import to_dataclass
from toolkit.json_text import check_numbers

from .report import SCHEMA, ProfileReport

KIND = "lighttoken profile"


def read_report(data: Mapping[str, Any]) -> ProfileReport:
    """Inverse of :meth:`.report.ProfileReport.to_dict`; JSON's lists become tuples again.

    Args:
        data: parsed JSON. Unknown keys are ignored, absent ones take their defaults.

    Raises:
        FormatError: another kind or schema, a number that is none, or a field that is missing or of
            the wrong type.
    """
    if not isinstance(data, Mapping):
        raise FormatError(f"a profile is a JSON object, got {type(data).__name__}")
    kind, schema = data.get("kind"), data.get("schema")
    if kind != KIND:
        raise FormatError(f"this is no profile: kind is {kind!r}, not {KIND!r}; give its JSON")
    if schema != SCHEMA or isinstance(schema, bool):
        raise FormatError(
            f"the profile is of schema {schema!r}, this version reads {SCHEMA}; profile again"
        )
    check_numbers(data, "the profile")
    try:
        return to_dataclass(ProfileReport, data, "profile")
    except FormatError as error:
        raise FormatError(f"{error}; the file is damaged") from error
