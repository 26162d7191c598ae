"""The study of names behind dots: with the monitor all of them exist; its places are what they say."""

from __future__ import annotations

import keyword

import pytest

from labkit.prompts import attributes
from labkit.run import run
from labkit.sampling import attribute_names
from labkit.trace import Request, Step
from labkit.train.prompts import _places
from labkit.views.attribute_names import rows


def test_places():
    for place in attributes():
        assert place["before"].endswith(".") and place["name"].isidentifier() and not keyword.iskeyword(place["name"])
        assert place["after"] == "" or not place["after"].startswith(place["name"])


def test_places_of_a_file():
    text = "import os\nimport x\n\nclass A:\n    def f(self):\n        self.a = self.b + os.sep + x.y\n"
    text += "\n    def g(self):\n        pass\n"
    found = {place["name"]: place for place in _places(text)}
    assert set(found) == {"b", "sep"}, "what is written to, and modules of others, are left out"
    assert found["b"]["before"].endswith("self.a = self.") and found["b"]["after"].startswith("\n    def g")
    assert list(_places("def f(:")) == []


class Fixed:
    """Knows the name of the file, and one more, at every other place."""

    def __init__(self):
        self.asked = 0

    def ask(self, before, after):
        self.asked += 1
        return (next(p["name"] for p in attributes() if p["before"] == before), "zebra") if self.asked % 2 else None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_name_exists_under_the_monitor(monkeypatch, shipped32, temperature):
    monkeypatch.setattr(attribute_names, "shared", lambda fixed=Fixed(): fixed)
    asked = Request(method="attribute-names", prompt="x", temperature=temperature, knobs={"places": 8}, seed=2)
    steps = [event for event in run(shipped32, asked) if isinstance(event, Step)]
    notes = steps[-1].notes
    assert [step.notes["done"] for step in steps] == list(range(1, 9)) and notes["known"] == notes["held"] == 4
    for who in ("target", "draft"):
        assert notes["counts"][f"{who}, monitor"][0] == 4 and notes["counts"][f"{who}, free"][0] < 4
        assert all(
            match <= exists for exists, match in (notes["counts"][f"{who}, {how}"] for how in ("free", "monitor"))
        )
    assert steps[-1].cost.target_forwards == 0 < steps[-2].cost.target_forwards, "nothing is run where no name is known"


def test_rows(monkeypatch, shipped32, traced):
    monkeypatch.setattr(attribute_names, "shared", lambda fixed=Fixed(): fixed)
    trace = traced(shipped32, "attribute-names", knobs={"places": 4}, prompt="x")
    counts = trace.steps[-1].notes["counts"]
    assert {row[0]: row[2] * 2 for row in rows(trace) if row[1] == "exists"} == {
        who: float(n) for who, (n, _) in counts.items()
    }
    assert rows(trace, 0) == []
