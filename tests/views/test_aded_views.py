"""The views of searched drafts (P113) and of drafts from nothing: their numbers are the trace's."""

from __future__ import annotations

import random

import made_traces
import pytest
from scipy.stats import sem

from labkit import views
from labkit.trace import Closing, Opening, Request, Step, Trace, loads
from labkit.views import table, theme
from labkit.views.drift import WINDOW
from labkit.views.text import escaped, shown

STEPS, METHODS, TEXTS = 12, ("prompt lookup", "ADED, table fixed", "ADED"), ("held-out code", "invented rules")


@pytest.fixture(scope="module")
def searched() -> Trace:
    """Steps that each drafted some nodes of a search tree, hostile tokens among them."""
    trace, chance = made_traces.tree_trace(STEPS, 14, drafted=False), random.Random(8)
    for number, step in enumerate(trace.steps):
        extra = 6  # edges that were searched only, behind the drafted ones
        size = 1 + len(step.tree.tokens) + extra
        parents = [-1, *(parent + 1 for parent in step.tree.parents), *(chance.randrange(1, size - extra) for _ in range(extra))]
        tokens = [0, *step.tree.tokens, *(chance.randrange(made_traces.VOCABULARY) for _ in range(extra))]
        visits = [chance.randint(1, 9) for _ in range(size)]
        for node in range(size - 1, 0, -1):
            visits[parents[node]] += visits[node]
        values, priors = ([round(chance.random(), 4) for _ in range(size)] for _ in range(2))
        found = {"parents": parents, "visits": visits, "values": values, "priors": priors, "kept": list(range(1, size - extra))}
        first, again = chance.randint(1, 9), number and chance.randint(1, 9)
        apart = {"first": chance.uniform(2, 4), "again": chance.uniform(0, 2) if again else None}
        apart["all"] = (first * apart["first"] + again * (apart["again"] or 0)) / (first + again)
        step.notes = {"tokens": [tokens], "search": found, "divergence": apart}
        step.notes["pairs"] = {"first": first, "again": again, "learned": 10 * number}
    return trace


