"""The optimiser of a healing that trains several kinds of parameters, and its notes on disk."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..files import write_aside
from .distil import copied, put_back

_WARM_UP = 10  # steps
_BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class Rates:
    """Adam's learning rates, which fall to 0 along a cosine.

    Attributes:
        table: times the root mean square of each parameter of a packed table.
        positions: of rounded matrices, in codes.
        factors: of their scales.
        vectors: of norms and biases.
        matrices: of matrices that are not rounded.
    """

    table: float = 0.001
    positions: float = 0.003
    factors: float = 5e-4
    vectors: float = 1e-4
    matrices: float = 2e-5


class Training:
    """Parameters that are trained with rates of their own; the best state that was seen is kept.

    Args:
        groups: parameters by name, with the rate of each.
        steps: in all.
    """

    def __init__(
        self, groups: Mapping[str, tuple[nn.Parameter, float]], steps: int, loss: float
    ) -> None:
        self._trained: dict[str, Tensor] = {name: tensor for name, (tensor, _) in groups.items()}
        self._steps = steps
        for tensor, _ in groups.values():
            tensor.requires_grad_(True)
        self._optimizer = torch.optim.Adam(
            [{"params": [tensor], "lr": rate} for tensor, rate in groups.values()], betas=_BETAS
        )
        self._rates = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._share)
        self.done, self.least = 0, loss
        self.best = copied(self._trained)

    def _share(self, done: int) -> float:
        falling = 0.5 * (1 + math.cos(math.pi * min(done / max(self._steps, 1), 1)))
        return min(1.0, (done + 1) / _WARM_UP) * falling

    def step(self, loss: Tensor) -> None:
        """One step of the optimiser."""
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        self._rates.step()
        self.done += 1

    def look(self, loss: float) -> None:
        """Keep the state as it is now if its loss on text that was held out is the least."""
        if loss < self.least:
            self.least, self.best = loss, copied(self._trained)

    def finish(self) -> None:
        """Everything as it was at its best, without gradients."""
        put_back(self._trained, self.best)
        for tensor in self._trained.values():
            tensor.requires_grad_(False)

    def save(self, path: Path) -> None:
        """All that is needed to go on, aside first and then renamed."""
        kept = {
            "numbers": (self.done, self.least),
            "best": self.best,
            "trained": copied(self._trained),
            "optimizer": self._optimizer.state_dict(),
            "rates": self._rates.state_dict(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(path) as aside:
            torch.save(kept, aside)

    def load(self, path: Path) -> None:
        """What :meth:`save` wrote."""
        kept = torch.load(path, weights_only=True)
        self.done, self.least = kept["numbers"]
        self.best = kept["best"]
        put_back(self._trained, kept["trained"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self._rates.load_state_dict(kept["rates"])
