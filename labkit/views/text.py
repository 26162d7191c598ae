"""Token text for figures and tables. It is untrusted: plotly would read tags, entities and formulas in it."""

from __future__ import annotations

import re
import unicodedata

from labkit.trace import Trace

_MARKS = {"\n": "↵", " ": "·", "\t": "⇥", "\r": "␍"}
_UNSEEN = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff]")


def shown(text: str) -> str:
    """A token's text with its whitespace and control characters visible."""
    marked = "".join(_MARKS.get(c) or (chr(0x2400 + ord(c)) if c < " " else c) for c in text)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", marked)


def short(text: str) -> str:
    """The same, with a long indent counted and not drawn."""
    if re.fullmatch(r"\n* {5,}", text):
        return f"{'↵' * text.count(chr(10))}·×{text.count(' ')}"
    return shown(text)


def cut(text: str, room: int) -> str:
    """`short(text)`, at most `room` characters."""
    whole = short(text)
    return whole if len(whole) <= room else whole[: max(1, room - 1)] + "…"


def escaped(text: str) -> str:
    """Text that plotly shows as it is: no tag, no link, no entity, no formula."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("$", "&#36;")):
        text = text.replace(character, entity)
    return text


def label(text: str, room: int = 24) -> str:
    """A token's text, visible, cut and escaped: what a figure may hold."""
    return escaped(cut(text, room))


def width(text: str, size: float = 13) -> float:
    """The width in pixels of `text` in the code face; wide letters count twice."""
    letters = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return letters * size * 7.85 / 13


def piece(trace: Trace, token: int) -> str:
    """The text of a token, or its number when the trace never mentions it."""
    return trace.pieces.get(token, f"#{token}")
