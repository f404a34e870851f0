"""What a decoder's own text says about its table, for compression that knows what the table is for.

Only a model folder can write text; an .onnx file is compressed by what its tokenizer knows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import InputError
from toolkit.progress import Progress

from .sources.facts import CONFIG, TOKENIZER, read_json
from .sources.prior import corpus_ids
from .sources.source import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

    from toolkit.finetune.decoder_statistics import DecoderStatistics

_CORPUS_TOKENS = 16_384
_CORPUS_LENGTH = 256  # tokens of a piece of the corpus


def writes_text(loaded: LoadedModel) -> bool:
    """Whether the original is a decoder in PyTorch, which can write."""
    return loaded.exporter != "none" and loaded.facts.task == "text-generation"


@dataclass(frozen=True, eq=False)
class Decoder:
    """A decoder in PyTorch and what has to be known to let it write.

    Attributes:
        model: a causal model of transformers.
        start: the token that texts begin with.
        ends: tokens that end a text.
        longest: tokens of a text that it can read.
        tokenizer: its tokenizer.json, whether or not it is there.
    """

    model: Any
    start: int
    ends: tuple[int, ...]
    longest: int
    tokenizer: Path

    @property
    def rows(self) -> int:
        """Of its table."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def write(
        self, texts: int, length: int, seed: int, progress: Progress | None = None
    ) -> "Tensor":
        """Texts that it draws from itself, int64 [texts, length], or as long as it can read."""
        from toolkit.finetune.own_text import TextConfig, own_text, writer

        config = TextConfig(texts, min(length, self.longest), seed)
        fast = writer(self.model)
        return own_text(fast, self.start, config, forbidden=self.ends, progress=progress)

    def read(self, corpus: Path, tokens: int, length: int, *, option: str = "--corpus") -> "Tensor":
        """Pieces of a text file, int64 [pieces, length], each behind the first token.

        Args:
            corpus: UTF-8 text, one text a line.
            tokens: of it that are read, about.
            length: tokens of a piece, where the model can read so many.
            option: what asked for the text, for errors.

        Raises:
            InputError: no text file, or one that holds no piece.
        """
        import torch

        length = min(length, self.longest) - 1  # beside the first token
        ids = corpus_ids(self.tokenizer, corpus, self.rows, tokens, option=option)
        pieces = len(ids) // length
        if not pieces:
            raise InputError(f"{corpus} holds {len(ids)} tokens; give some thousand")
        whole = ids[: pieces * length].reshape(pieces, length)
        return torch.from_numpy(np.pad(whole, ((0, 0), (1, 0)), constant_values=self.start))


def open_decoder(loaded: LoadedModel, *, trust_remote_code: bool = False) -> Decoder:
    """The original in PyTorch, float32."""
    from .sources.dynamo import load_model

    model = load_model(loaded.folder, loaded.facts, trust_remote_code=trust_remote_code)
    rows = model.get_input_embeddings().weight.shape[0]
    config = read_json(loaded.folder / CONFIG)
    limits = [loaded.facts.max_length, getattr(model.config, "max_position_embeddings", None)]
    return Decoder(
        model,
        _first_token(config, rows),
        tuple(_ids(config.get("eos_token_id"), rows)),
        min([limit for limit in limits if limit] or [_CORPUS_LENGTH]),
        loaded.folder / TOKENIZER,
    )


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
        InputError: a corpus of too little text.
    """
    from toolkit.finetune.decoder_statistics import measure_decoder, measure_own_text
    from toolkit.finetune.own_text import TextConfig

    decoder = open_decoder(loaded, trust_remote_code=trust_remote_code)
    if corpus is not None:
        texts = decoder.read(corpus, _CORPUS_TOKENS, _CORPUS_LENGTH)
        return measure_decoder(decoder.model, texts, progress=progress)
    text = TextConfig(
        length=min(TextConfig.length, decoder.longest),
        seed=seed,
        opening=min(TextConfig.opening, decoder.longest),
    )
    return measure_own_text(
        decoder.model, decoder.start, text, forbidden=decoder.ends, progress=progress
    )


def _first_token(config: dict[str, object], rows: int) -> int:
    """What texts begin with: the beginning of a text, or the end of the one before.

    Where config.json names neither, or one beyond the table, any token will do: the model draws
    all others.
    """
    for name in ("bos_token_id", "eos_token_id", "decoder_start_token_id"):
        if found := _ids(config.get(name), rows):
            return found[0]
    return 0


def _ids(value: object, rows: int) -> list[int]:
    """One id, several, or none, as config.json has them; those that the table holds."""
    found = value if isinstance(value, list) else [value]
    whole = [id_ for id_ in found if isinstance(id_, int) and not isinstance(id_, bool)]
    return [id_ for id_ in whole if 0 <= id_ < rows]
