"""Which position every key of an edited cache is rotated to: whole with PIE, double or missing without."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import escaped, piece, short

COLUMNS = ("cache", "tokens", "position of the first", "of the last", "kind")
LANES = {"PIE": 3, "no rotation": 2, "its old keys": 1, "its faults": 0}
BEHIND = "behind the edit"


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row an unbroken run of positions: of PIE's cache, of the one that is not rotated, and of its faults."""
    steps = read.steps(trace, upto)
    if not steps:
        return []
    found = steps[-1].notes["ruler"]
    right = [("PIE", count, token, token + count - 1, kind) for token, _, count, kind in found["runs"]]
    left = [("no rotation", count, place, place + count - 1, kind) for _, place, count, kind in found["runs"]]
    for name, kind in (("collisions", "double"), ("gaps", "missing")):
        ends = zip(found[name][::2], found[name][1::2])
        left += [("no rotation", high - low, low, high - 1, kind) for low, high in ends]
    return right + left


def edit_ruler(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Bars along the positions: the upper lane is PIE's cache (a full recompute's alike), the others the one not rotated."""
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}})
    looks = {
        "before the edit": {"color": ink["ghost"], "line": {"color": ink["edge"], "width": 1}},
        "new": {"color": ink["draft"], "line": {"color": ink["draft-ink"], "width": 1}},
        BEHIND: {"color": ink["target-tint"], "line": {"color": ink["target-edge"], "width": 1}},
        "double": themes.hatched(ink["refuse"], ink["refuse-tint"], "x"),
        "missing": {"color": ink["paper"], "line": {"color": ink["refuse"], "width": 2}},
    }
    table = rows(trace, upto)
    for kind, marker in looks.items():
        mine = [row for row in table if row[4] == kind]
        if not mine:
            continue
        figure.add_bar(
            orientation="h",
            name=kind,
            x=[row[1] for row in mine],
            base=[row[2] - 0.5 for row in mine],
            y=[_lane(row[0], kind) for row in mine],
            width=0.7,
            showlegend=kind in ("before the edit", "new", BEHIND),
            marker=marker,
            hovertext=[f"{row[0]}: positions {row[2]} to {row[3]}, {kind}" for row in mine],
            hoverinfo="text",
        )
    if table:
        font = {"family": themes.CODE_FONT, "size": 13, "color": ink["ink-2"]}
        code = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom", "showarrow": False}
        figure.add_annotation(text=_code(trace, read.steps(trace, upto)[-1].notes["around"]), font=font, **code)
    figure.update_layout(
        title="At which position does every token of the cache stand?",
        meta={"words": _words(trace, table), "height": 270},
        barmode="overlay",
        legend={"y": 1.12},
        margin={"t": 66},
        xaxis={"title": "position that a key is rotated to", "showgrid": False},
        yaxis={"tickvals": list(LANES.values()), "ticktext": list(LANES), "range": [-0.6, 3.6], "showgrid": False},
    )
    return figure


def _lane(cache: str, kind: str) -> int:
    if cache == "PIE":
        return LANES["PIE"]
    return 0 if kind in ("double", "missing") else 1 if kind == BEHIND else 2


def _code(trace: Trace, around: list[list[int]]) -> str:
    """One line of the text at the latest edit, what was typed in bold, the cursor behind it."""
    before, new, behind = ("".join(short(piece(trace, token)) for token in part) for part in around)
    return f"…{escaped(before[-14:])}<b>{escaped(new[-22:])}|</b>{escaped(behind[:10])}…"


def _words(trace: Trace, table: list[tuple]) -> str:
    if not table:
        return "Keys are stored rotated by their position; an edit moves all that stands behind it."
    delta = sum(row[1] for row in table if row[0] == "PIE") - len(trace.opening.prompt_ids)
    double, missing = (sum(row[1] for row in table if row[4] == kind) for kind in ("double", "missing"))
    return (
        f"The text is {abs(delta)} tokens {'longer' if delta >= 0 else 'shorter'} than it was. Positions of the cache that"
        f" is not rotated: {double} with several tokens (hatched), {missing} with none (hollow). PIE moves the keys."
    )
