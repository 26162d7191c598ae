"""Where the nodes of a draft tree stand, for files; ui/js/tree.js does the same for the page, and a test compares them.

Column = depth. Siblings are stacked by q, likeliest on top. A parent sits on the row of its first child, so a straight
line is what the draft believed most. Each leaf opens a row; a row with a tested node is taller, for the reason.
The target's own token is the last child of the path's end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable

from labkit.trace import UNREACHED, Tree

LOW, TALL, TOP, LEFT, ROOM = 25, 43, 27, 4, 8  # pixels: row heights, head of the columns, margins
COLUMNS, NARROWEST, PILL = 10, 104, 30  # columns in one width, their least width, the least width of a node
ROOT, TARGET = -1, -2  # ids beside the nodes' own


@dataclass
class Spot:
    """A node's place in pixels: `x` its left edge, `y` its middle, `w` its width."""

    parent: int | None
    depth: int
    x: float = 0.0
    y: float = 0.0
    w: float = 0.0


@dataclass
class Plan:
    """A laid out tree: places by id, the whole size, the columns and their width."""

    nodes: dict[int, Spot]
    width: float
    height: float
    columns: int
    step: float


def draft_shares(tree: Tree) -> list[float | None]:
    """q of every node under the draft's whole law; None where no draft law stands behind it.

    A row that siblings were drawn from without replacement is what the elder ones left of that law.
    """
    left: dict[int, float] = {}
    shares: list[float | None] = []
    for node, parent in enumerate(tree.parents):
        logprob = tree.draft_logprobs[node] if tree.draft_logprobs else None
        q = None if logprob is None else math.exp(logprob)
        if q is not None and tree.kind == "without_replacement":
            rest = left.get(parent, 1.0)
            left[parent] = rest * (1 - q)
            q *= rest
        shares.append(q)
    return shares


def verdict(tree: Tree, node: int) -> str:
    """What became of a node; before verification every node is unreached."""
    return tree.verdicts[node] if tree.verdicts else UNREACHED


def children_of(tree: Tree) -> list[list[int]]:
    """Children, likeliest first (as proposed where there is no q); entry 0 is the root's, entry i + 1 is node i's."""
    children: list[list[int]] = [[] for _ in range(len(tree.tokens) + 1)]
    for node, parent in enumerate(tree.parents):
        children[parent + 1].append(node)
    shares = draft_shares(tree)
    for group in children:
        group.sort(key=lambda node: (1 if shares[node] is None else -shares[node], node))
    return children


def layout(tree: Tree, width: float, name: Callable[[int], str], measure: Callable[[str], float]) -> Plan:
    """Lay `tree` out for `width` pixels. `name(id)` is a node's text, `measure(text)` its width in pixels."""
    children = children_of(tree)
    end = tree.path[-1] if tree.path else ROOT
    spots: dict[int, Spot] = {}
    rows: list[int] = []
    row: dict[int, int] = {}
    # Children are placed before their parent sits down beside the first of them; our own stack: chains may be long.
    stack: list[tuple[int, int | None, int, bool]] = [(ROOT, None, 0, False)]
    while stack:
        node, parent, depth, placed = stack.pop()
        below = [] if node == TARGET else list(children[node + 1])
        if node == end and tree.added is not None:
            below.append(TARGET)
        if below and not placed:
            stack.append((node, parent, depth, True))
            stack.extend((child, node, depth + 1, False) for child in reversed(below))
            continue
        if below:
            row[node] = row[below[0]]
        else:
            row[node] = len(rows)
            rows.append(LOW)
        if node < 0 or verdict(tree, node) != UNREACHED:
            rows[row[node]] = TALL
        spots[node] = Spot(parent, depth)
    columns = max(tree.depths, default=0) + 2
    step = max(NARROWEST, (width - ROOM) / max(2, min(columns, COLUMNS)))
    tops = [TOP]
    for height in rows:
        tops.append(tops[-1] + height)
    for node, spot in spots.items():
        spot.x = LEFT + spot.depth * step
        spot.y = tops[row[node]] + 14
        spot.w = min(max(PILL, measure(name(node)) + 16), step - 16)
    return Plan(spots, max(width, columns * step + ROOM), tops[-1] + 2, columns, step)


def edge(start: Spot, end: Spot) -> str:
    """A cubic from the parent's right side to the child's left, control points at 55 % of the gap (an SVG path)."""
    x = start.x + start.w
    bend = max(24, (end.x - x) * 0.55)
    points = (x, start.y, x + bend, start.y, end.x - bend, end.y, end.x, end.y)
    return "M{:.1f} {:.1f}C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}".format(*points)


def edge_width(q: float | None) -> float:
    """Pixels; an edge without a draft law is as thin as the target's."""
    return 2.5 if q is None else 1.5 + 15 * q
