"""The mixture that the merges betray, beside the one that the tokenizer was trained on."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("category", "true share", "inferred share", "error")


def last(trace: Trace, upto: int | None = None) -> dict:
    """The notes of the last shown step. Raises `KeyError` when it belongs to another study."""
    shown = read.steps(trace, upto)
    notes = shown[-1].notes if shown else {"categories": [], "true": {}, "withheld": "none"}
    _ = notes["categories"], notes["withheld"]  # others know true things too
    return notes


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a category: its true share of the bytes, the inferred one, the difference; None where there is none."""
    notes = last(trace, upto)
    true, inferred = notes["true"], notes.get("inferred", {})
    table = []
    for name in true or notes["categories"]:
        mine, theirs = true.get(name), inferred.get(name)
        table.append((name, mine, theirs, None if mine is None or theirs is None else theirs - mine))
    return table


def mixture_shares(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two bars a category: true and inferred, the error in points under them."""
    ink = themes.colours(theme)
    table, notes = rows(trace, upto), last(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "What was this tokenizer trained on?"})
    figure.update_layout(meta={"words": _words(table, notes), "height": 290}, bargap=0.3)
    said = [row[0] if row[3] is None else f"{row[0]}<br>{100 * row[3]:+.1f} points" for row in table]
    figure.update_layout(xaxis={"showgrid": False, "tickvals": [row[0] for row in table], "ticktext": said, "tickangle": 0})
    figure.update_layout(yaxis={"rangemode": "tozero", "tickformat": ".0%", "title": "share of the bytes"})
    looks = (
        ("true", 1, themes.hatched(ink["edge"], ink["paper"])),
        ("inferred", 2, {"color": ink["draft"], "line": {"color": ink["draft"], "width": 1}}),
    )
    for name, column, marker in looks:
        drawn = [row for row in table if row[column] is not None]
        figure.add_bar(
            x=[row[0] for row in drawn],
            y=[row[column] for row in drawn],
            name=name,
            marker=marker,
            text=[f"{row[column]:.0%}" for row in drawn],
            textposition="outside",
            constraintext="none",
            textangle=0,
            cliponaxis=False,
            hovertext=[f"{row[0]}, {name}: {row[column]:.2%}" for row in drawn],
            hoverinfo="text",
        )
    return figure


PHASES = {
    "reading": "The texts are read.",
    "training": "The tokenizer is trained on the secret mixture: {learned} of {merges} merges.",
    "applying": "The attacker applies the merges to samples of each category: {applied} of {merges}.",
}


def _words(table: list[tuple], notes: dict) -> str:
    if "inferred" not in notes:
        return PHASES.get(notes.get("phase", "reading"), PHASES["reading"]).format(**{"applied": 0, "merges": 0, **notes})
    found = notes["rounds"]
    cost = f"{len(found)} rounds, {found[-1][0]:,} constraints; {found[-1][1]:.4f} occurrences a byte stay unexplained"
    errors = [abs(row[3]) for row in table if row[3] is not None]
    if notes["withheld"] != "none":
        return f"The attacker has no {notes['withheld']}, and shares must add up without it: {cost}."
    if errors:
        return f"After {notes['merges']:,} merges the largest error is {100 * max(errors):.1f} points: {cost}."
    return f"After {notes['merges']:,} merges of a tokenizer whose text is not known: {cost}."
