"""Every span of a document as a cell: how likely it is as the answer, the most probable one, and what greedy found."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("span", "first token", "tokens", "nats", "probability")
LISTED = 20  # rows of the table: the likeliest spans
FAINT = 30  # nats above which all cells look alike
NAMED = 64  # tokens written under the map; of a longer document every second, third ...


def spans(trace: Trace, upto: int | None = None) -> list[tuple[int, int, float]]:
    """Start, length and -ln p (nats) of every span weighed so far."""
    passes = [step.notes for step in read.steps(trace, upto)]
    return [(notes["start"], length, nll) for notes in passes for length, nll in enumerate(notes["column"], 1)]


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """The 20 likeliest spans: text, number of the first token, how many, -ln p in nats, p."""
    shown = read.steps(trace, upto)
    likeliest = sorted(spans(trace, upto), key=lambda span: span[2])[:LISTED]
    return [(_text(trace, shown[-1].notes, span), *span, math.exp(-span[2])) for span in likeliest]


def span_map(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """x = where a span begins, y = how many tokens it has, colour = -ln p of it and of the answer's end behind it."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}, "title": "Which span is the likeliest answer?"})
    figure.update_layout(meta={"words": "One pass a start: each fills one column.", "height": 400})
    figure.update_layout(xaxis={"title": "the document, token by token", "showgrid": False})
    figure.update_layout(yaxis={"title": "tokens in the span", "showgrid": False})
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"})
    shown = read.steps(trace, upto)
    if not shown:
        return figure
    notes, cells = shown[-1].notes, spans(trace, upto)
    document, tall = notes["tokens"][0], notes["longest"]
    grid = [[None] * len(document) for _ in range(tall)]
    hover = [[""] * len(document) for _ in range(tall)]
    for start, length, nll in cells:
        grid[length - 1][start] = nll
        hover[length - 1][start] = f"{label(_text(trace, notes, (start, length)), 48)}<br>{nll:.2f} nats"
    figure.add_heatmap(
        x=list(range(len(document))),
        y=list(range(1, tall + 1)),
        z=grid,
        zmin=0,
        zmax=FAINT,
        colorscale=[[step / 6, ink[f"e{6 - step}"]] for step in range(7)],
        colorbar={"title": {"text": "nats", "side": "top"}, "thickness": 12, "outlinewidth": 0},
        hoverongaps=False,
        hovertext=hover,
        hoverinfo="text",
        name="-ln p of the span",
    )
    marks = [("most probable span", notes["best"], "diamond", 15, ink["target"])]
    marks.append(("greedy among spans", notes["greedy"], "square-open", 17, ink["here"]))
    marks.append(("greedy, free", notes["free"]["span"], "circle-open", 21, ink["refuse"]))
    for name, span, symbol, size, colour in marks:
        if span:
            figure.add_scatter(
                x=[span[0]],
                y=[span[1]],
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": size, "color": colour, "line": {"color": ink["ink"], "width": 2}},
                hoverinfo="skip",
            )
            if symbol.endswith("open"):
                figure.data[-1].marker.line = {"color": colour, "width": 3}
    every = math.ceil(len(document) / NAMED)
    places = list(range(0, len(document), every))
    names = [label(piece(trace, document[place]), 12) for place in places]
    figure.update_xaxes(tickvals=places, ticktext=names, tickangle=-90, range=[-0.5, len(document) - 0.5])
    figure.update_yaxes(range=[0.5, tall + 0.5], dtick=1 if tall <= 12 else 2, tick0=1)
    figure.layout.meta["words"] = _words(trace, notes, len(cells))
    return figure


def _text(trace: Trace, notes: dict, span: tuple) -> str:
    """What a span says."""
    return "".join(piece(trace, token) for token in notes["tokens"][0][span[0] : span[0] + span[1]])


def _words(trace: Trace, notes: dict, cells: int) -> str:
    """The question, its answer, what each decoder says, and what that took."""

    def quoted(text: str) -> str:
        return f"“{label(text.strip(), 40).replace('·', ' ')}”"  # a sentence has spaces

    best, free, greedy = notes["best"], notes["free"], notes["greedy"]
    asked = f"Asked: {quoted(notes['asks'])}" + (f", right is {quoted(notes['answer'])}" if notes["answer"] else "")
    unit = f"{best[3]:.2f} nats a token" if notes["normalise"] else f"{best[2]:.2f} nats"
    found = f"The most probable of {cells:,} spans {'' if greedy else 'so far '}is {quoted(_text(trace, notes, best))} ({unit})"
    if greedy:
        other = f"; greedy among spans takes {quoted(_text(trace, notes, greedy))}"
        found += ", and greedy among spans finds it" if greedy[:2] == best[:2] else other
    wrote = "".join(piece(trace, token) for token in notes["tokens"][1])
    where = "a span" if free["span"] else "no span of the document" if greedy else "no span so far"
    said = f"Free to write anything, greedy says {quoted(wrote)} ({free['nll']:.2f} nats), {where}"
    return f"{asked}. {found}. {said}. Passes {notes['done']} of {notes['of']}."
