"""The constraints that the lab brings: a regular expression, a list of words, JSON, Python that parses."""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from typing import Iterable

import regex

from labkit.errors import LabError
from labkit.sampling.constraints import REMEMBERED, Automaton, Constraint


class Regex(Constraint):
    """Texts that a regular expression matches from end to end. Raises `LabError` when `pattern` is none.

    The `regex` package's partial matching says whether a text can still become a match.
    """

    def __init__(self, pattern: str):
        super().__init__()
        self.wants = f"what {pattern!r} matches"
        try:
            self.pattern = regex.compile(pattern)
        except regex.error as broken:
            raise LabError(f"{pattern!r:.60} is no regular expression ({broken}): mend it.") from None

    def may_become(self, text: str) -> bool:
        return self.pattern.fullmatch(text, partial=True) is not None

    def is_right(self, text: str) -> bool:
        return self.pattern.fullmatch(text) is not None


class Words(Constraint):
    """Words of a list, one space between them; a space before the first is allowed."""

    wants = "words of the list"

    def __init__(self, words: Iterable[str]):
        super().__init__()
        self.words = frozenset(words)
        self.beginnings = {word[:end] for word in self.words for end in range(len(word) + 1)}

    def may_become(self, text: str) -> bool:
        *whole, last = text.removeprefix(" ").split(" ")
        return last in self.beginnings and self.words.issuperset(whole)

    def is_right(self, text: str) -> bool:
        return self.words.issuperset(text.removeprefix(" ").split(" "))


class Json(Automaton):
    """JSON (RFC 8259) with an object or a list at the top, on one line: one space at most where blanks may stand.

    Without that rule a model that would rather not write JSON writes blanks for ever. A state is (mode, more, stack): what is
    read now, what must be known of it, and the brackets that are open; `more` is " " behind a space.
    """

    wants = "a JSON object or list"
    start = ("value", "", "")
    LITERALS = {word[0]: word[1:] for word in ("true", "false", "null")}
    # what is read of a number -> what may follow it; it may end behind "0", an int, a fraction's or an exponent's digit
    NUMBER = {
        "-": {"0": "0", "1": "int"},
        "0": {".": ".", "e": "e"},
        "int": {"0": "int", "1": "int", ".": ".", "e": "e"},
        ".": {"0": "frac", "1": "frac"},
        "frac": {"0": "frac", "1": "frac", "e": "e"},
        "e": {"0": "exp", "1": "exp", "-": "sign", "+": "sign"},
        "sign": {"0": "exp", "1": "exp"},
        "exp": {"0": "exp", "1": "exp"},
    }
    WHOLE = ("0", "int", "frac", "exp")
    KINDS = dict.fromkeys("123456789", "1") | {"E": "e"}  # letters that act as another

    def advance(self, state, letter):
        mode, more, stack = state
        if mode == "number":
            step = self.NUMBER[more].get(self.KINDS.get(letter, letter))
            if step:
                return "number", step, stack
            return self.advance(("next", "", stack), letter) if more in self.WHOLE else None
        if mode == "literal":
            return (("literal", more[1:], stack) if more[1:] else ("next", "", stack)) if letter == more[0] else None
        if mode in ("text", "key text"):
            return self._in_text(mode, more, stack, letter)
        if letter == " ":
            return (mode, " ", stack) if not more and (stack or mode == "value") else None
        if letter in "]}":
            empty = mode == ("empty list?" if letter == "]" else "empty object?")
            closes = stack[-1:] == ("[" if letter == "]" else "{")
            return ("next", "", stack[:-1]) if closes and (empty or mode == "next") else None
        if mode == "next" and letter == "," and stack:
            return "key" if stack[-1] == "{" else "value", "", stack
        if mode in ("key", "empty object?") and letter == '"':
            return "key text", "", stack
        if mode == "colon" and letter == ":":
            return "value", "", stack
        return self._value(stack, letter) if mode in ("value", "empty list?") else None

    def _value(self, stack: str, letter: str) -> tuple | None:
        if letter in "[{":
            return "empty list?" if letter == "[" else "empty object?", "", stack + letter
        if not stack:
            return None  # a bare number or text is JSON, but nothing to look at
        if letter == '"':
            return "text", "", stack
        if letter in self.LITERALS:
            return "literal", self.LITERALS[letter], stack
        number = {"-": "-", "0": "0", "1": "int"}.get(self.KINDS.get(letter, letter))
        return ("number", number, stack) if number else None

    def _in_text(self, mode: str, more: str, stack: str, letter: str) -> tuple | None:
        """`more`: "" outside escapes, "\\" behind a backslash, "u" and the hex digits read behind \\u."""
        if more == "\\":
            return (mode, "u" if letter == "u" else "", stack) if letter in '"\\/bfnrtu' else None
        if more:
            more += letter
            return (mode, more if len(more) < 5 else "", stack) if letter in "0123456789abcdefABCDEF" else None
        if letter == '"':
            return "colon" if mode == "key text" else "next", "", stack
        return None if letter < " " else (mode, "\\" if letter == "\\" else "", stack)

    def ends(self, state):
        return state[0] == "next" and not state[2]


