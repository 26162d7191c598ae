"""P004 DySpec: the draft tree grows where the draft expects to be right."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

from labkit.knobs import knob
from labkit.speculative.ground import Proposal, Speculative, room
from labkit.speculative.growth import ROOT, Growth, warm

HEAP, LAYERS = "heap", "threshold"


class Slots:
    """Open slots: where the next child of a node may be drawn. The greatest v comes first, among equals the older slot."""

    def __init__(self):
        self.heap: list[tuple[float, int, int]] = []  # (-v, age, parent)
        self.age = 0

    def __len__(self) -> int:
        return len(self.heap)

    def push(self, v: float, parent: int) -> None:
        """Open a slot; one that verification cannot get to is none."""
        if v > 0:
            self.age += 1
            heappush(self.heap, (-v, self.age, parent))

    def pop(self) -> tuple[float, int]:
        """(v, parent) of the best slot."""
        minus_v, _, parent = heappop(self.heap)
        return -minus_v, parent

    def best(self) -> float:
        """The greatest v; 0 when no slot is open."""
        return -self.heap[0][0] if self.heap else 0.0

    def listed(self) -> list[tuple[float, int]]:
        """(v, parent) of all, the best first."""
        return [(-minus_v, parent) for minus_v, _, parent in sorted(self.heap)]


@dataclass
class DySpec(Speculative):
    """The draft tree grows where the draft is likely to be right: a chain on easy text, a bush at a fork (P004).

    Xiong et al. 2024. An open slot has a value v, the estimated probability that verification gets there: 1 for the root's
    first child; a token y drawn in a slot of value v from the law R leaves v (1 - R[y]) to its next sibling and v R[y] to its
    first child. `heap` fills the best slot next until there are `budget` nodes. `threshold` asks the draft once a layer and
    fills the slots with v >= c there: the tree that `heap` would stop at v < c, in fewer draft calls.
    A slot is chosen by its v, before its token is known, and siblings are drawn without replacement from the warped draft law,
    so the residual chain (V2) keeps the law. Above temperature 0 the draft is warped as the target is; at 0 it is drawn from
    at `draft_temperature` (0.6, from memory).
    Ours: `heap` asks the draft about a node when a child of it is wanted, not when it is drawn, so leaves cost no forward;
    `threshold` stops at `budget` nodes too, the best of a layer first, since a small draft is so unsure that v >= 1/m lets in
    hundreds. Left out: the paper's trees of 768 nodes under offloaded weights, and the kernel for them.
    """

    name, title, paper, drafts = "dyspec", "DySpec", "P004", "model"
    charts = ("heap",)
    budget: int = knob(16, 1, 128, unit="nodes", label="Budget m", help="nodes a tree, at most")
    mode: str = knob(HEAP, choices=(HEAP, LAYERS), label="Grow by", help="a draft call a node or a layer")
    threshold: float = knob(0.0, 0.0, 0.2, step=0.001, label="Threshold c", help="least v of a layer; 0: 1/m")
    draft_temperature: float = knob(0.6, 0.2, 1.2, step=0.1, label="Draft temperature", help="when the target's is 0")

    def propose(self, session, rng):
        growth, slots = Growth(session, warm(session.law, self.draft_temperature), rng), Slots()
        self.deepest, self.values = room(session), []  # v of every node
        if self.deepest:
            slots.push(1.0, ROOT)
        self.open = self.by_heap(growth, slots) if self.mode == HEAP else self.by_layers(growth, slots)
        return Proposal(growth.tree, growth.laws())

    def by_heap(self, growth: Growth, slots: Slots) -> list[tuple[float, int]]:
        """The best slot next, whatever its depth. Returns the slots left open."""
        while slots and len(self.values) < self.budget:
            v, parent = slots.pop()
            if parent not in growth.rows:
                growth.expand([parent])
            self.fill(growth, v, parent, slots, slots)
        return slots.listed()

    def by_layers(self, growth: Growth, slots: Slots) -> list[tuple[float, int]]:
        """One draft forward a layer. Returns the slots left open."""
        c, left = self.threshold or 1 / self.budget, []
        while slots.best() >= c and len(self.values) < self.budget:
            growth.expand([parent for v, parent in slots.listed() if v >= c])
            below = Slots()
            while slots.best() >= c and len(self.values) < self.budget:
                v, parent = slots.pop()
                self.fill(growth, v, parent, slots, below)
            left += slots.listed()
            slots = below
        return sorted([*left, *slots.listed()], reverse=True)

    def fill(self, growth: Growth, v: float, parent: int, siblings: Slots, children: Slots) -> None:
        """Draw y ~ R in a slot of value v, and open the slots beside and below it."""
        drawn = growth.draw(parent)
        if drawn is None:  # every token that the draft gave a chance is a sibling already
            return
        node, share = drawn  # share: R[y]
        self.values.append(v)
        siblings.push(v * (1 - share), parent)
        if growth.depth(node) < self.deepest:
            children.push(v * share, node)

    def observe(self, session, tree, scores):
        """How the tree grew: `values`, v of every node in the order of growth; `open`, [parent, v] of the slots left."""
        return {"values": self.values, "open": [[parent, v] for v, parent in self.open]}
