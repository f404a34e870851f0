"""Prompts with choices to how likely each choice is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from toolkit.bundle.tensors import TensorInfo
from toolkit.errors import InputError
from toolkit.progress import Progress

from ..session import Session
from .batches import feeds_of, need_output
from .text_classification import softmax
from .tokenize import Tokenizer
from .tokens import quoted


@dataclass(frozen=True)
class Choice:
    """A choice, where it stood among those given, and its probability among them."""

    text: str
    place: int
    score: float


@dataclass(frozen=True, eq=False)
class MultipleChoice:
    """The likeliest of several texts to go on from a prompt, or to answer it.

    Such a model reads all choices at once: its ids are [batch, choices, length].
    """

    session: Session
    tokenizer: Tokenizer
    ids: TensorInfo
    output: TensorInfo

    def __call__(
        self, prompts: Sequence[tuple[str, Sequence[str]]], progress: Progress | None = None
    ) -> list[tuple[Choice, ...]]:
        """For each (prompt, choices) its choices, the likeliest first.

        Raises:
            InputError: fewer than two choices, something that is no text, or a graph that fixes
                another number of choices.
        """
        results = []
        for number, each in enumerate(prompts):
            prompt, choices = _checked(each)
            results.append(self._choose(prompt, choices))
            if progress is not None:
                progress((number + 1) / len(prompts), "running the model")
        return results

    def _choose(self, prompt: str, choices: list[str]) -> tuple[Choice, ...]:
        batch, number, length = (s if isinstance(s, int) else None for s in self.ids.shape)
        if number is not None and number != len(choices):
            raise InputError(f"the model takes {number} choices, got {len(choices)}; give {number}")
        limits = [limit for limit in (self.tokenizer.max_length, length) if limit is not None]
        tokenizer = replace(self.tokenizer, max_length=min(limits, default=None))
        rows = tokenizer.split([(prompt, choice) for choice in choices])
        encoded = {
            name: np.repeat(values[None], batch or 1, axis=0)
            for name, values in tokenizer.pad(rows, length).items()
        }
        found = self.session.run(feeds_of(self.session, encoded), [self.output.name])
        logits = found[self.output.name][0]
        shares = softmax(logits)
        order = np.argsort(-logits, kind="stable")
        return tuple(Choice(choices[i], int(i), float(shares[i])) for i in order)


def multiple_choice(session: Session, tokenizer: Tokenizer) -> MultipleChoice:
    """Join a session and a tokenizer.

    Raises:
        InputError: a graph whose ids are not [batch, choices, length], or without logits.
    """
    ids = next((info for info in session.inputs if info.name == session.ids_input), None)
    if ids is None or len(ids.shape) != 3:
        shape = "no ids" if ids is None else f"{ids.name} {list(ids.shape)}"
        raise InputError(
            f"{session.path} takes {shape}, and multiple-choice needs ids [batch, choices, "
            "length]; open it with the task it was exported for"
        )
    output = need_output(session, ("logits",), rank=2, task="multiple-choice")
    return MultipleChoice(session, tokenizer, ids, output)


def _checked(given: Any) -> tuple[str, list[str]]:
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        raise InputError(f"{quoted(given)} is no prompt with choices; give (prompt, [choice, ...])")
    prompt, choices = given
    if isinstance(choices, str) or not isinstance(choices, Sequence) or len(choices) < 2:
        raise InputError(
            f"the prompt {quoted(prompt)} has {quoted(choices)}; give two choices or more"
        )
    for text in (prompt, *choices):
        if not isinstance(text, str):
            raise InputError(f"{quoted(text)} is no text; give strings")
    return prompt, list(choices)
