"""Problems with known answers, the exact laws of writing them in parallel, and the perfect model that keeps to those laws."""

from __future__ import annotations

from itertools import product
from math import exp, log
from random import Random

import pytest
import tiny_models
import torch
from scipy.stats import binomtest, chisquare

from labkit.diffusion import parallel_laws as laws
from labkit.diffusion.lists import (
    CLOSES,
    DIGITS,
    EMPTY,
    HEAD,
    ITEMS,
    MASK,
    OPENS,
    PLACES,
    TASKS,
    answers,
    count,
    draw,
    length,
    listed,
    posed,
    valid,
)
from labkit.diffusion.masked import MaskedDiffusion
from labkit.diffusion.parallel_cost import exact, rounds_of
from labkit.diffusion.perfect import Perfect, conditionals
from labkit.diffusion.writers import Writer
from labkit.ledger import Ledger
from labkit.run import run
from labkit.trace import Request

DRAWS, ROWS = 10_000, 500
UNLIKELY = 1e-4  # of a statistical test: with fixed seeds it passes or not for ever
SPREAD = ("shuffle", "replace-random", "insert-random", "remove-random", "domino", "brackets", "latin", "sudoku")


def table(problem):
    return torch.tensor(answers(problem))


def share(task, n, writer, draws=DRAWS, seed=0, network=Perfect()):
    """(right, rounds) of many answers to one problem."""
    problem = draw(task, n, Random(7))[0]
    rng, right, rounds = torch.Generator().manual_seed(seed), 0, []
    for _ in range(max(1, draws // ROWS)):
        made, spent = writer(network, [problem] * min(draws, ROWS), rng, Ledger())
        kinds, counts = made.unique(dim=0, return_counts=True)
        right += sum(times for kind, times in zip(kinds.tolist(), counts.tolist()) if valid(problem, tuple(kind)))
        rounds.append(spent)
    return right, torch.cat(rounds)


# -- the problems --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_what_is_drawn_is_one_of_the_right_answers(task):
    rng = Random(1)
    for n in range(3, 13):
        problem, answer = draw(task, n, rng)
        assert len(problem) == HEAD and len(answer) == length(problem) and valid(problem, answer)
        if count(problem) <= 600:
            every = answers(problem)
            assert answer in every and len(set(every)) == len(every) == count(problem)
            assert all(valid(problem, one) for one in every)
        assert not valid(problem, answer[:-1]) and not valid(problem, (*answer[:-1], EMPTY))


def test_no_other_answer_is_valid():
    """Every row of the tokens that could stand there: what the checks let through is what was counted."""
    rng = Random(2)
    for task in ("shuffle", "replace-random", "insert-random", "remove-random", "running-sum", "brackets", "domino"):
        problem = draw(task, 3, rng)[0]
        tokens = {*listed(problem), problem[1 + 15], *DIGITS[:3], *OPENS, *CLOSES, ITEMS[0], ITEMS[9], ITEMS[1]} - {EMPTY}
        found = {row for row in product(sorted(tokens), repeat=length(problem)) if valid(problem, row)}
        assert found == {row for row in answers(problem) if set(row) <= tokens}, task


@pytest.mark.parametrize("task", ["brackets", "latin", "shuffle"])
def test_answers_are_drawn_evenly(task):
    problem = draw(task, 4, Random(3))[0]
    every = answers(problem)
    seen, rng = dict.fromkeys(every, 0), Random(4)
    while sum(seen.values()) < 40 * len(every):
        other, answer = draw(task, 4, rng)
        if other == problem:
            seen[answer] += 1
        elif task != "brackets":  # too rarely the same: the answer is moved to this problem where it is one
            seen[rng.choice(every)] += 1
    assert chisquare(list(seen.values())).pvalue > UNLIKELY


def test_an_edit_is_where_it_was_asked():
    items = tuple(ITEMS[:4])
    for task, made in (("replace-index", (64, 90, 66, 67)), ("insert-index", (64, 90, 65, 66, 67)), ("remove-index", (64, 66, 67))):
        problem = posed(task, items, PLACES[1], EMPTY if task == "remove-index" else 90)
        assert answers(problem) == [made]


# -- the laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [*laws.FIXED, "shuffle", "replace-random", "insert-random", "remove-random", "domino"])
def test_counted_correlation_is_the_formula(task):
    for n in (3, 4) if task == "domino" else range(3, 8):
        every = table(draw(task, n, Random(n))[0])
        assert laws.spent(every, [list(range(every.shape[1]))]) == pytest.approx(laws.correlation(task, n), abs=1e-9)


def test_the_reference_values():
    """P132's entry: n = 6, tokens a round 1, 2, 3, 4, 6."""
    wanted = {"shuffle": [1, 0.3125, 0.1235, 0.1389, 0.0154], "replace-random": [1, 0.7335, 0.6044, 0.6269, 0.4019]}
    for task, values in wanted.items():
        every = table(draw(task, 6, Random(0))[0])
        for k, value in zip((1, 2, 3, 4, 6), values):
            groups = rounds_of(6, k, "random", Random(k))
            assert laws.accuracy(task, 6, groups) == pytest.approx(value, abs=5e-5)
            assert laws.chance(every, groups) == pytest.approx(laws.accuracy(task, 6, groups), abs=1e-12)
        assert laws.accuracy(task, 6, [[0, 1, 2, 3], [4, 5]]) > laws.accuracy(task, 6, [[0, 1, 2], [3, 4, 5]])


def test_chains_of_dominoes_fit_by_luck():
    every = table(draw("domino", 4, Random(0))[0])
    for groups in ([[0, 1, 2, 3]], [[0, 2], [1, 3]], [[0, 1], [2, 3]], [[1], [0, 2, 3]]):
        assert laws.chance(every, groups) == pytest.approx(laws.chained(groups), rel=1e-9)


@pytest.mark.parametrize("task", SPREAD)
def test_right_answers_are_never_rarer_than_the_bound(task):
    rng = Random(5)
    problem = draw(task, 4 if task != "domino" else 3, rng)[0]
    every = table(problem)
    for k in range(1, length(problem) + 1):
        groups = rounds_of(length(problem), k, "random", rng)
        assert laws.chance(every, groups) >= exp(-laws.spent(every, groups)) - 1e-12
    assert laws.spent(every, rounds_of(length(problem), 1, "random", rng)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("task", ["shuffle", "replace-random", "insert-random", "remove-random", "brackets"])
def test_the_bound_never_rises_with_the_rounds(task):
    every = table(draw(task, 4, Random(6))[0])
    bounds = [laws.bound(every, rounds) for rounds in range(1, every.shape[1] + 1)]
    assert all(later <= sooner + 1e-12 for sooner, later in zip(bounds, bounds[1:]))
    assert bounds[0] > 0.3 and bounds[-1] == pytest.approx(0, abs=1e-12)
    assert len(laws.partitions([0, 1, 2, 3], 2)) == 14  # 2^4 - 2


def test_where_answers_are_too_many_to_count_nobody_guesses():
    problem = draw("shuffle", 12, Random(0))[0]
    assert count(problem) > 4e8 and exact(problem, 12, [list(range(12))])[0] == pytest.approx(exp(-laws.correlation("shuffle", 12)))


# -- the perfect model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", SPREAD)
def test_the_perfect_model_tells_the_shares_among_all_answers(task):
    rng = Random(8)
    problem, answer = draw(task, 3, rng)
    every, size = table(problem), length(problem)
    for kept in range(size):
        places = rng.sample(range(size), kept)
        made = torch.full((1, size), MASK)
        made[0, places] = torch.tensor(answer)[places]
        fitting = every[(every[:, places] == made[0, places]).all(1)]
        law = conditionals(problem, made)[0]
        for place in set(range(size)) - set(places):
            counted = fitting[:, place].bincount(minlength=law.shape[1]).double() / len(fitting)
            torch.testing.assert_close(law[place], counted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("how", [{}, {"draw": False, "order": "confidence"}, {"order": "left-to-right"}])
def test_one_token_a_round_is_always_right(task, how):
    rng = Random(9)
    problems = [draw(task, 6, rng)[0] for _ in range(6)]
    made, rounds = Writer(**how)(Perfect(), problems, torch.Generator().manual_seed(0), Ledger())
    assert all(valid(problem, tuple(row)) for problem, row in zip(problems, made.tolist()))
    assert (rounds == length(problems[0])).all()


@pytest.mark.parametrize("task", ["shuffle", "replace-random"])
@pytest.mark.parametrize("tokens", [2, 4])
def test_drawn_from_exact_laws_the_formulas_hold(task, tokens):
    right, _ = share(task, 6, Writer(tokens=tokens), seed=tokens)
    formula = laws.accuracy(task, 6, rounds_of(6, tokens, "random", Random(0)))
    assert binomtest(right, DRAWS, formula).pvalue > UNLIKELY
    if (task, tokens) == ("shuffle", 4):  # 3 + 3, as LLaDA would split it, is told apart
        assert binomtest(right, DRAWS, laws.shuffled(6, 3)).pvalue < UNLIKELY


@pytest.mark.parametrize("task", ["insert-random", "remove-random", "brackets", "sudoku"])
def test_drawn_from_exact_laws_what_was_counted_holds(task):
    problem = draw(task, 5, Random(7))[0]
    groups = rounds_of(length(problem), 3, "left-to-right", Random(0))
    right, _ = share(task, 5, Writer(tokens=3, order="left-to-right"), 2000)
    assert binomtest(right, 2000, min(1.0, laws.chance(table(problem), groups))).pvalue > UNLIKELY


# -- the rules -----------------------------------------------------------------------------------------------------------


def test_confidence_is_about_marginals_and_the_damage_is_in_the_joint():
    """Threshold 0.9 on replace-random: with nine items one place a round, with ten all at once, each marginal being 0.9."""
    writer = Writer("threshold", tau=0.9)
    for n, paces, formula in ((9, range(2, 10), 1.0), (10, [1], 0.9**9)):
        right, rounds = share("replace-random", n, writer, 2000)
        assert set(rounds.tolist()) <= set(paces) and binomtest(right, 2000, formula).pvalue > UNLIKELY
    taken = Writer("threshold", tau=0.9, draw=False)
    assert share("replace-random", 9, taken, 8)[0] == 8 and share("replace-random", 10, taken, 8)[0] == 0


def test_fast_dllms_factor_rule_sees_it_coming():
    """Its theorem asks for eps <= 1 / (n + 1); replace-random has eps = 1 / n, just outside: never all at once."""
    for n in range(3, 13):
        right, rounds = share("replace-random", n, Writer("factor", factor=1.0), 64)
        assert rounds.min() > 1


@pytest.mark.parametrize("rule", [{"rule": "static", "tokens": 2}, {"rule": "threshold"}, {"rule": "factor"}])
@pytest.mark.parametrize("task", ["insert-random", "latin", "replace-random", "domino"])
def test_it_is_the_loop_of_one_text(task, rule):
    """At temperature 0 the same answers as the lab's decoder of one text; so every policy runs on the perfect model."""
    n = {"latin": 4, "insert-random": 7}.get(task, 8)  # an even number of tokens
    rng = Random(11)
    problems = [draw(task, n, rng)[0] for _ in range(3)]
    pair = tiny_models.letters_pair("llama, grouped, tied", vocabulary=128)
    pair.memory["mdm"] = Perfect()
    made, rounds = Writer(**rule, order="confidence", draw=False)(Perfect(), problems, torch.Generator(), Ledger())
    for problem, row, spent in zip(problems, made.tolist(), rounds.tolist()):
        request = Request(method="mdm", ids=list(problem), max_new_tokens=len(row), temperature=0.0)
        steps = [event for event in run(pair, request, MaskedDiffusion(**rule)) if getattr(event, "at", None)]
        assert dict(pair for step in steps for pair in zip(step.at, step.emitted)) == dict(enumerate(row))
        assert len(steps) == spent


def test_the_floor_of_a_shuffle_of_six():
    problem = draw("shuffle", 6, Random(0))[0]
    assert log(count(problem)) / length(problem) == pytest.approx(1.0965, abs=1e-4)
