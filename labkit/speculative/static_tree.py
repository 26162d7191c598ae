"""Static trees: the draft model fills a tree whose shape is settled beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import groupby

from labkit.knobs import knob
from labkit.law import Law
from labkit.speculative.ground import Proposal, Speculative, room, verifier_knob
from labkit.speculative.growth import ROOT, Growth

# How often the target's likeliest token is the draft's likeliest, second, ...: the shipped pair at temperature 0, 40,886 places
# at the beginnings of 80 standard-library files. The measured ninth is .012; children after the eighth are left out.
AGREEMENT = (0.496, 0.127, 0.059, 0.039, 0.028, 0.022, 0.016, 0.013)
BEST = "best on average"
ARITY = {"2-ary": 2, "3-ary": 3, "4-ary": 4}


def k_ary(k: int, nodes: int) -> list[int]:
    """The parents of a tree whose nodes all have `k` children, filled level by level."""
    return [node // k - 1 for node in range(nodes)]


def best_on_average(nodes: int) -> list[int]:
    """The parents of the tree of `nodes` nodes that is worth most if every place agrees as `AGREEMENT` says.

    A node is worth the product of the shares along its path (the argument of Sequoia's static tree), so the best are taken.
    """
    worth = [(-AGREEMENT[0], 0, ROOT, 0)]  # (minus the product, age, parent, rank)
    parents: list[int] = []
    while len(parents) < nodes:
        minus, _, parent, rank = heappop(worth)
        node, age = len(parents), 2 * len(parents) + 1
        parents.append(parent)
        heappush(worth, (minus * AGREEMENT[0], age, node, 0))
        if rank + 1 < len(AGREEMENT):
            heappush(worth, (minus / AGREEMENT[rank] * AGREEMENT[rank + 1], age + 1, parent, rank + 1))
    return parents


@lru_cache
def levels(shape: str, nodes: int) -> list[list[tuple[int, int]]]:
    """(place, place of its parent) of every node of a shape, level by level; siblings stand in the order they are drawn."""
    parents = best_on_average(nodes) if shape == BEST else k_ary(ARITY[shape], nodes)
    depths = {ROOT: 0}
    for place, parent in enumerate(parents):
        depths[place] = depths[parent] + 1
    ordered = sorted(range(nodes), key=lambda place: depths[place])
    return [[(place, parents[place]) for place in level] for _, level in groupby(ordered, depths.__getitem__)]


@dataclass
class StaticTree(Speculative):
    """A draft model fills a tree of a fixed shape: its likeliest tokens at temperature 0, drawn ones above it.

    What DySpec is measured against. One draft forward a level. At temperature 0 the children of a node are the draft's top k;
    above it they are drawn without replacement from the warped draft law. `best on average` is the best shape if every place
    were like the average one; it is settled with figures of the shipped pair, whatever pair runs.
    """

    name, title, drafts = "static-tree", "Static tree", "model"
    shape: str = knob(BEST, choices=(BEST, *ARITY), label="Shape", help="k-ary: k children each")
    budget: int = knob(16, 1, 128, unit="nodes", label="Budget m", help="nodes a tree")
    verifier: str = verifier_knob()

    def propose(self, session, rng):
        greedy = session.law.greedy
        growth = Growth(session, Law() if greedy else session.law, rng, likeliest=greedy)
        nodes = {ROOT: ROOT}  # place in the shape -> node; a place stays empty where the draft law is used up
        for level in levels(self.shape, self.budget)[: room(session)]:
            level = [(place, nodes[parent]) for place, parent in level if parent in nodes]
            if not level:
                break
            growth.expand(list(dict.fromkeys(parent for _, parent in level)))
            for place, parent in level:
                if (drawn := growth.draw(parent)) is not None:
                    nodes[place] = drawn[0]
        return Proposal(growth.tree, growth.laws())
