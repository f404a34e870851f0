"""A decoder's packed table, and the weights around it, healed before they go into the graph."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import CompressedEmbedding
from toolkit.bundle.manifest import Healed
from toolkit.files import user_cache
from toolkit.progress import Progress, part
from toolkit.rounding import GroupedWeight

from .decoders import Decoder, open_decoder
from .sources.source import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

    from toolkit.finetune.decoder_statistics import DecoderStatistics
    from toolkit.finetune.heal_decoder import DecoderHealConfig

_TEXTS, _LENGTH = 256, 192
_WRITING, _ROUNDING = 0.15, 0.25  # of the work, when they are done


@dataclass(frozen=True)
class Rounding:
    """How ``--weights int4`` rounds: bits of a number, and numbers that share a scale."""

    bits: int
    group_size: int


@dataclass(frozen=True, eq=False)
class DecoderHealing:
    """What became of a decoder.

    Attributes:
        packed: its table.
        healed: for the manifest.
        parameters: all others that are not what they were, by name, as floats.
        rounded: those of them that stand for few bits.
    """

    packed: CompressedEmbedding
    healed: Healed
    parameters: "dict[str, Tensor]"
    rounded: tuple[GroupedWeight, ...]


def heal_decoder(
    loaded: LoadedModel,
    packed: CompressedEmbedding,
    text: Path | None,
    config: "DecoderHealConfig",
    *,
    heads: bool = True,
    statistics: "DecoderStatistics | None" = None,
    rounding: Rounding | None = None,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> DecoderHealing:
    """Heal ``packed`` and what ``config.train`` names, with the decoder of a folder as its teacher.

    A run that was broken off is gone on with: its state lies in the user's cache, under what it
    depends on.

    Args:
        loaded: the original, from a model folder.
        packed: its table.
        text: UTF-8, one text a line; None for text that the decoder writes itself.
        config: how long, how much.
        heads: whether an output head that is tied to the table reads it packed.
        statistics: of its table, whose text is read too.
        rounding: how the other weights will be rounded, if they will.
        trust_remote_code: run the Python code that a model brings.
        progress: told how far the work is.

    Raises:
        InputError: a text file that cannot be read or holds too little, or a model whose head does
            more than multiply.
    """
    import torch

    from toolkit.finetune import heal_decoder as healing

    from .weights.linears import round_linears

    decoder = open_decoder(loaded, trust_remote_code=trust_remote_code)
    texts = _texts(decoder, text, statistics, config.seed, part(progress, 0.0, _WRITING))
    rounded = {}
    if rounding is not None:
        rounded = round_linears(
            decoder.model,
            texts,
            bits=rounding.bits,
            group_size=rounding.group_size,
            progress=part(progress, _WRITING, _ROUNDING),
        )
    digest = hashlib.sha256(packed.to_bytes() + texts.numpy().tobytes())
    digest.update(f"{loaded.source.sha256} {config} {heads} {rounding}".encode())
    found = healing.heal_decoder(
        decoder.model,
        packed,
        texts,
        heads=heads,
        rounded=rounded,
        config=config,
        state=user_cache() / "heal" / digest.hexdigest()[:32],
        progress=part(progress, _ROUNDING, 1.0),
    )
    parameters = dict(found.parameters)
    for name, weight in found.rounded.items():
        parameters[f"{name}.weight"] = torch.from_numpy(weight.dense())
    healed = Healed(
        found.texts, found.before, found.after, found.steps, config.train, own=text is None
    )
    return DecoderHealing(found.packed, healed, parameters, tuple(found.rounded.values()))


def _texts(
    decoder: Decoder,
    text: Path | None,
    statistics: "DecoderStatistics | None",
    seed: int,
    progress: Progress | None,
) -> "Tensor":
    """int64 [n, length]; those that the statistics are of come last, cut or left out to fit."""
    import torch

    if text is not None:
        return decoder.read(text, _TEXTS * _LENGTH, _LENGTH, option="--heal")
    texts = decoder.write(_TEXTS, _LENGTH, seed + 1, progress)
    written = None if statistics is None else statistics.texts
    if written is None or written.shape[1] != texts.shape[1]:
        return texts
    return torch.cat([texts, torch.from_numpy(written)])
