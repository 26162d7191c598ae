"""Block efficiency against the number of drafts, for every verifier."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.acceptance_by_drafts import style

COLUMNS = ("verifier", "drafts", "tokens", "target calls", "tokens per target call")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row for every verifier and number of drafts that was tried so far."""
    shown = read.steps(trace, upto)
    done = shown[-1].notes["toy"] and shown[-1].notes.get("calls", {}) if shown else {}
    return [
        (verifier, drafts, tokens, calls, tokens / calls)
        for verifier, line in done.items()
        for drafts, tokens, calls in line
        if calls
    ]


def blocks_by_drafts(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Tokens per target call when SpecTr drafts along held-out texts, by number of drafts and verifier."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    figure = go.Figure(layout={"template": {}})
    calls = [row[3] for row in table]
    words = f"Every verifier decided over the same drafts, {max(calls)} times a point." if table else "Not tried yet."
    figure.update_layout(title="How many tokens does a target call bring?", meta={"words": words, "height": 300})
    for verifier in dict.fromkeys(row[0] for row in table):
        line = [row for row in table if row[0] == verifier]
        figure.add_scatter(
            x=[row[1] for row in line],
            y=[row[4] for row in line],
            name=verifier,
            hovertext=[f"{verifier}, {row[1]} drafts: {row[2]} tokens from {row[3]} calls" for row in line],
            hoverinfo="text",
            **style(verifier, ink),
        )
    figure.update_xaxes(title="drafts", tickvals=sorted({row[1] for row in table}))
    figure.update_yaxes(title="tokens per target call", rangemode="tozero")
    return figure
