"""A decoder's graph, one step after another: ids in, logits out, the cache kept between them.

Measuring processes carry this file (:mod:`runtime.profile.measure.carry`), so it imports numpy,
onnxruntime and what is carried with it, no more.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from toolkit.bundle.feeds import LOGITS_TO_KEEP, build_feeds, is_cache
from toolkit.bundle.tensors import describe
from toolkit.errors import InputError
from toolkit.ort import ORT_ERRORS, one_line

LOGITS = "logits"


class Steps:
    """One text's steps. The cache stays onnxruntime's own values, never copied into numpy."""

    def __init__(
        self, session: onnxruntime.InferenceSession, ids_input: str | None, called: str
    ) -> None:
        """An empty text.

        Args:
            session: with inputs ``past_key_values…`` and outputs ``logits`` and ``present…``.
            ids_input: the input of token ids.
            called: what errors call the model.
        """
        self._session, self._called = session, called
        present = [out.name for out in session.get_outputs() if out.name.startswith("present")]
        self._wanted = [LOGITS, *present]
        inputs = describe(session.get_inputs())
        self._others = [
            info for info in inputs if not is_cache(info.name) and info.name != LOGITS_TO_KEEP
        ]
        empty = build_feeds(inputs, ids_input, np.zeros((1, 1), np.int64))
        self._cache = {name: _value(v) for name, v in empty.items() if is_cache(name)}
        self._last = {name: _value(array) for name, array in last_logits(session).items()}
        self._past = 0

    def step(self, ids: Sequence[int]) -> NDArray[np.floating]:
        """The logits [V] after some more tokens.

        Raises:
            InputError: onnxruntime refuses the step, as beyond the last position.
        """
        total = self._past + len(ids)
        made = {
            "attention_mask": np.ones((1, total)),
            "position_ids": np.arange(self._past, total)[None],
        }
        feeds = dict(self._cache) | self._last
        for info in self._others:
            values = made.get(info.name, np.asarray(ids)[None])
            feeds[info.name] = _value(np.ascontiguousarray(values, info.numpy_dtype))
        try:
            found = self._session.run_with_ort_values(self._wanted, feeds)
        except ORT_ERRORS as error:
            raise InputError(
                f"{self._called} cannot go on after {self._past} tokens: {one_line(error)}"
            ) from error
        present = dict(zip(self._wanted, found, strict=True))
        logits: NDArray[np.floating] = present.pop(LOGITS).numpy()[0, -1]
        self._cache = {_past(name): value for name, value in present.items()}
        self._past = total
        return logits


def last_logits(session: onnxruntime.InferenceSession) -> dict[str, NDArray[np.int64]]:
    """The feed that asks for the last token's logits alone; empty where a graph makes all."""
    # It has a default, or must be given.
    known = {value.name for value in session.get_overridable_initializers()}
    known |= {value.name for value in session.get_inputs()}
    return {LOGITS_TO_KEEP: np.array(1, np.int64)} if LOGITS_TO_KEEP in known else {}


def _value(array: NDArray[Any]) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _past(name: str) -> str:
    """The input that an output of the step before goes to."""
    return name.replace("present", "past_key_values", 1)
