"""The views of pauses and trials say what the traces say."""

from __future__ import annotations

from math import exp

import pytest

from labkit.trace import Belief, Opening, Request, Setting, Step, Trace
from labkit.views import VIEWS, table

PIECES = {0: " def", 1: "<b>$x$</b>", 2: "\n", 3: "read"}
LOOKS = pytest.mark.parametrize("look", ["light", "dark"])
UPTO = pytest.mark.parametrize("upto", [None, 0, 1, 2, 3])
LEARNED = {"slope": -1.0, "intercept": 2.0, "tau": 2.2, "bins": [[0.1, 0.95, 1.2, 400], [2.5, 0.4, 9.0, 600]]}


def series(figure) -> dict:
    return {one.name: one for one in figure.data}


def step(token: int, nats: float, **notes) -> Step:
    return Step([token], beliefs=[Belief(token, nats, -0.5, 0)], notes={"tau": 2.2, "calibration": None, **notes})


def branch(*tokens: int, score: float) -> dict:
    return {"tokens": list(tokens), "logprobs": [score] * len(tokens), "score": score}


@pytest.fixture
def paused():
    """Sure, a pause that keeps the likeliest, a pause that does not."""
    ways = [branch(0, 3, score=-0.5), branch(1, 1, 2, score=-1.5)]
    other = [branch(3, 3, score=-2.0), branch(1, 0, score=-1.0), branch(2, score=-3.0)]
    return Trace(
        Opening(Request(method="adadec"), [0], pieces=PIECES, charts=["pause", "calibration"]),
        [
            step(0, 0.3, calibration=LEARNED),
            step(0, 2.9, branches=ways, kept=0, tokens=[way["tokens"] for way in ways]),
            step(1, 4.5, branches=other, kept=1, tokens=[way["tokens"] for way in other]),
        ],
    )


@LOOKS
@UPTO
def test_pauses(paused, look, upto):
    figure = VIEWS["pause"](paused, upto, theme=look)
    assert figure.layout.title.text == "Where does it pause, and what does it see?"
    shown = paused.steps[:upto]
    if not shown:
        assert not figure.data and figure.layout.meta["words"] == "No token yet."
        return
    found = series(figure)
    assert list(found["entropy"].y) == [one.beliefs[0].entropy for one in shown]
    assert list(found["tau"].y) == [2.2, 2.2]
    assert list(found["paused, likeliest kept"].x) == [2][: len(shown) - 1]
    assert list(found["paused, another taken"].x) == [3][: max(0, len(shown) - 2)]
    pauses, others = max(0, len(shown) - 1), max(0, len(shown) - 2)
    words = figure.layout.meta["words"]
    assert words.startswith(f"Paused at {pauses} of {len(shown)} tokens") and words.endswith(f"than the likeliest at {others}.")
    assert ("branches" in found) == (len(shown) > 1)
    if len(shown) > 1:
        ways, kept = shown[-1].notes["branches"], shown[-1].notes["kept"]
        assert list(found["branches"].x) == [exp(way["score"]) for way in ways]
        texts, scores = (one for one in figure.data if one.type == "scatter" and one.mode == "text")
        assert [text.startswith("✓") for text in texts.text] == [at == kept for at in range(len(ways))]
        assert list(scores.text) == [f"{way['score']:.2f}" for way in ways]
        assert list(found["branches"].marker.line.width) == [2 if at == kept else 1 for at in range(len(ways))]
    assert "<b>" not in figure.to_json()


def test_pauses_as_a_table(paused):
    found = table.table("pause", paused)
    assert len(found.rows) == 1 + 2 + 3
    assert found.rows[0] == (1, "·def", 0.3, 2.2, None, None, None)
    assert found.rows[2] == (2, "·def", 2.9, 2.2, "<b>$x$</b><b>$x$</b>↵", -1.5, False)
    assert [row[6] for row in found.rows[3:]] == [False, True, False]


