"""What a text must be, as a black box: may it still become right, is it right? Every question is counted.

A constraint judges text. `Judge` asks it about tokens, which are bytes and may end within a character.
`labkit.sampling.shipped_constraints` holds those that the lab brings.
"""

from __future__ import annotations

import codecs
from functools import cache, cached_property
from typing import Iterable

from labkit.errors import PromptError

REMEMBERED = 20_000  # texts whose state an automaton keeps; then it forgets them all


class Constraint:
    """A predicate on text. Deterministic, and closed under prefixes: behind a refused text there is nothing right.

    `reads_prompt`: is prompt and new text judged as one? `one_line`: does a new line end the text, as an end of text does?
    A subclass answers in `may_become` and `is_right`; the questions are put through `prefix_ok` and `complete_ok`, which count.
    """

    reads_prompt = False
    one_line = True
    wants = "a text"  # for messages: "The prompt is no beginning of ..."

    def __init__(self):
        self.evaluations = 0

    def prefix_ok(self, text: str) -> bool:
        """Can `text` still become right? True also when it is."""
        self.evaluations += 1
        return self.may_become(text)

    def complete_ok(self, text: str) -> bool:
        """Is `text` right as it stands?"""
        self.evaluations += 1
        return self.is_right(text)

    def half_ok(self, text: str, half: bytes) -> bool:
        """May a character whose first bytes are `half` follow `text`? A token may be a part of a character.

        One question, whatever the number of characters tried: all with one byte missing, 64 of them with more missing.
        """
        self.evaluations += 1
        return any(self.may_become(text + letter) for letter in _begun(half))

    def may_become(self, text: str) -> bool:
        raise NotImplementedError

    def is_right(self, text: str) -> bool:
        raise NotImplementedError


class Automaton(Constraint):
    """A constraint that reads character by character; states of texts are kept, so that only what is new is read."""

    start: tuple

    def __init__(self):
        super().__init__()
        self._states: dict[str, tuple | None] = {"": self.start}

    def advance(self, state: tuple, letter: str) -> tuple | None:
        """The state behind `letter`; None = nothing right can follow."""
        raise NotImplementedError

    def ends(self, state: tuple) -> bool:
        """Is a text right that ends here?"""
        raise NotImplementedError

    def may_become(self, text: str) -> bool:
        return self._state(text) is not None

    def is_right(self, text: str) -> bool:
        state = self._state(text)
        return state is not None and self.ends(state)

    def _state(self, text: str) -> tuple | None:
        known = self._states
        at = len(text)
        while text[:at] not in known:
            at -= 1
        state = known[text[:at]]
        for letter in text[at:]:
            if state is None:
                break
            state = self.advance(state, letter)
        if len(known) >= REMEMBERED:
            known.clear()
            known[""] = self.start
        known[text] = state
        return state


class Judge:
    """Asks a constraint about tokens: may this one follow, does the text stay right?

    `spellings` are the bytes of every token [V] (`Vocabulary.spelling`); a token without any is never allowed, but for those
    that end the text: `ends`, and for a constraint of one line every token that begins with a new line. `prompt` is the text
    before, as bytes; `start` is what a run's text begins with, in the same bytes. Raises `PromptError` when nothing right can
    begin so.
    """

    def __init__(self, constraint: Constraint, spellings: list[bytes], ends: Iterable[int], prompt: bytes = b""):
        self.constraint, self.spellings = constraint, spellings
        lines = [token for token, spelled in enumerate(spellings) if constraint.one_line and spelled.startswith(b"\n")]
        self.ends = frozenset([*ends, *lines])
        self.start = prompt if constraint.reads_prompt else b""
        if self.start and not self._asked(self.start):
            raise PromptError(f"The prompt is no beginning of {constraint.wants}: mend it, or choose another constraint.")

    @property
    def evaluations(self) -> int:
        """Questions put to the constraint so far."""
        return self.constraint.evaluations

    def allows(self, text: bytes, token: int) -> bool:
        """May `token` follow `text`? One question at most."""
        if token in self.ends:
            return self.complete(text)
        return bool(self.spellings[token]) and self._asked(text + self.spellings[token])

    def complete(self, text: bytes) -> bool:
        """May `text` end here?"""
        try:
            return self.constraint.complete_ok(text.decode())
        except UnicodeDecodeError:  # it ends within a character
            return False

    def allowed(self, text: bytes) -> list[int]:
        """Every token that may follow `text`, each asked for: as many questions as the vocabulary has tokens."""
        return [token for token in range(len(self.spellings)) if self.allows(text, token)]

    def allowed_shared(self, text: bytes) -> list[int]:
        """The same, asking once for what begins alike: behind a refused spelling none that begins with it is asked for."""
        found = sorted(self.ends) if self.ends and self.complete(text) else []
        refused = b""
        for spelled, tokens in self._sorted:
            if refused and spelled.startswith(refused):
                continue
            if self._asked(text + spelled):
                found += tokens
            else:
                refused = spelled
        return sorted(found)

    @cached_property
    def _sorted(self) -> list[tuple[bytes, list[int]]]:
        """A trie of the vocabulary, laid flat: spellings in order, so that those with one beginning stand together."""
        same: dict[bytes, list[int]] = {}
        for token, spelled in enumerate(self.spellings):
            if spelled and token not in self.ends:
                same.setdefault(spelled, []).append(token)
        return sorted(same.items())

    def _asked(self, text: bytes) -> bool:
        try:
            whole, read = codecs.utf_8_decode(text, "strict", False)
        except UnicodeDecodeError:
            return False
        half = text[read:]
        return self.constraint.half_ok(whole, half) if half else self.constraint.prefix_ok(whole)


@cache
def _begun(half: bytes) -> tuple[str, ...]:
    """Characters whose UTF-8 begins with `half`: one for every next byte."""
    missing = (2 if half[0] < 0xE0 else 3 if half[0] < 0xF0 else 4) - len(half)
    found = [half + bytes([byte] + [0x80] * (missing - 1)) for byte in range(0x80, 0xC0)]
    return tuple(letter for letter in (one.decode("utf-8", "ignore") for one in found) if len(letter) == 1)
