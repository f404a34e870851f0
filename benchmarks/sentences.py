"""What a decoded table costs the model it came from: STS and the sentence vectors themselves."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from runtime import read_pairs
from toolkit.errors import InputError

Float32 = NDArray[np.float32]
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Reference:
    """Pairs, the model they are judged with, and its vectors with the table as it is."""

    model: Path
    sentences: tuple[str, ...]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    scores: tuple[float, ...]
    vectors: Float32

    @property
    def spearman(self) -> float:
        """Of the uncompressed model, x 100."""
        return _spearman(self, self.vectors)


def open_reference(
    pairs_file: Path, model: Path, table: Float32, limit: int | None = None
) -> Reference:
    """Encode every distinct sentence of ``pairs_file`` once with ``table`` [V, d].

    ``limit``: pairs that are read, the first ones; None for all.

    Raises:
        InputError: the file holds no pairs, or ``table`` is not of the model's shape.
    """
    pairs = read_pairs(pairs_file)
    one, other = pairs.left[:limit], pairs.right[:limit]
    sentences = tuple(dict.fromkeys(one + other))
    place = {sentence: index for index, sentence in enumerate(sentences)}
    left = np.array([place[sentence] for sentence in one])
    right = np.array([place[sentence] for sentence in other])
    vectors = encode(model, sentences, table)
    return Reference(model, sentences, left, right, pairs.scores[:limit], vectors)


def judge(reference: Reference, decoded: Float32) -> tuple[float, float]:
    """STS Spearman x 100, and the mean cosine of sentence vectors to the uncompressed model's."""
    vectors = encode(reference.model, reference.sentences, decoded)
    return _spearman(reference, vectors), float((vectors * reference.vectors).sum(axis=1).mean())


def _spearman(reference: Reference, vectors: Float32) -> float:
    cosines = (vectors[reference.left] * vectors[reference.right]).sum(axis=1)
    return float(100 * spearmanr(cosines, reference.scores).statistic)


def encode(folder: Path, sentences: tuple[str, ...], table: Float32) -> Float32:
    """Mean-pooled unit vectors float32 [n, d] of the model in ``folder`` with ``table`` put in."""
    import torch

    tokenizer, model = _load(folder)
    weight = model.get_input_embeddings().weight
    if tuple(weight.shape) != table.shape:
        raise InputError(
            f"the table is {table.shape[0]} x {table.shape[1]}, that of {folder} is "
            f"{weight.shape[0]} x {weight.shape[1]}; give the model that the table is from"
        )
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    vectors = np.empty((len(sentences), model.config.hidden_size), np.float32)
    with torch.inference_mode():
        weight.copy_(torch.from_numpy(np.ascontiguousarray(table)))
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            batch = tokenizer(
                [sentences[index] for index in chosen],
                padding=True,
                truncation=True,
                return_tensors="pt",
            )
            states = model(**batch).last_hidden_state
            mask = batch["attention_mask"][:, :, None]
            pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
            vectors[chosen] = torch.nn.functional.normalize(pooled, dim=1).numpy()
    return vectors


@cache
def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{folder} is no model folder ({first}); name one with --model") from error
    return tokenizer, model.requires_grad_(False)
