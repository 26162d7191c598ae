"""AWRS, one token: the drawn token has the law of the allowed ones, and its weight estimates their mass whatever it is."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import permutations

import exact
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import chisquare

from labkit.sampling import rejection
from labkit.sampling.awrs import AWRS, GEOMETRIC, PAPER, RECURSIVE
from labkit.sampling.rejection import best, geometric, order, recursive

SEVEN = (0.3, 0.05, 0.2, 0.15, 0.02, 0.18, 0.1)
TOYS = {  # laws, and what is allowed
    "half": (SEVEN, {1, 2, 3, 6}),
    "the unlikely": ((0.7, 0.1, 0.1, 0.05, 0.05), {3, 4}),
    "one": ((0.4, 0.3, 0.2, 0.1), {3}),
}
DRAWS = 200_000


def law(chances) -> torch.Tensor:
    return torch.tensor(chances, dtype=torch.float64)


class Plain(list):
    """A law as plain numbers with the few words of a tensor that the geometric walk uses: ten times as quick."""

    def clone(self):
        return Plain(self)

    def sum(self):
        return Number(math.fsum(self))


class Number(float):
    def item(self):
        return self


def orders(p: torch.Tensor, draws: int, seed: int) -> list[list[int]]:
    """What `order` draws, `draws` times at once."""
    coins = torch.rand(draws, len(p), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (p.log() - (-coins.log()).log()).argsort(1, descending=True).tolist()


def walks_of(form: str, chances, allowed: set[int], monkeypatch) -> Counter:
    """DRAWS walks of the real code, their coins drawn beforehand: (token, weight) -> how often."""
    p = law(chances)
    if form == "recursive":  # what it does hangs on the order alone: each is walked once
        times = Counter(map(tuple, orders(p, DRAWS, 7)))
        found = Counter()
        for way, count in times.items():
            monkeypatch.setattr(rejection, "order", lambda p, rng, way=way: iter(way))
            walk = recursive(p, allowed.__contains__, None)
            found[walk.token, walk.weight] += count
        return found
    drawn = orders(p, 2 * DRAWS, 7)
    rng = random.Random(7)

    def order(left, _):  # passing over the refused makes a draw from all one from what is left
        yield from [token for token in drawn.pop() if left[token]]

    def repeats(chance, _):
        return int(math.log(1 - rng.random()) / math.log1p(-chance)) if chance < 1 else 0

    monkeypatch.setattr(rejection, "order", order)
    monkeypatch.setattr(rejection, "repeats", repeats)
    found, plain = Counter(), Plain(chances)
    for _ in range(DRAWS):
        walk = geometric(plain, allowed.__contains__, None)
        found[walk.token, walk.weight] += 1
    return found


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("form", ["recursive", "geometric"])
def test_token_and_weight_of_many_draws(toy, form, monkeypatch):
    """The token has the restricted law (chi-square); the mean weight of each token is Z, within 4 standard errors."""
    chances, allowed = TOYS[toy]
    mass, walks = sum(chances[token] for token in allowed), walks_of(form, chances, allowed, monkeypatch)
    found = Counter()
    for (token, _), times in walks.items():
        found[token] += times
    assert set(found) == allowed and sum(found.values()) == DRAWS
    due = [chances[token] / mass * DRAWS for token in sorted(allowed)]
    if len(allowed) > 1:
        assert chisquare([found[token] for token in sorted(allowed)], due, sum_check=False).pvalue > 1e-3
    for token in allowed:
        own = [(weight, times) for (one, weight), times in walks.items() if one == token]
        mean, square = (sum(weight**power * times for weight, times in own) / found[token] for power in (1, 2))
        error = math.sqrt((square - mean**2) / found[token])
        assert abs(mean - mass) < 4 * error + 1e-12, (token, mean, mass, error)


@pytest.mark.parametrize("allowed", [{0, 1, 2, 3, 4}, {1, 3}, {4}, {0}, {0, 2, 4}])
def test_the_recursive_form_exactly(allowed, monkeypatch):
    """Every order the walk can take, each with its probability: the conditional mean of the weight is Z, token by token."""
    p = law([0.4, 0.25, 0.2, 0.1, 0.05])
    mass, total, chance = p[list(allowed)].sum().item(), Counter(), Counter()
    for way in permutations(range(5)):
        weight, left = 1.0, 1.0
        for token in way:
            weight, left = weight * p[token].item() / left, left - p[token].item()
        monkeypatch.setattr(rejection, "order", lambda p, rng, way=way: iter(way))
        walk = recursive(p, allowed.__contains__, None)
        chance[walk.token] += weight
        total[walk.token] += weight * walk.weight
    for token in allowed:
        assert chance[token] == pytest.approx(p[token].item() / mass)
        assert total[token] / chance[token] == pytest.approx(mass)


@pytest.mark.parametrize("accepts", [2, 3])
@pytest.mark.parametrize("allowed", [{0, 1, 2}, {1}, {0, 2}, set()])
def test_the_geometric_form_exactly(allowed, accepts, monkeypatch):
    """With a limit every course can be played: the mean of weight x [token] is p(token), though some walks give up."""
    p, limit, dice = law([0.5, 0.3, 0.2]), 4, exact.Dice()

    def draws(left, rng):
        left = left.clone()  # a walk's own: what it has drawn does not come again
        while left.sum() > 0:
            token = dice.draw(left, None)
            left[token] = 0.0
            yield token

    def repeats(chance, rng):
        return dice.ask([(hits, chance * (1 - chance) ** hits) for hits in range(limit)] + [(limit, (1 - chance) ** limit)])

    monkeypatch.setattr(rejection, "order", draws)
    monkeypatch.setattr(rejection, "repeats", repeats)
    total, whole = Counter(), 0.0
    for walk, weight in dice.outcomes(lambda: geometric(p, allowed.__contains__, None, accepts, limit)):
        total[walk.token] += weight * walk.weight
        whole += weight
    assert whole == pytest.approx(1)
    for token in range(3):
        assert total[token] == pytest.approx(p[token].item() if token in allowed else 0)


def test_forgetting_the_repeats_is_biased(monkeypatch):
    """A known wrong variant: counting only the refusals that were really tested says there is more mass than there is."""
    p, rng = law(TOYS["the unlikely"][0]), torch.Generator().manual_seed(0)
    right = [geometric(p, {3, 4}.__contains__, rng).weight for _ in range(4000)]
    monkeypatch.setattr(rejection, "repeats", lambda chance, rng: 0)
    wrong = [geometric(p, {3, 4}.__contains__, rng).weight for _ in range(4000)]
    assert sum(right) / 4000 == pytest.approx(0.1, abs=0.02)
    assert sum(wrong) / 4000 > 0.2


def test_the_order_is_drawing_without_replacement():
    p, rng, draws = law([0.5, 0.3, 0.2, 0.0]), torch.Generator().manual_seed(3), 12_000
    found = Counter(tuple(order(p, rng)) for _ in range(draws))
    due = {way: p[way[0]].item() * p[way[1]].item() / (1 - p[way[0]].item()) for way in permutations(range(3))}
    assert found.keys() == due.keys(), "a token of probability 0 never comes"
    assert chisquare([found[way] for way in due], [draws * share for share in due.values()], sum_check=False).pvalue > 1e-3


def test_a_long_order_holds_every_token_once():
    p = torch.rand(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p[::7] = 0
    assert sorted(order(p, torch.Generator().manual_seed(1))) == p.nonzero().flatten().tolist()


@given(some.lists(some.just(0.0) | some.floats(1e-6, 1), min_size=1, max_size=60), some.data())
def test_limits_of_every_form(chances, data):
    """At most one question a token, weights in [0, 1], and 0 exactly where nothing is allowed."""
    p = law(chances)
    if p.sum() <= 0:
        return
    p /= p.sum()
    allowed = data.draw(some.sets(some.sampled_from(range(len(chances)))))
    possible = [token for token in allowed if p[token] > 0]
    for form in (PAPER, GEOMETRIC, RECURSIVE):
        for accepts in (2, 5):
            walk = AWRS(form=form, accepts=accepts).walk(p, allowed.__contains__, torch.Generator().manual_seed(1))
            tested = [token for token, _ in walk.tests]
            assert len(tested) == len(set(tested)) <= len(p)
            assert (walk.token in possible) if possible else walk.token is None
            assert (walk.weight > 0) == bool(possible) and walk.weight <= 1 + 1e-9


@pytest.mark.parametrize("chances", [(0.9, 0.05, 0.05), SEVEN, (1.0,), (0.0, 1.0)], ids=str)
def test_without_a_constraint(chances):
    """Two questions at most, and all the mass is allowed."""
    for form in (PAPER, GEOMETRIC, RECURSIVE):
        for seed in range(20):
            walk = AWRS(form=form).walk(law(chances), lambda token: True, torch.Generator().manual_seed(seed))
            assert len(walk.tests) <= 2 and walk.weight == pytest.approx(1, abs=1e-12)


def test_the_papers_choice_of_form():
    """Recursive where p is spread and L is 2: its weight can be p(x), which no geometric one is."""
    rng = torch.Generator().manual_seed(0)

    def weights(chances, **knobs):
        return {AWRS(**knobs).walk(law(chances), {1}.__contains__, rng).weight for _ in range(200)}

    spread, sure, more = weights([0.6, 0.3, 0.1]), weights([0.7, 0.2, 0.1]), weights([0.6, 0.3, 0.1], accepts=3)
    assert 0.3 in spread and all(min(abs(weight - one) for one in (0.3, 0.4, 0.9, 1.0)) < 1e-12 for weight in spread)
    assert all(1 / weight == pytest.approx(round(1 / weight)) for weight in sure) and len(sure) > 4
    assert all(2 / weight == pytest.approx(round(2 / weight)) for weight in more) and len(more) > 4


def test_giving_up():
    p, rng = law(SEVEN), torch.Generator().manual_seed(0)
    for walk in (lambda: geometric(p, {4}.__contains__, rng, 2, 2), lambda: recursive(p, {4}.__contains__, rng, 2)):
        walks = [walk() for _ in range(200)]
        assert max(len(one.tests) for one in walks) <= 4
        assert any(one.token is None and one.weight == 0 for one in walks)


def test_greedy():
    walk = best(law([0.2, 0.5, 0.3]), {0, 2}.__contains__)
    assert walk.token == 2 and [token for token, _ in walk.tests] == [1, 2]
    assert best(law([0.5, 0.5]), set().__contains__) == (None, 0.0, [(0, False), (1, False)])
