"""The search tree behind one draft: where the walks went, what they found there, what became of it."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes
from labkit.views.text import cut, escaped, piece, shown

COLUMNS = ("edge", "token", "behind", "visits N", "value Q", "prior P", "depth", "became")
SEARCHED, DRAFTED, ACCEPTED = "searched only", "drafted", "accepted"
TITLE = "Where did the search go?"
WIDTH, HEIGHT = 500, 340  # pixels: of a panel beside another one on a small screen, and of ours
LETTER, LINE = 7.4, 15  # pixels


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row an edge of the search behind the last step shown: the node it leads to (from 1), its token, the node it starts
    from (0 = the root), N, Q, P, depth, and what became of it."""
    steps = read.steps(trace, upto)
    if not steps:
        return []
    found, tree = steps[-1].notes["search"], steps[-1].tree
    became = {node: DRAFTED for node in found["kept"]} | {found["kept"][index]: ACCEPTED for index in tree.path}
    depths = [0]
    for parent in found["parents"][1:]:
        depths.append(depths[parent] + 1)
    columns = zip(found["parents"], found["visits"], found["values"], found["priors"], depths)
    tokens = steps[-1].notes["tokens"][0]
    return [
        (node, piece(trace, tokens[node]), *numbers, became.get(node, SEARCHED))
        for node, numbers in enumerate(columns)
        if node
    ]


def search(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """The edges of the search behind the last step shown, root on the left, as bars whose heights are their visits N.

    A bar names its token and, where there is room, N, Q and P. Blue with a tick = accepted, pale blue = drafted, white =
    searched only. Raises `KeyError` when the trace's method did not search.
    """
    ink = themes.colours(theme)
    figure = go.Figure(layout={"template": {}, "title": TITLE})
    steps = read.steps(trace, upto)
    figure.update_layout(meta={"words": _words(trace, upto), "height": HEIGHT}, margin={"l": 12, "r": 12, "b": 12})
    if not steps:
        return figure
    table, found = rows(trace, upto), steps[-1].notes["search"]
    last = [*trace.opening.prompt_ids, *trace.ids_upto(trace.steps.index(steps[-1]))][-2:]
    root = "<br>".join(escaped(cut(piece(trace, token), 12)) for token in last)
    walks = found["visits"][0]
    line = LINE * walks / HEIGHT  # visits that make room for a line of text
    room = max(3, int((WIDTH / (max((row[6] for row in table), default=0) + 1) - 10) / LETTER))  # letters in a bar
    looks = {
        SEARCHED: (ink["paper"], ink["ink-3"]),
        DRAFTED: (ink["draft-tint"], ink["ink"]),
        ACCEPTED: (ink["draft"], ink["on-draft"]),
    }
    colours = [(ink["ink"], ink["paper"]), *(looks[row[-1]] for row in table)]
    figure.add_icicle(
        ids=["0", *(str(row[0]) for row in table)],
        parents=["", *(str(row[2]) for row in table)],
        labels=["the last two tokens", *(_name(row, room) for row in table)],
        values=found["visits"],
        text=[f"{root}<br>{walks}", *(_text(row, room, line) for row in table)],
        hovertext=[f"{root}<br>the last two tokens, {walks} walks", *(_hover(row) for row in table)],
        texttemplate="%{text}",
        hoverinfo="text",
        branchvalues="total",
        sort=False,
        tiling={"orientation": "h", "pad": 1},
        pathbar={"visible": False},
        leaf={"opacity": 1},
        marker={"colors": [fill for fill, _ in colours], "line": {"color": ink["edge"], "width": 1}},
        textfont={"color": [text for _, text in colours], "family": themes.CODE_FONT, "size": 12},
    )
    figure.update_layout(uniformtext={"mode": "hide", "minsize": 10})
    return figure


def _words(trace: Trace, upto: int | None) -> str:
    table = rows(trace, upto)
    if not table:
        return "No walk found anything yet."
    drafted, accepted = sum(row[-1] != SEARCHED for row in table), sum(row[-1] == ACCEPTED for row in table)
    return (
        f"{len(table)} edges: {drafted} drafted (pale), {accepted} accepted (blue, ✓). A bar's height is N, the walks that went "
        "there; under the token stand N, Q (what they found) and P (the table's belief)."
    )


def _name(row: tuple, room: int) -> str:
    tick = "✓ " if row[-1] == ACCEPTED else ""
    return tick + escaped(cut(row[1], room - len(tick)))


def _text(row: tuple, room: int, line: float) -> str:
    """The token, and N, Q, P under it where the bar is high enough: in one line, or in three where it is narrow."""
    numbers = [str(row[3]), _short(row[4]), _short(row[5])]
    lines = [" ".join(numbers)] if len(" ".join(numbers)) <= room else numbers
    return "<br>".join([_name(row, room), *(lines if row[3] > (len(lines) + 1.2) * line else [])])


def _hover(row: tuple) -> str:
    return f"{escaped(shown(row[1]))}<br>N {row[3]}, Q {row[4]:.3f}, P {row[5]:.3f}, {row[-1]}"


def _short(share: float) -> str:
    return f"{share:.2f}".removeprefix("0")
