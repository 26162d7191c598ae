"""What it costs to write tokens at the same time, exactly: conditional total correlation and the accuracies that follow (P132).

A round that draws its tokens each from its own law samples from the product of marginals. Against data whose answers are equally
likely, that costs KL = C(Y|X) = sum of H(y_i|X) - H(Y|X) nats in one round; in rounds S_1 ... S_T the sum of E[C(S_t | X, S_<t)].
The chance of a right answer is never below exp(-KL), and equal to it where the wrong and the right are drawn evenly.

Two ways to each figure: by counting over all answers (`spent`, `chance`), and closed forms for the tasks that have one.
"""

from __future__ import annotations

from itertools import combinations
from math import exp, factorial, lgamma, log

import torch
from torch import Tensor

from labkit.diffusion.lists import FACES, VOCABULARY

FIXED = ("copy", "reverse", "sort", "replace-index", "insert-index", "remove-index", "running-sum")  # one right answer each
Groups = list[list[int]]  # the places of each round, in the order of the rounds


def chain(answers: Tensor, groups: Groups) -> Tensor:
    """ln q of every answer [S] of answers [S, Y], when each round draws from the exact laws given the rounds before it."""
    logs = torch.zeros(len(answers), dtype=torch.float64)
    known = torch.zeros(len(answers), dtype=torch.long)  # which answers the rounds so far cannot tell apart
    for group in groups:
        sizes, before = known.bincount().double(), known
        for place in group:
            values, which = (before * VOCABULARY + answers[:, place]).unique(return_inverse=True)
            logs += (which.bincount().double() / sizes[values // VOCABULARY]).log()[which]
            known = (known * VOCABULARY + answers[:, place]).unique(return_inverse=True)[1]
    return logs


def spent(answers: Tensor, groups: Groups) -> float:
    """KL of the data from what the rounds draw, nats: the sum of E[C(S_t | X, S_<t)], over answers [S, Y]."""
    return -log(len(answers)) - float(chain(answers, groups).mean())


def chance(answers: Tensor, groups: Groups) -> float:
    """How often the rounds end in one of the answers [S, Y]."""
    return float(chain(answers, groups).exp().sum())


def partitions(places: list[int], rounds: int) -> list[Groups]:
    """Every way to fill the places in this many rounds, none of them empty."""
    if rounds == 1:
        return [[places]]
    return [
        [list(first), *rest]
        for size in range(1, len(places) - rounds + 2)
        for first in combinations(places, size)
        for rest in partitions([place for place in places if place not in first], rounds - 1)
    ]


def bound(answers: Tensor, rounds: int) -> float:
    """The least that any schedule of so many rounds costs, nats. It never rises with the rounds; one a token costs nothing."""
    return min(spent(answers, groups) for groups in partitions(list(range(answers.shape[1])), rounds))


def correlation(task: str, n: int) -> float | None:
    """C(Y|X) of n items in closed form, nats; None for puzzles and brackets, where it differs from problem to problem."""
    if task in FIXED:
        return 0.0
    if task == "shuffle":
        return n * log(n) - lgamma(n + 1)
    if task == "replace-random":
        return (n - 1) * log(n / (n - 1))
    if task == "domino":
        return (n - 1) * log(FACES)
    if task == "insert-random":  # at place j stands item j, the new one, or item j - 1
        return sum(_entropy([(n - j) / (n + 1), 1 / (n + 1), j / (n + 1)]) for j in range(n + 1)) - log(n + 1)
    if task == "remove-random":  # at place j stands item j or item j + 1
        return sum(_entropy([(n - 1 - j) / n, (j + 1) / n]) for j in range(n - 1)) - log(n)
    return None


def _entropy(law: list[float]) -> float:
    return -sum(p * log(p) for p in law if p)


def shuffled(n: int, tokens: int) -> float:
    """Right shuffles of n items, so many tokens a round: the product of m! / ((m - k)! m^k) over the rounds, m items left."""
    right, left = 1.0, n
    while left:
        k = min(tokens, left)
        right *= factorial(left) / factorial(left - k) / left**k
        left -= k
    return right


def replaced(n: int, tokens: int) -> float:
    """Right answers to replace-random. None of the k places of a round may be the new item's, or just one, after which all is
    certain; with m places left that one comes with k (1/m) (1 - 1/m)^(k-1)."""
    right, none, left = 0.0, 1.0, n
    while left:
        k = min(tokens, left)
        right += none * k / left * (1 - 1 / left) ** (k - 1)
        none *= (1 - 1 / left) ** k
        left -= k
    return right


def chained(groups: Groups) -> float:
    """Right chains of dominoes: neighbours written in the same round fit by luck, one time in `FACES`."""
    return exp(-log(FACES) * sum(place + 1 in group for group in groups for place in group))


def accuracy(task: str, n: int, groups: Groups) -> float | None:
    """Right answers of n items with these rounds, all but the last of equal size; None where it has to be counted."""
    if task in FIXED:
        return 1.0
    if task == "domino":
        return chained(groups)
    formula = {"shuffle": shuffled, "replace-random": replaced}.get(task)
    return formula(n, len(groups[0])) if formula else None
