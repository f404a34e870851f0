"""Every choice of the recipes in one place."""

from dataclasses import dataclass
from typing import Any

from ..errors import InputError

EFFORTS: dict[str, dict[str, Any]] = {
    "fast": {"rounds": 2},
    "normal": {},
    "best": {"rounds": 40, "sample_rows": 262_144},
}


@dataclass(frozen=True)
class LightTokenConfig:
    """How ``lighttoken`` fits a table. The defaults are what ``compress`` uses.

    Attributes:
        rounds: alternations of code search, decoder and codebooks; 0 stops at the codes that the
            principal directions give.
        sample_rows: rows that the code is trained on, at most; the others are given theirs after.
        learn_codebooks: fit the codebooks to the joint code; else they stay as k-means left them.
        gain: store each row's length; None lets their spread decide.
        length_power: how much more long rows count in the fit where lengths are stored: 0 weighs
            relative errors alike, 2 absolute ones.
        classes: let the first byte name one of 256 classes of rows, where that pays.
        most_stages: stages for frequent rows, at most; 0 treats all rows alike.
        additive: make codebooks' entries sums of two of sixteen: an output head of the table is
            several times faster, and a few per cent more error is left; more where bytes stand for
            two or three values.
    """

    rounds: int = 10
    sample_rows: int = 65_536
    learn_codebooks: bool = True
    gain: bool | None = None
    length_power: float = 1.0
    classes: bool = True
    most_stages: int = 6
    additive: bool = False

    @classmethod
    def of_effort(cls, effort: str) -> "LightTokenConfig":
        """A preset: ``fast`` searches little, ``best`` much longer.

        Raises:
            InputError: an unknown word.
        """
        if effort not in EFFORTS:
            raise InputError(f"effort {effort!r} is unknown; choose from {', '.join(EFFORTS)}")
        return cls(**EFFORTS[effort])

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise InputError(f"rounds must be at least 0, got {self.rounds}")
        if self.sample_rows < 1:
            raise InputError(f"sample_rows must be at least 1, got {self.sample_rows}")
        if not 0 <= self.length_power <= 2:
            raise InputError(f"length_power must be from 0 to 2, got {self.length_power}")
        if not 0 <= self.most_stages <= 6:
            raise InputError(f"most_stages must be from 0 to 6, got {self.most_stages}")


@dataclass(frozen=True)
class PaperConfig:
    """How ``lighttoken-paper`` trains.

    Attributes:
        autoencoder_stages: residual stages the code is trained in; their bits are concatenated.
        epochs: passes over the rows for each stage, at most.
        epoch_rows: rows of one epoch, at most; a taller table is sampled anew for each.
        batch_rows: rows of one optimiser step.
        learning_rate: Adam's, falling to a tenth along a cosine.
        temperature: slope of the tempered sigmoid at the first and the last epoch of a stage.
        saturation_limit: a stage stops when this share of its units is saturated.
        angle_power: beta of the direction-aware loss; 1 is the Euclidean loss.
        rank: rank of the low-rank part; None takes a share of the bytes.
    """

    autoencoder_stages: int = 3
    epochs: int = 6
    epoch_rows: int = 65_536
    batch_rows: int = 1024
    learning_rate: float = 4e-3
    temperature: tuple[float, float] = (1.0, 0.1)
    saturation_limit: float = 0.8
    angle_power: float = 2.0
    rank: int | None = None

    def __post_init__(self) -> None:
        for name in ("autoencoder_stages", "epochs", "epoch_rows", "batch_rows"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
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
