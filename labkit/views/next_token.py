"""What came next: the law one token was drawn from, raw and after temperature and cuts; what was cut stays in sight."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("rank", "token", "raw", "after", "drawn")
ROWS = 12


def rows(trace: Trace, upto: int | None = None, *, index: int | None = None) -> list[tuple]:
    """The likeliest tokens at place `index` of the text (from 0, prompt included; None = the last).

    Rank from 1, text, raw probability, probability after temperature and cuts (None without a law), was it drawn.

    Raises `TraceError` when there is no such place or no belief for it.
    """
    tokens = read.tokens(trace, upto)
    place, belief = read.believed(tokens, index)
    drawn = tokens[place].id
    law = read.law(belief)
    if law is None:
        pairs = list(zip(belief.top, belief.top_logprobs))[:ROWS]
        if drawn not in belief.top[:ROWS]:
            pairs = [*pairs[: ROWS - 1], (drawn, belief.logprob)]
        ranks = {token: rank for rank, token in enumerate(belief.top)} | {drawn: belief.rank}
        return [(ranks[t] + 1, piece(trace, t), read.probability(log), None, t == drawn) for t, log in pairs]
    request = trace.opening.request
    result = read.apply(law, request.temperature, request.transforms)
    ranks = list(range(min(ROWS, len(law))))
    if (own := result.order.index(drawn)) not in ranks:
        ranks[-1] = own
    after = [result.after[rank] if rank < len(result.after) else 0.0 for rank in ranks]
    found = [(rank, result.order[rank], chance) for rank, chance in zip(ranks, after)]
    return [(rank + 1, piece(trace, t), read.probability(law[t]), chance, t == drawn) for rank, t, chance in found]


def next_token(trace: Trace, upto: int | None = None, *, index: int | None = None, theme: str = "light") -> go.Figure:
    """Bars for the likeliest tokens at place `index`, likeliest on top; a diamond marks the one that was drawn."""
    ink = themes.colours(theme)
    table = rows(trace, upto, index=index)[::-1]  # plotly draws the first bar at the bottom
    names = [label(row[1], 18) for row in table]
    places = list(range(len(table)))
    hover = [
        f"{name}<br>raw {row[2]:.3f}" + ("" if row[3] is None else f", after {row[3]:.3f}")
        for name, row in zip(names, table)
    ]
    common = {"y": places, "orientation": "h", "hovertext": hover, "hoverinfo": "text"}
    raw = go.Bar(
        x=[row[2] for row in table],
        width=0.72,
        name="raw",
        marker={"color": ink["sunk"], "line": {"color": ink["edge"], "width": 1}},
        **common,
    )
    figure = go.Figure(raw, layout={"template": {}})
    if any(row[3] is not None for row in table):
        colour = {"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}}
        figure.add_bar(
            x=[row[3] for row in table], width=0.32, name="after temperature and cuts", marker=colour, **common
        )
    drawn = [place for place, row in zip(places, table) if row[4]]
    far = max((max(row[2], row[3] or 0) for row in table), default=1) * 1.05
    figure.add_scatter(
        x=[far] * len(drawn),
        y=drawn,
        mode="markers",
        name="drawn",
        hoverinfo="skip",
        marker={"symbol": "diamond", "size": 10, "color": ink["target"], "line": {"color": ink["ink"], "width": 1}},
    )
    figure.update_layout(
        title="What came next?",
        barmode="overlay",
        xaxis={"title": "probability", "rangemode": "tozero"},
        yaxis={"tickvals": places, "ticktext": names, "tickfont": {"family": themes.CODE_FONT}},
    )
    return figure
