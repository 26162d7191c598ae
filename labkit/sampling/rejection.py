"""One token under a constraint that can only be asked about tokens one by one: adaptive weighted rejection sampling (P048).

p [V] is the law of the next token, `allows(token)` the constraint, Z the mass of all allowed tokens. A walk tests tokens in the
order in which p draws them without replacement; the first that is allowed has exactly the law p restricted to the allowed
ones. A few more tests estimate Z without bias, whatever that token is: E[weight | token] = Z.
"""

from __future__ import annotations

from math import floor, inf, log, log1p
from typing import Callable, Iterator, NamedTuple

import torch
from torch import Tensor

NEAR = 32  # how many of a walk's tokens are looked up at once; a good model seldom needs more


class Walk(NamedTuple):
    """What came of it: the first allowed token (None = no test was passed), the estimate of Z, and every test in order."""

    token: int | None
    weight: float
    tests: list[tuple[int, bool]]


def order(p: Tensor, rng: torch.Generator) -> Iterator[int]:
    """The tokens of `p` [V] by ln p + Gumbel noise, best first: draws without replacement. Probability 0 never comes."""
    coins = torch.rand(len(p), generator=rng, dtype=torch.float64)
    keys = p.log() - (-coins.log()).log()
    near = keys.topk(min(NEAR, len(p)))
    yield from possible(near.values, near.indices)
    if NEAR < len(p):
        found = keys.sort(descending=True)
        yield from possible(found.values[NEAR:], found.indices[NEAR:])


def possible(keys: Tensor, tokens: Tensor) -> list[int]:
    """Those of `tokens` whose key is not -inf."""
    return tokens[keys > -inf].tolist()


def repeats(chance: float, rng: torch.Generator) -> float:
    """How often independent draws hit what was refused before, until one does not; each does not with probability `chance`."""
    if chance >= 1:
        return 0
    coin = 1.0 - torch.rand((), generator=rng, dtype=torch.float64).item()  # never 0
    hits = log(coin) / log1p(-chance)
    return float(floor(hits)) if hits < inf else inf


def geometric(p: Tensor, allows: Callable[[int], bool], rng, accepts: int = 2, limit: float = inf) -> Walk:
    """Walks until `accepts` (L >= 2) draws were allowed; Z from how many draws rejection sampling would have made meanwhile.

    Refused tokens are never drawn again, so the draws that would have hit them are added by `repeats`: then allowed and
    refused are counts of independent draws, and (allowed - 1) / (draws - 1) is the unbiased estimate of their chance. It stays
    so when the walk gives up after `limit` refusals, repeats included, which the estimate of a test with two ends allows.
    """
    left, known, tests = p.clone(), set(), []  # `known`: allowed before, not asked again
    first, allowed, refused, chance = None, 0, 0, 1.0
    walk = order(left, rng)
    while allowed < accepts and chance > 0:
        refused = min(limit, refused + repeats(chance, rng))
        token = next(walk, None)
        if refused >= limit or token is None:
            break
        if token not in known:
            tests.append((token, allows(token)))
        if token in known or tests[-1][1]:
            allowed += 1
            known.add(token)
            first = token if first is None else first
            walk = order(left, rng)
        else:
            refused += 1
            left[token] = 0.0
            chance = left.sum().item()
    return Walk(first, min(accepts - 1, allowed) / (allowed + refused - 1) if allowed else 0.0, tests)


def recursive(p: Tensor, allows: Callable[[int], bool], rng, limit: float = inf) -> Walk:
    """One walk to the first allowed token x, and one test more: Z is all the mass not refused when it passes, p(x) when not.

    When it gives up after `limit` refusals the weight is 0, and therefore too small on average.
    """
    tests: list[tuple[int, bool]] = []
    walk = order(p, rng)
    for token in walk:
        tests.append((token, allows(token)))
        if tests[-1][1] or len(tests) >= limit:
            break
    if not tests or not tests[-1][1]:
        return Walk(None, 0.0, tests)
    refused = torch.tensor([token for token, _ in tests[:-1]], dtype=torch.long)
    following = next(walk, None)
    if following is not None:
        tests.append((following, allows(following)))
    alone = following is not None and not tests[-1][1]
    return Walk(token, p[token].item() if alone else p.index_fill(0, refused, 0.0).sum().item(), tests)


def best(p: Tensor, allows: Callable[[int], bool]) -> Walk:
    """The likeliest allowed token, for temperature 0. Nothing is drawn, so there is nothing to weigh."""
    tests: list[tuple[int, bool]] = []
    for token in p.sort(descending=True, stable=True).indices.tolist():
        tests.append((token, allows(token)))
        if tests[-1][1]:
            return Walk(token, 1.0, tests)
    return Walk(None, 0.0, tests)
