"""Texts to vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.manifest import Pooling
from toolkit.json_files import read_json
from toolkit.progress import Progress

from ..session import Session
from .batches import TextModel, find_output, need_output
from .pooling import check_pooling, finish, pool
from .tokenize import Text, Tokenizer

Float32 = NDArray[np.float32]

_TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings")
_POOLED_OUTPUTS = ("sentence_embedding", "pooler_output")
_EMBEDS = "text_embeds"
# Their text models were trained on this output; BERT's of the same name is of no use.
_POOLERS = ("clip", "siglip", "siglip2")


@dataclass(frozen=True, eq=False)
class FeatureExtraction:
    """One vector a text, pooled as the model does it."""

    model: TextModel
    pooling: Pooling

    def __call__(
        self, texts: Sequence[Text], batch_size: int = 32, progress: Progress | None = None
    ) -> Float32:
        """``texts`` [n] -> float32 [n, d], in the order given.

        Raises:
            InputError: a single string, a bad batch size, or texts that the model cannot take.
        """
        vectors: Float32 | None = None
        for batch in self.model.batches(texts, batch_size, progress):
            if batch.output.ndim == 3:
                pooled = pool(batch.output, batch.mask, self.pooling)
            else:
                pooled = finish(batch.output, self.pooling)
            if vectors is None:
                vectors = np.empty((len(texts), pooled.shape[1]), np.float32)
            vectors[batch.index] = pooled
        return vectors if vectors is not None else np.empty((0, self._width()), np.float32)

    def _width(self) -> int:
        width = self.model.output.shape[-1]
        return width if isinstance(width, int) else 0


def feature_extraction(
    session: Session, tokenizer: Tokenizer, pooling: Pooling | None, folder: Path
) -> FeatureExtraction:
    """Join a session and a tokenizer. ``pooling`` None means the mean, not normalised.

    A graph that gives pooled vectors only ([n, d]) is taken at its word, and so is an output
    ``text_embeds``; ``pooler_output`` where ``folder/config.json`` is of a model of texts and
    images.

    Raises:
        InputError: an unknown pooling mode, or a graph without vectors.
    """
    pooling = pooling or Pooling()
    check_pooling(pooling)
    names = {info.name: info for info in session.outputs}
    told = read_json(folder / "config.json").get("model_type")
    family = told.removesuffix("_text_model") if isinstance(told, str) else None
    own = names.get(_EMBEDS) or (names.get("pooler_output") if family in _POOLERS else None)
    output = (
        own
        or find_output(session, _TOKEN_OUTPUTS, rank=3)
        or need_output(session, _POOLED_OUTPUTS, rank=2, task="feature-extraction")
    )
    return FeatureExtraction(TextModel(session, tokenizer, output), pooling)
