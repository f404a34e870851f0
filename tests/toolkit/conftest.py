"""Arbitrary consistent tables: ``st.from_type(CompressedEmbedding)`` draws them."""

import numpy as np
from hypothesis import strategies as st

from toolkit import CompressedEmbedding
from toolkit.bitpack import pack
from toolkit.embedding import DenseDecoder, DiagonalDecoder, LowRank, RowOrder, Stage


@st.composite
def embeddings(draw):
    """Odd widths, one row, no stages, any rank, with and without a row order."""
    rows, width = draw(st.integers(1, 40)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def floats(n):
        return rng.normal(size=n).astype(np.float32)

    def int8s(*shape):
        return rng.integers(-127, 128, size=shape).astype(np.int8)

    def stage():
        dense = draw(st.booleans())
        bits = draw(st.integers(1, 20)) if dense else width
        codes = pack(rng.random((draw(st.integers(1, rows)), bits)) < 0.5)
        scale = np.abs(floats(width))
        return Stage(
            codes, DenseDecoder(int8s(bits, width), scale) if dense else DiagonalDecoder(scale)
        )

    rank = draw(st.integers(0, 3))
    lowrank = LowRank(int8s(rows, rank), int8s(rank, width), floats(rank)) if rank else None
    block = draw(st.none() | st.integers(1, 9))
    order = RowOrder(block_starts(rng, rows, block), block) if block else None
    stages = tuple(stage() for _ in range(draw(st.integers(0, 3))))
    return CompressedEmbedding(rows, width, floats(width), stages, lowrank, order)


def block_starts(rng, rows, block):
    """A random order of whole blocks; the short one, if any, comes last."""
    starts = block * np.arange(-(-rows // block), dtype=np.int32)
    whole = rows // block
    return np.concatenate([rng.permutation(starts[:whole]), starts[whole:]]).astype(np.int32)


st.register_type_strategy(CompressedEmbedding, embeddings())
