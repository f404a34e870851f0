"""The direction-aware loss (LightToken, KDD 2023; its exact form is our reconstruction)."""

import torch
from torch import Tensor


def direction_aware_loss(target: Tensor, output: Tensor, *, power: float = 2.0) -> Tensor:
    """An upper bound of the squared Euclidean distance that weighs the angle more.

    With c = cos(x, y):  ||x - y||^2 = ||x||^2 + ||y||^2 - 2 ||x|| ||y|| c.  Putting g(c) <= c in
    the place of c gives a bound from above; here g(c) = c**power for c > 0, and c otherwise, so a
    wrong angle costs more than a wrong length. ``power`` 1 is the Euclidean loss itself.

    The paper says that its loss bounds the distance and recalibrates the cosine; g is our choice.

    Args:
        target: x, float [n, d].
        output: y, float [n, d].
        power: beta >= 1.

    Returns:
        float [n], one loss a row.
    """
    target_norm = target.norm(dim=-1)
    output_norm = output.norm(dim=-1)
    product = target_norm * output_norm
    cosine = (target * output).sum(-1) / product.clamp_min(1e-12)
    # Clamped before the power: the gradient of c**power is infinite at 0 for power < 2.
    calibrated = torch.where(cosine > 0, cosine.clamp_min(1e-6) ** power, cosine)
    return target_norm**2 + output_norm**2 - 2 * product * calibrated
