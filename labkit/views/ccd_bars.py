"""P146 CCD: doubt and unrest of every masked place, in the order in which they are trusted."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("place", "token", "mean entropy, nats", "JSD, nats", "entropy now, nats", "rank", "rank now alone", "became final")
DRAWN = 32  # places, the most trusted ones


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a masked place of the block, the most trusted first; ranks from 1, by H(mean of the laws) and by this round's H.

    The released code keeps no laws: its mean entropy is this round's, and its JSD is 0.
    """
    shown = read.steps(trace, upto)
    if not shown:
        return []
    step, notes = shown[-1], shown[-1].notes
    low, high = notes["block"]
    why = dict(zip(step.at or (), notes["reasons"]))
    doubts, unrest = notes.get("doubts", notes["entropy"]), notes.get("unrest", [0.0] * len(notes["places"]))
    each = [one for one in zip(notes["places"], notes["tokens"][0], doubts, unrest, notes["entropy"]) if low <= one[0] < high]
    alone = {one[0]: rank for rank, one in enumerate(sorted(each, key=lambda one: one[4]), 1)}
    return [
        (place + 1, piece(trace, token), doubt, jsd, now, rank, alone[place], why.get(place, ""))
        for rank, (place, token, doubt, jsd, now) in enumerate(sorted(each, key=lambda one: one[2] + one[3]), 1)
    ]


def ccd_bars(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Stacked bars, a place each: doubt (mean entropy) and unrest (JSD) on top; a diamond is the entropy of this round alone."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    table, words, x = rows(trace, upto)[:DRAWN], "No round yet.", {"title": "masked places of the block, the most trusted first"}
    if table:
        steps = read.steps(trace, upto)
        notes = steps[-1].notes
        spots = [row[5] for row in table]
        hover = [
            f"place {row[0]}, {label(row[1])}: doubt {row[2]:.2f}, unrest {row[3]:.2f}<br>rank {row[5]}, now alone {row[6]}"
            for row in table
        ]
        style = {"x": spots, "hovertext": hover, "hoverinfo": "text"}
        look = {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}}
        figure.add_bar(y=[row[2] for row in table], name="doubt: mean entropy", marker=look, **style)
        if "unrest" in notes:
            look = themes.hatched(ink["refuse"], ink["refuse-tint"])
            figure.add_bar(y=[row[3] for row in table], name="unrest: JSD", marker=look, **style)
            marker = {"color": ink["ink"], "symbol": "diamond-open", "size": 8, "line": {"width": 1.5}}
            figure.add_scatter(y=[row[4] for row in table], mode="markers", name="entropy of this round", marker=marker, **style)
        chosen = [row for row in table if row[7]]
        tops = [row[2] + row[3] for row in chosen]
        marker = {"color": ink["target"], "symbol": "star", "size": 11, "line": {"color": ink["ink"], "width": 1}}
        named = {"name": "becomes final", "hoverinfo": "skip", "mode": "markers", "marker": marker, "cliponaxis": False}
        figure.add_scatter(x=[row[5] for row in chosen], y=tops, **named)
        if "bound" in notes:
            line = {"color": ink["ink-2"], "width": 1.5, "dash": "6px,3px"}
            named = {"mode": "lines", "line": line, "name": f"bound {notes['bound']:.2f}", "hoverinfo": "name"}
            figure.add_scatter(x=[0.5, len(table) + 0.5], y=[notes["bound"]] * 2, **named)
        waiting = [place + 1 for place in notes.get("buffer", ())]
        ticks = [f"{label(row[1], 9)}{'*' if row[0] in waiting else ''} {row[0]}" for row in table]
        font = {"family": themes.CODE_FONT, "size": 10, "color": ink["ink"]}
        x |= {"tickvals": spots, "ticktext": ticks, "tickangle": -90, "tickfont": font, "showgrid": False}
        moved = sum(row[5] != row[6] for row in table)
        words = (
            f"Round {len(steps)}: {len(chosen)} become final. Averaging the last rounds moved {moved} of {len(table)} places "
            "in the order."
        )
        if "buffer" in notes:
            words = f"Round {len(steps)}: {len(chosen)} become final. A star behind a guess: it waits in the buffer."
    figure.update_layout(
        title="Sure, or only sure just now?",
        meta={"words": words, "height": 340},
        xaxis=x,
        yaxis={"title": "nats", "rangemode": "tozero"},
        barmode="stack",
        bargap=0.2,
    )
    return figure
