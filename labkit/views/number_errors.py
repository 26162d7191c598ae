"""Where sums go wrong: by the length of the answer, by the place of the digit, by how much is carried."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.acceptance import wilson

KINDS = {"same": "as long as<br>an addend", "grows": "one digit<br>longer"}
COLUMNS = ("numbers", "sum", "wrong", "sums", "share wrong", "low (95 % Wilson)", "high (95 % Wilson)")


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a way to write numbers and length of the sum. Raises `KeyError` when the step has no such notes."""
    shown = read.steps(trace, upto)
    tallies = shown[-1].notes["tallies"] if shown else {}
    return [
        (way, kind, of - right, of, (of - right) / of, *wilson(of - right, of))
        for way, tally in tallies.items()
        for kind in KINDS
        for right, of in [tally[kind]]
        if of
    ]


def number_errors(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Shares of wrong answers (left and right), and of wrong digits among answers of the right length (middle)."""
    ink, table, shown = themes.colours(theme), rows(trace, upto), read.steps(trace, upto)
    figure = make_subplots(1, 3, horizontal_spacing=0.07, figure=go.Figure(layout={"template": {}}))
    figure.update_layout(title="Which sums go wrong, and where?", barmode="group")
    figure.update_layout(meta={"words": _words(table), "height": 310}, yaxis={"title": "share wrong"})
    for number, words in (("", "the sum is"), ("2", "digit, from the left"), ("3", "carries")):
        figure.update_layout({f"xaxis{number}": {"title": words, "dtick": 1 if number else None}})
        figure.update_layout({f"yaxis{number}": {"range": [0, 1]}})
    tallies = shown[-1].notes["tallies"] if shown else {}
    edge = {"color": ink["edge"], "width": 1}
    highest = 0.04  # of the shares in the middle
    for way, tally in tallies.items():
        colour, dash, symbol = looks(way, ink)
        mine = [row for row in table if row[0] == way]
        figure.add_bar(
            x=[KINDS[row[1]] for row in mine],
            y=[row[4] for row in mine],
            error_y=themes.whiskers(ink, ((row[5], row[4], row[6]) for row in mine)),
            name=way,
            marker={"color": colour, "line": edge, "pattern": {"shape": "" if dash == "solid" else "/"}},
            hovertext=[f"{way}: {row[2]} of {row[3]} wrong ({row[4]:.0%})" for row in mine],
            hoverinfo="text",
            row=1,
            col=1,
        )
        places = [(place, wrong / of) for place, (wrong, of) in enumerate(zip(tally["places"], tally["long"]), 1) if of]
        carried = [(count, (of - right) / of, of) for count, (right, of) in enumerate(tally["carries"]) if of]
        style = {"mode": "lines+markers", "line": {"color": colour, "width": 3, "dash": dash}}
        for column, points in ((2, places), (3, carried)):
            figure.add_scatter(
                x=[point[0] for point in points],
                y=[point[1] for point in points],
                name=way,
                showlegend=False,
                hovertext=[f"{way}: {point[1]:.1%}" + (f" of {point[2]} sums" if len(point) > 2 else "") for point in points],
                hoverinfo="text",
                marker={"size": 9, "symbol": symbol},
                row=1,
                col=column,
                **style,
            )
        highest = max([highest, *(point[1] for point in places)])
    figure.update_layout(yaxis={"range": [0, min(1, 1.1 * max((row[6] for row in table), default=1))]})
    figure.update_layout(yaxis2={"range": [0, 1.15 * highest]})
    return figure


def looks(way: str, ink: dict) -> tuple[str, str, str]:
    """Colour, dash and marker of a way to write numbers."""
    if way.endswith("r2l"):
        return ink["target"], "solid", "square"
    return (ink["draft"], "dash", "circle") if way.endswith("l2r") else (ink["ghost-ink"], "dot", "x")


def _words(table: list[tuple]) -> str:
    if not table:
        return "Answers are checked by integer arithmetic."
    said = [f"{row[0]} {row[2]} of {row[3]}" for row in table if row[1] == "grows"]
    rest = [f"{row[0]} {row[2]} of {row[3]}" for row in table if row[1] == "same"]
    text = f"Wrong where the sum is a digit longer: {', '.join(said) or 'none asked'}; else: {', '.join(rest) or 'none asked'}."
    return text + " Middle: wrong digits in answers of the right length."
