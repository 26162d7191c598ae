"""The draft tree of one step: what was proposed, what survived, and why."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from labkit.errors import TraceError
from labkit.trace import ACCEPTED, REFUSED, UNREACHED, Step, Trace, Tree
from labkit.views import layout, read
from labkit.views import theme as themes
from labkit.views.text import cut, escaped, piece, shown, width

COLUMNS = (
    "node",
    "token",
    "parent",
    "verdict",
    "reason",
    "draft probability",
    "target probability",
    "coin",
    "threshold",
    "order",
)
# The verifiers' reasons in the room that a column has; the table says them whole.
SHORT_REASONS = {
    "is what the target drew": "drawn",
    "is not what the target drew": "not drawn",
    "is the likeliest": "best",
    "is not the likeliest": "not best",
}
WIDTH = 1000  # pixels of the drawing when nobody says otherwise


def rows(trace: Trace, upto: int | None = None, *, step: int | None = None) -> list[tuple]:
    """One row a drafted node of step `step` (from 1; None = the last), and one for the token the target added."""
    tree = _tree(_step(trace, upto, step))

    def at(values: list, node: int):
        return values[node] if values else None

    def chance(logprob: float | None):
        return None if logprob is None else math.exp(logprob)

    found = [
        (
            node,
            piece(trace, token),
            tree.parents[node],
            layout.verdict(tree, node),
            at(tree.reasons, node) or "",
            chance(at(tree.draft_logprobs, node)),
            chance(at(tree.target_logprobs, node)),
            at(tree.coins, node),
            at(tree.thresholds, node),
            at(tree.order, node),
        )
        for node, token in enumerate(tree.tokens)
    ]
    if tree.added is not None:
        parent = tree.path[-1] if tree.path else -1
        found.append(
            (
                "target",
                piece(trace, tree.added),
                parent,
                "added",
                tree.added_from,
                None,
                chance(tree.added_logprob),
                None,
                None,
                None,
            )
        )
    return found


def draft_tree(
    trace: Trace, upto: int | None = None, *, step: int | None = None, width: float = WIDTH, theme: str = "light"
) -> go.Figure:
    """The tree of step `step` (from 1; None = the last one shown), laid out in pixels for `width`.

    Filled = accepted, dashed and struck = refused, dotted = never reached, arrow-ended = the target's own. Edge width =
    the draft's probability. Raises `TraceError` when there is no such step, or it drafted nothing at all.
    """
    ink = themes.colours(theme)
    found = _step(trace, upto, step)
    tree = _tree(found)
    names = {node: cut(piece(trace, token), 28) for node, token in enumerate(tree.tokens)}
    names[layout.ROOT] = cut(_last(trace, found), 28)
    if tree.added is not None:
        names[layout.TARGET] = cut(piece(trace, tree.added), 28)
    plan = layout.layout(tree, width, names.__getitem__, _measure)
    figure = go.Figure(layout={"template": {}})
    shapes, notes = _guides(plan, ink)
    shares: dict[int, float | None] = dict(enumerate(layout.draft_shares(tree)))
    rank = {UNREACHED: 0, REFUSED: 1, ACCEPTED: 2, "target": 3, "root": 4}
    kinds = {node: _kind(tree, node) for node in plan.nodes}
    for node in sorted(plan.nodes, key=lambda node: rank[kinds[node]]):  # the accepted path lies on top
        if node != layout.ROOT:
            shapes += _edge(plan, node, kinds[node], shares.get(node), ink)
    for node, spot in plan.nodes.items():
        shapes.append(_box(spot, kinds[node], ink))
        notes += _words(tree, node, spot, kinds[node], names[node], plan.step, shares.get(node), ink)
    hover = [node for node in plan.nodes if node >= 0]
    figure.add_scatter(
        x=[plan.nodes[node].x + plan.nodes[node].w / 2 for node in hover],
        y=[plan.nodes[node].y for node in hover],
        mode="markers",
        marker={"size": 24, "opacity": 0},
        hovertext=[_hover(row) for row in rows(trace, upto, step=step)[: len(hover)]],
        hoverinfo="text",
        showlegend=False,
    )
    number = trace.steps.index(found) + 1
    lossy = "" if trace.opening.lossless else ", lossy"
    figure.update_layout(
        title=f"Draft tree, step {number}: {len(tree.path)} of {len(tree.tokens)} drafted tokens accepted{lossy}",
        shapes=shapes,
        annotations=notes,
        width=plan.width + 24,
        height=plan.height + 56,
        margin={"l": 12, "r": 12, "t": 44, "b": 12},
        xaxis={"visible": False, "range": [0, plan.width], "fixedrange": True},
        yaxis={"visible": False, "range": [plan.height, 0], "fixedrange": True},
    )
    return figure


def _step(trace: Trace, upto: int | None, step: int | None) -> Step:
    return read.step_at(trace, upto if step is None and upto is not None else step)


def _tree(step: Step) -> Tree:
    if step.tree is None:
        raise TraceError(
            "This step drafted nothing, so there is no tree: choose another step, or a method that drafts."
        )
    return step.tree


def _last(trace: Trace, step: Step) -> str:
    before = trace.opening.prompt_ids + trace.ids_upto(trace.steps.index(step))
    return piece(trace, before[-1]) if before else ""


def _measure(text: str) -> float:
    return width(text)


def _kind(tree: Tree, node: int) -> str:
    return {layout.ROOT: "root", layout.TARGET: "target"}.get(node) or layout.verdict(tree, node)


def _guides(plan: layout.Plan, ink: dict[str, str]) -> tuple[list[dict], list[dict]]:
    shapes, notes = [], []
    for depth in range(plan.columns):
        x = layout.LEFT + depth * plan.step
        notes.append(_text(x, 7, f"+{depth}" if depth else "last token", ink["ink-3"]))
        if depth:
            shapes.append(
                {
                    "type": "line",
                    "x0": x,
                    "x1": x,
                    "y0": 20,
                    "y1": plan.height,
                    "line": {"color": ink["line"], "dash": "dot", "width": 1},
                }
            )
    return shapes, notes


def _edge(plan: layout.Plan, node: int, kind: str, q: float | None, ink: dict[str, str]) -> list[dict]:
    spot = plan.nodes[node]
    path = layout.edge(plan.nodes[spot.parent], spot).replace("C", " C ")
    colour = {
        ACCEPTED: ink["draft"],
        REFUSED: ink["refuse-tint"],
        UNREACHED: ink["ghost"],
        "target": ink["target-edge"],
    }[kind]
    line = {"type": "path", "path": path, "layer": "below", "line": {"color": colour, "width": layout.edge_width(q)}}
    if kind != REFUSED:
        return [line]
    return [line, {**line, "line": {"color": ink["refuse"], "width": 1.8, "dash": "7px,5px"}}]


def _box(spot: layout.Spot, kind: str, ink: dict[str, str]) -> dict:
    x0, x1, y = spot.x, spot.x + spot.w, spot.y
    fill, edge, dash = {
        ACCEPTED: (ink["draft"], ink["draft"], "solid"),
        REFUSED: (ink["refuse-tint"], ink["refuse"], "5px,3px"),
        UNREACHED: (ink["paper"], ink["edge"], "1.5px,3px"),
        "target": (ink["target"], ink["target-edge"], "solid"),
        "root": (ink["ink"], ink["ink"], "solid"),
    }[kind]
    half = {UNREACHED: 10.5, "target": 13}.get(kind, 12)
    look = {"fillcolor": fill, "line": {"color": edge, "width": 1.5, "dash": dash}}
    if kind == "target":
        return {
            "type": "path",
            "path": f"M {x0} {y - half} L {x1 - 2} {y - half} L {x1 + 7} {y} L {x1 - 2} {y + half} L {x0} {y + half} Z",
            **look,
        }
    return {"type": "rect", "x0": x0, "x1": x1, "y0": y - half, "y1": y + half, **look}


def _words(
    tree: Tree, node: int, spot: layout.Spot, kind: str, name: str, step: float, q: float | None, ink: dict[str, str]
) -> list[dict]:
    room = max(2, int((spot.w - 16) / 7.6))
    name = escaped(name if len(name) <= room else name[: room - 1] + "…")
    colour = {
        ACCEPTED: "on-draft",
        REFUSED: "refuse-ink",
        UNREACHED: "ghost-ink",
        "target": "on-target",
        "root": "paper",
    }[kind]
    notes = [_text(spot.x + 8, spot.y, f"<s>{name}</s>" if kind == REFUSED else name, ink[colour], code=True)]
    if why := _why(tree, node, kind, int((step - 14) / 6.1)):
        colour = {ACCEPTED: "draft-ink", REFUSED: "refuse-ink", "target": "target-ink"}[kind]
        notes.append(_text(spot.x + 1, spot.y + 23, escaped(why), ink[colour]))
    if kind == UNREACHED and q is not None:
        notes.append(_text(spot.x + spot.w + 6, spot.y, f"{q:.2f}".removeprefix("0"), ink["ghost-ink"]))
    return notes


def _why(tree: Tree, node: int, kind: str, room: int) -> str:
    def short(x: float, places: int = 3) -> str:
        return f"{x:.{places}f}".removeprefix("0") if x < 0.9995 else "1.00"

    if kind == "target":
        return "target adds" + ("" if tree.added_logprob is None else f", p {short(math.exp(tree.added_logprob), 2)}")
    if kind not in (ACCEPTED, REFUSED):
        return ""
    kept = kind == ACCEPTED
    coin = tree.coins[node] if tree.coins else None
    threshold = tree.thresholds[node] if tree.thresholds else None
    if coin is not None and threshold is not None:
        return f"{'✓' if kept else '✕'} u {short(coin)} {'≤' if kept else '>'} {short(threshold)}"
    said = tree.reasons[node] if tree.reasons else ""
    reason = SHORT_REASONS.get(said, said)
    if tree.target_logprobs and tree.target_logprobs[node] is not None:
        reason += f"{', ' if reason else ''}p {short(math.exp(tree.target_logprobs[node]))}"
    return f"{'✓' if kept else '✕'} {reason if len(reason) <= room - 2 else reason[: max(1, room - 3)] + '…'}".strip()


def _hover(row: tuple) -> str:
    _, token, _, verdict, reason, q, p, coin, threshold, _ = row
    numbers = [("draft", q), ("target", p), ("coin", coin), ("threshold", threshold)]
    parts = [
        verdict.replace(UNREACHED, "never reached"),
        *(f"{name} {value:.3f}" for name, value in numbers if value is not None),
        reason,
    ]
    return escaped(shown(token)) + "<br>" + escaped(", ".join(filter(None, parts)))


def _text(x: float, y: float, text: str, colour: str, code: bool = False) -> dict:
    font = {"size": 13, "family": themes.CODE_FONT, "color": colour} if code else {"size": 12, "color": colour}
    return {
        "x": x,
        "y": y,
        "text": text,
        "font": font,
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "middle",
        "borderpad": 0,
    }
