"""The packed table is fitted to its model on plain text, in the same bytes."""

from contextlib import suppress
from typing import TYPE_CHECKING

from toolkit import CompressedEmbedding
from toolkit.bundle.manifest import Healed
from toolkit.errors import InputError
from toolkit.graph.rows import table_values
from toolkit.progress import part

from ..decoders import writes_text
from ..healing import check_healable, export_trained, heal_table
from ..healing_decoder import Rounding, heal_decoder
from ..tables import packed_heads
from .state import Export, Report

if TYPE_CHECKING:
    from torch import Tensor

_HEALED = 0.95  # of the work, before the model is exported anew
_INT4 = 4


def heal(state: Export, report: Report) -> None:
    """Heal the one table; export the model anew if its own parameters were trained too.

    Raises:
        InputError: as :func:`exporters.healing.heal_table` and
            :func:`exporters.healing_decoder.heal_decoder`.
    """
    healing = _decoder if writes_text(state.loaded) else _encoder
    parameters = healing(state, part(report, 0.0, _HEALED))
    if parameters:
        state.trained = export_trained(
            state.loaded,
            parameters,
            state.work / "healed",
            trust_remote_code=state.options.trust_remote_code,
            with_past=state.options.with_past,
        )
        state.weights_path = state.trained.path


def choose_again(state: Export, report: Report) -> None:
    """Choose an encoder's codes by what its outputs feel, on drawn tokens; nothing is trained.

    Of an .onnx file, a decoder, whose text said so before, and a model that gives no hidden states
    the codes stay as they are.
    """
    if writes_text(state.loaded) or state.is_part:
        return
    # No weights, no tokens to draw, or a table that is not the model's input embedding.
    with suppress(InputError):
        check_healable(state.loaded)
        _encoder(state, report, steps=0)


def _encoder(state: Export, report: Report, steps: int | None = None) -> dict[str, "Tensor"]:
    """Heal the table of a model that gives hidden states; what else was trained, by name.

    ``steps``: of training, by default as many as the options say.
    """
    from toolkit.finetune.distil import DistilConfig
    from toolkit.finetune.heal import HealConfig

    options = state.options
    steps = options.heal_steps if steps is None else steps
    (embedding,) = state.embeddings
    assert isinstance(embedding, CompressedEmbedding)  # stock operators are not healed
    dense = table_values(state.tables[0])
    distil = DistilConfig(steps=steps // HealConfig.rounds)
    train = options.heal_train or "table"
    embedding, healing = heal_table(
        state.loaded,
        embedding,
        dense,
        options.heal_text,
        HealConfig(distil, HealConfig.rounds, seed=options.seed, train=train),
        shares=None if state.loaded.cut is None else state.loaded.cut.importance,
        importance=state.importance(len(dense)),
        trust_remote_code=options.trust_remote_code,
        progress=report,
    )
    state.embeddings = [embedding]
    state.healed = Healed(
        healing.texts,
        healing.before,
        healing.after,
        healing.steps,
        train,
        own=options.heal_text is None,
    )
    return dict(healing.parameters)


def _decoder(state: Export, report: Report) -> dict[str, "Tensor"]:
    """Heal a decoder's table and weights by what it expects next; those, by name."""
    from toolkit.finetune.heal_decoder import DecoderHealConfig

    options = state.options
    (embedding,) = state.embeddings
    assert isinstance(embedding, CompressedEmbedding)  # stock operators are not healed
    rounding = None
    if options.weights == "int4":
        assert options.group_size is not None
        rounding = Rounding(_INT4, options.group_size)
    train = options.heal_train or ("norms" if rounding is None else "body")
    found = heal_decoder(
        state.loaded,
        embedding,
        options.heal_text,
        DecoderHealConfig(options.heal_steps, seed=options.seed, train=train),
        heads=bool(packed_heads(state.tables[0], options)),
        statistics=state.statistics,
        rounding=rounding,
        trust_remote_code=options.trust_remote_code,
        progress=report,
    )
    state.embeddings = [found.packed]
    state.healed, state.rounded = found.healed, found.rounded
    return found.parameters
