"""How much one visitor may ask for: bounds in one place, set by `LABKIT_*` variables or the server's flags."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from labkit.errors import EngineError, KnobError, PromptError
from labkit.trace import Request

# No tokenizer we know packs more characters into one token on ordinary text; a longer prompt is refused unread.
CHARACTERS_PER_TOKEN = 64

WINDOW = 4  # events ahead; 16 would save 46 microseconds a step, and show staler steps after Stop
LARGEST_WINDOW = 64

UNPACKABLE = (msgspec.MsgspecError, TypeError, OverflowError, RecursionError, UnicodeError)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of an engine; `Limits.from_environment()` reads `LABKIT_MAX_NEW_TOKENS` and so on."""

    max_prompt_tokens: int = 8448
    max_new_tokens: int = 1024
    max_frame_bytes: int = 4 * 2**20  # what a visitor may send at once
    max_answer_bytes: int = 64 * 2**20  # what one step may weigh: whole laws of a long prompt are the heaviest
    max_runs: int = 256  # of all visitors together, those that wait for their next step among them
    max_held_tokens: int = 2**18  # prompts and new tokens of all runs; 16 KB each in the shipped target's cache
    max_runs_per_visitor: int = 16  # four benches on a page, each with two lanes, a branch, and one to spare
    max_questions_per_visitor: int = 32  # waiting at once; they are answered one by one
    max_visitors: int = 100
    idle_seconds: int = 3600  # a run nobody pulls, or a connection nobody uses, is let go after this

    @classmethod
    def from_environment(cls, **flags: int | None) -> Limits:
        """The limits of the `LABKIT_*` variables; `flags` that are not None win. Raises `EngineError` on a bad one."""
        values = {}
        for name in cls.__struct_fields__:
            given = flags.get(name)
            text = os.environ.get(f"LABKIT_{name.upper()}", "") if given is None else given
            if text != "":
                values[name] = _positive(name, text)
        return cls(**values)


def _positive(name: str, text: Any) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise EngineError(f"LABKIT_{name.upper()} is {text!r}: set it to a whole number from 1 up.")
    return number


def packed(request: Request) -> msgspec.Raw:
    """The request as msgpack. Raises `EngineError` when a field holds what is no plain data."""
    try:
        return msgspec.Raw(msgspec.msgpack.encode(request))
    except UNPACKABLE as wrong:
        raise _malformed(wrong) from None


def checked(request: msgspec.Raw, limits: Limits) -> Request:
    """The packed request with every field of the right type and inside `limits`.

    Raises `PromptError`, `KnobError` or `EngineError`, one sentence. What depends on the model (its context, the
    method's knobs, the tokens of a text prompt) is checked where the model is.
    """
    try:
        asked = msgspec.msgpack.decode(request, type=Request)
    except UNPACKABLE as wrong:
        raise _malformed(wrong) from None
    if not 1 <= asked.max_new_tokens <= limits.max_new_tokens:
        span = f"from 1 to {limits.max_new_tokens:,}"
        raise KnobError(f"{asked.max_new_tokens:,} new tokens were asked for: choose {span} here.")
    if asked.ids is not None:
        check_length(len(asked.ids), limits)
    else:
        check_text(asked.prompt, limits)
    return asked


def check_window(window: int) -> None:
    """Raise `EngineError` when a run is to go `window` events ahead and that is too few or too many."""
    if not 1 <= window <= LARGEST_WINDOW:
        raise EngineError(f"The window is {window}: choose from 1 to {LARGEST_WINDOW} events ahead.")


def check_length(tokens: int, limits: Limits) -> None:
    """Raise `PromptError` when a prompt of `tokens` tokens is longer than the engine takes."""
    if tokens > limits.max_prompt_tokens:
        raise PromptError(f"The prompt has {tokens:,} tokens: shorten it to {limits.max_prompt_tokens:,} at most.")


def check_text(text: str, limits: Limits) -> None:
    """Raise `PromptError` when `text` cannot be as short as the engine takes; saves the tokenizer megabytes of it."""
    if len(text) > limits.max_prompt_tokens * CHARACTERS_PER_TOKEN:
        most = limits.max_prompt_tokens
        raise PromptError(f"The prompt has {len(text):,} characters, more than {most:,} tokens can hold: shorten it.")


def _malformed(wrong: Exception) -> EngineError:
    return EngineError(f"The request is malformed ({wrong}): correct that field and ask again.")
