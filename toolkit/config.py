"""Every choice of the LightToken recipe in one place."""

from dataclasses import dataclass
from typing import Any

from .errors import InputError

EFFORTS: dict[str, dict[str, Any]] = {
    "fast": {"refine_rounds": 0},
    "normal": {},
    "best": {"epochs": 12, "refine_rounds": 60, "flips": 32},
}


@dataclass(frozen=True)
class LightTokenConfig:
    """How a table is trained. The defaults are what ``compress`` uses.

    Attributes:
        autoencoder_stages: residual stages the dense code is trained in; their bits are
            concatenated.
        epochs: passes over the rows for each stage, at most.
        epoch_rows: rows of one epoch, at most; a taller table is sampled anew for each.
        batch_rows: rows of one optimiser step.
        learning_rate: Adam's, falling to a tenth along a cosine.
        temperature: slope of the tempered sigmoid at the first and the last epoch of a stage.
        saturation_limit: a stage stops when this share of its units is saturated.
        angle_power: beta of the direction-aware loss; 1 is the Euclidean loss.
        refine_rounds: alternations of decoder refit and code search after training; 0 stops at
            what the autoencoder found.
        flips: most single-bit flips a row makes in one round.
        rank: rank of the low-rank part; None lets the budget decide.
    """

    autoencoder_stages: int = 3
    epochs: int = 6
    epoch_rows: int = 65_536
    batch_rows: int = 1024
    learning_rate: float = 4e-3
    temperature: tuple[float, float] = (1.0, 0.1)
    saturation_limit: float = 0.8
    angle_power: float = 2.0
    refine_rounds: int = 12
    flips: int = 16
    rank: int | None = None

    @classmethod
    def of_effort(cls, effort: str) -> "LightTokenConfig":
        """A preset: ``fast`` stops at what the autoencoders found, ``best`` searches longer.

        Raises:
            InputError: an unknown word.
        """
        if effort not in EFFORTS:
            raise InputError(f"effort {effort!r} is unknown; choose from {', '.join(EFFORTS)}")
        return cls(**EFFORTS[effort])

    def __post_init__(self) -> None:
        for name in ("autoencoder_stages", "epochs", "epoch_rows", "batch_rows", "flips"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.refine_rounds < 0:
            raise InputError(f"refine_rounds must be at least 0, got {self.refine_rounds}")
        if self.angle_power < 1:
            raise InputError(f"angle_power must be at least 1, got {self.angle_power}")
        if self.learning_rate <= 0:
            raise InputError(f"learning_rate must be positive, got {self.learning_rate}")
        if min(self.temperature) <= 0:
            raise InputError(f"temperature must be positive, got {self.temperature}")
        if not 0 <= self.saturation_limit <= 1:
            raise InputError(f"saturation_limit must be from 0 to 1, got {self.saturation_limit}")
        if self.rank is not None and self.rank < 0:
            raise InputError(f"rank must be at least 0, got {self.rank}")
