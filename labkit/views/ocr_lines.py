"""A text above its bad scan, with the token boundaries of both: those that still agree, and those that do not."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.columns import across, letters, paper, strokes
from labkit.views.text import shown

COLUMNS = ("column", "clean", "scanned", "token begins, clean", "token begins, scanned", "token changed")


class Column(NamedTuple):
    """One column: what stands in each line, and for each of its letters, whether a token begins there."""

    x: int  # the place of its left edge, in letters
    wide: int
    texts: tuple[str, str]
    begins: tuple[list[bool], list[bool]]
    beside: bool  # is the column before unchanged?
    changed: bool  # is its token another in the scanned line?

    @property
    def same(self) -> bool:
        """Did the scanner read what was written?"""
        return self.texts[0] == self.texts[1]


def columns(notes: dict) -> list[Column]:
    """The columns of both lines with their boundaries."""
    starts = [set(line) for line in notes["starts"]]
    lost = set(notes["changed"])
    found, at, x, beside = [], [0, 0], 0, False
    for texts in notes["columns"]:
        begins = tuple([at[line] + offset in starts[line] for offset in _offsets(texts[line])] for line in (0, 1))
        wide = max(map(len, texts))
        found.append(Column(x, wide, tuple(texts), begins, beside, bool(texts[0]) and at[0] in lost))
        at = [place + len(text.encode()) for place, text in zip(at, texts)]
        x, beside = x + wide, texts[0] == texts[1]
    return found


def _offsets(text: str) -> list[int]:
    """Where the letters of a text begin, in bytes."""
    return [len(text[:number].encode()) for number in range(len(text))]


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a column of the two lines."""
    steps = read.steps(trace, upto)
    found = columns(steps[-1].notes) if steps else []
    said = {True: "yes", False: "no"}
    begins = [[", ".join(map(said.get, line)) for line in one.begins] for one in found]
    cells = zip(found, begins)
    return [(at, *map(shown, one.texts), *lines, said[one.changed]) for at, (one, lines) in enumerate(cells, 1)]


def ocr_lines(trace: Trace, upto: int | None = None, *, width: float = 1000, theme: str = "light") -> go.Figure:
    """Letters in columns, the clean line above, the scanned one below; a stroke where a token begins.

    `width`: pixels of the whole figure.
    """
    ink, wide = themes.colours(theme), across(width)
    figure = go.Figure(layout={"template": {}, "title": "Which boundaries survive a bad scan?"})
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"})
    figure.update_layout(meta={"words": "Above: the text; below: its scan.", "height": 260, "sized": True})
    steps = read.steps(trace, upto)
    if not steps:
        return figure
    notes = steps[-1].notes
    found = columns(notes)
    plain, wrong, kept, lost, edge, under = [], [], [], [], [], []
    for one in found:
        row, left = divmod(one.x, wide)
        if one.changed:
            under.append((left, left + one.wide, 2.6 * row + 0.46))
        for line in (0, 1):
            y = 2.6 * row + line
            group = edge if not (one.same and one.beside) else kept if one.begins[0] == one.begins[1] else lost
            for number, (letter, begins) in enumerate(zip(one.texts[line], one.begins[line])):
                (plain if one.same else wrong).append((left + number + 0.5, y, letter))
                if begins:
                    group.append((left + number, y - 0.42, y + 0.42))
    for group, name, colour, line in (
        (kept, "both begin a token here", "draft", {"width": 3}),
        (lost, "only one of them does", "refuse", {"width": 3, "dash": "2px,2px"}),
        (edge, "beside an error", "ghost", {"width": 2}),
    ):
        figure.add_scatter(**strokes({"color": ink[colour], **line}, group, name=name))
    line = {"color": ink["target-edge"], "width": 4}
    x = [place for left, right, _ in under for place in (left, right, None)]
    y = [place for *_, height in under for place in (height, height, None)]
    figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", name="its token is another now")
    figure.add_scatter(**letters(ink, plain, name="unchanged", showlegend=False))
    figure.add_scatter(**letters(ink, wrong, "refuse-ink", name="an error", showlegend=False))
    deep = 2.6 * (found[-1].x // wide if found else 0) + 2
    own, cap = notes["own"], notes["cap"]
    limit = "any length" if cap == "any" else f"{cap} {'character' if cap == '1' else 'characters'} at most"
    words = f"Above: the text; below: its scan, with {own['errors']} {'error' if own['errors'] == 1 else 'errors'}. "
    words += f"With tokens of {limit}, the boundaries outside the errors agree to {own['agreement']:.1%}, and an error "
    words += f"changes the tokens of {own['reach']:.1f} bytes beside it."
    plain = paper(deep, width)
    return figure.update_layout(meta={"words": words, "height": plain["height"], "sized": True}, **plain)
