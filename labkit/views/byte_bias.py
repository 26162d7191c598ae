"""Where in a text the naive law of the next byte goes wrong, and by how much on held-out text (P045)."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label

COLUMNS = ("behind", "a token ends here", "naive", "token healing")
PLACES = ("ends of tokens", "inside tokens")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a byte of the text: the letter, does a token end behind it, and the two distances from the exact law."""
    shown = read.steps(trace, upto)
    return [tuple(row) for row in shown[-1].notes["along"]] if shown else []


def byte_bias(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left, the distances behind every byte of the text; right, their means over held-out places."""
    ink = themes.colours(theme)
    table, shown = rows(trace, upto), read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    figure = go.Figure(layout={"template": {}})
    figure = make_subplots(1, 2, column_widths=[0.74, 0.26], horizontal_spacing=0.06, figure=figure)
    figure.update_layout(title="Where does the naive law go wrong?", bargap=0.1, barmode="group")
    figure.update_layout(meta={"words": _words(notes), "height": 220})
    places = list(range(len(table)))
    looks = themes.hatched(ink["refuse"], ink["refuse-tint"]), {"color": ink["draft"], "symbol": "diamond", "size": 8}
    hover = [f"behind {label(row[0])}: naive {row[2]:.3f}, token healing {row[3]:.3f}" for row in table]
    more = {"hovertext": hover, "hoverinfo": "text", "row": 1, "col": 1}
    figure.add_bar(x=places, y=[row[2] for row in table], name="naive", marker=looks[0], **more)
    look = {"mode": "markers", "marker": looks[1]}
    figure.add_scatter(x=places, y=[row[3] for row in table], name="token healing", **look, **more)
    for place, row in enumerate(table):
        if row[1]:
            figure.add_vline(x=place + 0.5, line={"color": ink["edge"], "width": 1, "dash": "2px,2px"}, row=1, col=1)
    if table:
        figure.add_vline(x=len(table) - 0.5, line={"color": ink["here"], "width": 2.5}, row=1, col=1)
    means = notes.get("means", {})
    for name, marker in (("naive", looks[0]), ("token healing", {"color": ink["draft"]})):
        values = [means[place][name] if place in means else None for place in PLACES]
        words = [f"{value:.2f}" if value is not None else "" for value in values]
        bars = {"text": words, "textposition": "outside", "cliponaxis": False, "showlegend": False, "hoverinfo": "skip"}
        figure.add_bar(x=[0, 1], y=values, name=f"held-out, {name}", marker=marker, **bars, row=1, col=2)
    letters = [label(row[0]) for row in table]
    ticks = {"tickvals": places, "ticktext": letters, "tickfont": {"family": themes.CODE_FONT, "size": 12}, "tickangle": 0}
    figure.update_layout(xaxis={"title": "the text, byte by byte; dotted: a token ends", "showgrid": False, **ticks})
    counts = [means[place]["places"] if place in means else 0 for place in PLACES]
    names = [f"{place}<br>({count})" for place, count in zip(PLACES, counts)]
    figure.update_layout(xaxis2={"tickvals": [0, 1], "ticktext": names, "range": [-0.6, 1.6], "title": "held-out places"})
    figure.update_yaxes(range=[0, 1.05])
    figure.update_layout(yaxis={"title": "distance from exact"})
    return figure


def _words(notes: dict) -> str:
    if not notes or "inside tokens" not in notes["means"]:
        return "Total variation distance of the next byte's law from the exact one, behind every byte of the text."
    inside = notes["means"]["inside tokens"]
    return (
        f"Inside the tokens of held-out text the naive law is {inside['naive']:.2f} away from the exact one on average, "
        f"token healing {inside['token healing']:.2f} (0 = the same law, 1 = nothing in common)."
    )
