"""The verifiers: which drafted tokens survive, and what the target adds. Each reads like its algorithm box.

At a node, p is the target's law (after temperature and transforms), y_1 ... y_k its children in the order they were drawn, q the
law each was drawn from. All but the greedy one emit tokens whose law is exactly p, whatever the draft is.

Rows: `p` [N+1, V], row 0 at the root, row i + 1 at node i. `q` [N, V], row i = the law node i was drawn from (for siblings drawn
without replacement: with the earlier ones taken out). V0 and V2 do without the last row of `p` (PEARL does not have it): then
nothing is added behind the last node. Returned `Outcome`s are written into the trace by `write`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from labkit.law import draw
from labkit.trace import ACCEPTED, REFUSED, UNREACHED, Tree


@dataclass
class Tested:
    """One child that was looked at."""

    node: int
    accepted: bool
    reason: str
    coin: float | None = None
    threshold: float | None = None  # min(1, p/q), the chance to be accepted
    p: Tensor | None = None  # [V] the target's law when it was tested (after earlier refusals)
    residual: Tensor | None = None  # [V] what a refusal leaves of it


@dataclass
class Outcome:
    """What verification decided: the accepted nodes, root side first, and the token the target adds behind them."""

    path: list[int] = field(default_factory=list)
    added: int | None = None  # None: everything was accepted and the target's law behind it is not known
    added_probability: float = 1.0  # in the law it was drawn from
    added_from: str = "target"  # or "residual"
    tested: list[Tested] = field(default_factory=list)


def children_of(tree: Tree) -> list[list[int]]:
    """Children by node, in draw order; entry 0 is the root's, entry i + 1 is node i's."""
    children: list[list[int]] = [[] for _ in range(len(tree.tokens) + 1)]
    for node, parent in enumerate(tree.parents):
        children[parent + 1].append(node)
    return children


def greedy(tree: Tree, best: list[int]) -> Outcome:
    """V0: follow the child that is the target's likeliest token, else add that token. `best`: argmax of every row, [N+1]."""
    outcome, children, at = Outcome(), children_of(tree), 0
    while at < len(best):
        follow = None
        for node in children[at]:
            accepted = tree.tokens[node] == best[at]
            outcome.tested.append(Tested(node, accepted, "is the likeliest" if accepted else "is not the likeliest"))
            if accepted:
                follow = node
                break
        if follow is None:
            outcome.added = best[at]
            return outcome
        outcome.path.append(follow)
        at = follow + 1
    return outcome


def sample_and_match(tree: Tree, p: Tensor, rng: torch.Generator) -> Outcome:
    """V1: draw x ~ p; follow the child whose token is x, else add x. Needs no q; right for trees built without these coins."""
    outcome, children, at = Outcome(), children_of(tree), 0
    while True:
        token = draw(p[at], rng)
        chance = p[at, token].item()
        follow = None
        for node in children[at]:
            accepted = tree.tokens[node] == token
            reason = "is what the target drew" if accepted else "is not what the target drew"
            outcome.tested.append(Tested(node, accepted, reason))
            if accepted:
                follow = node
                break
        if follow is None:
            outcome.added, outcome.added_probability = token, chance
            return outcome
        outcome.path.append(follow)
        at = follow + 1


def residual_chain(tree: Tree, p: Tensor, q: Tensor, rng: torch.Generator) -> Outcome:
    """V2 (SpecInfer, Sequoia): accept y if r q(y) < p(y); on refusal p becomes norm(max(p - q, 0)).

    Siblings may be drawn iid or without replacement: `q` holds the row each was drawn from, so both are right.
    """
    outcome, children, at = Outcome(), children_of(tree), 0
    size = len(tree.tokens)
    coins = torch.rand(size, generator=rng, dtype=torch.float64).tolist()
    places = torch.tensor(tree.tokens, device=p.device)[:, None]
    rows = torch.tensor([parent + 1 for parent in tree.parents], device=p.device)
    first = p[rows].gather(1, places).squeeze(1).tolist() if size else []  # p(y) before any refusal
    drafted = q.gather(1, places).squeeze(1).tolist() if size else []  # q(y)
    while at < len(p):
        law, whole, follow = p[at], True, None
        for node in children[at]:
            chance = first[node] if whole else law[tree.tokens[node]].item()
            threshold = min(1.0, chance / drafted[node])
            tested = Tested(node, coins[node] < threshold, "", coins[node], threshold, law)
            outcome.tested.append(tested)
            if tested.accepted:
                tested.reason = "coin below p/q"
                follow = node
                break
            tested.reason = "coin above p/q"
            left = (law - q[node]).clamp_(min=0)
            mass = left.sum()
            law, whole = left / mass if mass > 0 else law, False  # no mass: p and q differ by rounding only
            tested.residual = law
        if follow is None:
            outcome.added = draw(law, rng)
            outcome.added_probability = law[outcome.added].item()
            outcome.added_from = "target" if whole else "residual"
            return outcome
        outcome.path.append(follow)
        at = follow + 1
    return outcome


def write(tree: Tree, outcome: Outcome) -> None:
    """Write an outcome into the tree: a verdict, a reason, the coin and its threshold for every node."""
    size = len(tree.tokens)
    tree.path = outcome.path
    tree.added, tree.added_from = outcome.added, outcome.added_from
    tree.verdicts, tree.reasons = [UNREACHED] * size, ["its parent was not accepted"] * size
    tree.coins, tree.thresholds, tree.order = [None] * size, [None] * size, [None] * size
    for place, tested in enumerate(outcome.tested):
        node = tested.node
        tree.verdicts[node] = ACCEPTED if tested.accepted else REFUSED
        tree.reasons[node] = tested.reason
        tree.coins[node], tree.thresholds[node], tree.order[node] = tested.coin, tested.threshold, place
    reached = {-1, *tree.path}
    for node in range(size):
        if tree.verdicts[node] == UNREACHED and tree.parents[node] in reached:
            tree.reasons[node] = "an earlier sibling was accepted"
