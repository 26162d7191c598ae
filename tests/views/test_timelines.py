"""The charts of PEARL and of the batches: their numbers are the trace's, in the middle of a run too, and before it."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.run import run
from labkit.trace import Opening, Request, Trace
from labkit.views.swimlanes import LANES, OPEN, ROUNDS, VERIFIED, WASTED

PROMPT = "class Queue:\n    def __init__(self):\n        self.items = []\n\n    def put(self, item):"
PEARL, SWEEP = ("swimlanes", "segments"), ("pearl_sweep",)
BATCH = ("batch_grid", "batch_time", "batch_equal")


@pytest.fixture(scope="module")
def made(shipped32):
    """`made(method, **knobs)`: a whole trace, computed once."""
    known = {}

    def write(method, **knobs) -> Trace:
        key = method, str(knobs)
        if key not in known:
            events = list(run(shipped32, Request(method=method, prompt=PROMPT, max_new_tokens=40, knobs=knobs)))
            known[key] = Trace(events[0], events[1:-1], events[-1])
        return known[key]

    return write


@pytest.mark.parametrize("name", [*PEARL, *SWEEP, *BATCH, "batch_sweep"])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_a_trace_without_steps_is_a_sentence(name, look):
    figure = views.VIEWS[name](Trace(Opening(Request(method="pearl"), [5], [], {5: "x"}, "target")), theme=look)
    assert figure.layout.title.text and figure.layout.meta["words"].endswith(".")


def spans(figure):
    """(lane, begin, end, what) of every bar, in time and lane order."""
    found = [
        (lane, round(base, 9), round(base + long, 9), bars.name)
        for bars in figure.data
        for lane, base, long in zip(bars.y, bars.base, bars.x)
    ]
    return sorted(found)


@pytest.mark.parametrize("knobs", [{}, {"gamma": 3, "ratio": 7.0}, {"pre": False}, {"post": False}], ids=str)
@pytest.mark.parametrize("upto", [1, 5, None])
def test_swimlanes_are_the_notes(made, knobs, upto):
    trace = made("pearl", **knobs)
    steps = trace.steps[:upto]
    figure = views.VIEWS["swimlanes"](trace, upto)
    drawn = spans(figure)
    begin, end = steps[-ROUNDS:][0].notes["verify"][0], steps[-1].notes["now"]
    calls = [tuple(step.notes["verify"][:2]) for step in steps]
    assert [(b, e) for lane, b, e, _ in drawn if lane == 1] == [pytest.approx(call) for call in calls if call[1] > begin]
    blocks = [block for step in steps for block in step.notes["drafts"]]
    mine = [(b, e, what) for lane, b, e, what in drawn if lane == 0]
    for number, first, last, tokens in blocks:
        if last <= begin or first >= end:
            continue
        parts = [(b, e, what) for b, e, what in mine if b >= first - 1e-6 and e <= last + 1e-6]
        decided = [d for step in steps for d in step.notes["decided"] if d[0] == number]
        kept, wasted = sum(d[1] for d in decided), sum(d[2] for d in decided)
        unit = (last - first) / tokens
        long = {what: (e - b) / unit for b, e, what in parts}
        due = {VERIFIED: kept, WASTED: wasted, OPEN: tokens - kept - wasted}
        if first >= begin:
            assert long == {what: pytest.approx(count) for what, count in due.items() if count}
    rounds = [one for step in steps for one in step.notes["ordinary"]["rounds"] if one[2] > begin and one[1] < end]
    assert [(b, e) for lane, b, e, _ in drawn if lane == 3] == [pytest.approx((one[1], one[2])) for one in rounds]
    assert tuple(figure.layout.yaxis.tickvals) == tuple(range(len(LANES)))
    changes = [step for step in steps[-ROUNDS:] if step.notes["mode"] != step.notes["next"]]
    assert len(figure.layout.shapes) == len(changes)
    tokens = sum(len(step.emitted) for step in steps)
    assert f"PEARL {end / tokens:.2f} target calls" in figure.layout.meta["words"]


def test_the_window_slides(made):
    trace = made("pearl")
    assert len(trace.steps) > ROUNDS + 3
    early, late = (views.VIEWS["swimlanes"](trace, upto).layout.xaxis.range for upto in (ROUNDS, ROUNDS + 3))
    assert early[0] == 0 < late[0] and late[1] > early[1]


@pytest.mark.parametrize("upto", [1, 7, None])
def test_segments_are_the_notes(made, upto):
    trace = made("pearl", gamma=3)
    steps = trace.steps[:upto]
    mine = [length for step in steps for length in step.notes["segments"]]
    theirs = [one[3] for step in steps for one in step.notes["ordinary"]["rounds"]]
    figure = views.VIEWS["segments"](trace, upto)
    for bars, found in zip(figure.data, (mine, theirs)):
        assert [found.count(length) for length in bars.x] == list(bars.y) and sum(bars.y) == len(found)
    assert max(theirs, default=0) <= 3
    if upto is None:
        assert f"{sum(mine) / len(mine):.2f}" in figure.layout.meta["words"]


@pytest.mark.parametrize("upto", [2, 9, None])
def test_the_sweep_is_the_clocks_sum(made, upto):
    trace = made("pearl-sweep", prompts=1, tokens=16, ratio=4.0)
    figure = views.VIEWS["pearl_sweep"](trace, upto)
    notes = trace.steps[:upto][-1].notes
    known = [gamma for place, gamma in enumerate(notes["gammas"]) if notes["counts"]["ordinary"]["tokens"][place]]
    assert list(figure.data[0].x) == known and len(figure.data) == 6
    for way, bars, factor in (
        ("PEARL", figure.data[0], lambda gamma: max(gamma / 4, 1)),
        ("ordinary", figure.data[1], lambda gamma: gamma / 4 + 1),
    ):
        sums = notes["counts"][way]
        for place, gamma in enumerate(known):
            assert bars.y[place] == pytest.approx(sums["rounds"][place] / sums["tokens"][place] * factor(gamma))
    right = figure.data[3]
    assert list(right.x) == known
    assert right.y[0] == pytest.approx(notes["counts"]["PEARL"]["rounds"][0] / notes["counts"]["PEARL"]["tokens"][0])


@pytest.mark.parametrize("variant", ["EQSPEC", "EXSPEC"])
@pytest.mark.parametrize("upto", [1, 6, None])
def test_the_grid_is_the_round(made, variant, upto):
    trace = made("batch-spec", variant=variant, prompts=6, size=3, tokens=12, longest=64)
    notes = trace.steps[:upto][-1].notes
    figure = views.VIEWS["batch_grid"](trace, upto)
    rows = len(notes["rows"])
    for column, bars in enumerate(figure.data, 1):
        assert [bars.x[place] for place in range(rows)] == [cells[column] for cells in notes["rows"]]
        assert [bars.base[place] for place in range(rows)] == [sum(cells[1:column]) for cells in notes["rows"]]
    assert list(figure.data[1].x[rows:]) == [length for _, length in notes["waiting"]]
    assert len(figure.layout.yaxis.ticktext) == rows + len(notes["waiting"])
    assert str(sum(cells[1] for cells in notes["rows"])) + " columns of padding" in figure.layout.meta["words"]


@pytest.mark.parametrize("upto", [1, 6, None])
def test_times_and_verdicts_are_the_notes(made, upto):
    trace = made("batch-spec", variant="broken: cache not cropped", prompts=6, size=3, tokens=12, longest=64)
    steps = trace.steps[:upto]
    figure = views.VIEWS["batch_time"](trace, upto)
    for bars, kind in zip(figure.data, ("draft", "verify", "realign", "stack")):
        assert list(bars.y) == [pytest.approx(1000 * step.notes["seconds"].get(kind, 0)) for step in steps]
    figure = views.VIEWS["batch_equal"](trace, upto)
    drawn = {(x, y, bars.name) for bars in figure.data for x, y in zip(bars.x, bars.y)}
    names = {"equal": "the same text", "tie": "parts at a near tie", "different": "another text"}
    checked = steps[-1].notes["checked"]
    so_far = {(number, tokens, "tokens so far") for number, tokens in enumerate(steps[-1].notes["written"])}
    judged = {(number, same, names[verdict]) for number, same, verdict in checked}
    assert judged <= drawn and drawn - judged <= so_far and len(drawn) == 6
    if checked:
        right = sum(verdict == "equal" for *_, verdict in checked)
        assert f"{right} of {len(checked)} finished" in figure.layout.meta["words"]


@pytest.mark.parametrize("upto", [1, 12, None])
def test_settings_are_compared_by_their_shares(made, upto):
    trace = made("batch-sweep", over="variant", prompts=4, tokens=8)
    results = trace.steps[:upto][-1].notes["results"]
    figure = views.VIEWS["batch_sweep"](trace, upto)
    grouped, realigned, realigning, stacking, right = figure.data
    assert list(grouped.y) == [result["name"] for result in results]
    for place, result in enumerate(results):
        rounds, whole = sum(result["kinds"].values()), sum(result["seconds"].values())
        assert grouped.x[place] == result["kinds"].get("grouped", 0) / rounds
        assert realigned.x[place] == result["kinds"].get("realigned", 0) / rounds
        assert realigning.x[place] == result["seconds"].get("realign", 0) / whole
        assert stacking.x[place] == result["seconds"].get("stack", 0) / whole
        texts = sum(result["verdicts"].values())
        assert right.x[place] == (1 - result["verdicts"].get("different", 0) / texts if texts else None)