def test_a_setting_that_does_nothing_is_told(paused):
    for setting in ({"temperature": 0.8}, {"transforms": [Setting("top-p", {"p": 0.9})]}):
        trace = Trace(Opening(Request(method="adadec", **setting), [0], pieces=PIECES), paused.steps)
        assert "temperature and cuts change nothing" in VIEWS["pause"](trace).layout.meta["words"]
    assert "change nothing" not in VIEWS["pause"](paused).layout.meta["words"]


@LOOKS
@UPTO
def test_calibration(paused, look, upto):
    figure = VIEWS["calibration"](paused, upto, theme=look)
    shown = paused.steps[:upto]
    if not shown:
        assert not figure.data
        return
    found = series(figure)
    assert (list(found["held-out code"].x), list(found["held-out code"].y)) == ([0.1, 2.5], [0.95, 0.4])
    assert list(found["this text"].x) == [one.beliefs[0].entropy for one in shown]
    for x, y in zip(found["fitted"].x, found["fitted"].y):
        assert y == pytest.approx(1 / (1 + exp(x - 2.0)))
    assert list(found["tau 2.20"].x) == [2.2, 2.2]
    assert "1,000 held-out places" in figure.layout.meta["words"]
    assert table.table("calibration", paused).rows[1] == (2.5, 0.4, 9.0, 600, pytest.approx(1 / (1 + exp(0.5))))


def test_calibration_of_a_model_that_nothing_was_learned_for():
    trace = Trace(Opening(Request(method="adadec"), [0], pieces=PIECES), [step(0, 0.3), step(1, 2.9)])
    figure = VIEWS["calibration"](trace)
    assert set(series(figure)) == {"this text", "tau 2.20"}
    assert figure.layout.meta["words"].startswith("Nothing was learned for this model")
    assert table.table("calibration", trace).rows == []


def fan(kept: int, *trials: tuple[list[int], float]) -> Step:
    ways = [{"tokens": tokens, "perplexity": perplexity} for tokens, perplexity in trials]
    emitted = list(trials[kept][0])
    return Step(emitted, notes={"entropy": 1.0, "count": len(ways), "trials": ways, "kept": kept})


@pytest.fixture
def combed():
    """A single sample, a fan of three that keeps the second, a fan of two."""
    first = Step([0], notes={"entropy": 0.1, "count": 1})
    steps = [first, fan(1, ([3, 1, 2], 4.0), ([3, 2], 2.0), ([1, 1, 1, 2], 8.0)), fan(0, ([0, 2], 1.5), ([0, 2], 1.5))]
    return Trace(Opening(Request(method="cntp"), [0], pieces=PIECES, charts=["comb"]), steps)


@LOOKS
@UPTO
def test_the_comb(combed, look, upto):
    figure = VIEWS["comb"](combed, upto, theme=look)
    assert figure.layout.title.text == "How many ways on did it try?"
    shown = combed.steps[:upto]
    if not shown:
        assert not figure.data
        return
    found = series(figure)
    assert list(found["single samples"].x) == [1]
    fans = len(shown) - 1
    assert [x for x in found["kept trials"].x if x is not None] == [1.6, 3.4, 3.6, 5.4][: 2 * fans]
    assert set(y for y in found["kept trials"].y if y is not None) == ({0} if fans else set())
    lines = [(x, y) for x, y in zip(found["refused trials"].x, found["refused trials"].y) if x is not None]
    assert lines == [(1.6, 1), (4.4, 1), (1.6, 2), (5.4, 2), (3.6, 1), (5.4, 1)][: 0 if not fans else 4 if fans == 1 else 6]
    backs = [(x, y) for x, y in zip(found["fans"].x, found["fans"].y) if x is not None]
    assert backs == [(1.6, 0), (1.6, 2), (3.6, 0), (3.6, 1)][: 2 * fans], "each fan hangs on a line as high as its trials"
    if fans:
        best = sorted(shown[-1].notes["trials"], key=lambda trial: trial["perplexity"])
        assert list(found["latest fan"].x) == [1 / trial["perplexity"] for trial in best]
        texts, numbers = (one for one in figure.data if one.type == "scatter" and one.mode == "text")
        assert [text.startswith("✓") for text in texts.text] == [True] + [False] * (len(best) - 1)
        assert list(numbers.text) == [f"{trial['perplexity']:.2f}" for trial in best]
    written = [1, 1 + 9, 1 + 9 + 4][fans]
    assert f"{written} were written" in figure.layout.meta["words"]
    assert "<b>" not in figure.to_json()


