"""The two charts of what parallelism costs: their numbers are the trace's, and their intervals those of the books."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from labkit.trace import Opening, Request, Step, Trace
from labkit.views.parallel_accuracy import interval, parallel_accuracy
from labkit.views.parallel_bound import parallel_bound


def dot(name, tokens, right, of, exact, pace=0.0):
    return {"name": name, "tokens": tokens, "right": right, "of": of, "pace": pace, "exact": exact, "bound": exact}


def told(right: int, rule: str = "threshold") -> Step:
    notes = {
        "task": "shuffle", "n": 3, "size": 3, "rule": rule, "order": "random", "temperature": 1.0, "perfect": True, "chosen": 2,
        "of": 9, "done": 1, "example": {"asked": "shuffle a b c", "said": "b c a", "right": True},
        "own": [dot(rule, 0, right, 32, None, 1.5)],
        "curve": [dot("shuffle", 1, 32, 32, 1.0), dot("shuffle", 2, right, 32, 0.5), dot("shuffle", 3, 0, 0, None)],
        "tasks": [dot("copy", 3, 32, 32, 1.0), dot("shuffle", 3, 7, 32, 2 / 9), dot("brackets", 3, 1, 32, None)],
    }  # fmt: skip
    return Step(emitted=[], notes=notes)


def made(steps: list[Step]) -> Trace:
    return Trace(Opening(Request(method="parallel-cost"), "lab-target", [], {}), steps)


@pytest.fixture
def trace():
    return made([told(16), told(20)])


@pytest.mark.parametrize("look", ["light", "dark"])
def test_dots_line_and_star_are_the_traces(trace, look):
    for upto, right in ((1, 16), (2, 20)):
        line, dots, star = parallel_accuracy(trace, upto, theme=look).data
        assert list(line.y) == [1.0, 0.5] and list(dots.x) == [1, 2] and list(dots.y) == [1.0, right / 32]
        assert list(star.x) == [1.5] and list(star.y) == [right / 32]
        low = dots.y[1] - dots.error_y.arrayminus[1]
        assert low == pytest.approx(binomtest(right, 32).proportion_ci(method="wilson").low, abs=1e-3)
        rule, pace, tasks = parallel_bound(trace, upto, theme=look).data
        assert list(pace.y) == [1.0, right / 32] and list(pace.x) == [1.0, 0.5]
        assert list(tasks.x) == [1.0, 2 / 9] and list(tasks.y) == [1.0, 7 / 32]  # what nobody can foretell is left out
        assert list(tasks.text) == ["", "shuffle"]


def test_the_static_rules_star_stands_at_its_tokens():
    star = parallel_accuracy(made([told(16, "static")])).data[-1]
    assert list(star.x) == [2]


def test_nothing_yet_is_drawn_too():
    empty = made([])
    assert not parallel_accuracy(empty).data and parallel_bound(empty).layout.title.text


def test_an_interval_stays_inside():
    assert interval(0, 32)[0] == 0 and interval(32, 32)[1] == 1
    assert interval(0, 32)[1] > 0.1 and interval(32, 32)[0] < 0.9
