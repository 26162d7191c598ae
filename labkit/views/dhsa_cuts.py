"""Where DHSA (P056) cuts the text, and what the newest query reads of it."""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.columns import EDGE, letters, strokes
from labkit.views.text import shown

COLUMNS = ("chunk", "first", "last", "tokens", "tokens read", "text")
LETTER, ROW, SIZE, TOP = 7.8, 18, 12.5, 44  # pixels: a letter's column, a line of text, its letters, the heading's room
LINES, LEAST = 26, 200  # lines of text drawn at most (the last), pixels of height at least


class Chunk(NamedTuple):
    """Positions `first` to `behind` - 1, of which the newest query reads `seen`."""

    first: int
    behind: int
    seen: int


def chunks(notes: dict[str, Any]) -> list[Chunk]:
    """The chunks of a step."""
    pairs = list(zip(notes["reads"][::2], notes["reads"][1::2]))

    def seen(low: int, high: int) -> int:
        return sum(max(0, min(high, behind) - max(low, first)) for first, behind in pairs)

    return [Chunk(low, high, seen(low, high)) for low, high in zip(notes["edges"], notes["edges"][1:])]


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a chunk of the last step: its positions, how many of its tokens the newest query reads, its text."""
    steps = read.steps(trace, upto)
    texts = [token.text for token in read.tokens(trace, upto)]
    found = chunks(steps[-1].notes) if steps else []
    return [
        (number, one.first, one.behind - 1, one.behind - one.first, one.seen, shown("".join(texts[one.first : one.behind])))
        for number, one in enumerate(found, 1)
    ]


def laid(texts: list[str], wide: int) -> Iterator[tuple[int, int, int, str]]:
    """Every letter of `texts`: number of its token, line and column; a line of the text is a line here, a longer one goes on."""
    line = column = 0
    for number, text in enumerate(texts):
        for letter in text:
            if column >= wide:
                line, column = line + 1, 0
            yield number, line, column, letter
            column += 1
            if letter == "\n":
                line, column = line + 1, 0


def dhsa_cuts(trace: Trace, upto: int | None = None, *, width: float = 1000, theme: str = "light") -> go.Figure:
    """The text with a stroke at every cut, shaded where the newest query reads. `width`: pixels of the whole figure."""
    ink, steps = themes.colours(theme), read.steps(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Where is the text cut?", "showlegend": False})
    figure.update_layout(meta={"words": "Nothing has been read yet.", "height": LEAST, "sized": True})
    if not steps:
        return figure
    notes, room = steps[-1].notes, width - 2 * EDGE
    tall = _text(figure, [token.text for token in read.tokens(trace, upto)][: notes["fed"]], notes, int(room / LETTER) - 1, ink)
    height = max(LEAST, TOP + EDGE + ROW * tall)
    bare = {"visible": False, "fixedrange": True}
    return figure.update_layout(
        xaxis={**bare, "range": [0, room / LETTER]},
        yaxis={**bare, "range": [(height - TOP - EDGE) / ROW - 0.5, -0.5]},
        margin={"l": EDGE, "r": EDGE, "t": TOP, "b": EDGE},
        meta={"words": _words(notes), "height": height, "sized": True},
        height=height,
        width=width,
    )


def _text(figure: go.Figure, texts: list[str], notes: dict, wide: int, ink: dict[str, str]) -> int:
    """Draws the text; how many lines it takes."""
    cells = list(laid(texts, wide))
    skipped = max(0, cells[-1][1] + 1 - LINES)
    edges, pairs = set(notes["edges"][1:-1]), list(zip(notes["reads"][::2], notes["reads"][1::2]))
    seen = {place for first, behind in pairs for place in range(first, behind)}
    marks, spots, last = [], {True: [], False: []}, -1
    for number, line, column, letter in cells:
        y = line - skipped
        if y >= 0:
            if number != last and number in edges:
                marks.append((column, y - 0.45, y + 0.45))
            spots[number in seen].append((column + 0.5, y, letter))
        last = number
    for line, first, behind in _stretches([spot for spot in cells if spot[0] in seen and spot[1] >= skipped]):
        y = line - skipped
        box = {"x0": first, "x1": behind, "y0": y - 0.45, "y1": y + 0.45, "line": {"width": 0}, "layer": "below"}
        figure.add_shape(type="rect", fillcolor=ink["draft-tint"], **box)
    font = {"family": themes.CODE_FONT, "size": SIZE}
    for read_too, colour in ((True, "draft-ink"), (False, "ink-3")):
        name = "read" if read_too else "not read"
        figure.add_scatter(**letters(ink, spots[read_too], name=name, textfont={**font, "color": ink[colour]}))
    figure.add_scatter(**strokes({"color": ink["refuse"], "width": 2}, marks, name="cuts"))
    return cells[-1][1] + 1 - skipped


def _stretches(cells: list[tuple[int, int, int, str]]) -> Iterator[tuple[int, int, int]]:
    """Unbroken runs of letters in a line: (line, first column, behind the last)."""
    line = first = behind = -1
    for _, at, column, _ in cells:
        if (at, column) != (line, behind):
            if behind >= 0:
                yield line, first, behind
            line, first = at, column
        behind = column + 1
    if behind >= 0:
        yield line, first, behind


def _words(notes: dict) -> str:
    found = chunks(notes)
    count = sum(one.seen for one in found)
    said = f"Layer {notes['layer']}: {len(found)} chunks; shaded, the {count} of {notes['fed']} tokens the newest query reads"
    if lost := notes.get("lost"):
        said += f", which hold {1 - lost[notes['layer']]:.0%} of its dense attention"
    return said + "."
