"""The verifiers: which drafted tokens survive, and what the target adds. Each reads like its algorithm box.

At a node, p is the target's law (after temperature and transforms), y_1 ... y_k its children in the order they were drawn, q the
law each was drawn from. V1, V2 and V3 emit tokens whose law is exactly p, whatever the draft is; V0 is for temperature 0, V4 is
lossy.

Rows: `p` [N+1, V], row 0 at the root, row i + 1 at node i. `q` [N, V], row i = the law node i was drawn from (for siblings drawn
without replacement: with the earlier ones taken out). `draws`: entry 0 the root's children, entry i + 1 node i's, in draw order;
independent drafts that drew the same token share a node, which then stands there as often as it was drawn. That order matters:
testing equal drafts in a row, or only once, bends the law. V0 and V2 do without the last row of `p` (PEARL has none): then
nothing is added behind the last node. Returned `Outcome`s are written into the trace by `write`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from labkit.law import draw, entropy
from labkit.trace import ACCEPTED, REFUSED, UNREACHED, Tree

CLOSE = 1e-7  # how near rho* the bisection ends


@dataclass
class Tested:
    """One child that was looked at."""

    node: int
    accepted: bool
    reason: str
    coin: float | None = None
    threshold: float | None = None  # min(1, p/q), with V3 min(1, p/(rho q)): the chance to be accepted
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
    shares: list[Share] = field(default_factory=list)  # V3: how p was divided at every place it came to


class Share(NamedTuple):
    """How k-SEQ divides p among `drafts` independent drafts at one place.

    `chance` is the probability that one of them is accepted, `residual` [V] what is drawn from otherwise.
    """

    drafts: int
    rho: float
    least: float  # rho*, the smallest division without a negative residual
    beta: float  # sum of min(q, p / rho): the chance that one draft is accepted
    chance: float  # 1 - (1 - beta)^drafts
    residual: Tensor


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


def _chances(tree: Tree, p: Tensor) -> list[float]:
    """p(y) of every node, before any refusal."""
    return p[[parent + 1 for parent in tree.parents], tree.tokens].tolist() if tree.tokens else []


def _drafted(tree: Tree, q: Tensor) -> list[float]:
    """q(y) of every node."""
    return q[list(range(len(tree.tokens))), tree.tokens].tolist() if tree.tokens else []


def residual_chain(
    tree: Tree, p: Tensor, q: Tensor, rng: torch.Generator, draws: list[list[int]] | None = None
) -> Outcome:
    """V2 (SpecInfer, Sequoia): accept y if r q(y) < p(y); on refusal p becomes norm(max(p - q, 0)).

    Siblings may be drawn iid or without replacement: `q` holds the row each was drawn from, so both are right.
    """
    outcome, at = Outcome(), 0
    draws = children_of(tree) if draws is None else draws
    coins = iter(torch.rand(sum(map(len, draws)), generator=rng, dtype=torch.float64).tolist())
    first, drafted = _chances(tree, p), _drafted(tree, q)
    while at < len(p):
        law, whole, follow = p[at], True, None
        for node in draws[at]:
            chance, coin = first[node] if whole else law[tree.tokens[node]].item(), next(coins)
            threshold = min(1.0, chance / drafted[node])
            tested = Tested(node, coin < threshold, "", coin, threshold, law)
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


def division(p: Tensor, q: Tensor, drafts: int) -> float:
    """rho*: the smallest rho in [1, drafts] at which k-SEQ leaves no negative residual, 1 - (1 - beta)^k <= rho beta.

    By bisection: in rho the left side never rises and the right side never falls. Returns the upper, valid end.
    """
    low, high = 1.0, float(drafts)
    p, q = p.cpu().numpy(), q.cpu().numpy()  # once: the search asks two dozen times
    while high - low > CLOSE:
        rho = (low + high) / 2
        beta = float(np.minimum(q, p / rho).sum())
        low, high = (low, rho) if 1 - (1 - beta) ** drafts <= rho * beta else (rho, high)
    return high


def share(p: Tensor, q: Tensor, drafts: int, rho: float | None = None) -> Share:
    """Divide `p` [V] among `drafts` tokens drawn from `q` [V]. A `rho` below rho* or above `drafts` is moved to that end."""
    least = division(p, q, drafts)
    rho = least if rho is None else min(max(rho, least), float(drafts))
    covered = torch.minimum(q, p / rho)
    beta = min(1.0, covered.sum().item())
    if beta == 0:  # p and q have no token in common
        return Share(drafts, rho, least, 0.0, 0.0, p)
    chance = 1 - (1 - beta) ** drafts
    left = (p - covered * (chance / beta)).clamp_(min=0)
    mass = left.sum()
    return Share(drafts, rho, least, beta, chance, left / mass if mass > 0 else p)  # no mass: a refusal is rounding only


def k_seq(
    tree: Tree, p: Tensor, q: Tensor, rng: torch.Generator, draws: list[list[int]], rho: float | None = None
) -> Outcome:
    """V3 (SpecTr, P035), for independent drafts only: accept y if r rho q(y) < p(y), else draw from the residual.

    `draws[i]` names all drafts that went through a node, so that their number and with it rho are right at every place. `rho`
    None takes rho* there. With a larger one the residual may draw a token that a refused draft has: that draft goes on.
    """
    outcome, at = Outcome(), 0
    coins = iter(torch.rand(sum(map(len, draws)), generator=rng, dtype=torch.float64).tolist())
    first, drafted = _chances(tree, p), _drafted(tree, q)
    while draws[at]:
        split, follow = share(p[at], q[draws[at][0]], len(draws[at]), rho), None
        outcome.shares.append(split)
        for node in draws[at]:
            coin, threshold = next(coins), min(1.0, first[node] / (split.rho * drafted[node]))
            accepted = coin < threshold
            reason = f"k-SEQ: coin {'below' if accepted else 'above'} p/(ρ q)"
            outcome.tested.append(Tested(node, accepted, reason, coin, threshold, p[at], split.residual))
            if accepted:
                follow = node
                break
        if follow is None:
            token = draw(split.residual, rng)
            follow = next((node for node in draws[at] if tree.tokens[node] == token), None)
            if follow is None:
                outcome.added, outcome.added_from = token, "residual"
                outcome.added_probability = split.residual[token].item()
                return outcome
            outcome.tested.append(Tested(follow, True, "is what the k-SEQ residual drew", p=p[at], residual=split.residual))
        outcome.path.append(follow)
        at = follow + 1
    outcome.added = draw(p[at], rng)
    outcome.added_probability = p[at, outcome.added].item()
    return outcome


def typical(tree: Tree, p: Tensor, rng: torch.Generator, eps: float = 0.09, delta: float = 0.3) -> Outcome:
    """V4 (Medusa), LOSSY: follow the first child with p(y) > min(eps, delta e^(-H(p))), else draw from p.

    Where the target is unsure, less probability is enough. What comes out is no sample of p: a drafted token above the bar is
    always taken, and one below it comes only when no child is above.
    """
    outcome, children, at = Outcome(), children_of(tree), 0
    bars = (delta * (-entropy(p)).exp()).clamp_(max=eps).tolist()  # [N+1]
    chances = _chances(tree, p)
    while True:
        follow = None
        for node in children[at]:
            accepted = chances[node] > bars[at]
            reason = f"is typical: p above {bars[at]:.3g}" if accepted else f"is not typical: p not above {bars[at]:.3g}"
            outcome.tested.append(Tested(node, accepted, reason, residual=p[at]))
            if accepted:
                follow = node
                break
        if follow is None:
            outcome.added = draw(p[at], rng)
            outcome.added_probability = p[at, outcome.added].item()
            return outcome
        outcome.path.append(follow)
        at = follow + 1


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
