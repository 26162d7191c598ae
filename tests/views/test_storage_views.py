"""The bars and pictures of a cache that stores differently are the notes of its steps."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.errors import LabError
from labkit.run import run
from labkit.trace import Request, Trace, loads
from labkit.views import race_storage, read, storage_bits, storage_heat

PROMPT = "def put(self, item):\n    self.items.append(item)\n    return len(self.items)\n\n" * 5
KNOBS = {"mustafar": {"window": 0}, "zipcache": {}}


@pytest.fixture(scope="module", params=KNOBS)
def traced(request, shipped32):
    asked = Request(method=request.param, prompt=PROMPT, knobs=KNOBS[request.param], temperature=0.0, max_new_tokens=4)
    events = run(shipped32, asked)
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
    return loads(trace.dumps())


@pytest.mark.parametrize("upto", [1, 3, None])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_bars_are_the_bytes(traced, upto, look):
    notes = read.steps(traced, upto)[-1].notes
    figure = storage_bits.storage_bits(traced, upto, theme=look)
    bits = {one.name: one.x[0] for one in figure.data}
    assert bits.pop("dense") == pytest.approx(32) == 8 * notes["dense bytes"] / notes["numbers"]
    held = bits.pop("held")
    assert held == 8 * notes["bytes"]["whole"] / notes["numbers"] == pytest.approx(sum(bits.values()))
    for kind, size in notes["storage"].items():
        assert bits[storage_bits.NAMES.get(kind, kind)] == 8 * size / notes["numbers"]
    ends = [(one.base[0], one.base[0] + one.x[0]) for one in figure.data[2:]]
    assert ends[0][0] == 0 and all(a[1] == pytest.approx(b[0]) for a, b in zip(ends, ends[1:]))
    assert f"{held:.1f} bits" in figure.layout.meta["words"]


@pytest.mark.parametrize("upto", [1, 3, None])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_pictures_are_the_digits(traced, upto, look):
    pictures = traced.steps[0].notes["pictures"]
    assert len(pictures) == 2 and not traced.steps[1].notes["pictures"]
    figure = storage_heat.storage_heat(traced, upto, theme=look)
    for heat, picture in zip(figure.data, pictures, strict=True):
        assert ["".join(map(str, row)) for row in heat.z] == picture["rows"]
        assert heat.y[0] == picture["first"] and heat.name == picture["name"]
        assert max(map(max, heat.z)) == 9
    assert "written at step 1" in figure.layout.meta["words"]
    assert len(storage_heat.rows(traced, upto)) == sum(len(one["rows"]) for one in pictures)


@pytest.mark.parametrize("name", ["storage_bits", "storage_heat"])
def test_nothing_yet(traced, name):
    empty = views.VIEWS[name](Trace(traced.opening))
    assert not empty.data and empty.layout.title.text and empty.layout.meta["words"].endswith(".")
    assert views.VIEWS[name](traced, 0).to_json() == empty.to_json()
    with pytest.raises(LabError):
        views.VIEWS[name](traced, theme="sepia")


@pytest.fixture(scope="module")
def raced(shipped32):
    """Every way on one needle."""
    events = run(shipped32, Request(method="storage-race", prompt="x", knobs={"count": 1, "distance": "100-300"}))
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
    return loads(trace.dumps())


@pytest.mark.parametrize("upto", [1, 5, None])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_marks_are_the_races_runs(raced, upto, look):
    figure = race_storage.race_storage(raced, upto, theme=look)
    dense, *ran = [result for result in read.steps(raced, upto)[-1].notes["results"] if result["runs"]]
    assert len(ran) + 1 == (upto or 10) and figure.layout.shapes[0].x0 == dense["runs"][0]["held"]
    for mark, result in zip(figure.data, ran, strict=True):
        [one] = result["runs"]
        assert (mark.name, mark.x[0], mark.y[0]) == (result["name"], one["held"], max(one["kl"], race_storage.LEAST))
    assert not race_storage.race_storage(raced, 0, theme=look).data


def test_the_race_says_what_the_papers_say(raced):
    """Large numbers carry more than a lot draws, pruning saves what it says, and bits save more than zeros."""
    runs = {result["name"]: result["runs"][0] for result in raced.steps[-1].notes["results"]}
    assert runs["both pruned"]["kl"] < runs["both, by lot"]["kl"]
    order = ("4 and 2 bits", "8 and 4 bits", "both pruned", "keys pruned", "dense")
    assert all(runs[less]["held"] < runs[more]["held"] for less, more in zip(order, order[1:]))
    assert all(run["lost"] < 1e-6 for run in runs.values())
