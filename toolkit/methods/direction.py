"""Direction is what you need (Balazy et al., RepL4NLP 2021, arXiv 2106.08181).

A linear autoencoder, z = W_e x + b_e and x^ = W_d z + b_d, trained on 1 - cos(x^, x) and on
|x^ - x|**alpha with alpha falling, in float32 throughout. Loss weights, schedule, optimiser and
batch are those of the authors' public code. What is stored: z of every row, W_d and b_d.
"""

import numpy as np
import torch
from torch import Tensor, nn

from ..allocate.budget import Budget
from ..progress import Progress
from ..table.components import Float32, LowRank
from ..table.embedding import CompressedEmbedding
from ..table.matrix import row_blocks
from .svd import affordable_rank

_COSINE_WEIGHT = 0.9975 / 5
_POWER_WEIGHT = 0.0025
_FALLING_EPOCHS, _LAST_EPOCHS = 20, 10
_ALPHA = (1.0, 0.1)
_LEARNING_RATE, _HALVED_EVERY, _BATCH = 1e-3, 4, 32


def direction_loss(target: Tensor, output: Tensor, alpha: float) -> Tensor:
    """The multi-objective loss, a scalar: direction, and a power of the entries' differences."""
    cosine = nn.functional.cosine_similarity(output, target, dim=1)
    power = ((output - target).abs() + 1e-10) ** alpha
    return _COSINE_WEIGHT * (1 - cosine).mean() + _POWER_WEIGHT * power.mean()


def compress_direction(
    table: Float32, budget: Budget, seed: int, progress: Progress | None
) -> CompressedEmbedding:
    """Train the autoencoder whose codes and decoder fit the budget.

    Raises:
        BudgetError: not even one hidden unit fits.
    """
    hidden = affordable_rank(table, budget, bytes_per_value=4)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, decoder = nn.Linear(table.shape[1], hidden), nn.Linear(hidden, table.shape[1])
    encoder, decoder = encoder.to(device), decoder.to(device)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, _HALVED_EVERY, gamma=0.5)
    rows = torch.tensor(table, device=device)
    generator = torch.Generator().manual_seed(seed)
    epochs = _FALLING_EPOCHS + _LAST_EPOCHS
    for epoch in range(epochs):
        share = min(1.0, epoch / (_FALLING_EPOCHS - 1))
        alpha = _ALPHA[0] + share * (_ALPHA[1] - _ALPHA[0])
        for batch in torch.split(torch.randperm(len(rows), generator=generator), _BATCH):
            wanted = rows[batch.to(device)]
            loss = direction_loss(wanted, decoder(encoder(wanted)), alpha)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        if progress is not None:
            progress((epoch + 1) / epochs, "training the linear autoencoder")
    with torch.no_grad():
        codes = torch.cat([encoder(rows[block]) for block in row_blocks(len(rows))]).cpu().numpy()
        right = np.ascontiguousarray(decoder.weight.cpu().numpy().T)
        mean = decoder.bias.cpu().numpy()
    return CompressedEmbedding(len(table), table.shape[1], mean, (), LowRank(codes, right))
