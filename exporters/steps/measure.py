"""What a model that writes says about its table, in text of its own or of a corpus."""

from toolkit.progress import part

from ..decoders import decoder_statistics, writes_text
from ..encoder_decoders import is_encoder_decoder, written_statistics
from ..options import FEW_BITS
from .state import Export, Report


def measure(state: Export, report: Report) -> Report:
    """Find the statistics that compression and rounding go by, unless they are known already.

    Returns:
        What is left of ``report``.
    """
    options = state.options
    if state.statistics is not None:
        return report
    if _is_measured(state):
        state.statistics = decoder_statistics(
            state.loaded,
            corpus=options.corpus or options.heal_text,
            seed=options.seed,
            trust_remote_code=options.trust_remote_code,
            progress=part(report, 0, 1 / 2),
        )
    elif options.corpus is not None and is_encoder_decoder(state.loaded):
        state.statistics = written_statistics(
            state.loaded,
            options.corpus,
            trust_remote_code=options.trust_remote_code,
            progress=part(report, 0, 1 / 2),
        )
    else:
        return report
    return part(report, 1 / 2, 1)


def _is_measured(state: Export) -> bool:
    """Whether a decoder's own text says what to compress its table or round its weights for."""
    options = state.options
    packs = options.searches_codes and (options.packed is None or bool(state.own_heads))
    rounds = options.weights in FEW_BITS or options.max_model_bytes is not None
    return (packs or rounds) and writes_text(state.loaded)