class Python(Constraint):
    """Python that parses: the prompt and the new text together are the beginning of a program.

    CPython's own parser says whether a beginning can go on: a backslash at the end of a text lets it run out of input where
    there is no mistake before. The last token may be a part of one: an open string is closed, a few endings are tried, and
    the keywords that begin so. A beginning of a program is not refused (tested on real code), but for f-strings that hold
    their own quotes (Python 3.12); what is wrong inside a string is seen when it closes. Right is what `ast.parse` takes.
    Nothing is ever run.
    """

    reads_prompt = True
    one_line = False
    wants = "a Python program"
    ENDINGS = ("\\", "\n", "=\\", ">\\", ".\\", "..\\", "*\\", "0\\")  # whole; then `==`, `->`, `1e-0`, ...
    STRING = re.compile(r"""#[^\n]*|(?P<mark>\"{3}|'{3}|"|')(?:\\.|(?!(?P=mark))[^\\])*(?:(?P<close>(?P=mark))|\\?\Z)""", re.S)
    PREFIXES = ("r", "u", "b", "f", "br", "rb", "fr", "rf")
    KEYWORDS = (*keyword.kwlist, *keyword.softkwlist)
    INCOMPLETE = ast.PyCF_ONLY_AST | 0x4000  # PyCF_ALLOW_INCOMPLETE_INPUT, which codeop uses too

    def __init__(self):
        super().__init__()
        self._known: dict[str, bool] = {}

    def may_become(self, text: str) -> bool:
        text = re.sub(r"(?<=\n)[ \t]+$", "", text)  # an indent says nothing until something stands behind it
        if text not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[text] = self._may_go_on(text)
        return self._known[text]

    def is_right(self, text: str) -> bool:
        return self._parses(text, ast.PyCF_ONLY_AST)

    def _may_go_on(self, text: str) -> bool:
        strings = list(self.STRING.finditer(text))
        if strings and (mark := strings[-1]["mark"]) and not strings[-1]["close"]:
            body = text[strings[-1].end("mark") :]
            if len(mark) == 1 and "\n" in re.sub(r"\\.", "", body, flags=re.S):
                return False  # the line ended before the string
            text = text[: strings[-1].end("mark")] + mark
        begun = re.search(r"[^\W\d]*$", text)[0]
        words = [word[len(begun) :] + "\\" for word in self.KEYWORDS if begun and word.startswith(begun)]
        quotes = ["''\\"] if begun.lower() in self.PREFIXES else []
        return any(self._parses(text + ending, self.INCOMPLETE) for ending in (*self.ENDINGS, *words, *quotes))

    @staticmethod
    def _parses(text: str, flags: int) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in texts that nobody runs
            try:
                compile(text, "<text>", "exec", flags, dont_inherit=True)
            except SyntaxError as problem:
                return problem.msg == "incomplete input"
            except (ValueError, RecursionError, MemoryError):  # null bytes, nested too deeply
                return False
        return True


DATE = r"(19|20)\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
NO_E = r"[^eE\n]+"
COMMENT = "a add all and are at by check default empty file find first for from get if in is it item items key last list "
COMMENT += "make name new next no not of one or queue remove return set size that the this to use value values when with"
SHIPPED = {
    "JSON": Json,
    "Python": Python,
    "a date": lambda: Regex(DATE),
    "no letter e": lambda: Regex(NO_E),
    "word list": lambda: Words(COMMENT.split()),
}  # name -> a fresh one
