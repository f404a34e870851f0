"""A prompt in, text out, token by token.

onnxruntime-genai and transformers generate too; this loop is for the base installation, which has
neither. It runs the graph on the prompt once and then on one token at a time, with the cache as
onnxruntime's own values, which are never copied into numpy.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.bundle.feeds import is_cache
from toolkit.bundle.generation import end_ids
from toolkit.errors import FormatError, InputError

from ..session import Session
from .chat import ChatTemplate, chat_template
from .sampling import Sampler, Sampling
from .steps import LOGITS, Steps
from .tokenize import Tokenizer

_DEFAULT_TOKENS = 256


@dataclass(frozen=True)
class Generated:
    """What a decoder wrote.

    Attributes:
        text: without the prompt.
        prompt_tokens: read.
        tokens: ids that were drawn, the one that ended the text not among them.
        first_token_s: seconds from the call to the first token.
        tokens_per_second: of the tokens after the first; None where there are none.
        stopped: whether the model ended the text, or a stop text did.
    """

    text: str
    prompt_tokens: int
    tokens: tuple[int, ...]
    first_token_s: float
    tokens_per_second: float | None
    stopped: bool


@dataclass(frozen=True, eq=False)
class TextGeneration:
    """A decoder with a cache, ready to write.

    Attributes:
        session: with inputs ``past_key_values…`` and outputs ``present…``.
        tokenizer: of the bundle, not cutting anything.
        ends: ids that end a text.
        longest: tokens of prompt and text together, at most; None where the model says nothing.
        template: of a chat, None where the tokenizer has none.
    """

    session: Session
    tokenizer: Tokenizer
    ends: tuple[int, ...]
    longest: int | None
    template: ChatTemplate | None = None

    def __call__(
        self,
        prompt: str,
        sampling: Sampling | None = None,
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        chat: bool | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Generated:
        """Write after ``prompt``.

        Args:
            prompt: text, or what a user says in a chat.
            sampling: greedy by default.
            max_tokens: written at most; by default 256, or what the model has room for.
            stop: texts that end the text; they are not part of it.
            chat: put the prompt into the tokenizer's chat template; by default if it has one.
            on_text: told each piece of text as soon as it is there.

        Raises:
            InputError: an empty prompt or one that is too long, no chat template, or a value out of
                range.
        """
        started = time.perf_counter()
        ids = self._read(prompt, chat)
        room = None if self.longest is None else self.longest - len(ids)
        if max_tokens is not None and max_tokens < 1:
            raise InputError(f"max_tokens must be at least 1, got {max_tokens}")
        wanted = _DEFAULT_TOKENS if max_tokens is None else max_tokens
        most = wanted if room is None else min(wanted, room)
        drawn: list[int] = []
        times: list[float] = []
        text = _Text(self.tokenizer, stop, on_text)
        ended = False
        for id_ in self._tokens(ids, Sampler(sampling or Sampling())):
            times.append(time.perf_counter())
            ended = id_ in self.ends or text.add(id_)
            if id_ not in self.ends:
                drawn.append(id_)
            if ended or len(times) == most:
                break
        text.finish()
        later = times[-1] - times[0]
        rate = (len(times) - 1) / later if later > 0 else None
        return Generated(text.whole, len(ids), tuple(drawn), times[0] - started, rate, ended)

    def _read(self, prompt: str, chat: bool | None) -> list[int]:
        if chat and self.template is None:
            raise InputError("the tokenizer has no chat template; leave --chat out")
        if self.template is not None and chat is not False:
            ids = self.tokenizer.backend.bare(self.template.user_turn(prompt))
        else:
            ids = list(self.tokenizer.split([prompt])[0].ids)
        if not ids:
            raise InputError("the prompt has no tokens; give some text")
        if self.longest is not None and len(ids) >= self.longest:
            raise InputError(
                f"the prompt has {len(ids)} tokens and the model reads {self.longest}, the text "
                "that it writes included; give a shorter one"
            )
        return ids

    def _tokens(self, ids: Sequence[int], sampler: Sampler) -> Iterator[int]:
        """One token after another, without end."""
        graph = Steps(self.session.raw, self.session.ids_input, str(self.session.path))
        latest = list(ids)
        while True:
            id_ = sampler.choose(graph.step(latest))
            yield id_
            latest = [id_]


class _Text:
    """Tokens as text, given out as soon as it is whole characters and holds no stop text."""

    def __init__(
        self, tokenizer: Tokenizer, stop: Sequence[str], on_text: Callable[[str], None] | None
    ) -> None:
        if not all(stop):
            raise InputError("an empty stop text would end every text; give some words")
        self._stream, self._stop, self._on_text = tokenizer.backend.stream(), tuple(stop), on_text
        self._text = ""
        self._said = 0

    @property
    def whole(self) -> str:
        """All text so far."""
        return self._text

    def add(self, id_: int) -> bool:
        """One more token; whether a stop text is complete."""
        self._text += self._stream(id_)
        found = [at for at in (self._text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self._text = self._text[: min(found)]
        else:
            self._say(len(self._text) - self._withheld())
        return bool(found)

    def finish(self) -> None:
        """Give out what was held back."""
        self._say(len(self._text))

    def _withheld(self) -> int:
        """Characters at the end that may be the beginning of a stop text."""
        return max(
            (
                size
                for stop in self._stop
                for size in range(1, len(stop))
                if self._text.endswith(stop[:size])
            ),
            default=0,
        )

    def _say(self, end: int) -> None:
        if self._on_text is not None and end > self._said:
            self._on_text(self._text[self._said : end])
        self._said = max(self._said, end)


def text_generation(session: Session, tokenizer: Tokenizer, folder: Path) -> TextGeneration:
    """A pipeline for a decoder's session and the tokenizer files of ``folder``.

    Raises:
        InputError: the graph has no cache or no logits.
    """
    names = {info.name for info in session.outputs}
    if LOGITS not in names:
        raise InputError(f"{session.path} gives {', '.join(sorted(names))}, and no logits")
    if not any(is_cache(info.name) for info in session.inputs):
        raise InputError(
            f"{session.path} has no cache, and would read all of the text again for each token; "
            "export it with --with-past"
        )
    return TextGeneration(
        session,
        replace(tokenizer, max_length=None),
        end_ids(folder, error=FormatError, remedy="copy the bundle again"),
        tokenizer.max_length,
        chat_template(folder),
    )
