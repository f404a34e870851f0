"""A bundle in, results and the truth about its cost out.

Names are imported on first use: whoever opens a session does not pay for the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import toolkit.telemetry  # noqa: F401 (before onnxruntime is imported)

if TYPE_CHECKING:
    from .evaluate.data.pairs import Pairs, read_pairs
    from .evaluate.figures import Figure, Interval
    from .evaluate.model import EvaluatedModel, open_model
    from .session import Session, open_session
    from .tasks.encoder_decoder import SpeechRecognition, TextToText
    from .tasks.feature_extraction import FeatureExtraction
    from .tasks.fill_mask import FillMask
    from .tasks.late_interaction import LateInteraction
    from .tasks.multiple_choice import MultipleChoice
    from .tasks.pipeline import Pipeline, open_pipeline
    from .tasks.question_answering import QuestionAnswering
    from .tasks.sampling import Sampling
    from .tasks.sparse_encoding import SparseEncoding
    from .tasks.text_classification import TextClassification
    from .tasks.text_generation import TextGeneration
    from .tasks.text_ranking import TextRanking
    from .tasks.token_classification import TokenClassification
    from .tasks.tokenize import Tokenizer, open_tokenizer

__all__ = [
    "EvaluatedModel",
    "FeatureExtraction",
    "Figure",
    "FillMask",
    "Interval",
    "LateInteraction",
    "MultipleChoice",
    "Pairs",
    "Pipeline",
    "QuestionAnswering",
    "Sampling",
    "Session",
    "SparseEncoding",
    "SpeechRecognition",
    "TextClassification",
    "TextGeneration",
    "TextRanking",
    "TextToText",
    "TokenClassification",
    "Tokenizer",
    "open_model",
    "open_pipeline",
    "open_session",
    "open_tokenizer",
    "read_pairs",
]

_HOMES = {
    "EvaluatedModel": "evaluate.model",
    "FeatureExtraction": "tasks.feature_extraction",
    "Figure": "evaluate.figures",
    "FillMask": "tasks.fill_mask",
    "Interval": "evaluate.figures",
    "LateInteraction": "tasks.late_interaction",
    "MultipleChoice": "tasks.multiple_choice",
    "Pairs": "evaluate.data.pairs",
    "Pipeline": "tasks.pipeline",
    "QuestionAnswering": "tasks.question_answering",
    "Sampling": "tasks.sampling",
    "Session": "session",
    "SparseEncoding": "tasks.sparse_encoding",
    "SpeechRecognition": "tasks.encoder_decoder",
    "TextClassification": "tasks.text_classification",
    "TextGeneration": "tasks.text_generation",
    "TextRanking": "tasks.text_ranking",
    "TextToText": "tasks.encoder_decoder",
    "TokenClassification": "tasks.token_classification",
    "Tokenizer": "tasks.tokenize",
    "open_model": "evaluate.model",
    "open_pipeline": "tasks.pipeline",
    "open_session": "session",
    "open_tokenizer": "tasks.tokenize",
    "read_pairs": "evaluate.data.pairs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
