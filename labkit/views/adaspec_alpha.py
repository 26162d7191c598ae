"""Alpha on held-out text against gradient steps: drafts that learn from a share of the tokens, and their rivals."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.shares import looks, named

COLUMNS = ("run", "draft", "gradient steps", "alpha", "lowest seed", "highest seed")
LIVE, LONG = "this run", "long run"


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a measurement. Of the long run: the mean over its seeds, and the lowest and highest of them."""
    steps = read.steps(trace, upto)
    notes = steps[-1].notes if steps else {}
    found = [
        (LIVE, name, taken, value, value, value)
        for name, curve in notes.get("curves", {}).items()
        for taken, value in zip(*curve)
    ]
    seeds = (notes.get("long run") or {}).get("seeds", [])
    for name in seeds[0] if seeds else ():
        for place, taken in enumerate(seeds[0][name][0]):
            values = [seed[name][1][place] for seed in seeds]
            found.append((LONG, name, taken, sum(values) / len(values), min(values), max(values)))
    return found


def adaspec_alpha(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """The run on the page, and beside it (when it was made with these models) the long one with the spread of its seeds."""
    ink = themes.colours(theme)
    table = rows(trace, upto)
    steps = read.steps(trace, upto)
    share = steps[-1].notes.get("share", 0.4) if steps else 0.4
    runs = list(dict.fromkeys(row[0] for row in table)) or [LIVE]
    figure = go.Figure(layout={"template": {}})
    lines = looks(list(dict.fromkeys(row[1] for row in table)), share, ink)
    shown = set()
    for run in runs:
        axis = "" if run == LIVE else "2"
        for name, line in lines.items():
            points = [row[2:] for row in table if row[:2] == (run, name)]
            if not points:
                continue
            figure.add_scatter(
                x=[point[0] for point in points],
                y=[point[1] for point in points],
                name=named(name),
                legendgroup=name,
                showlegend=name not in shown,
                mode="lines",
                line=line,
                xaxis=f"x{axis}",
                yaxis=f"y{axis}",
                hovertext=[
                    f"{run}, {named(name)}, step {taken}: {value:.3f}"
                    + (f" ({low:.3f} to {high:.3f})" if high > low else "")
                    for taken, value, low, high in points
                ],
                hoverinfo="text",
            )
            shown.add(name)
    both = len(runs) == 2
    figure.update_layout(
        title="Does a draft learn more from fewer tokens?",
        meta={"words": words(table, share), "height": 340},
        xaxis={"title": "gradient steps, this run", "domain": [0, 0.47] if both else [0, 1], "rangemode": "tozero"},
        yaxis={"title": "alpha, held out"},
        legend={"x": 0, "xanchor": "left", "y": -0.2, "yanchor": "top"},  # five names: no room beside the title
    )
    if both:
        figure.update_layout(
            xaxis2={"title": "gradient steps, long run", "domain": [0.55, 1], "anchor": "y2", "rangemode": "tozero"},
            yaxis2={"anchor": "x2"},
        )
    return figure


def words(table: list[tuple], share: float) -> str:
    """The last measurement of every draft that ran to its end, in words."""
    said = []
    for run in (LONG, LIVE):
        last = {row[1]: row[3] for row in table if row[0] == run}
        if {"share 1", f"share {share:g}", "longer"} <= last.keys():
            kept = f"{last[f'share {share:g}']:.3f} from {100 * share:.0f} % of the tokens, " if share < 1 else ""
            plain = f"{last['share 1']:.3f} from all, {last['longer']:.3f} from all with the steps of both phases"
            said.append(f"{run.capitalize()}: alpha {kept}{plain}")
    return ". ".join([*said, "Alpha is the mean of the sum of min(p, q)"]) + "."
