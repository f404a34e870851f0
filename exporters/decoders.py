"""What a decoder's own text says about its table, for compression that knows what the table is for.

Only a model folder can write text; an .onnx file is compressed by what its tokenizer knows.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolkit.errors import InputError
from toolkit.progress import Progress

from .sources.facts import CONFIG, TOKENIZER, read_json
from .sources.prior import corpus_ids
from .sources.source import LoadedModel

if TYPE_CHECKING:
    from toolkit.finetune.decoder_statistics import DecoderStatistics

_CORPUS_TOKENS = 16_384
_CORPUS_LENGTH = 256  # tokens of a piece of the corpus


def writes_text(loaded: LoadedModel) -> bool:
    """Whether the original is a decoder in PyTorch, which can write."""
    return loaded.exporter != "none" and loaded.facts.task == "text-generation"


def decoder_statistics(
    loaded: LoadedModel,
    *,
    corpus: Path | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> "DecoderStatistics":
    """Figures over text that the model writes itself, or over ``corpus``.

    Args:
        loaded: a decoder from a model folder.
        corpus: UTF-8 text, one text a line; some 16,000 tokens of it are read.
        seed: of the text.
        trust_remote_code: run the Python code that a model brings.
        progress: told how far the work is.

    Raises:
        InputError: a model that names no token to begin with, or a corpus of too little text.
    """
    import torch

    from toolkit.finetune.decoder_statistics import TextConfig, measure_decoder, measure_own_text

    from .sources.dynamo import load_model

    config = read_json(loaded.folder / CONFIG)
    start, ends = _first_token(config), _ids(config.get("eos_token_id"))
    model = load_model(loaded.folder, loaded.facts, trust_remote_code=trust_remote_code)
    if corpus is None:
        return measure_own_text(
            model, start, TextConfig(seed=seed), forbidden=ends, progress=progress
        )
    rows = model.get_input_embeddings().weight.shape[0]
    ids = corpus_ids(loaded.folder / TOKENIZER, corpus, rows, _CORPUS_TOKENS)
    pieces = len(ids) // (_CORPUS_LENGTH - 1)
    if not pieces:
        raise InputError(f"{corpus} holds {len(ids)} tokens; give some thousand")
    text = ids[: pieces * (_CORPUS_LENGTH - 1)].reshape(pieces, -1)
    texts = np.pad(text, ((0, 0), (1, 0)), constant_values=start)
    return measure_decoder(model, torch.from_numpy(texts), progress=progress)


def _first_token(config: dict[str, object]) -> int:
    """What texts begin with: the beginning of a text, or the end of the one before."""
    for name in ("bos_token_id", "eos_token_id", "decoder_start_token_id"):
        if found := _ids(config.get(name)):
            return found[0]
    raise InputError(
        f"config.json names no bos_token_id and no eos_token_id, got {json.dumps(sorted(config))}; "
        "add the token that texts begin with"
    )


def _ids(value: object) -> list[int]:
    """One id, several, or none, as config.json has them."""
    found = value if isinstance(value, list) else [value]
    return [id_ for id_ in found if isinstance(id_, int) and not isinstance(id_, bool)]
