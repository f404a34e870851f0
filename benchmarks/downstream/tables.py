"""The tables that are compared, each made once and kept in the work folder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256 as sha256_of
from pathlib import Path

import numpy as np
from downstream import arms as kinds
from downstream.arms import Float32, Int4, Packed, Table, Uncompressed
from numpy.typing import NDArray

from exporters.healing import read_texts
from exporters.sources.prior import importance_of
from toolkit import Budget, CompressedEmbedding, compress
from toolkit.errors import InputError
from toolkit.files import sha256, write_aside
from toolkit.finetune.heal import HealConfig, heal

UNCOMPRESSED, INT4, HEALED = "uncompressed", "int4", "lighttoken-healed"
METHODS = (UNCOMPRESSED, INT4, "svd", "direction", "lighttoken-paper", "lighttoken", HEALED)
_OWN_SIZE = (UNCOMPRESSED, INT4)
_TOKENIZER = "tokenizer.json"
_HEAL_LENGTH = 128  # tokens, as the export does


@dataclass(frozen=True)
class Arm:
    """A method at a ratio of float32 to stored bytes; None for a method that has its own size."""

    method: str
    ratio: float | None

    def __str__(self) -> str:
        return self.method if self.ratio is None else f"{self.method} {self.ratio:g}x"


def list_arms(methods: Sequence[str], ratios: Sequence[float]) -> list[Arm]:
    """Every method at every ratio, the uncompressed model first."""
    return [
        Arm(method, ratio)
        for method in METHODS
        if method in methods
        for ratio in ([None] if method in _OWN_SIZE else ratios)
    ]


@dataclass(frozen=True, eq=False)
class Tables:
    """Makes the table of an arm, or reads it where an earlier run has made it.

    ``lighttoken`` knows from the tokenizer which tokens are frequent, as in an export, and where it
    is healed from the text too; the others have no use for it.

    Attributes:
        model: folder with the tokenizer and the model.
        dense: its table [V, d].
        work: folder for the packed ones.
        heal_text: one text a line; needed for the healed arm alone.
        heal: how it is healed.
    """

    model: Path
    dense: Float32
    work: Path
    heal_text: Path | None = None
    heal: HealConfig = field(default_factory=HealConfig)

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that stand for the model's table."""
        return sha256_of(self.dense.tobytes()).hexdigest()[:12]

    def name(self, arm: Arm) -> str:
        """What the arm's table is kept as: by method, ratio and all that it is made from."""
        parts = [self.digest]
        if arm.method == HEALED:
            parts += [sha256(self._text()), repr(self.heal)]
        mark = sha256_of("".join(parts).encode()).hexdigest()[:12]
        return f"{str(arm).replace(' ', '-')}-{mark}"

    def make(self, arm: Arm) -> Table:
        """The arm's table.

        Raises:
            InputError: a healed table without a text.
            BudgetError: a ratio that the method cannot reach.
        """
        if arm.method == UNCOMPRESSED:
            return Uncompressed(self.dense)
        path = self.work / self.name(arm)
        if not path.is_file():
            table = self._fit(arm)
            with write_aside(path) as aside:
                kinds.save(table, aside)
        return kinds.load(path, int4=arm.method == INT4)

    def _fit(self, arm: Arm) -> Packed | Int4:
        if arm.method == INT4:
            return kinds.round_to_nearest(self.dense)
        if arm.method == HEALED:
            return self._heal(arm)
        return Packed(self._compress(arm, self._importance(None)))

    def _compress(self, arm: Arm, importance: NDArray[np.float64] | None) -> CompressedEmbedding:
        method = "lighttoken" if arm.method == HEALED else arm.method
        return compress(self.dense, Budget(ratio=arm.ratio), method=method, importance=importance)

    def _importance(self, text: Path | None) -> NDArray[np.float64] | None:
        return importance_of(self.model / _TOKENIZER, len(self.dense), None, text)

    def _heal(self, arm: Arm) -> Packed:
        from transformers import AutoModel

        importance = self._importance(self._text())
        texts = read_texts(
            self.model / _TOKENIZER,
            self._text(),
            _HEAL_LENGTH,
            self.heal.seed,
            option="--heal-text",
        )
        model = AutoModel.from_pretrained(self.model, local_files_only=True)
        healed, _ = heal(
            model,
            self._compress(arm, importance),
            texts,
            importance=importance,
            pad_id=model.config.pad_token_id or 0,
            config=self.heal,
            state=self.work / f"{self.name(arm)}.state",
        )
        return Packed(healed)

    def _text(self) -> Path:
        if self.heal_text is None or not self.heal_text.is_file():
            raise InputError(
                f"{HEALED} needs plain text to heal on, got {self.heal_text}; name a file with "
                "--heal-text, or leave the method out of --methods"
            )
        return self.heal_text