@pytest.fixture(scope="module")
def compared() -> Trace:
    """A study of three prompts of each kind."""
    chance, runs = random.Random(3), {(name, text): [] for text in TEXTS for name in METHODS}
    trace = Trace(Opening(Request(method="free-drafts"), [1], pieces={1: "x"}, charts=["free_drafts"]))
    for done in range(3 * len(runs)):
        name, text = METHODS[done % 3], TEXTS[done // 3 % 2]
        calls = chance.randint(5, 30)
        runs[name, text].append([calls + chance.randint(0, 60), calls, calls, chance.randint(0, calls), 99, chance.random()])
        results = [{"name": name, "text": text, "runs": list(of)} for (name, text), of in runs.items()]
        compare = ["ADED, table fixed", "ADED"]
        trace.add(Step([], notes={"done": done + 1, "results": results, "compare": compare, "temperature": 0.7}))
    trace.add(Closing("done"))
    return trace


@pytest.fixture(params=["search", "drift", "free_drafts"])
def case(request, searched, compared):
    return request.param, compared if request.param == "free_drafts" else searched


@pytest.mark.parametrize("look", ["light", "dark"])
def test_they_are_pure_and_follow_the_steps(case, look):
    name, trace = case
    draw = views.VIEWS[name]
    whole = draw(trace, theme=look)
    assert whole.data and whole.layout.title.text and whole.layout.meta["words"].endswith(".")
    assert "colorway" not in whole.to_json() and len(whole.to_json()) < 60_000
    assert whole.to_json() == draw(loads(trace.dumps()), theme=look).to_json()
    part = draw(trace, 5, theme=look).to_json()
    assert part == draw(Trace(trace.opening, trace.steps[:5]), theme=look).to_json() != whole.to_json()
    empty = draw(Trace(trace.opening), theme=look)
    assert empty.layout.title == whole.layout.title and empty.layout.meta["words"].endswith(".")
    assert table.table(name, Trace(trace.opening)).rows == []
    columns, rows = table.table(name, trace, 5)
    assert rows and all(len(row) == len(columns) for row in rows)


def test_notes_of_another_method_are_a_key_error(case, trees):
    other = loads(trees.dumps())
    other.steps[-1].notes = {"rows known": 3}
    with pytest.raises(KeyError):
        views.VIEWS[case[0]](other)


@pytest.mark.parametrize("upto", [None, 1, 7])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_search_bars_are_the_notes(searched, upto, look):
    step = searched.steps[-1 if upto is None else upto - 1]
    found, tokens, ink = step.notes["search"], step.notes["tokens"][0], theme.colours(look)
    icicle = views.VIEWS["search"](searched, upto, theme=look).data[0]
    assert list(icicle.values) == found["visits"]
    assert list(icicle.ids) == [str(node) for node in range(len(tokens))]
    assert list(icicle.parents) == ["", *map(str, found["parents"][1:])]
    accepted = {found["kept"][index] for index in step.tree.path}
    for node in range(1, len(tokens)):
        text, hover = icicle.text[node], icicle.hovertext[node]
        name = made_traces.pieces()[tokens[node]]
        assert hover.startswith(escaped(shown(name)) + "<br>")
        assert f"N {found['visits'][node]}, Q {found['values'][node]:.3f}, P {found['priors'][node]:.3f}" in hover
        became = "accepted" if node in accepted else "drafted" if node in found["kept"] else "searched only"
        assert hover.endswith(became) and text.startswith("✓ ") == (node in accepted)
        fill = {"accepted": "draft", "drafted": "draft-tint", "searched only": "paper"}[became]
        assert icicle.marker.colors[node] == ink[fill]
    highest = max(range(1, len(tokens)), key=found["visits"].__getitem__)
    assert f"<br>{found['visits'][highest]}" in icicle.text[highest], "a high bar says its N"
    words = views.VIEWS["search"](searched, upto).layout.meta["words"]
    assert f"{len(tokens) - 1} edges: {len(found['kept'])} drafted (pale), {len(accepted)} accepted" in words
    for node, token, behind, visits, value, prior, depth, _ in table.table("search", searched, upto).rows:
        assert (behind, visits, value, prior) == tuple(
            found[name][node] for name in ("parents", "visits", "values", "priors")
        )
        assert token == shown(made_traces.pieces()[tokens[node]])
        assert depth == 1 + (behind and len(list(up(found["parents"], behind))))


def up(parents: list[int], node: int):
    while node:
        yield node
        node = parents[node]


def test_hostile_tokens_stay_text(searched):
    words = ""
    for upto in range(1, STEPS + 1):
        icicle = views.VIEWS["search"](searched, upto).data[0]
        words += " ".join([*icicle.text, *icicle.labels, *icicle.hovertext])
    assert "&lt;script&gt;" in words and "<script" not in words and "<img" not in words and "$" not in words


@pytest.mark.parametrize("upto", [None, 1, 9])
def test_drift_lines_are_the_notes(searched, upto):
    steps = searched.steps[:upto]
    first, again, tokens, running = views.VIEWS["drift"](searched, upto).data
    assert list(first.y) == [step.notes["divergence"]["first"] for step in steps]
    assert list(again.y) == [step.notes["divergence"]["again"] for step in steps] and again.y[0] is None
    assert list(tokens.y) == [len(step.emitted) for step in steps]
    for number, value in enumerate(running.y, 1):
        window = steps[max(0, number - WINDOW) : number]
        due = sum(len(step.emitted) for step in window) / sum(step.cost.target_forwards for step in window)
        assert value == pytest.approx(due)
    pairs = [step.notes["pairs"]["first"] for step in steps]
    mean = sum(n * y for n, y in zip(pairs, first.y)) / sum(pairs)
    assert f"{mean:.2f} nats" in views.VIEWS["drift"](searched, upto).layout.meta["words"]


@pytest.mark.parametrize("upto", [None, 1, 4, 13])
def test_bars_of_drafts_from_nothing(compared, upto):
    notes = (compared.steps[-1] if upto is None else compared.steps[upto - 1]).notes
    figure = views.VIEWS["free_drafts"](compared, upto)
    done = [result for result in notes["results"] if result["runs"]]
    bars = {}
    for bar in figure.data:
        side = 1 if bar.yaxis == "y2" else 0
        for name, y, whisker in zip(bar.x, bar.y, bar.error_y.array):
            bars[name.replace("<br>", " "), bar.name.split(", ")[0], side] = (y, whisker)
    assert len(bars) == 2 * len(done)
    for result in done:
        per_prompt = [run[0] / run[1] for run in result["runs"]], [run[3] / run[2] for run in result["runs"]]
        for side, values in enumerate(per_prompt):
            y, whisker = bars[result["name"], result["text"], side]
            assert y == pytest.approx(sum(values) / len(values))
            assert whisker == pytest.approx(1.96 * sem(values) if len(values) > 1 else 0)
    words = figure.layout.meta["words"]
    runs = {(result["name"], result["text"]): [run[0] / run[1] for run in result["runs"]] for result in notes["results"]}
    for text in TEXTS:
        fixed, learning = runs["ADED, table fixed", text], runs["ADED", text]
        if learning:
            better = sum(b > a for a, b in zip(fixed, learning))
            assert f"{sum(learning) / len(learning):.2f} when it learns (more on {better} of {len(learning)} prompts)" in words
        else:
            assert text not in words
