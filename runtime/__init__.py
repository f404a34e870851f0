"""A bundle in, results and the truth about its cost out.

Names are imported on first use: whoever opens a session does not pay for scipy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluate.figures import Figure, Interval
    from .evaluate.subject import Subject, open_subject
    from .feature_extraction import FeatureExtraction
    from .fill_mask import FillMask
    from .pairs import Pairs, read_pairs
    from .pipeline import Pipeline, open_pipeline
    from .question_answering import QuestionAnswering
    from .session import Session, open_session
    from .text_classification import TextClassification
    from .tokenize import Tokenizer, open_tokenizer

__all__ = [
    "FeatureExtraction",
    "Figure",
    "FillMask",
    "Interval",
    "Pairs",
    "Pipeline",
    "QuestionAnswering",
    "Session",
    "Subject",
    "TextClassification",
    "Tokenizer",
    "open_pipeline",
    "open_session",
    "open_subject",
    "open_tokenizer",
    "read_pairs",
]

_HOMES = {
    "FeatureExtraction": "feature_extraction",
    "Figure": "evaluate.figures",
    "FillMask": "fill_mask",
    "Interval": "evaluate.figures",
    "Pairs": "pairs",
    "Pipeline": "pipeline",
    "QuestionAnswering": "question_answering",
    "Session": "session",
    "Subject": "evaluate.subject",
    "TextClassification": "text_classification",
    "Tokenizer": "tokenize",
    "open_pipeline": "pipeline",
    "open_session": "session",
    "open_subject": "evaluate.subject",
    "open_tokenizer": "tokenize",
    "read_pairs": "pairs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
