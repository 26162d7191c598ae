"""How much of p each of k drafts covers: the exact expectation of the verifiers, and the best that any verifier could do.

A cover of p [V] by k drafts is [k + 1, V]: row i holds the chance that draft i + 1 is accepted and is this token, the last row
what the target draws itself when all are refused. The rows of a lossless verifier sum to p, and all rows but the last sum to
its acceptance. Nothing is drawn here but in `without_replacement_sampled`, which averages and says how far it may be off.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import factorial, prod

import torch
from torch import Tensor

from labkit.law import draws
from labkit.speculative import verify


def matched(p: Tensor, q: Tensor, drafts: int) -> Tensor:
    """V1 with independent drafts: draft i covers what the target draws, when it is the first that hit it."""
    missed = (1 - q) ** torch.arange(drafts + 1, dtype=p.dtype, device=p.device)[:, None]
    return p * missed * torch.cat([q.expand(drafts, -1), torch.ones_like(q)[None]])


def residual_iid(p: Tensor, q: Tensor, drafts: int) -> Tensor:
    """V2 with independent drafts: each covers min(law, q) of the law that the refusals before it left."""
    rows, law, weight = [], p, 1.0
    for _ in range(drafts):
        kept, left = torch.minimum(law, q), (law - q).clamp(min=0)
        rows.append(weight * kept)
        mass = left.sum().item()
        weight, law = weight * mass, left / mass if mass > 0 else law
    return torch.stack([*rows, weight * law])


def k_seq(p: Tensor, q: Tensor, drafts: int, rho: float | None = None) -> Tensor:
    """V3 with division `rho` (None = rho*). Below rho* the last row has negative entries: no law could give what is missing."""
    rho = verify.division(p, q, drafts) if rho is None else rho
    covered = torch.minimum(q, p / rho)
    beta = covered.sum()
    rows = covered * (1 - beta) ** torch.arange(drafts, dtype=p.dtype, device=p.device)[:, None]
    return torch.cat([rows, (p - rows.sum(0))[None]])


def without_replacement(p: Tensor, q: Tensor, drafts: int) -> Tensor:
    """V2 with drafts drawn without replacement, over all orders in which they can be refused: for a handful of tokens."""
    rows = torch.zeros(drafts + 1, len(p), dtype=p.dtype)

    def refuse(law: Tensor, row: Tensor, weight: float, depth: int) -> None:
        mass = row.sum()
        if depth == drafts or mass <= 0:
            rows[-1] += weight * law
            return
        row = row / mass
        rows[depth] += weight * torch.minimum(law, row)
        left = (law - row).clamp(min=0)
        following = left / left.sum() if left.sum() > 0 else law
        for token in (row > law).nonzero()[:, 0].tolist():
            rest = row.index_fill(0, torch.tensor([token]), 0.0)
            refuse(following, rest, weight * (row[token] - law[token]).item(), depth + 1)

    refuse(p, q, 1.0, 0)
    return rows


def without_replacement_sampled(
    p: Tensor, q: Tensor, drafts: int, paths: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The acceptance of V2 without replacement by 1 .. `drafts` drafts, and its standard error, both [drafts].

    `paths` orders of refusal are followed; at each place the chance to be accepted is summed, only the refused token is drawn.
    The first draft is therefore exact.
    """
    law, row = p.expand(paths, -1), q.expand(paths, -1)
    refused, found = torch.ones(paths, dtype=p.dtype, device=p.device), []
    every = list(range(paths))
    for _ in range(drafts):
        row = row / row.sum(-1, keepdim=True).clamp(min=1e-300)
        accepted = torch.minimum(law, row).sum(-1)
        refused = refused * (1 - accepted).clamp(min=0)
        found.append(1 - refused)
        over, left = (row - law).clamp(min=0), (law - row).clamp(min=0)
        stuck = over.sum(-1, keepdim=True) <= 0  # nothing can be refused here: any token will do, the weight is 0
        tokens = torch.tensor(draws(over + stuck, every, rng), device=p.device)
        mass = left.sum(-1, keepdim=True)
        law = torch.where(mass > 0, left / mass.clamp(min=1e-300), law)
        row = row.scatter(-1, tokens[:, None], 0.0)
    found = torch.stack(found)
    return found.mean(-1), found.std(-1) / paths**0.5


def ceiling(p: Tensor, q: Tensor, drafts: int) -> float:
    """The best acceptance of any lossless verifier of `drafts` independent drafts: the optimum of the transport in `transport`.

    Max-flow is min-cut: 1 + the least p(S) - q(S)^k over all sets S of tokens, and the best S are those where p/q is smallest.
    """
    order = (p / q).nan_to_num(nan=float("inf")).argsort()
    cuts = p[order].cumsum(0) - q[order].cumsum(0) ** drafts
    return min(1.0, 1 + cuts.min().item())


def transport(p: Tensor, q: Tensor, drafts: int) -> Tensor:
    """The cover [2, V] of the best verifier there is: what all drafts together take over, and what the target draws itself.

    SpecTr's linear programme: move the mass of every handful of drafts to tokens among them, never more of a token than p has.
    Its size grows as V^k, so at most 6 tokens and 3 drafts. Raises `ValueError` above.
    """
    from scipy.optimize import linprog

    if len(p) > 6 or drafts > 3:
        raise ValueError(f"The programme is for at most 6 tokens and 3 drafts, not {len(p)} and {drafts}: use `ceiling`.")
    chances, flows = [], []  # of every handful, whatever its order; (handful, token of it) of every flow
    for handful in combinations_with_replacement(range(len(p)), drafts):
        orders = factorial(drafts) / prod(factorial(handful.count(token)) for token in set(handful))
        flows += [(len(chances), token) for token in set(handful)]
        chances.append(orders * prod(q[token].item() for token in handful))
    limits = torch.zeros(len(chances) + len(p), len(flows), dtype=torch.float64)
    for flow, (handful, token) in enumerate(flows):
        limits[handful, flow] = limits[len(chances) + token, flow] = 1.0
    best = linprog([-1.0] * len(flows), A_ub=limits.numpy(), b_ub=chances + p.tolist(), method="highs").x
    covered = torch.zeros(len(p), dtype=torch.float64)
    for (_, token), mass in zip(flows, best):
        covered[token] += mass
    return torch.stack([covered, p - covered])
