"""A bundle in, results and the truth about its cost out."""

from .evaluate import PairReport, evaluate_pairs
from .feature_extraction import FeatureExtraction
from .fill_mask import FillMask
from .pairs import Pairs, read_pairs
from .pipeline import Pipeline, open_pipeline
from .session import Session, open_session
from .text_classification import TextClassification

__all__ = [
    "FeatureExtraction",
    "FillMask",
    "PairReport",
    "Pairs",
    "Pipeline",
    "Session",
    "TextClassification",
    "evaluate_pairs",
    "open_pipeline",
    "open_session",
    "read_pairs",
]
