"""The lexicon as a ladder: chunks that climbed and chunks that fell, document by document."""

from __future__ import annotations

from math import log10

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label
from labkit.views.theme import CODE_FONT, written

COLUMNS = ("token", "which way", "rank before", "best rank", "rank now")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a chunk; a rank is "out" where the list does not hold it."""
    found = []
    for row in _ladder(trace, upto):
        ranks = [rank for rank in row["ranks"] if rank is not None]
        now = row["ranks"][-1]
        way = "climbs" if row["climbs"] else "falls"
        found.append((row["chunk"], way, ranks[0] + 1, min(ranks) + 1, "out" if now is None else now + 1))
    return found


def _ladder(trace: Trace, upto: int | None) -> list[dict]:
    found = [step.notes for step in read.steps(trace, upto) if "ladder" in step.notes]
    return found[-1]["ladder"] if found else []


def lib_ladder(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """x = documents read, y = rank on a logarithmic scale, the best at the top."""
    ink, table = themes.colours(theme), _ladder(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Which chunks climb, which fall?", "showlegend": False})
    figure.update_layout(meta={"words": _words(table), "height": 360})
    figure.update_layout(xaxis={"title": "documents read"}, yaxis={"title": "rank in the list", "type": "log"})
    if not table:
        return figure
    documents = read.steps(trace, upto)[-1].notes["documents"]
    length = len(table[0]["ranks"])
    places = list(range(documents - length + 1, documents + 1))
    lowest = 1 + max(rank for row in table for rank in row["ranks"] if rank is not None)
    ends: list[tuple[float, str]] = []
    for row in table:
        shown = [(place, rank + 1) for place, rank in zip(places, row["ranks"]) if rank is not None]
        colour, dash = ("draft", "solid") if row["climbs"] else ("refuse", "4px,3px")
        name = label(row["chunk"])
        figure.add_scatter(
            x=[place for place, _ in shown],
            y=[rank for _, rank in shown],
            mode="lines+markers",
            line={"color": ink[colour], "width": 2, "dash": dash},
            marker={"size": 5},
            hovertext=[f"{name}: rank {rank:,} after document {place}" for place, rank in shown],
            hoverinfo="text",
            name=name,
        )
        if row["ranks"][-1] is None:
            cross = {"mode": "markers", "marker": {"symbol": "x", "size": 10, "color": ink["refuse"]}, "hoverinfo": "skip"}
            figure.add_scatter(x=[shown[-1][0]], y=[shown[-1][1]], name=f"{name}: out", **cross)
        ends.append((shown[-1][1], f"{name}{' (out)' if row['ranks'][-1] is None else ''}"))
    spread = _spread([rank for rank, _ in ends], lowest)
    words = written(ink, [name for _, name in ends], "right", CODE_FONT)
    figure.add_scatter(x=[places[-1] + 0.3] * len(ends), y=spread, name="chunks", **words)
    figure.update_xaxes(range=[places[0] - 0.3, places[-1] + max(1.2, 0.3 * length)], tickvals=places)
    return figure.update_yaxes(autorange=False, range=[log10(lowest) + 0.35, -0.15], dtick=1)


def _spread(ranks: list[int], lowest: int) -> list[float]:
    """Heights for the names, no two closer than a line of text, each as near to its rank as that allows."""
    gap = (log10(lowest) + 0.4) / 17
    heights: dict[int, float] = {}
    above = -0.15
    for place in sorted(range(len(ranks)), key=ranks.__getitem__):
        above = heights[place] = max(log10(ranks[place]), above + gap)
    over = max(0.0, max(heights.values()) - log10(lowest) - 0.2)
    floor = log10(lowest) + 0.2
    for place in sorted(heights, key=heights.get, reverse=True):
        if over and heights[place] > floor:
            heights[place] = floor
        floor = min(floor, heights[place]) - gap
    return [10 ** heights[place] for place in range(len(ranks))]


def _words(table: list[dict]) -> str:
    if not table:
        return "No document has been read yet."
    out = sum(row["ranks"][-1] is None for row in table)
    said = "Of the last documents: the six that climbed most (solid) and the six that fell most (dashed). "
    return said + (f"{out} of them {'is' if out == 1 else 'are'} out of the list." if out else "All are still in the list.")
