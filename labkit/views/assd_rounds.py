"""ASSD, round by round: what was kept and redrawn, and the calls it took against the tokens it gave."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("round", "kept", "redrawn", "not reached", "calls", "tokens so far", "calls so far")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a round: drafts kept, tokens drawn in a refused one's place (or alone), drafts behind it, calls, both sums."""
    found, tokens, calls = [], 0, 0
    for number, step in enumerate(read.steps(trace, upto), 1):
        kept = len(step.tree.path) if step.tree else 0
        drafted = len(step.tree.tokens) if step.tree else 0
        tokens, calls = tokens + len(step.emitted), calls + step.cost.target_forwards
        own = len(step.emitted) - kept
        found.append((number, kept, own, max(0, drafted - kept - own), step.cost.target_forwards, tokens, calls))
    return found


def assd_rounds(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: a bar a round. Right: calls against tokens; below the dotted line, ASSD is ahead of one place a call."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    figure = make_subplots(1, 2, horizontal_spacing=0.1, column_widths=[0.62, 0.38], figure=go.Figure(layout={"template": {}}))
    rounds = [row[0] for row in table]
    styles = (
        ("kept", 1, {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}}),
        ("redrawn", 2, themes.hatched(ink["target-edge"], ink["target-tint"])),
        ("not reached", 3, {"color": ink["paper"], "line": {"color": ink["edge"], "width": 1}}),
    )
    for name, column, marker in styles:
        hover = [f"round {row[0]}: {row[column]} {name}, {row[4]} calls" for row in table]
        values = [row[column] for row in table]
        figure.add_bar(x=rounds, y=values, name=name, marker=marker, hovertext=hover, hoverinfo="text", row=1, col=1)
    tokens, calls = [0, *(row[5] for row in table)], [0, *(row[6] for row in table)]
    most = max(1, tokens[-1])
    dotted = {"color": ink["ink-3"], "width": 1.5, "dash": "dot"}
    style = {"mode": "lines", "hoverinfo": "skip", "showlegend": False}
    figure.add_scatter(x=[0, most], y=[0, most], name="one place a call", line=dotted, row=1, col=2, **style)
    line = {"color": ink["draft"], "width": 3}
    hover = [f"{call} calls for {token} tokens" for token, call in zip(tokens, calls)]
    style = {"mode": "lines+markers", "hovertext": hover, "hoverinfo": "text", "showlegend": False}
    figure.add_scatter(x=tokens, y=calls, name="calls", line=line, marker={"size": 5}, row=1, col=2, **style)
    words = "Left: every round's drafts. Right: calls of the model against tokens; dotted = one place a call, never exceeded."
    if table:
        words = f"{calls[-1]} calls for {tokens[-1]} tokens so far; dotted = one place a call, which is never exceeded."
    figure.update_layout(
        title="How many of its own guesses does the model keep?",
        meta={"words": words, "height": 300},
        barmode="stack",
        bargap=0.2,
        xaxis={"title": "round", **themes.whole(len(table))},
        yaxis={"title": "drafted places", "rangemode": "tozero"},
        xaxis2={"title": "tokens"},
        yaxis2={"title": "calls", "rangemode": "tozero"},
    )
    return figure
