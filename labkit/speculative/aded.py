"""P113 ADED: a tri-gram table stands in for the target, a tree search over it finds drafts, the target corrects it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log, sqrt
from typing import NamedTuple

from labkit.errors import ModelError
from labkit.knobs import knob
from labkit.speculative.ground import MATCH, Proposal, Speculative, room
from labkit.speculative.trigrams import Row, TriGrams, counted
from labkit.trace import Tree

CORPUS, EMPTY = "corpus", "empty"


class Search(NamedTuple):
    """A search tree. Node 0 is the root; a later node stands for the edge that leads to it. In the order of opening."""

    tokens: list[int]
    parents: list[int]
    priors: list[float]  # P
    visits: list[int]  # N
    values: list[float]  # Q


@lru_cache(maxsize=64)
def exploration(simulations: int, c1: float, c2: float) -> tuple[float, ...]:
    """sqrt(N) (c1 + ln((N + c2 + 1) / c2)) for N from 0 to `simulations`: how strongly P counts at a node visited N times."""
    return tuple(sqrt(n) * (c1 + log((n + c2 + 1) / c2)) for n in range(simulations + 1))


def search(table: TriGrams, u: int, v: int, simulations: int, deepest: int, explore: tuple[float, ...]) -> Search:
    """Walk from the root `u v` down the edges of largest Q + P explore[N(s)] / (1 + N(s, a)), `simulations` times.

    A walk ends with the first new edge it takes, at most `deepest` tokens down, and is worth the mean tri-gram probability of
    its edges; Q is the mean worth of the walks through an edge. The first walk does nothing but expand the root. Among edges
    never walked (N = Q = 0) the likeliest is the best, so a row is opened from left to right and the rest is not looked at.
    """
    tokens, parents, priors, visits, values = [v], [-1], [1.0], [1], [0.0]
    children: list[list[int]] = [[]]  # opened ones
    depths, sums = [0], [0.0]  # of the probabilities of the edges from the root
    rows: list[Row | None] = [table.row(u, v)]  # what may follow a node; looked up when a walk first goes on behind it
    for _ in range(simulations - 1):
        at, path = 0, []
        while True:
            (offered, chances), opened, weight = rows[at], children[at], explore[visits[at]]
            best, highest = -1, -1.0
            for child in opened:
                score = values[child] + priors[child] * weight / (1 + visits[child])
                if score > highest:
                    best, highest = child, score
            rank = len(opened)
            if rank < len(offered) and chances[rank] * weight > highest:
                new = len(tokens)
                path.append(new)
                opened.append(new)
                tokens.append(offered[rank])
                parents.append(at)
                priors.append(chances[rank])
                visits.append(0)
                values.append(0.0)
                children.append([])
                depths.append(depths[at] + 1)
                sums.append(sums[at] + chances[rank])
                rows.append(None)
                break
            if best < 0:
                break  # nothing is known to follow
            at = best
            path.append(at)
            if depths[at] == deepest:
                break
            if rows[at] is None:
                rows[at] = table.row(tokens[parents[at]], tokens[at])
        if not path:
            break
        worth = sums[path[-1]] / depths[path[-1]]
        visits[0] += 1
        for node in path:
            visits[node] += 1
            values[node] += (worth - values[node]) / visits[node]
    return Search(tokens, parents, priors, visits, values)


def most_visited(found: Search, paths: int) -> list[int]:
    """The nodes of the `paths` most visited ways from the root to a leaf; shared beginnings once, parents first."""
    inner = set(found.parents)
    leaves = [node for node in range(1, len(found.tokens)) if node not in inner]
    kept: set[int] = set()
    for node in sorted(leaves, key=found.visits.__getitem__, reverse=True)[:paths]:
        while node and node not in kept:
            kept.add(node)
            node = found.parents[node]
    return sorted(kept)


@dataclass
class Aded(Speculative):
    """A tree search over three-token statistics finds the drafts; what the target says of them corrects the statistics (P113).

    The table P(w | u, v) stands in for the target: counted in the training text, rare pairs fall back to P(w | v). A PUCT
    search spends its visits on likely continuations, the most visited paths become one tree, one forward checks it (V0, or V1
    above temperature 0). Then P <- (1 - rate) P + rate p for every pair (u, v) met on the tree, p the target's law there; the
    corrected rows belong to this run. A pair that stands in several nodes is learned once: from the accepted path, else from
    the last node. No draft is drawn from a law and no coin of the target's is seen before the tree stands, so V1 is lossless.
    Inferred, since the paper's abstract and a summary are all we had: the constants of the PUCT rule, what a walk is worth
    (mean probability of its edges), the exact update, a path being as visited as its last edge.
    """

    name, title, paper, drafts = "aded", "ADED tri-grams", "P113", "free"
    verifier = MATCH
    charts = ("search", "drift")
    simulations: int = knob(150, 10, 500, label="Simulations", help="walks of one search")
    c1: float = knob(1.25, 0.1, 5.0, step=0.05, label="Exploration c1", help="low: a chain, high: a bush")
    c2: float = knob(19652.0, 100.0, 20000.0, scale="log", label="Exploration c2", help="low: explores more")
    depth: int = knob(4, 2, 8, unit="tokens", label="Depth", help="of the search")
    paths: int = knob(24, 4, 48, label="Paths kept", help="the most visited are drafted")
    rate: float = knob(0.3, 0.0, 1.0, step=0.05, label="Learning rate η", help="0: nothing is learned")
    start_from: str = knob(CORPUS, choices=(CORPUS, EMPTY), label="Start", help="counted, or nothing")

    def start(self, session):
        below = None
        if self.start_from == CORPUS:
            try:
                below = counted(session)
            except ModelError as problem:
                raise ModelError(f"{problem} Or set Start to {EMPTY}.") from None
        self.table, self.met = TriGrams(below), set()

    def propose(self, session, rng):
        u, v = session.ids[-2] if len(session.ids) > 1 else 0, session.ids[-1]  # 0, end of text, stands before a text
        deepest = min(self.depth, room(session))
        walks = self.simulations if deepest else 1
        self.root, explore = (u, v), exploration(self.simulations, self.c1, self.c2)
        self.found = search(self.table, u, v, walks, deepest, explore)
        self.kept = most_visited(self.found, self.paths)
        place = {0: -1} | {node: index for index, node in enumerate(self.kept)}
        parents = [place[self.found.parents[node]] for node in self.kept]
        return Proposal(Tree([self.found.tokens[node] for node in self.kept], parents, source="matrix"))

    def observe(self, session, tree, scores):
        pairs = [self.root]  # row by row of the scores
        for token, parent in zip(tree.tokens, tree.parents):
            pairs.append((pairs[parent + 1][1], token))
        rows = {pairs[row]: row for row in [*range(len(pairs)), 0, *(node + 1 for node in tree.path)]}
        logits = scores.logits[list(rows.values())]
        laws = logits.softmax(-1) if session.law.greedy else session.law(logits)  # at temperature 0 the raw law tells more
        apart = dict(zip(rows, self.table.learn(list(rows), laws, self.rate)))
        again = [apart[pair] for pair in rows if pair in self.met]
        first = [apart[pair] for pair in rows if pair not in self.met]
        self.met |= rows.keys()
        return {
            "tokens": [self.found.tokens],
            "search": {
                "parents": self.found.parents,
                "visits": self.found.visits,
                "values": [round(value, 4) for value in self.found.values],
                "priors": [round(prior, 4) for prior in self.found.priors],
                "kept": self.kept,
            },
            "divergence": {"first": mean(first), "again": mean(again), "all": mean(first + again)},
            "pairs": {"first": len(first), "again": len(again), "learned": len(self.table.learned)},
        }


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
