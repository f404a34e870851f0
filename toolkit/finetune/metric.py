"""How much an error in a row matters to what the model makes of it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .batches import Batch, fast_products, hidden_states

PLAIN = 0.1
"""Share of a metric that counts all directions alike, at least."""


def row_metric(
    model: nn.Module,
    table: nn.Module,
    batches: Sequence[Batch],
    generator: torch.Generator,
    plain: float = PLAIN,
) -> Tensor:
    """H float [d, d]: an error e [d] in a row moves the last hidden states by about e' H e.

    H is the mean over the tokens of J'J, with J the derivative of all hidden states of a text by
    one token's row: the Gauss-Newton matrix of their squared error. One product u'J with Gaussian u
    for each batch samples it (Hutchinson 1990), as E[J'u u'J] = J'J. A share ``plain`` of it is the
    identity: errors are not small, and directions that do nothing at first do something further
    out. The trace is d, so distances stay of the size they were.

    Args:
        model: a transformer that gives hidden states; not changed.
        table: its layer that looks rows up.
        batches: text.
        generator: draws u.
        plain: 0 to 1; the larger errors are, the less a derivative says of them.
    """
    total: Tensor | None = None
    count = 0
    looked_up: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, rows: Tensor) -> Tensor:
        looked_up.append(rows.detach().requires_grad_(True))
        return looked_up[-1]

    handle = table.register_forward_hook(keep)
    try:
        for batch in batches:
            looked_up.clear()
            with torch.enable_grad():
                with fast_products(model):
                    outputs = model(**batch.inputs, output_hidden_states=True)
                states = hidden_states(outputs)
                real = batch.mask.bool()
                noise = torch.randn(states[real].shape, generator=generator).to(states)
                gradients = torch.autograd.grad((states[real] * noise).sum(), looked_up)
            for gradient in gradients:
                some = gradient[real].double()
                total = some.T @ some if total is None else total.addmm_(some.T, some)
            count += int(real.sum())
    finally:
        handle.remove()
    if total is None or not count:
        raise ValueError("a metric of no text")
    width = len(total)
    metric = total * (width / total.trace().clamp_min(1e-30))
    eye = torch.eye(width, dtype=metric.dtype, device=metric.device)
    return ((1 - plain) * metric + plain * eye).float()


def square_root(metric: Tensor) -> Tensor:
    """The symmetric M float [d, d] with M M = ``metric``: squared lengths of e M are e' H e."""
    values, vectors = torch.linalg.eigh(metric.double())
    return ((vectors * values.clamp_min(0).sqrt()) @ vectors.T).float()
