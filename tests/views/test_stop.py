"""The views of stopping say what the traces say."""

from __future__ import annotations

import pytest

from labkit.trace import ACCEPTED, REFUSED, UNREACHED, Cost, Opening, Request, Step, Trace, Tree
from labkit.views import VIEWS, table
from labkit.views.stop_pareto import discarded_at

PIECES = {0: " def", 1: "<b>$x$</b>", 2: "\n", 3: "read"}
HEAD = {"policy": "trained head", "measure": "chance that a draft is refused", "line": 0.3}
BARS = ("kept", "refused", "never looked at")
LOOKS = pytest.mark.parametrize("look", ["light", "dark"])


def drafted(verdicts: list[str], climb: list[float], **notes) -> Step:
    tokens = [number % 4 for number in range(len(verdicts))]
    tree = Tree(tokens, list(range(-1, len(tokens) - 1)), verdicts=verdicts, added=0)
    tree.path = [node for node, verdict in enumerate(verdicts) if verdict == ACCEPTED]
    return Step([0] * (len(tree.path) + 1), tree=tree, cost=Cost(1), notes={**HEAD, "climb": climb, "judged": [], **notes})


@pytest.fixture
def trace():
    return Trace(
        Opening(Request(method="specdec++"), [0], pieces=PIECES, charts=["stop"]),
        [
            drafted([ACCEPTED, ACCEPTED, REFUSED, UNREACHED], [0.1, 0.2, 0.45]),
            drafted([REFUSED, UNREACHED], [0.6]),
            drafted([ACCEPTED] * 3, [0.05, 0.35]),
        ],
    )


@LOOKS
@pytest.mark.parametrize("upto", [None, 0, 1, 2])
def test_bars_are_the_climbs(trace, look, upto):
    figure = VIEWS["stop"](trace, upto, theme=look)
    steps = trace.steps[:upto] if upto is not None else trace.steps
    heights = {name: [] for name in (*BARS, "not judged")}
    for series in figure.data:
        heights[series.name] = list(series.y)
    due = {name: [] for name in heights}
    for step in steps:
        for place, verdict in enumerate(step.tree.verdicts):
            climb = step.notes["climb"]
            due[BARS[[ACCEPTED, REFUSED, UNREACHED].index(verdict)]].append(climb[place] if place < len(climb) else 0.0)
        due["not judged"].append(0)
    assert heights == due
    places = [place for series in figure.data if series.name in BARS for place in series.x]
    assert len(set(places)) == len(places) == sum(len(step.tree.tokens) for step in steps)
    assert [note.text for note in figure.layout.annotations] == [f"{len(s.tree.path)} of {len(s.tree.tokens)}" for s in steps]
    gaps = [other - one for one, other in zip(sorted(places), sorted(places)[1:])]
    assert gaps.count(2) == max(len(steps) - 1, 0) and set(gaps) <= {1, 2}, "a gap between rounds"
    assert [shape.y0 for shape in figure.layout.shapes] == [0.3] * bool(steps)
    assert figure.layout.title.text == "When does the draft stop?"
    if steps:
        assert "&lt;b&gt;" in figure.to_json() and "<b>" not in figure.to_json()


def test_its_sentence_says_why_the_last_round_stopped(trace):
    words = VIEWS["stop"](trace, 1).layout.meta["words"]
    assert words.endswith("stopped at 0.45, above the line 0.3; the target kept 2 of its 4.")
    trace.steps.append(drafted([ACCEPTED] * 2, [0.1]))
    assert "never passed the line 0.3" in VIEWS["stop"](trace).layout.meta["words"]
    trace.steps.append(drafted([ACCEPTED] * 2, [], measure="", line=None, peeks=3))
    assert "asked the target 3 times" in VIEWS["stop"](trace).layout.meta["words"]
    assert not VIEWS["stop"](trace).layout.shapes
    trace.steps.append(drafted([REFUSED], [], measure="", line=None))
    assert "The length is fixed; the target kept 0 of its 1." in VIEWS["stop"](trace).layout.meta["words"]


