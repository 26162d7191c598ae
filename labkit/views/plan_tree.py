"""A planning search as a tree: how good the best program through every token was, and how often the search went there."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import label, piece

COLUMNS = ("node", "token", "under node", "prior P", "visits", "Q", "on this rollout's path")
LEVELS = ((0.0, "Q 0", "e0", "circle"), (0.5, "up to ½", "e2", "circle"), (1.0, "under 1", "e4", "square"))
SOLVED = ("Q 1: all pass", "e6", "diamond")
NAMED = 60  # nodes that have room for their token


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a visited place of the last step: node from 1, token, parent (0 = the prompt), P, visits, Q, on the path?"""
    shown = read.steps(trace, upto)
    if not shown:
        return []
    tree, path = shown[-1].notes["tree"], set(shown[-1].notes["path"])
    columns = zip(tree["tokens"], tree["parents"], tree["priors"], tree["visits"], tree["q"])
    return [
        (node + 1, piece(trace, token), parent + 1, prior, visits, q, node in path)
        for node, (token, parent, prior, visits, q) in enumerate(columns)
        if visits
    ]


def _places(table: list[tuple]) -> dict[int, tuple[int, float]]:
    """(depth, row) of every node; a parent sits on the row of its first child, so that the likeliest line is straight."""
    children: dict[int, list[int]] = {}
    for row in table:
        children.setdefault(row[2], []).append(row[0])
    places, leaves, stack = {}, 0, [(0, 0)]
    while stack:
        node, depth = stack.pop()
        places[node] = (depth, leaves)
        below = children.get(node, [])
        leaves += not below
        stack += [(child, depth + 1) for child in reversed(below)]
    return places


def plan_tree(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """The visited places of the search: colour and shape = Q, width of an edge = visits, frame = this rollout's path."""
    ink, table = themes.colours(theme), rows(trace, upto)
    places = _places(table)
    most = max((row[4] for row in table), default=1)
    figure = go.Figure(layout={"template": {}})
    widths: dict[tuple, list] = {}
    for row in table:
        widths.setdefault((1 + round(7 * row[4] / most), row[6]), []).append((places[row[2]], places[row[0]]))
    for (width, on_path), edges in sorted(widths.items(), key=lambda group: group[0][1]):
        xs = [x for (a, _), (b, _) in edges for x in (a, a + 0.5, b, None)]
        ys = [y for (_, a), (_, b) in edges for y in (a, b, b, None)]
        line = {"width": width, "color": ink["draft"] if on_path else ink["ghost"]}
        figure.add_scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    leaves = max((row for _, row in places.values()), default=0)
    for number, (name, colour, symbol) in enumerate([level[1:] for level in LEVELS] + [SOLVED]):
        some = [row for row in table if _level(row[5]) == number]
        if not some:
            continue
        named = len(table) <= NAMED
        figure.add_scatter(
            x=[places[row[0]][0] for row in some],
            y=[places[row[0]][1] for row in some],
            mode="markers+text" if named else "markers",
            text=[label(row[1], 10) for row in some] if named else None,
            textposition="top center",
            textfont={"family": themes.CODE_FONT, "size": 11, "color": ink["ink"]},
            name=name,
            marker={
                "size": 11 if leaves < 16 else 7,
                "symbol": symbol,
                "color": ink[colour],
                "line": {"width": [3 if row[6] else 1 for row in some], "color": ink["draft"] if number == 0 else ink["ink-2"]},
            },
            hovertext=[_hover(row) for row in some],
            hoverinfo="text",
        )
    deepest = max((depth for depth, _ in places.values()), default=1)
    figure.update_layout(
        title="Where did the search go?",
        meta={"words": _words(trace, upto), "height": 300},
        xaxis={"title": "tokens behind the prompt", "range": [-0.3, max(deepest, 4) + 0.7], "showgrid": False, "dtick": 1},
        yaxis={"visible": False, "range": [max(leaves, 3) + 0.6, -0.9]},
    )
    return figure


def _level(q: float) -> int:
    return next((number for number, (top, *_) in enumerate(LEVELS) if (q <= top if top < 1 else q < 1)), len(LEVELS))


def _hover(row: tuple) -> str:
    return f"{label(row[1])}: best program {row[5]:.2f}, {row[4]} visits, prior {row[3]:.0%}"


def _words(trace: Trace, upto: int | None) -> str:
    shown = read.steps(trace, upto)
    if not shown:
        return "Every rollout opens one more place and writes a program from there."
    notes = shown[-1].notes
    how = {"written": "wrote a new program", "known program": "met a known program", "finished": "ended at a whole program"}
    said = f"Rollout {notes['rollout']} {how[notes['source']]}, which earns {notes['worth']:.2f}"
    return f"{said}; thick edges were taken often, the best so far earns {notes['best']:.2f}."
