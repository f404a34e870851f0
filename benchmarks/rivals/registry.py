"""Which methods there are, by name."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit import Budget, LightTokenConfig, PaperConfig, compress
from toolkit.methods.compress import METHODS

from .codebooks import LocalSearch, Product, Residual
from .result import Float32, Result, Rival
from .rotation import rotation_quantizer
from .rtn import RoundToNearest
from .tensor_train import tensor_train

TOKENIZER_SUFFIX = "+tokenizer"


@dataclass(frozen=True)
class Toolkit:
    """A method of ``toolkit.methods.compress``; its saved file is what counts, header included."""

    method: str
    importance: NDArray[np.float64] | None = None
    config: LightTokenConfig | PaperConfig | None = None

    def __call__(self, table: Float32, max_bytes: int, seed: int) -> Result:
        """Compress to ``max_bytes`` and decode."""
        embedding = compress(
            table,
            Budget(max_bytes=max_bytes),
            method=self.method,
            seed=seed,
            importance=self.importance,
            config=self.config,
        )
        stored = {"file": np.frombuffer(embedding.to_bytes(), np.uint8)}
        parts = [f"rank {embedding.lowrank.rank}"] if embedding.lowrank else []
        parts += ["a length"] if embedding.gain else []
        parts += [
            f"{stage.codes.shape[1]} B for {stage.decoder.latents} x {stage.rows} rows"
            for stage in embedding.stages
        ]
        return Result(embedding.dense(), stored, ", ".join(parts))


@dataclass(frozen=True)
class Method:
    """A line of the picture. ``natural`` rivals have sizes of their own instead of budgets."""

    name: str
    fitted: Rival | None = None
    natural: tuple[Rival, ...] = ()


def methods(importance: NDArray[np.float64] | None = None) -> dict[str, Method]:
    """All methods; with the tokenizer's ``importance`` [V] LightToken comes with it too."""
    sizes = ((2, 128), (2, 32), (3, 128), (3, 32), (4, 32), (8, 32))
    rtn = tuple(RoundToNearest(bits, group) for bits, group in sizes)
    found = [
        Method("rtn", natural=rtn),
        Method("tensor-train", tensor_train),
        Method("pq", Product()),
        Method("opq", Product(rotate=True)),
        Method("rvq", Residual()),
        Method("lsq", LocalSearch()),
        Method("rotation", rotation_quantizer),
        *(Method(name, Toolkit(name)) for name in METHODS),
    ]
    if importance is not None:
        name = "lighttoken"
        found.append(Method(name + TOKENIZER_SUFFIX, Toolkit(name, importance)))
    return {method.name: method for method in found}


def ablations(rows: int, importance: NDArray[np.float64] | None = None) -> dict[str, Method]:
    """LightToken with one ingredient off at a time, and the paper's recipe with its own."""
    config = LightTokenConfig
    ours = {
        "lighttoken": config(),
        "codes as k-means leaves them": config(rounds=0),
        "codebooks as k-means leaves them": config(learn_codebooks=False),
        "no classes of rows": config(classes=False),
        "no row_counts": config(most_stages=0),
        "one stage": config(most_stages=1),
        "a length for each row": config(gain=True),
        "4 rounds": config(rounds=4),
        "40 rounds (--effort best)": config.of_effort("best"),
        "entries are sums (--split-codebooks)": config(additive=True),
    }
    found = [Method(name, Toolkit("lighttoken", importance, c)) for name, c in ours.items()]
    if importance is not None:
        found.append(Method("ids for frequencies, no tokenizer", Toolkit("lighttoken")))
    found.append(Method("every row alike", Toolkit("lighttoken", np.ones(rows))))
    papers = {
        "lighttoken-paper": PaperConfig(),
        "paper, without SVD": PaperConfig(rank=0),
        "paper, one stage": PaperConfig(autoencoder_stages=1),
        "paper, Euclidean loss": PaperConfig(angle_power=1),
    }
    found += [Method(name, Toolkit("lighttoken-paper", None, c)) for name, c in papers.items()]
    return {method.name: method for method in found}
