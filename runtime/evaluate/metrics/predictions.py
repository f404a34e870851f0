"""What language models expect where a text's tokens stand: one pass for all measures of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle.tensors import TensorInfo
from toolkit.errors import InputError
from toolkit.progress import Progress

from ...tasks.batches import need_output, run_rows
from ...tasks.tokenize import Tokens, Window
from ..data.windows import text_windows
from ..figures import Figure
from ..model import EvaluatedModel, need_task
from .distributions import Logits

Int64 = NDArray[np.int64]

MASKED, CAUSAL = "fill-mask", "text-generation"
SHARE = 0.15  # of the tokens, as in BERT's training (Devlin et al. 2019, section 3.1)
_LARGEST_BATCH = 16
_BATCH_BYTES = 256e6  # of a run's logits, unless a single row takes more
_UNKNOWN_WIDTH = 262_144  # logits a token where the graph does not say


@dataclass(frozen=True, eq=False)
class Predictions:
    """One model's logits for some tokens of the text.

    Attributes:
        model: what figures call it.
        window: int64 [n], number of the window that each token is from.
        target: int64 [n], the token that stands there.
        logits: floats [n, V], what the model expects there.
    """

    model: str
    window: Int64
    target: Int64
    logits: Logits


class Measure(Protocol):
    """Predictions in, figures out."""

    def add(self, part: Predictions) -> None:
        """Take some tokens in. The models take turns on the same ones, in the models' order."""

    def figures(self, *, resamples: int, seed: int) -> list[Figure]:
        """What was found; the bootstrap draws windows."""


@dataclass(frozen=True, eq=False)
class _Row:
    """Tokens for the graph; its logits at ``position`` [n] are for the tokens ``target`` [n]."""

    tokens: Tokens
    window: int
    position: Int64
    target: Int64


def is_masked(models: Sequence[EvaluatedModel]) -> bool:
    """Whether the models fill masks; if not, they go on from the left.

    Raises:
        InputError: a model that does neither, or models of both kinds.
    """
    task = models[0].task
    tasks = (task,) if task in (MASKED, CAUSAL) else (MASKED, CAUSAL)
    need_task(models, tasks, f"likelihood of text needs {' or '.join(tasks)} models")
    return task == MASKED


def read(
    models: Sequence[EvaluatedModel],
    text: str,
    measures: Sequence[Measure],
    *,
    limit_tokens: int | None,
    resamples: int,
    seed: int,
    progress: Progress | None,
    exact: bool,
) -> list[Figure]:
    """Run each model once over ``text`` and give what all ``measures`` make of it.

    Causal models foretell each token of a window from those before it, so its first one counts only
    where the tokenizer puts a special token ahead. Masked models foretell tokens that are replaced
    by the mask: a share of :data:`SHARE` of each window at once, drawn with ``seed``; or, if
    ``exact``, every token alone, all others seen, at the cost of a run a token.

    Raises:
        InputError: models that are no language models or share a name, a tokenizer without a mask,
            a text without tokens to foretell, or what :func:`text_windows` refuses.
    """
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise InputError(f"two of the models {', '.join(names)} have one name; name them apart")
    masked = is_masked(models)
    windows = text_windows(models, text, limit_tokens)
    if not masked:
        rows, total = iter(found := _causal(windows)), len(found)
    else:
        mask = models[0].tokenizer.mask_id
        if mask is None:
            raise InputError(
                "the tokenizer has no mask token; add special_tokens_map.json to its files"
            )
        if exact:
            rows, total = _alone(windows, mask), sum(map(len, map(_places, windows)))
        else:
            rows, total = iter(found := _sampled(windows, mask, seed)), len(found)
    if not total:
        raise InputError("the text has no token after its first one; give a longer text")
    outputs = [need_output(model.session, ("logits",), rank=3, task=model.task) for model in models]
    size = _batch_size(outputs, max(map(len, windows)))
    done = 0
    while chunk := list(islice(rows, size)):
        window = np.repeat([row.window for row in chunk], [len(row.target) for row in chunk])
        target = np.concatenate([row.target for row in chunk])
        for model, output in zip(models, outputs, strict=True):
            part = Predictions(model.name, window, target, _run(model, output.name, chunk))
            for measure in measures:
                measure.add(part)
        done += len(chunk)
        if progress is not None:
            progress(done / total, "reading the text")
    return [
        figure for measure in measures for figure in measure.figures(resamples=resamples, seed=seed)
    ]


def _places(window: Window) -> Int64:
    """Where the window's tokens of the text are, special ones left out."""
    return np.array([i for i, origin in enumerate(window.texts) if origin is not None], np.int64)


def _causal(windows: list[Window]) -> list[_Row]:
    rows: list[_Row] = []
    for window in windows:
        places = _places(window)
        places = places[places > 0]
        if len(places):
            rows.append(_Row(window, len(rows), places - 1, np.array(window.ids)[places]))
    return rows


def _sampled(windows: list[Window], mask: int, seed: int) -> list[_Row]:
    rows = []
    for number, window in enumerate(windows):
        places = _places(window)
        rng = np.random.default_rng([seed, number])
        count = max(1, round(SHARE * len(places)))
        rows.append(_masked(window, number, np.sort(rng.choice(places, count, False)), mask))
    return rows


def _alone(windows: list[Window], mask: int) -> Iterator[_Row]:
    for number, window in enumerate(windows):
        for place in _places(window):
            yield _masked(window, number, np.array([place]), mask)


def _masked(window: Window, number: int, places: Int64, mask: int) -> _Row:
    ids = np.array(window.ids)
    target = ids[places]
    ids[places] = mask
    return _Row(Tokens(tuple(ids.tolist()), window.types), number, places, target)


def _batch_size(outputs: Sequence[TensorInfo], length: int) -> int:
    widths = [output.shape[-1] if output.shape else None for output in outputs]
    width = max(width if isinstance(width, int) else _UNKNOWN_WIDTH for width in widths)
    return max(1, min(_LARGEST_BATCH, int(_BATCH_BYTES / (4 * width * length))))


def _run(model: EvaluatedModel, output: str, rows: list[_Row]) -> Logits:
    """The rows' logits one below another [n, V], in the order of the rows."""
    found: dict[int, Logits] = {}
    tokens = [row.tokens for row in rows]
    for batch in run_rows(model.session, model.tokenizer, tokens, [output], len(rows)):
        for place, index in enumerate(batch.index):
            found[int(index)] = batch.output[place, _run_of(rows[index].position)]
    return found[0] if len(rows) == 1 else np.concatenate([found[i] for i in range(len(rows))])


def _run_of(position: Int64) -> slice | Int64:
    """The same places as a slice where they are consecutive, which copies nothing."""
    first, last = int(position[0]), int(position[-1])
    return slice(first, last + 1) if last - first + 1 == len(position) else position
