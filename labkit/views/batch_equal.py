"""Is the text right? Every sequence of a batch beside its own greedy decoding, one token a call."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("row", "tokens", "verdict")
WRITING = "still writing"


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a sequence: how many tokens are equal before the first that is not, and the verdict; or how many it has so far."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    verdicts = {number: (number, same, verdict) for number, same, verdict in shown[-1].notes["checked"]}
    written = enumerate(shown[-1].notes["written"])
    return [verdicts.get(number, (number, tokens, WRITING)) for number, tokens in written]


def batch_equal(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """One bar a sequence: equal tokens; hatched where the texts part."""
    ink = themes.colours(theme)
    table, shown = rows(trace, upto), read.steps(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Does every row say what it would say alone?"})
    figure.update_layout(meta={"words": _words(table, shown[-1].notes["variant"] if shown else ""), "height": 220})
    looks = (
        ("equal", "the same text", {"color": ink["e4"]}),
        ("tie", "parts at a near tie", {"color": ink["paper"], "line": {"color": ink["ink"], "width": 1.5}}),
        (WRITING, "tokens so far", {"color": ink["paper"], "line": {"color": ink["edge"], "width": 1}}),
        ("different", "another text", themes.hatched(ink["refuse"], ink["refuse-tint"])),
    )
    for verdict, name, marker in looks:
        mine = [row for row in table if row[2] == verdict]
        figure.add_bar(
            x=[row[0] for row in mine],
            y=[row[1] for row in mine],
            name=name,
            marker=marker,
            text=[{"equal": "✓", "tie": "≈", "different": "✕"}.get(verdict, "")] * len(mine),
            textposition="outside",
            cliponaxis=False,
            hovertext=[f"sequence {row[0]}: {row[1]} tokens, {name}" for row in mine],
            hoverinfo="text",
        )
    if shown:
        notes = shown[-1].notes
        figure.update_layout(xaxis={"range": [-0.7, notes["of"] - 0.3], "dtick": 1 + notes["of"] // 32})
        figure.update_layout(yaxis={"range": [0, 1.15 * notes["budget"]]})
    figure.update_layout(barmode="overlay", xaxis={"title": "sequence"}, yaxis={"title": "tokens before they part"})
    return figure


def _words(table: list[tuple], variant: str) -> str:
    count = {verdict: sum(row[2] == verdict for row in table) for verdict in ("equal", "tie", "different")}
    if not (finished := sum(count.values())):
        return "No sequence is finished yet."
    tie = f", {count['tie']} part where two logits are within 0.0001" if count["tie"] else ""
    return f"{variant}: {count['equal']} of {finished} finished sequences equal their own greedy decoding{tie}."
