"""A text above its bad scan, with the token boundaries of both: those that still agree, and those that do not."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.columns import WIDE, letters, paper, strokes
from labkit.views.text import shown

COLUMNS = ("column", "clean", "scanned", "token begins, clean", "token begins, scanned")


class Column(NamedTuple):
    """One column: what stands in each line, and whether a token begins there (None: nothing stands there)."""

    x: int  # the place of its left edge, in letters
    wide: int
    texts: tuple[str, str]
    begins: tuple[bool | None, bool | None]
    beside: bool  # is the column before unchanged?

    @property
    def same(self) -> bool:
        """Did the scanner read what was written?"""
        return self.texts[0] == self.texts[1]


def columns(notes: dict) -> list[Column]:
    """The columns of both lines with their boundaries."""
    starts = [set(line) for line in notes["starts"]]
    found, at, x, beside = [], [0, 0], 0, False
    for texts in notes["columns"]:
        begins = tuple(at[line] in starts[line] if texts[line] else None for line in (0, 1))
        wide = max(map(len, texts))
        found.append(Column(x, wide, tuple(texts), begins, beside))
        at = [place + len(text.encode()) for place, text in zip(at, texts)]
        x, beside = x + wide, texts[0] == texts[1]
    return found


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a column of the two lines."""
    steps = read.steps(trace, upto)
    found = columns(steps[-1].notes) if steps else []
    said = {True: "yes", False: "no", None: ""}
    return [(number, *map(shown, one.texts), *(said[begin] for begin in one.begins)) for number, one in enumerate(found, 1)]


def ocr_lines(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Letters in columns, the clean line above, the scanned one below; a stroke where a token begins."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}, "title": "Which boundaries survive a bad scan?"})
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"})
    figure.update_layout(meta={"words": "Above: the text; below: its scan.", "height": 260}, margin={"b": 8, "l": 8})
    steps = read.steps(trace, upto)
    if not steps:
        return figure
    notes = steps[-1].notes
    found = columns(notes)
    plain, wrong, kept, lost, edge = [], [], [], [], []
    for one in found:
        row, left = divmod(one.x, WIDE)
        for line in (0, 1):
            y = 2.6 * row + line
            for number, letter in enumerate(one.texts[line]):
                cell = (left + number + 0.5, y, letter)
                (plain if one.same else wrong).append(cell)
            if one.begins[line]:
                clear = one.same and one.beside
                group = edge if not clear else kept if one.begins[0] == one.begins[1] else lost
                group.append((left, y - 0.42, y + 0.42))
    for group, name, colour, line in (
        (kept, "both begin a token here", "draft", {"width": 3}),
        (lost, "only one of them does", "refuse", {"width": 3, "dash": "2px,2px"}),
        (edge, "beside an error", "ghost", {"width": 2}),
    ):
        figure.add_scatter(**strokes({"color": ink[colour], **line}, group, name=name))
    figure.add_scatter(**letters(ink, plain, name="unchanged", showlegend=False))
    figure.add_scatter(**letters(ink, wrong, "refuse-ink", name="an error", showlegend=False))
    deep = 2.6 * (found[-1].x // WIDE if found else 0) + 2
    own, cap = notes["own"], notes["max_chars"]
    words = f"Above: the text; below: its scan, with {own['errors']} {'error' if own['errors'] == 1 else 'errors'}. "
    words += f"With tokens of {cap} {'character' if cap == 1 else 'characters'} at most, {own['agreement']:.1%} of the boundaries "
    words += f"outside the errors agree, and an error changes the tokens of {own['reach']:.1f} bytes beside it."
    return figure.update_layout(meta={"words": words, "height": round(76 + 24 * deep)}, **paper(deep))
