"""A bundle in, results and the truth about its cost out.

Names are imported on first use: whoever opens a session does not pay for scipy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluate import PairReport, evaluate_pairs
    from .feature_extraction import FeatureExtraction
    from .fill_mask import FillMask
    from .pairs import Pairs, read_pairs
    from .pipeline import Pipeline, open_pipeline
    from .session import Session, open_session
    from .text_classification import TextClassification
    from .tokenize import Tokenizer, open_tokenizer

__all__ = [
    "FeatureExtraction",
    "FillMask",
    "PairReport",
    "Pairs",
    "Pipeline",
    "Session",
    "TextClassification",
    "Tokenizer",
    "evaluate_pairs",
    "open_pipeline",
    "open_session",
    "open_tokenizer",
    "read_pairs",
]

_HOMES = {
    "FeatureExtraction": "feature_extraction",
    "FillMask": "fill_mask",
    "PairReport": "evaluate",
    "Pairs": "pairs",
    "Pipeline": "pipeline",
    "Session": "session",
    "TextClassification": "text_classification",
    "Tokenizer": "tokenize",
    "evaluate_pairs": "evaluate",
    "open_pipeline": "pipeline",
    "open_session": "session",
    "open_tokenizer": "tokenize",
    "read_pairs": "pairs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
