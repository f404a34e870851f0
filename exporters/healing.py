"""A packed table healed on plain text before it goes into the graph."""

import hashlib
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit import CompressedEmbedding
from toolkit.errors import InputError
from toolkit.files import user_cache
from toolkit.progress import Progress

from .drawn_text import drawn_texts
from .sources.facts import TOKENIZER
from .sources.prior import corpus_lines, token_importance
from .sources.source import LoadedModel, load_source
from .sources.static import STATIC

if TYPE_CHECKING:
    from torch import Tensor

    from toolkit.finetune.heal import HealConfig, Healing

MOST_TEXTS = 20_000
_LENGTH = 128  # tokens that a text is cut to
_TASKS = (
    "feature-extraction",
    "fill-mask",
    "text-classification",
    "text-ranking",
    "token-classification",
    "question-answering",
    "text-generation",
)


def heal_table(
    loaded: LoadedModel,
    packed: CompressedEmbedding,
    dense: NDArray[np.floating],
    text: Path | None,
    config: "HealConfig",
    *,
    shares: NDArray[np.float64] | None = None,
    importance: NDArray[np.float64] | None = None,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> tuple[CompressedEmbedding, "Healing"]:
    """Heal ``packed`` on a text file, one text a line, with the model of a folder as its teacher.

    At most :data:`MOST_TEXTS` lines are used, drawn by the seed. Without a text, tokens are drawn
    as ``shares`` says. A run that was broken off is gone on with: its state lies in the user's
    cache, under what it depends on.

    Args:
        loaded: the original, from a model folder.
        packed: its table.
        dense: the table as the graph looks it up, [V, d].
        text: UTF-8; None for tokens that are drawn.
        shares: how often each token is, float64 [V], where there is no text; by default as the
            tokenizer's order says.
        config: how long, how much.
        importance: of each row [V]; by default what the text says.
        trust_remote_code: run the Python code that a model brings.
        progress: told how far the work is.

    Raises:
        InputError: another table than the model's input embedding, a text file that cannot be read
            or holds too little.
    """
    longest = min(loaded.facts.max_length or _LENGTH, _LENGTH)
    tokenizer = loaded.folder / TOKENIZER
    if text is None:
        if shares is None:
            shares = token_importance(tokenizer, len(dense))
        shares = np.ones(len(dense)) if shares is None else shares
        texts = drawn_texts(tokenizer, shares, longest=longest, seed=config.seed)
    else:
        texts = read_texts(tokenizer, text, longest, config.seed)
    from toolkit.finetune.attach import find_table
    from toolkit.finetune.heal import heal

    from .sources.dynamo import load_model

    model = load_model(loaded.folder, loaded.facts, trust_remote_code=trust_remote_code)
    weight = find_table(model, packed).weight.detach().numpy()
    if weight.shape != dense.shape or not np.allclose(weight, dense, atol=1e-6):
        raise InputError(
            f"the table of {dense.shape[0]} x {dense.shape[1]} is not the model's input embedding, "
            "which is what can be healed; leave out --table and --all-tables"
        )
    state = _state(loaded, packed, texts, importance, config)
    pad_id = getattr(model.config, "pad_token_id", None)
    return heal(
        model,
        packed,
        texts,
        pad_id=pad_id if isinstance(pad_id, int) and pad_id >= 0 else 0,
        importance=importance,
        config=config,
        state=state,
        progress=progress,
    )


def export_trained(
    loaded: LoadedModel,
    parameters: "Mapping[str, Tensor]",
    work: Path,
    *,
    trust_remote_code: bool = False,
    with_past: bool = False,
) -> LoadedModel:
    """The original with parameters that were trained beside its table, exported as it was.

    Args:
        loaded: the original, from a model folder.
        parameters: parameters by name, as ``Healing.parameters`` has them.
        work: a folder that is not there yet, for the model and its graph.
        trust_remote_code: run the Python code that a model brings.
        with_past: as the original was exported.
    """
    from toolkit.finetune.distil import put_back

    from .sources.dynamo import load_model

    model = load_model(loaded.folder, loaded.facts, trust_remote_code=trust_remote_code)
    put_back(dict(model.named_parameters()), parameters)
    folder = work / "model"
    model.save_pretrained(folder)
    # Everything but the weights as it came: config.json above all, which names task and class.
    weights = shutil.ignore_patterns("*.safetensors", "*.bin", "*.index.json", "*.onnx*", "*.h5")
    shutil.copytree(loaded.folder, folder, ignore=weights, dirs_exist_ok=True)
    graph = work / "graph"
    graph.mkdir()
    return load_source(
        str(folder),
        graph,
        exporter=loaded.exporter,
        trust_remote_code=trust_remote_code,
        with_past=with_past,
    )


def read_texts(
    tokenizer: Path, text: Path, length: int, seed: int, *, option: str = "--heal"
) -> list[list[int]]:
    """Token ids of the lines of ``text``, special tokens included, each cut to ``length``.

    At most :data:`MOST_TEXTS`, drawn by ``seed``. ``option``: what asked for the text, for errors.
    """
    lines = [
        ids.tolist()
        for ids in corpus_lines(tokenizer, text, option=option, length=length)
        if len(ids)
    ]
    if len(lines) > MOST_TEXTS:
        lines = random.Random(seed).sample(lines, MOST_TEXTS)
    return lines


def check_healable(loaded: LoadedModel) -> None:
    """Raise InputError for an original that is .onnx already, or a task without a teacher."""
    if loaded.exporter == "none":
        raise InputError(
            f"{loaded.path.name} is ONNX already, which nothing can be trained in; heal with the "
            "model folder or hub id that it was made from"
        )
    if loaded.exporter == STATIC:
        raise InputError(
            f"{loaded.source.name} is a table and a mean, with no layer after it to heal for; "
            "leave --heal out"
        )
    if loaded.facts.task not in _TASKS:
        raise InputError(
            f"healing knows no {loaded.facts.task} models, only {', '.join(_TASKS)}; leave it out"
        )


def _state(
    loaded: LoadedModel,
    packed: CompressedEmbedding,
    texts: list[list[int]],
    importance: NDArray[np.float64] | None,
    config: "HealConfig",
) -> Path:
    digest = hashlib.sha256(packed.to_bytes())
    digest.update(b"" if importance is None else importance.tobytes())
    digest.update(f"{loaded.source.sha256} {config} {texts}".encode())
    return user_cache() / "heal" / f"{digest.hexdigest()[:32]}"