def test_the_comb_as_a_table(combed):
    found = table.table("comb", combed)
    assert [row[0] for row in found.rows] == [1, 2, 2, 2, 4, 4]
    assert found.rows[0] == (1, 0.1, 1, "·def", None, True)
    assert [row[4] for row in found.rows[1:4]] == [2.0, 4.0, 8.0] and found.rows[1][5] and not found.rows[2][5]


def test_only_the_best_of_many_trials_are_told():
    trials = [([0, 2], 1.0 + number) for number in range(14)]
    trace = Trace(Opening(Request(method="cntp"), [0], pieces=PIECES), [fan(0, *trials)])
    figure = VIEWS["comb"](trace)
    assert len(series(figure)["latest fan"].x) == 10 and "best 10 of 14" in figure.layout.xaxis2.title.text
    assert len(table.table("comb", trace).rows) == 14


@pytest.fixture
def studied():
    low = {"tau": 0.5, "paused": 0.8, "looked": 10, "greedy": 6, "kept": 5, "tried": 8, "won": 1, "lost": 2}
    high = {"tau": 2.0, "paused": 0.4, "looked": 0, "greedy": 0, "kept": 0, "tried": 0, "won": 0, "lost": 0}
    notes = {"tau": 2.2, "places": 1234, "temperature": 0.8, "branches": 3, "by_tau": [low, high]}
    runs = [["AdaDec", 0.5, 20, 60, 10.0], ["AdaDec", None, 20, 20, 16.0], ["CNTP", 1, 20, 20, 30.0], ["CNTP", 10, 25, 40, 15.0]]
    steps = [Step([], notes={**notes, "runs": runs[:number]}) for number in (0, 3, 4)]
    return Trace(Opening(Request(method="pause-or-try"), [0], pieces=PIECES), steps)


@LOOKS
@UPTO
def test_the_study(studied, look, upto):
    accuracy, cost = (VIEWS[name](studied, upto, theme=look) for name in ("pause_accuracy", "pause_cost"))
    shown = studied.steps[:upto]
    assert accuracy.layout.title.text and cost.layout.title.text
    if not shown:
        assert not accuracy.data and cost.layout.meta["words"] == "Nothing is written yet."
        return
    found = series(accuracy)
    assert list(found["paused"].y) == [0.8, 0.4]
    assert (list(found["greedy"].y), list(found["AdaDec"].y)) == ([0.6, None], [0.5, None])
    assert list(found["among the 3 tried"].y) == [0.8, None] and list(found["learned tau"].x) == [2.2, 2.2]
    assert "greedy right at 6, AdaDec at 5 (1 won, 2 lost); among those tried at 8." in accuracy.layout.meta["words"]
    runs = shown[-1].notes["runs"]
    for name, knob in (("AdaDec", "tau"), ("CNTP", "Nmax")):
        own = [run for run in runs if run[0] == name]
        drawn = series(cost)[f"{name}, by {knob}"]
        assert list(drawn.x) == [run[3] / run[2] for run in own] and list(drawn.y) == [run[4] / run[2] for run in own]
        assert list(drawn.text) == ["greedy" if run[1] is None else f"{run[1]:g}" for run in own]
    assert len(table.table("pause_cost", studied, upto).rows) == len(runs)
