"""LightToken as the paper has it (Wang et al., KDD 2023), without what this project adds.

From the paper: rank-k SVD in float32, residual binary autoencoders trained stage after stage, each
short of saturation, an amortised encoder and float32 decoders, the direction-aware loss. Our
reconstruction, because its text leaves them open: the share of the bytes that goes to the rank,
the width of the stages, the temperature schedule, the stopping rule and the exact loss. No
row_counts, no frequency prior, no quantised factors, no refinement after training.

Ablations by ``PaperConfig``: ``rank=0`` (without SVD), ``autoencoder_stages=1``,
``angle_power=1`` (Euclidean loss).
"""

import numpy as np
import torch

from ...allocate.budget import Budget
from ...errors import BudgetError
from ...progress import Meter, Progress
from ...table import bitpack
from ...table.embedding import CompressedEmbedding, DenseDecoder, Float32, Stage
from ..config import PaperConfig
from ..svd import exact_svd
from .autoencoder import train_stages

_HEADER = 640  # bytes of the file's header, at most
_SIGN_TABLE = 256 * 8  # bytes; in a graph, the table that unpacks signs
_RANK_SHARE = 0.15  # of the bytes, for the factors; at least rank 1 if that leaves half for codes


def compress_paper(
    table: Float32,
    budget: Budget,
    config: PaperConfig,
    seed: int,
    progress: Progress | None,
) -> CompressedEmbedding:
    """Train the paper's recipe to the budget.

    Raises:
        BudgetError: not even eight bits a row fit.
    """
    rank, bits = paper_layout(len(table), table.shape[1], budget, config.rank)
    mean = table.mean(axis=0, dtype=np.float64).astype(np.float32)
    residual = table - mean
    lowrank = exact_svd(residual, rank) if rank else None
    if lowrank is not None:
        residual -= lowrank.left @ lowrank.right
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    epochs = config.autoencoder_stages * config.epochs
    meter = Meter(progress, epochs, "training the binary autoencoders")
    signs, decoder, _ = train_stages(
        lambda positions: torch.from_numpy(table[positions.cpu().numpy()]).to(device),
        torch.from_numpy(residual).to(device),
        bits,
        torch.ones(len(table), device=device),
        config,
        torch.Generator().manual_seed(seed),
        meter.round_done,
        refit=False,
    )
    stage = Stage(bitpack.pack(signs.cpu().numpy() > 0), DenseDecoder(decoder.cpu().numpy()))
    return CompressedEmbedding(len(table), table.shape[1], mean, (stage,), lowrank)


def paper_layout(rows: int, width: int, budget: Budget, rank: int | None) -> tuple[int, int]:
    """Rank and bits, by bytes.

    Raises:
        BudgetError: nothing fits; the message names the ratio that does.
    """
    fixed = _HEADER + _SIGN_TABLE + 4 * width
    allowed = budget.bytes_for(rows, width) - fixed
    column = 4 * (rows + width)
    if rank is None:
        rank = max(int(_RANK_SHARE * allowed // column), int(2 * column <= allowed))
    octet = rows + 8 * 4 * width  # eight bits: a byte a row and eight rows of the decoder
    octets = (allowed - rank * column) // octet
    if octets < 1:
        needed = fixed + rank * column + octet
        raise BudgetError(
            f"{budget.bytes_for(rows, width):,} bytes are too few for rank {rank} and 8 bits of a "
            f"{rows} x {width} table; the nearest that can be reached is ratio "
            f"{rows * width * 4 / needed:.1f}"
        )
    return rank, 8 * int(octets)
