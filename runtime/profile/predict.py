"""What a provider that is not here would take, by a table of the operators that it supports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """A prediction from documents, nothing measured."""

    place: str
    subject: str
