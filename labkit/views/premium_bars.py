"""Token premiums: what the same phrases cost in each language, over what they cost in English."""

from __future__ import annotations

from statistics import pstdev

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("language", "script", "tokens", "premium", "V*", "tokens at V*", "premium at V*")
FAMILIES = {  # scripts: a colour of the theme and a shape
    "Latin": ("draft", "circle"),
    "Cyrillic": ("target", "square"),
    "South Asian": ("e4", "diamond"),
    "East Asian": ("here", "triangle-up"),
    "right to left": ("refuse", "cross"),
    "Greek, Georgian": ("ink-3", "star"),
}


def languages(trace: Trace, upto: int | None = None) -> list[dict]:
    """Every language that is known by then, English first."""
    shown = (step.notes["language"] for step in read.steps(trace, upto))
    return [row for row in shown if row]


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a language, the cheapest first. Raises `KeyError` when the steps have no such notes."""
    found = languages(trace, upto)
    table = []
    for row in sorted(found, key=lambda row: row["premium"]):
        after = row["levelled"] / found[0]["levelled"]
        table.append((row["name"], row["family"], row["tokens"], row["premium"], row["best"], row["levelled"], after))
    return table


def premium_bars(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """A bar a language from 1 to its premium, the cheapest first, coloured by script; a diamond where it stands at its V*."""
    ink = themes.colours(theme)
    found = languages(trace, upto)
    code = {row["name"]: row["locale"] for row in found}
    table = rows(trace, upto)
    figure = go.Figure(layout={"template": {}})
    figure.update_layout(title="Same data, same V: who pays more tokens?", meta={"words": _words(table), "height": 226})
    for family, (colour, _) in FAMILIES.items():
        mine = [row for row in table if row[1] == family]
        if mine:
            figure.add_bar(
                x=[code[row[0]] for row in mine],
                y=[row[3] - 1 for row in mine],
                base=1,
                name=family,
                marker={"color": ink[colour], "line": {"color": ink["edge"], "width": 0.5}},
                hovertext=[f"{row[0]}: {row[2]:,} tokens, {row[3]:.2f} times English" for row in mine],
                hoverinfo="text",
            )
    figure.add_scatter(
        x=[code[row[0]] for row in table],
        y=[row[6] for row in table],
        mode="markers",
        name="at its own V*",
        marker={"symbol": "diamond", "size": 7, "color": ink["paper"], "line": {"color": ink["ink"], "width": 1.5}},
        hovertext=[f"{row[0]} with V* {row[4] or 'out of reach'}: {row[5]:,} tokens" for row in table],
        hoverinfo="text",
    )
    order = [code[row[0]] for row in table]
    named = [name for place, name in enumerate(order) if place in (0, len(order) - 1) or name == "en"]
    ticks = {"type": "category", "categoryorder": "array", "categoryarray": order, "tickvals": named}
    titles = {row["locale"]: row["name"] for row in found}
    figure.update_layout(
        bargap=0.25,
        barmode="overlay",
        xaxis={**ticks, "ticktext": [titles[name] for name in named], "tickangle": 0, "showgrid": False},
        yaxis={"title": "tokens over English's"},
        shapes=[{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "line": {"color": ink["ink"], "width": 1}}],
    )
    return figure


def _words(table: list[tuple]) -> str:
    if len(table) < 3:
        return "Each language gets a tokenizer of its own; English comes first, and is the measure."
    (least, *_), (most, *_) = table[0], table[-1]
    spread, after = pstdev(row[3] for row in table), pstdev(row[6] for row in table)
    return (
        f"From {table[0][3]:.2f} ({least}) to {table[-1][3]:.2f} ({most}) over {len(table)} languages; the premiums' standard "
        f"deviation is {spread:.3f}, and {after:.3f} when each language has its own V* (diamonds)."
    )
