"""The study of number chunks: its counts are those of the answers, and both kinds of adders are asked what they should be."""

from __future__ import annotations

import json
from random import Random

import pytest

from labkit import parts
from labkit.run import run
from labkit.tokenization import addition, number_study
from labkit.tokenization.number_study import ADDERS, CHOSEN, READER, fresh, tally
from labkit.tokenization.numbers import Sum, few_shot, problems, prompt, read
from labkit.trace import Request, Step


def frames(pair, **knobs):
    asked = Request(method="number-chunks", prompt="x", knobs=knobs, seed=4)
    return [event for event in run(pair, asked) if isinstance(event, Step)]


def test_an_answer_is_counted_where_it_went_wrong():
    counted = fresh()
    for said in (1233, 1133, 1243, 133, None):
        tally(counted, Sum(999, 234), said)  # 1233, three carries
    assert counted["grows"] == [1, 5] and counted["same"] == [0, 0] and counted["carries"][3] == [1, 5]
    assert counted["long"][:5] == [3, 3, 3, 3, 0] and counted["places"][:4] == [0, 1, 1, 0] and counted["length"] == 2
    tally(counted, Sum(100, 34), 134)
    assert counted["same"] == [1, 1] and counted["carries"][0] == [1, 1] and counted["long"][2] == 4


@pytest.mark.parametrize(("who", "ways"), [(ADDERS, ("l2r", "r2l")), (READER, addition.ways(addition.BOTH))])
def test_small_adders_are_asked_the_same_sums(shipped32, who, ways):
    steps = frames(shipped32, items=7, digits=6, who=who)
    assert [step.notes["done"] for step in steps] == [3, 6, 7] and steps[0].notes["of"] == 7
    due = {way: fresh() for way in ways}
    runners = {way: addition.adder(addition.BOTH if who == READER else way) for way in ways}
    for problem in problems(7, 6, Random(2**41 + 4)):
        for way in ways:
            tally(due[way], problem, addition.answer(runners[way], problem, way))
    assert steps[-1].notes["tallies"] == due
    assert sum(sum(of[kind][1] for kind in ("same", "grows")) for of in steps[0].notes["tallies"].values()) == 3 * len(ways)
    assert list(steps[-1].notes["learned"]) == list(ways)
    file = parts.FOLDER / f"numbers-{addition.BOTH if who == READER else 'r2l'}.json"
    figures = json.loads(file.read_text())
    assert steps[-1].notes["learned"]["r2l"][-1] == (figures["steps"], figures["curve"][-1]["accuracy"]["r2l"])


def test_the_picture_shows_one_of_the_sums(shipped32):
    asked = problems(9, 5, Random(2**41 + 4))
    for step in frames(shipped32, items=9, digits=5, size=2):
        drawn = step.notes["shown"]
        numbers = [{row: int("".join(cut)) for row, cut in rows.items() if row != "said"} for rows in drawn.values()]
        assert numbers[0] == numbers[1] and numbers[0]["a"] + numbers[0]["b"] == numbers[0]["sum"]
        assert Sum(numbers[0]["a"], numbers[0]["b"]) in asked[: step.notes["done"]]
        assert drawn["l2r"]["a"] == [str(numbers[0]["a"])[at : at + 2] for at in (0, 2, 4)]
        assert [len(chunk) for chunk in drawn["r2l"]["a"]] == [1, 2, 2]


def test_the_chosen_model_gets_the_papers_prompts(shipped32, monkeypatch):
    """One that adds perfectly is right in every format, on the paper's problems."""
    seen = []

    def clever(self, session, text):
        seen.append(text)
        a, b = text.rpartition("\n")[2].removesuffix("=").split("+")
        return read(a) + read(b)

    monkeypatch.setattr(number_study.NumberChunks, "_written", clever)
    steps = frames(shipped32, who=CHOSEN, items=4, shots=2, separator="space")
    ways = ("nosep", "space_l2r", "space_r2l")
    assert seen == [prompt(problem, solved, way) for problem, solved in few_shot(4, 2, 4) for way in ways]
    assert all(tally["same"][0] + tally["grows"][0] == 4 for tally in steps[-1].notes["tallies"].values())
    assert steps[-1].notes["shown"]["l2r"]["said"] == steps[-1].notes["shown"]["l2r"]["sum"]
    assert steps[-1].notes["learned"] == {}


def test_a_model_of_code_writes_something_and_is_stopped(shipped32):
    last = frames(shipped32, who=CHOSEN, items=2, shots=1)[-1]
    assert last.notes["done"] == 2 and set(last.notes["tallies"]) == {"nosep", "comma_l2r", "comma_r2l"}
    assert all(sum(of[kind][1] for kind in ("same", "grows")) == 2 for of in last.notes["tallies"].values())
