"""The charts of cache policies: their numbers are those of the trace, at any step and in both themes."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.run import run
from labkit.trace import Request, Trace
from labkit.views import cache_cost, cache_map, race_bytes, race_needles

PROMPT = "class Config:\n    limit = 2485\n    name = 'alpha'\n\n\ndef size(self):\n    return self.limit\nassert Config.limit =="


@pytest.fixture(scope="module")
def traced(shipped32):
    trace = Trace(None)
    for event in run(shipped32, Request(method="h2o", prompt=PROMPT, max_new_tokens=5)):
        trace.add(event)
    return trace


@pytest.fixture(scope="module")
def raced(shipped32):
    trace = Trace(None)
    for event in run(shipped32, Request(method="cache-race", prompt="a", knobs={"count": 1, "distance": "100-300"})):
        trace.add(event)
    return trace


@pytest.mark.parametrize("upto", [1, 3, None])
def test_the_map_holds_what_the_cache_holds(traced, upto):
    notes = traced.steps[(upto or len(traced.steps)) - 1].notes
    table = cache_map.rows(traced, upto)
    assert [row[2] for row in table] == [held for held in notes["held"] for _ in range(2)]  # two key-value heads
    figure = views.view("cache_map")(traced, upto, theme="dark")
    grid = figure.data[0].z
    assert len(grid) == 8 and len(grid[0]) == notes["fed"]  # short enough for a column each
    assert [round(2 * sum(row)) for row in grid] == [2 * held for held in notes["held"]]


def test_a_long_text_is_drawn_in_wider_columns_and_loses_no_slot():
    shares = cache_map.shares([[0, 3, 950, 1000], [0, 1, 999, 1000]], 1000, 5)
    assert len(shares) == 200 and shares[0] == pytest.approx(4 / 10) and shares[-1] == pytest.approx(6 / 10)
    assert sum(shares) * 10 == pytest.approx(3 + 50 + 1 + 1)


@pytest.mark.parametrize("upto", [2, None])
def test_costs_step_by_step(traced, upto):
    steps = traced.steps[:upto]
    table = cache_cost.rows(traced, upto)
    assert [row[1] for row in table] == [step.notes["bytes"]["whole"] / 1000 for step in steps]
    assert [row[4] for row in table] == [step.notes["kl"] for step in steps]
    figure = views.view("cache_cost")(traced, upto, theme="light")
    assert list(figure.data[-1].y) == [step.notes["kl"] for step in steps]
    words = figure.layout.meta["words"]
    differs = [number for number, step in enumerate(steps, 1) if not step.notes["agrees"]]
    assert (f"the first is step {differs[0]}." in words) if differs else ("alike" in words)


def test_the_race_counts_needles_and_bytes(raced):
    results = {one["name"]: one["runs"] for one in raced.steps[-1].notes["results"]}
    for table in (race_needles.rows(raced), race_bytes.rows(raced)):
        assert [row[0] for row in table] == list(results)
        for name, asked, found, kl, _, _, held, read in table:
            assert (asked, found, kl) == (1, results[name][0]["right"], results[name][0]["kl"])
            assert (held, read) == (results[name][0]["held"], results[name][0]["read"])
    assert results["dense"][0]["kl"] == 0 and results["dense"][0]["lost"] == 0
    assert race_needles.rows(raced, 1) == race_needles.rows(raced)[:1]
    bars = views.view("race_bytes")(raced, theme="dark").data
    assert list(bars[1].x) == [row[6] for row in race_bytes.rows(raced)[::-1]]


@pytest.mark.parametrize("name", ["cache_map", "cache_cost", "race_needles", "race_bytes"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_without_steps_there_is_a_sentence(traced, name, theme):
    figure = views.view(name)(Trace(traced.opening), theme=theme)
    assert figure.layout.title.text and figure.layout.meta["words"].endswith(".")