def test_only_the_latest_rounds_are_drawn_but_the_table_has_all(trace):
    trace.steps += [drafted([ACCEPTED] * 16, [0.1] * 15) for _ in range(4)]
    assert sum(len(series.x) for series in VIEWS["stop"](trace).data if series.name in BARS) == 32
    columns, rows = table.table("stop", trace)
    assert len(rows) == 9 + 64
    assert rows[1] == (1, 2, "<b>$x$</b>", 0.2, 0.3, ACCEPTED) and rows[3][3] is None


CURVES = {
    "fixed length": [[1, 0.2, 0.7], [4, 1.0, 0.5], [8, 2.0, 0.45]],
    "entropy": [[0.5, 0.1, 0.8], [2.0, 0.9, 0.4]],
    "trained head": [[0.3, 0.3, 0.6], [1.0, 2.0, 0.42]],
    "oracle (peeks)": [[0, 0.0, 0.4]],
}
RELIABILITY = {
    "even": {"predicted": 0.5, "actual": 0.52, "error": 0.02, "count": 30, "bins": [[0.25, 0.3, 10], [0.625, 0.63, 20]]},
    "weighted": {"predicted": 0.2, "actual": 0.52, "error": 0.3, "count": 30, "bins": [[0.2, 0.52, 30]]},
}


@pytest.fixture
def study():
    part = {**CURVES, "oracle (peeks)": [], "trained head": CURVES["trained head"][:1]}
    notes = [{"curves": part, "reliability": {"even": RELIABILITY["even"]}}, {"curves": CURVES, "reliability": RELIABILITY}]
    opening = Opening(Request(method="when-to-stop"), charts=["stop_pareto", "stop_reliability"])
    return Trace(opening, [Step([], notes=one) for one in notes])


@LOOKS
@pytest.mark.parametrize("upto", [None, 0, 1])
def test_curves_are_the_notes(study, look, upto):
    steps = study.steps[:upto] if upto is not None else study.steps
    curves = steps[-1].notes["curves"] if steps else {}
    pareto = VIEWS["stop_pareto"](study, upto, theme=look)
    drawn = {series.name: [list(pair) for pair in zip(series.y, series.x)] for series in pareto.data}
    assert drawn == {name: [point[1:] for point in points] for name, points in curves.items()}
    figures = steps[-1].notes["reliability"] if steps else {}
    found = VIEWS["stop_reliability"](study, upto, theme=look)
    drawn = {series.name: [list(pair) for pair in zip(series.x, series.y)] for series in found.data}
    assert drawn == {name: [row[:2] for row in one["bins"]] for name, one in figures.items()}
    rows = [row for name in ("stop_pareto", "stop_reliability") for row in table.table(name, study, upto).rows]
    assert len(rows) == sum(map(len, curves.values())) + sum(len(one["bins"]) for one in figures.values())


def test_policies_are_compared_at_as_many_target_calls(study):
    assert discarded_at(CURVES["entropy"], 0.5) == pytest.approx(0.7)
    assert discarded_at(CURVES["entropy"], 0.9) is None
    words = VIEWS["stop_pareto"](study).layout.meta["words"]
    at_half = 2.0 + (0.5 - 0.42) / 0.18 * (0.3 - 2.0)
    assert words.endswith(f"fixed length 4, discarded drafts a token: fixed 1.00, entropy 0.70, trained head {at_half:.2f}.")
    assert VIEWS["stop_pareto"](study, 1).layout.meta["words"].endswith("fixed 1.00, entropy 0.70.")


def test_reliability_says_the_means(study):
    words = VIEWS["stop_reliability"](study).layout.meta["words"]
    assert "Even: predicted 0.50 on average, was 0.52." in words and "Weighted: predicted 0.20" in words
