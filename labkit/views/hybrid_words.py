"""Words as root and affixes: above the letters that a token takes in the word, below its name in the vocabulary."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.boxes import drawn
from labkit.views.text import label
from labkit.views.text import width as wide_as

COLUMNS = ("word", "kind", "name", "letters")
LINE, HIGH, GAP, LETTERS, NAMES = 60, 48, 3, 15, 12  # pixels: row, tile, between tiles; sizes of the two faces


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a token: the word, "root", "affix", "piece" or "mark", the token's name, its letters there."""
    steps = read.steps(trace, upto)
    words = steps[-1].notes["words"] if steps else []
    return [(one["word"], *tile) for one in words for tile in one["tiles"]]


def hybrid_words(trace: Trace, upto: int | None = None, *, width: float = 1000, theme: str = "light") -> go.Figure:
    """Two words a row, or one where there is little room; filled = root, tinted = affix, dashed = piece, grey = mark."""
    ink = themes.colours(theme)
    looks = {
        "root": (ink["draft"], ink["on-draft"], {"color": ink["draft"], "width": 1}),
        "affix": (ink["draft-tint"], ink["ink"], {"color": ink["draft"], "width": 1.5}),
        "mark": (ink["sunk"], ink["ink-2"], {"color": ink["edge"], "width": 1}),
        "piece": (ink["paper"], ink["ink"], {"color": ink["refuse"], "width": 1.5, "dash": "dash"}),
    }
    steps = read.steps(trace, upto)
    words = steps[-1].notes["words"] if steps else []
    room = width - 24
    shapes, notes, x, y = [], [], 0.0, 0.0
    for one in words:
        sizes = [max(wide_as(letters, LETTERS), wide_as(name, NAMES)) + 12 for _, name, letters in one["tiles"]]
        if x and x + sum(sizes) > room:
            x, y = 0.0, y + LINE
        for (kind, name, letters), wide in zip(one["tiles"], sizes):
            fill, text, line = looks[kind]
            corners = {"x0": x + 1, "x1": x + wide - 1, "y0": y + 1, "y1": y + HIGH - 1}
            shapes.append({"type": "rect", **corners, "fillcolor": fill, "line": line})
            for said, size, part in ((letters, LETTERS, 0.32), (name, NAMES, 0.74)):
                font = {"family": themes.CODE_FONT, "size": size, "color": text}
                place = {"x": x + wide / 2, "y": y + part * HIGH, "xanchor": "center", "yanchor": "middle"}
                notes.append({**place, "text": label(said), "font": font, "showarrow": False, "borderpad": 0})
            x += wide + GAP
        x = max(x + 24, room / 2) if x < room / 2 else room + 1  # the next word: the second half, or the next row
    height = y + LINE if words else LINE
    return drawn("What is a word made of?", _words(words), shapes, notes, width, room, height)


def _words(words: list[dict]) -> str:
    if not words:
        return "First the words of the prompt, then some of the text that is read."
    forms: dict[str, set[str]] = {}
    for kind, name, letters in (tile for one in words for tile in one["tiles"]):
        if kind in ("root", "affix") and letters.islower():
            forms.setdefault(name, set()).add(letters)
    name = max(forms, key=lambda name: len(forms[name]), default="")
    more = (
        f"; {label(name)} is written {' and '.join(map(label, sorted(forms[name])))}"
        if len(forms.get(name, ())) > 1
        else ""
    )
    return f"Letters above, the token's name below: filled = root, tinted = affix, dashed = piece of a BPE, grey = mark{more}."
