"""The lab's cuts over a stored law, in plain Python: which of the sorted tokens stay. The page has the same in `sampling.js`.

Each takes the weights that the cut before it left, best first (they need not sum to 1), and its transform's knobs; it returns
the run of ranks that stays, [from, to). All runs begin at 0 but typical sampling's, which may cut the likeliest.
"""

from __future__ import annotations

import math

Run = tuple[int, int]


def top_k(weights: list[float], k: int = 0) -> Run:
    """The k likeliest; 0 is off."""
    return 0, min(len(weights), int(k)) if k else len(weights)


def top_p(weights: list[float], p: float = 1.0) -> Run:
    """The fewest that hold the mass p; 1 is off."""
    total, mass, kept = sum(weights), 0.0, 0
    if p >= 1:
        return 0, len(weights)
    while kept < len(weights) and (kept == 0 or mass < p * total):
        mass += weights[kept]
        kept += 1
    return 0, kept


def min_p(weights: list[float], p: float = 0.0) -> Run:
    """Those with at least the share p of the likeliest one's weight; 0 is off."""
    return 0, sum(weight >= p * weights[0] for weight in weights) if p else len(weights)


def top_h(weights: list[float], alpha: float = 1.0, rule: str = "paper", cap: int = 0) -> Run:
    """The likeliest while their entropy stays within alpha of the whole (P148); 1 is off. See `labkit.sampling.top_h`."""
    candidates = weights[: int(cap) or None]
    if alpha >= 1:
        return 0, len(candidates)
    total, bound = sum(candidates), alpha * entropy(candidates)
    mass = partial = 0.0  # of the prefix: its share, and the sum of its terms -p ln p
    for kept, weight in enumerate(candidates):
        p = weight / total
        mass += p
        partial -= p * math.log(p) if p > 0 else 0.0
        if kept and (partial if rule == "released" else partial / mass + math.log(mass)) > bound:
            return 0, kept
    return 0, len(candidates)


def eta(weights: list[float], epsilon: float = 0.0, rule: str = "eta") -> Run:
    """Those above the floor min(epsilon, sqrt(epsilon) e^-H), or above epsilon; 0 is off."""
    floor = epsilon if rule == "epsilon" else min(epsilon, math.sqrt(epsilon) * math.exp(-entropy(weights)))
    floor = min(floor * sum(weights), weights[0])
    return 0, sum(weight >= floor for weight in weights)


def typical(weights: list[float], mass: float = 1.0) -> Run:
    """Those whose surprise is nearest to the entropy, until they hold `mass`; 1 is off."""
    if mass >= 1:
        return 0, len(weights)
    total, nats = sum(weights), entropy(weights)
    away = [abs(math.log(weight / total) + nats) if weight > 0 else math.inf for weight in weights]
    first = last = min(range(len(weights)), key=lambda rank: away[rank])
    held, limit = 0.0, 0.0
    while (first > 0 or last < len(weights)) and (held < mass * total or _nearest(away, first, last) <= limit):
        limit = max(limit, _nearest(away, first, last))
        if last < len(weights) and (first == 0 or away[last] <= away[first - 1]):
            held += weights[last]
            last += 1
        else:
            first -= 1
            held += weights[first]
    return first, last


def _nearest(away: list[float], first: int, last: int) -> float:
    """How far from typical the nearer neighbour of the run [first, last) is."""
    return min(away[first - 1] if first else math.inf, away[last] if last < len(away) else math.inf)


def entropy(weights: list[float]) -> float:
    """Nats, of weights that need not sum to 1."""
    total = sum(weights)
    return max(0.0, -sum(weight / total * math.log(weight / total) for weight in weights if weight > 0))


CUTS = {"top-h": top_h, "top-k": top_k, "top-p": top_p, "min-p": min_p, "eta": eta, "typical": typical}
