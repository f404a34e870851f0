"""A tokenizer's chat template: a user's message to the prompt that a chat model expects."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from toolkit.errors import FormatError, InputError, MissingDependencyError
from toolkit.json_files import read_json
from toolkit.ort import one_line

_FILE = "chat_template.jinja"
_CONFIG = "tokenizer_config.json"
_ROOM = 1 << 30  # bytes that a template may take
_MOST = 1 << 20  # letters that a template may write around a message; usual ones write 10,000


@dataclass(frozen=True)
class ChatTemplate:
    """A template in Jinja, as tokenizers carry it.

    Attributes:
        source: the template.
        tokens: what it knows by name, such as ``bos_token``.
    """

    source: str
    tokens: dict[str, str] = field(default_factory=dict)

    def user_turn(self, text: str) -> str:
        """One message of a user, and the beginning of the answer.

        Raises:
            InputError: the template refuses it.
            MissingDependencyError: Jinja is not installed.
        """
        try:
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError as error:
            raise MissingDependencyError(
                "chat templates need jinja2; pip install jinja2, or leave the template out with "
                "--no-chat"
            ) from error
        # A template is code that came with a model: the sandbox keeps it to text.
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        del environment.globals["lipsum"]  # makes as much text as it is asked for
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        messages = [{"role": "user", "content": text}]
        try:
            with _little_memory():
                pieces = environment.from_string(self.source).generate(
                    messages=messages, add_generation_prompt=True, **self.tokens
                )
                return _joined(pieces, len(text))
        except Exception as error:  # of a program from anyone
            raise InputError(
                f"the chat template refuses the prompt ({one_line(error)}); try --no-chat"
            ) from error


def chat_template(folder: Path) -> ChatTemplate | None:
    """The template beside a tokenizer; None if there is none.

    Raises:
        FormatError: a damaged file.
    """
    config = read_json(folder / _CONFIG)
    source = _source(folder / _FILE, config.get("chat_template"))
    if source is None:
        return None
    tokens = {
        name: token["content"] if isinstance(token, dict) else token
        for name, token in config.items()
        if name.endswith("_token") and isinstance(token, str | dict)
    }
    return ChatTemplate(source, tokens)


def _source(path: Path, told: Any) -> str | None:
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(f"{path} is damaged ({error.reason}); copy it again") from error
    if isinstance(told, list):  # several by name
        named = {each.get("name"): each.get("template") for each in told if isinstance(each, dict)}
        told = named.get("default")
    return told if isinstance(told, str) else None


def _joined(pieces: Iterable[str], given: int) -> str:
    """The text of a template, which may go on for ever."""
    kept, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > _MOST + 2 * given:
            raise ValueError(f"it writes more than {_MOST:,} letters around it")
        kept.append(piece)
    return "".join(kept)


@contextmanager
def _little_memory() -> Iterator[None]:
    """Where Linux can limit it, a template that doubles a text again and again soon has none left.

    It is a limit of the process, so other threads are under it for that moment too.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = psutil.Process().memory_info().vms
    if resource.RLIM_INFINITY != soft < held + _ROOM:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (held + _ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _refuse(message: str) -> None:
    """What templates call to refuse a conversation."""
    raise ValueError(message)
