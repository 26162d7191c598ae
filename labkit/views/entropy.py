"""Where the model hesitates: one bar a token."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label

COLUMNS = ("place", "token", "entropy, nats", "after the cuts, nats", "probability", "rank")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a token that has a belief: place from 1, text, entropy of the raw law, and after the cuts.

    Entropies in nats (None without a stored law); then the token's probability, and its rank from 1.
    """
    request = trace.opening.request
    found = []
    for place, token in enumerate(read.tokens(trace, upto), 1):
        if token.belief is None:
            continue
        law = read.law(token.belief)
        after = None if law is None else read.apply(law, request.temperature, request.transforms).entropy
        probability = read.probability(token.belief.logprob)
        found.append((place, token.text, token.belief.entropy, after, probability, token.belief.rank + 1))
    return found


def entropy(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """The entropy of the raw law before every token, in nats, coloured by class; ticks after temperature and cuts."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    places = [row[0] for row in table]
    figure = go.Figure(
        go.Bar(
            x=places,
            y=[row[2] for row in table],
            marker={
                "color": [ink[f"e{themes.entropy_class(row[2])}"] for row in table],
                "line": {"color": ink["edge"], "width": 0.75},
            },
            hovertext=[f"{label(row[1])}<br>{row[2]:.2f} nats, p {row[4]:.3f}, rank {row[5]}" for row in table],
            hoverinfo="text",
            name="raw law",
        ),
        layout={"template": {}},
    )
    cut = [row for row in table if row[3] is not None and row[3] > 0.02]  # a tick on the ground line would say nothing
    if cut:
        for size, width, colour in (
            (9, 5, "paper"),
            (8, 3, "ink"),
        ):  # a pale edge, so that the tick is seen on dark bars too
            figure.add_scatter(
                x=[row[0] for row in cut],
                y=[row[3] for row in cut],
                mode="markers",
                marker={"symbol": "line-ew", "size": size, "line": {"width": width, "color": ink[colour]}},
                hoverinfo="skip",
                name="after temperature and cuts",
                showlegend=colour == "ink",
            )
    figure.update_layout(
        title="Where it hesitates",
        bargap=0.15,
        showlegend=len(figure.data) > 1,
        xaxis={"title": "token", "range": [0.3, max(places, default=1) + 0.7]},
        yaxis={"title": "entropy, nats", "rangemode": "tozero"},
    )
    if len(table) <= 48:  # more names would lie over each other
        figure.update_xaxes(tickvals=places, ticktext=[label(row[1], 10) for row in table])
    return figure
