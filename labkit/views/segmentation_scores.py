"""What the model thinks of each cut: its likelihood, and how far what comes next has moved."""

from __future__ import annotations

from collections import Counter

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("cut", "tokens", "ln p, nats", "next law moved by")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a cut; number 0 is the tokenizer's own."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    plain, scores = shown[-1].notes["plain"], shown[-1].notes["scores"]
    return [(0, len(plain["ids"]), plain["nats"], 0.0), *((number, *score) for number, score in enumerate(scores, 1))]


def segmentation_scores(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Left: ln p against the number of tokens. Right: how many cuts have that many tokens, with the bound n + int(n p)."""
    ink, table, shown = themes.colours(theme), rows(trace, upto), read.steps(trace, upto)
    notes = shown[-1].notes if shown else {}
    figure = make_subplots(1, 2, column_widths=[0.6, 0.4], horizontal_spacing=0.1, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="What does the model think of each cut?", meta={"words": _words(table), "height": 300})
    steps = {"title": "tokens", "dtick": 1 if _span(table) < 12 else None}
    figure.update_layout(xaxis=steps, yaxis={"title": "ln p of the text so cut, nats"})
    figure.update_layout(xaxis2=steps, yaxis2={"title": "cuts"})
    figure.update_layout(bargap=0.2, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"})
    if not table:
        return figure
    groups = {"the tokenizer's own": table[:1], "other cuts": table[1:]}
    looks = {
        "the tokenizer's own": {"color": ink["target"], "size": 14, "symbol": "diamond", "line": {"color": ink["ink"]}},
        "other cuts": {"color": ink["draft"], "size": 8, "opacity": 0.7},
    }
    for name, some in groups.items():
        hover = [f"{row[1]} tokens, {row[2]:.1f} nats; the next law moves by {row[3]:.2f}" for row in some]
        more = {"mode": "markers", "name": name, "marker": looks[name], "hovertext": hover, "hoverinfo": "text"}
        figure.add_scatter(x=[row[1] for row in some], y=[row[2] for row in some], **more, row=1, col=1)
    counts = sorted(Counter(row[1] for row in table[1:]).items())
    hover = [f"{size} tokens: {count} cuts" for size, count in counts]
    more = {"marker": {"color": ink["draft"]}, "hovertext": hover, "hoverinfo": "text", "showlegend": False}
    figure.add_bar(x=[size for size, _ in counts], y=[count for _, count in counts], **more, row=1, col=2)
    for place, dash in ((table[0][1], "solid"), (notes["bound"], "dash")):
        if place:
            figure.add_vline(x=place, line={"color": ink["target-edge"], "width": 2, "dash": dash}, row=1, col=2)
    return figure


def _span(table: list[tuple]) -> int:
    sizes = [row[1] for row in table] or [0]
    return max(sizes) - min(sizes)


def _words(table: list[tuple]) -> str:
    if not table:
        return "A dot for each cut: how likely the model finds the text, written in these tokens."
    own, others = table[0], table[1:]
    better = sum(row[2] > own[2] for row in others)
    loss = sum(own[2] - row[2] for row in others) / len(others)
    moved = sum(row[3] for row in others) / len(others)
    return (
        f"{better} of {len(others)} other cuts are likelier than the tokenizer's own; on average they lose {loss:.1f} nats and "
        f"move the law of the next token by {moved:.2f} (total variation). Right: lines at no split, and at the most allowed."
    )
