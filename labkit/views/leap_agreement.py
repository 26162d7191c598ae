"""P119's principles as a map: how often a guess is final already, by distance to the nearest anchor and by confidence."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("confidence", "places to the nearest anchor", "guesses", "final already", "share")
FEW = 10  # guesses; a share of fewer is drawn without a colour
ALL = "all"  # confidences together
MIDDLE = ("0.3–0.5", "0.5–0.7")  # moderate ones


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a class of confidence and distance that has guesses; "anchor" = the place is one, "none" = the round has none."""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    notes = shown[-1].notes
    lows = notes["sure"]
    names = [ALL, *(f"{low:g}–{high:g}" for low, high in zip(lows, [*lows[1:], 1]))]
    counts, finals = ([[sum(column) for column in zip(*notes[name])], *notes[name]] for name in ("all", "final"))
    return [
        (name, where, count, final, final / count)
        for name, all_of_it, final_ones in zip(names, counts, finals)
        for where, count, final in zip(notes["distances"], all_of_it, final_ones)
        if count
    ]


def leap_agreement(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Columns are distances, rows confidences, the surest on top; a cell says which share of its guesses is final already."""
    ink, table, shown = themes.colours(theme), rows(trace, upto), read.steps(trace, upto)
    figure = go.Figure(layout={"template": {}})
    x: dict = {"title": "places to the nearest anchor", "showgrid": False}
    y: dict = {"title": "confidence of the guess", "showgrid": False}
    if table:
        across, names = shown[-1].notes["distances"], list(dict.fromkeys(row[0] for row in table))
        cells = {row[:2]: row[2:] for row in table}
        grid = [[cells.get((name, where)) for where in across] for name in names]
        figure.add_heatmap(
            x=list(range(len(across))),
            y=list(range(len(names))),
            z=[[cell[2] if cell and cell[0] >= FEW else None for cell in row] for row in grid],
            zmin=0,
            zmax=1,
            colorscale=[[level / 5, ink[f"e{level}"]] for level in range(6)],
            showscale=False,
            xgap=2,
            ygap=2,
            hovertext=[[_said(name, where, cell) for where, cell in zip(across, row)] for name, row in zip(names, grid)],
            hoverinfo="text",
            name="share of guesses that are final already",
        )
        for down, row in enumerate(grid):
            for place, cell in enumerate(row):
                if cell:
                    tone = ink[f"on-e{round(cell[2] * 5)}"] if cell[0] >= FEW else ink["ink-3"]
                    font = {"size": 13, "color": tone}
                    figure.add_annotation(x=place, y=down, text=f"{cell[2]:.0%}", showarrow=False, font=font)
        figure.add_shape(type="line", xref="paper", x0=0, x1=1, y0=0.5, y1=0.5, line={"color": ink["edge"], "width": 1})
        x |= {"tickvals": list(range(len(across))), "ticktext": across}
        y |= {"tickvals": list(range(len(names))), "ticktext": names}
    figure.update_layout(
        title="Is a guess near a sure place final already?",
        meta={"words": _words(table, shown[-1].notes if shown else {}), "height": 350},
        xaxis=x,
        yaxis=y,
        showlegend=False,
    )
    return figure


def _said(sure: str, where: str, cell: tuple | None) -> str:
    return f"{sure}, {where}: {cell[2]:.0%} of {cell[0]:,} guesses are final already" if cell else ""


def share(table: list[tuple], confidences: tuple[str, ...], distances: list[str]) -> str:
    """The share of the guesses of these classes that are final already, in words."""
    mine = [row for row in table if row[0] in confidences and row[1] in distances]
    count = sum(row[2] for row in mine)
    return f"{sum(row[3] for row in mine) / count:.0%} of {count:,}" if count else "none of 0"


def _words(table: list[tuple], notes: dict) -> str:
    if not table:
        return "No text is whole yet: what is final is known at its end."
    beside, far = notes["distances"][1:3], notes["distances"][5:-1]
    total, moderate = ([share(table, classes, among) for among in (beside, far)] for classes in ((ALL,), MIDDLE))
    texts = f"{notes['texts']} text{'s' if notes['texts'] > 1 else ''}"
    return (
        f"{texts}. One or two places from an anchor {total[0]} guesses are final already, six and more away {total[1]}; "
        f"of those that are 0.3 to 0.7 sure {moderate[0]} and {moderate[1]}."
    )
