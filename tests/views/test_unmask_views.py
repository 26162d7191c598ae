"""The charts of masked diffusion: their numbers are those of the trace, at any round and in both themes."""

from __future__ import annotations

import pytest

from labkit.trace import Cost, Opening, Request, Step, Trace
from labkit.views import VIEWS, table
from labkit.views.unmask_map import borders
from labkit.views.unmask_pace import means
from labkit.views.unmask_race import better

END = 9
PIECES = {0: " def", 1: "<b>$x$</b>", 2: "\n", 3: "%{x}", 4: "&amp;", END: "<|endoftext|>"}
LOOKS = pytest.mark.parametrize("look", ["light", "dark"])
UPTO = pytest.mark.parametrize("upto", [None, 0, 1, 2, 3])
ROOM = 6
ROUNDS = [  # guesses by place: (token, confidence); the block; (place, token, reason) that became final
    ({0: (0, 0.95), 1: (1, 0.4), 2: (2, 0.5), 3: (3, 0.92), 4: (9, 0.3), 5: (9, 0.2)}, (0, 3), [(0, 0, "sure")]),
    ({1: (1, 0.8), 2: (2, 0.6), 3: (3, 0.7), 4: (9, 0.3), 5: (9, 0.9)}, (0, 3), [(1, 1, "near an anchor"), (2, 2, "best")]),
    ({3: (3, 0.91), 4: (9, 0.95), 5: (9, 0.99)}, (3, 6), [(3, 3, "sure"), (4, 9, "sure"), (5, 9, "checked")]),
]
OWN = {  # what the policies add, round by round
    "local-leap": [
        {"anchors": [0], "width": 1, "tau": 0.9, "relaxed": 0.75},
        {"anchors": [], "width": 1, "tau": 0.9, "relaxed": 0.75},
        {"anchors": [3, 4, 5], "width": 1, "tau": 0.9, "relaxed": 0.75},
    ],
    "credit": [
        {"tau": 0.9, "early": early, "earned": earned}
        for early, earned in (
            (0, [{"place": 1, "token": 1, "raw": 0.4, "fused": 0.5, "credit": [[1, 0.8]]}]),
            (1, [{"place": 1, "token": 1, "raw": 0.8, "fused": 0.93, "credit": [[1, 1.4], [2, 0.3]]}]),
            (0, [{"place": 4, "token": 9, "raw": 0.9, "fused": 0.95, "credit": [[9, 0.9]]}]),
        )
    ],
    "ccd": [
        {"doubts": [0.2, 0.9, 0.8, 0.3, 1.5, 1.6], "unrest": [0.0] * 6, "bound": 0.3},
        {"doubts": [0.4, 0.3, 0.5, 1.5, 0.6], "unrest": [0.0, 0.3, 0.1, 0.0, 0.0], "bound": 0.3},
        {"doubts": [0.2, 0.1, 0.05], "unrest": [0.01, 0.0, 0.0], "bound": 0.3},
    ],
    "prophet": [
        {"lead": lead, "bound": bound, "schedule": 6, "stairs": [[0, 7.5], [2, 5.0], [5, 2.5]]}
        for lead, bound in ((1.0, 7.5), (7.0, 7.5), (5.5, 5.0))
    ],
    "adablock": [{"tau": 0.9, "ended": ended} for ended in ("delimiter", "delimiter", "default")],
    "freedave": [
        {"rows": 3, "kept": 1, "ladder": [[0], [1]], "miss": [1, 2]},
        {"rows": 2, "kept": 2, "ladder": [[1], [2], [3]], "miss": [3, 4]},
        {"rows": 3, "kept": 3, "ladder": [[3], [4], [5]], "miss": []},
    ],
}
CHARTS = {
    "local-leap": "leap_halos", "credit": "credit_lines", "ccd": "ccd_bars", "prophet": "prophet_exit",
    "adablock": "block_borders", "freedave": "freedave_ladder",
}  # fmt: skip


def filled(method: str = "mdm") -> Trace:
    """Three rounds that fill six places; the first end of text is at the fifth of them."""
    steps = []
    for number, (guesses, block, final) in enumerate(ROUNDS):
        notes = {
            "places": list(guesses), "tokens": [[token for token, _ in guesses.values()]], "block": list(block), "end": END,
            "confidence": [sure for _, sure in guesses.values()], "reasons": [reason for _, _, reason in final],
            "entropy": [1 - sure for _, sure in guesses.values()],
        }  # fmt: skip
        notes |= OWN[method][number] if method in OWN else {}
        places, tokens = [place for place, _, _ in final], [token for _, token, _ in final]
        steps.append(Step(tokens, at=places, notes=notes, cost=Cost(target_forwards=2 if number == 0 else 1)))
    return Trace(Opening(Request(method=method, max_new_tokens=ROOM), [0], pieces=PIECES), steps)


def series(figure) -> dict:
    return {one.name: one for one in figure.data}


@LOOKS
@UPTO
def test_the_map(look, upto):
    figure, shown = VIEWS["unmask_map"](filled(), upto, theme=look), ROUNDS[:upto]
    assert figure.layout.title.text == "Which place was sure, and when?"
    if not shown:
        assert not figure.data and figure.layout.meta["words"].startswith("No round yet")
        return
    found = series(figure)
    grid = found["confidence"].z
    assert [list(row) for row in grid] == [[guesses.get(at, (0, None))[1] for at in range(ROOM)] for guesses, _, _ in shown]
    marks = {(reason, place + 1, number) for number, (_, _, final) in enumerate(shown, 1) for place, _, reason in final}
    names = {"sure": "sure", "best of the unsure": "best", "near an anchor": "near an anchor", "checked ahead": "checked"}
    drawn = {(names[name], *spot) for name, one in found.items() if name in names for spot in zip(one.x, one.y)}
    assert drawn == marks
    assert len({one.marker.symbol for name, one in found.items() if name in names}) == len({mark[0] for mark in marks})
    assert f"{len(marks)} of 6 places in {len(shown)} rounds" in figure.layout.meta["words"]
    assert "<b>" not in figure.to_json() and figure.layout.xaxis.ticktext[0] == "·def"


def test_a_block_is_a_box_over_its_rounds():
    x, y = borders(filled().steps)
    assert x == [0.5, 3.5, 3.5, 0.5, 0.5, None, 3.5, 6.5, 6.5, 3.5, 3.5, None]
    assert y == [0.5, 0.5, 2.5, 2.5, 0.5, None, 2.5, 2.5, 3.5, 3.5, 2.5, None]


@LOOKS
@UPTO
def test_the_pace_leaves_padding_out_and_says_both(look, upto):
    figure = VIEWS["unmask_pace"](filled(), upto, theme=look)
    shown = ROUNDS[:upto]
    if not shown:
        assert not figure.data and figure.layout.meta["words"] == "No round yet."
        return
    found = series(figure)
    assert list(found["tokens of the text"].y) == [1, 2, 2][: len(shown)]
    ended = len(shown) == 3  # the end at place 4 came in the third round, place 5 behind it is padding
    assert list(found["padding behind its end"].y) == [0, 0, 1] if ended else "padding behind its end" not in found
    text, padded = means(filled(), upto)
    assert text == [1, 2, 2][0] / 2 if len(shown) == 1 else text == {2: 3 / 3, 3: 5 / 4}[len(shown)]
    assert padded == {1: 1 / 2, 2: 3 / 3, 3: 6 / 4}[len(shown)]
    assert (f"{text:.2f}" in figure.layout.meta["words"]) and (f"mean {text:.2f}" in found)


def test_a_text_that_has_ended_counts_the_whole_room_as_padding():
    """The loop stops there: places behind the end are never filled, and reported speeds count them all the same."""
    trace = filled()
    last = trace.steps[-1]
    last.at, last.emitted = last.at[:2], last.emitted[:2]
    assert means(trace) == (5 / 4, 6 / 4)


@LOOKS
def test_halos(look):
    leap = filled("local-leap")
    assert [row[3:] for row in rows_of("leap_halos", leap, 1)] == [(True, True, "sure"), (False, True, ""), (False, False, "")]
    figure = VIEWS["leap_halos"](leap, 1, theme=look)
    found = series(figure)
    assert (list(found["anchor"].x), list(found["anchor"].y)) == ([1], [0.95]) and list(found["stays masked"].y) == [0.4, 0.5]
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(0.5, 2.5)]
    second = VIEWS["leap_halos"](leap, 2, theme=look)
    assert list(series(second)["came in by a halo"].y) == [0.8] and "So far 1 of 3 places" in second.layout.meta["words"]


@LOOKS
def test_credit(look):
    found = series(VIEWS["credit_lines"](filled("credit"), 2, theme=look))
    assert (list(found["place 2, raw"].y), list(found["place 2"].y)) == ([0.4, 0.8], [0.5, 0.93])
    assert list(found["place 2"].marker.size) == [5, 12], "large where it became final"
    assert list(found["favourite"].x) == [1.4] and list(found["rival"].x) == [0.3], "a flip has two bars"
    figure = VIEWS["credit_lines"](filled("credit"), theme=look)
    assert figure.layout.meta["words"].startswith("1 of 6 places became final by their credit")


@LOOKS
def test_doubt_and_unrest(look):
    trace = filled("ccd")
    found = rows_of("ccd_bars", trace, 2)
    assert [row[0] for row in found] == [2, 3] and [row[5:7] for row in found] == [(1, 1), (2, 2)]
    figure = series(VIEWS["ccd_bars"](trace, 2, theme=look))
    assert list(figure["doubt: mean entropy"].y) == [0.4, 0.3] and list(figure["unrest: JSD"].y) == [0.0, 0.3]
    assert list(figure["becomes final"].y) == [0.4, 0.6]
    trace.steps[1].notes |= {"doubts": [0.9, 0.3], "unrest": [0.2, 0.0]}  # marginalised, the second place is the better one
    assert [row[5:7] for row in rows_of("ccd_bars", trace, 2)] == [(1, 2), (2, 1)]


def test_the_released_rule_shows_its_buffer():
    trace = filled("ccd")
    for step in trace.steps:
        for name in ("doubts", "unrest", "bound"):
            del step.notes[name]
        step.notes["buffer"] = [1]
    figure = VIEWS["ccd_bars"](trace, 1)
    assert [tick.split(" ")[0][-1] for tick in figure.layout.xaxis.ticktext].count("*") == 1
    assert "unrest: JSD" not in series(figure) and "buffer" in figure.layout.meta["words"]


@LOOKS
def test_the_exit(look):
    trace = filled("prophet")
    words = VIEWS["prophet_exit"](trace, 2, theme=look).layout.meta["words"]
    assert words.startswith("No exit in 2 of 6 rounds; it was closest at round 2")
    trace.steps[-1].notes["reasons"] = ["settled"] * 3
    figure = VIEWS["prophet_exit"](trace, theme=look)
    found = series(figure)
    assert list(found["lead"].y) == [1.0, 7.0, 5.5]
    assert (list(found["takes the rest"].x), list(found["takes the rest"].y)) == ([3], [5.5])
    assert list(found["bound"].x) == [0.5, 2.5, 2.5, 5.5, 5.5, 6.5] and list(found["bound"].y) == [7.5, 7.5, 5.0, 5.0, 2.5, 2.5]
    assert "3 places are taken at once" in figure.layout.meta["words"]


@LOOKS
def test_borders(look):
    trace = filled("adablock")
    figure = VIEWS["block_borders"](trace, 2, theme=look)
    found = series(figure)
    assert list(found["round 2"].y) == [None, 0.8, 0.6, 0.7, 0.3, 0.9] and list(found["round 1"].y)[0] == 0.95
    assert list(found["ends at a delimiter"].x) == [3.5, 3.5, None] and "ends by default" not in found
    assert [shape.x0 for shape in figure.layout.shapes] == [1.5, 3.5, 5.5], "0.4 to 0.8, 0.92 to 0.7, 0.2 to 0.9"
    words = figure.layout.meta["words"]
    assert words.endswith("sure but outside the block, 2; premature, filled below tau, 1.") and "swing: 3" in words


@LOOKS
def test_the_ladder(look):
    trace = filled("freedave")
    figure = VIEWS["freedave_ladder"](trace, 2, theme=look)
    found = series(figure)
    assert (list(found["comes true"].x), list(found["comes true"].y)) == ([2, 3], [1, 2])
    assert (list(found["does not"].x), list(found["filled instead"].x)) == ([4], [5])
    assert list(found["static decoding"].y) == [1, 3] and list(found["FreeDave"].y) == [2, 3]
    assert "3 forwards where static decoding needs 3, but 5 rows" in figure.layout.meta["words"]
    assert "filled instead" not in series(VIEWS["freedave_ladder"](trace, theme=look)), "nothing was missed in the last round"


def rows_of(name, trace, upto=None):
    return table.table(name, trace, upto).rows


@pytest.mark.parametrize("method", list(CHARTS))
@LOOKS
def test_without_rounds_there_is_a_sentence_and_no_text_becomes_markup(method, look):
    draw = VIEWS[CHARTS[method]]
    assert draw(Trace(filled(method).opening), theme=look).layout.meta["words"] == "No round yet."
    for upto in (1, 2, 3):
        figure = draw(filled(method), upto, theme=look)
        assert "<b>$" not in figure.to_json() and figure.layout.meta["words"].endswith(".")


# -- the studies -----------------------------------------------------------------------------------------------------------


def cost(tokens, forwards, drafts, flops, seconds):
    return {"tokens": tokens, "forwards": forwards, "drafts": drafts, "flops": flops, "seconds": seconds}


@pytest.fixture
def raced():
    chain = {"name": "drafted, checked", "diffuses": False, "filled": [[0, 1], [2]], "drafted": [1, 0]}
    masks = {"name": "any order, 4", "diffuses": True, "filled": [[2, 0], [1]], "drafted": [0, 0]}
    chain["costs"] = [cost(3, 2, 8, 30_000_000, 0.03), cost(2, 2, 4, 60_000_000, 0.04), cost(4, 2, 4, 20_000_000, 0.01)]
    masks["costs"] = [cost(3, 2, 0, 900_000_000, 0.3)]
    about = {"text": 1, "texts": 3, "room": 4, "whole": True, "done": 2, "of": 12}
    steps = [Step([], notes={**about, "lanes": [chain, masks], "tokens": [[0, 1, 2], [2, 0, 1]]})]
    return Trace(Opening(Request(method="any-order"), [0], pieces=PIECES, device="cpu", dtype="float32"), steps)


@LOOKS
def test_any_order(raced, look):
    figure = VIEWS["any_order"](raced, theme=look)
    drawn = {(one.name, x, y) for one in figure.data for x, y in zip(one.x, one.y)}
    assert drawn == {
        ("drafted and accepted", 1, 1), ("the target's own", 2, 1), ("the target's own", 3, 2),
        ("any order", 3, 1), ("any order", 1, 1), ("any order", 2, 2),
    }  # fmt: skip
    assert rows_of("any_order", raced)[3] == ("any order, 4", 1, 3, "↵", "any order")
    assert "drafted, checked: 3 in 2; any order, 4: 3 in 2." in figure.layout.meta["words"] and "<b>" not in figure.to_json()
    assert VIEWS["any_order"](raced, 0, theme=look).layout.meta["words"] == "Nothing is written yet."


@LOOKS
def test_three_costs_are_medians_a_token(raced, look):
    first, second = rows_of("three_costs", raced)
    assert first == ("drafted, checked", 3, 2 / 3, 2.0, 10.0, pytest.approx(10.0))
    assert second[2:5] == (2 / 3, 0.0, 300.0)
    figure = VIEWS["three_costs"](raced, theme=look)
    assert [list(one.x) for one in figure.data][:2] == [[2 / 3, 2 / 3], [0.0, 2.0]]
    assert "cpu, float32" in figure.layout.meta["words"]
    assert VIEWS["three_costs"](raced, 0, theme=look).layout.meta["words"] == "Nothing is written yet."


def policy(name, *runs):
    names = ("forwards", "tokens", "places", "same", "nll", "entropy", "parses")
    return {"name": name, "runs": [dict(zip(names, run)) for run in runs]}


@LOOKS
def test_the_race(look):
    results = [
        policy("1 a round", (8, 8, 8, 1.0, 2.0, 1.5, True), (8, 4, 8, 1.0, 1.0, 1.0, None)),
        policy("threshold", (4, 8, 8, 0.5, 2.5, 1.0, False), (4, 4, 8, 0.7, None, None, None)),
        policy("Credit", (3, 8, 8, 0.8, 2.5, 1.0, True), (3, 4, 8, 0.6, 1.5, 0.2, None)),
    ]
    steps = [Step([], notes={"results": results[:count], "rule": "threshold", "one": "1 a round"}) for count in (1, 2, 3)]
    trace = Trace(Opening(Request(method="unmask-race"), [0]), steps)
    found = rows_of("unmask_race", trace)
    assert found[0] == ("1 a round", 2, 12 / 16, 1.0, 1.0, 1.5, 1.25, 1, 1) and found[1][5:] == (2.5, 1.0, 0, 1)
    figure = VIEWS["unmask_race"](trace, theme=look)
    assert list(figure.data[0].x) == [row[2] for row in found] and list(figure.data[0].y) == [row[4] for row in found]
    assert better(found, "threshold") == ["Credit"] and figure.layout.meta["words"].endswith("one by one: Credit.")
    assert "has not run yet" in VIEWS["unmask_race"](trace, 1, theme=look).layout.meta["words"]
    assert "no policy" in VIEWS["unmask_race"](trace, 2, theme=look).layout.meta["words"]
    assert VIEWS["unmask_race"](trace, 0, theme=look).layout.meta["words"] == "No text yet."


@LOOKS
def test_the_map_of_agreement(look):
    near, far = ["1", "2", "3", "4–5"], ["6–8", "9+"]
    notes = {"texts": 2, "tau": 0.7, "distances": ["anchor", *near, *far, "none"], "sure": [0.0, 0.5], "done": 2, "of": 2}
    notes["all"] = [[0, 20, 0, 0, 0, 40, 0, 4], [6, 40, 0, 0, 0, 5, 5, 0]]
    notes["final"] = [[0, 5, 0, 0, 0, 4, 0, 1], [6, 30, 0, 0, 0, 4, 3, 0]]
    trace = Trace(Opening(Request(method="leap-agreement"), [0]), [Step([], notes=notes)])
    found = rows_of("leap_agreement", trace)
    assert found[:3] == [("all", "anchor", 6, 6, 1.0), ("all", "1", 60, 35, 35 / 60), ("all", "6–8", 45, 8, 8 / 45)]
    assert found[5:8] == [("0–0.5", "1", 20, 5, 0.25), ("0–0.5", "6–8", 40, 4, 0.1), ("0–0.5", "none", 4, 1, 0.25)]
    figure = VIEWS["leap_agreement"](trace, theme=look)
    assert [row[1] for row in figure.data[0].z] == [35 / 60, 0.25, 0.75]
    assert [row[-1] for row in figure.data[0].z] == [None] * 3, "few are not coloured"
    assert [one.text for one in figure.layout.annotations if one.x == 7] == ["25%", "25%"], "but told"
    assert VIEWS["leap_agreement"](trace, 0, theme=look).layout.meta["words"].startswith("No text is whole yet")
    notes["sure"] = [0.3, 0.5]
    words = VIEWS["leap_agreement"](trace, theme=look).layout.meta["words"]
    assert words.startswith("2 texts. One or two places from an anchor 58% of 60 guesses are final already, six and more")
    assert "away 22% of 50;" in words
    assert words.endswith("of those that are 0.3 to 0.7 sure 25% of 20 and 10% of 40.")


@LOOKS
def test_settled_answers(look):
    runs = [
        {"rounds": 10, "settled": 1, "exit": 3, "same": True, "right": True, "right_then": True},
        {"rounds": 10, "settled": 6, "exit": 5, "same": False, "right": True, "right_then": False},
        {"rounds": 20, "settled": 20, "exit": 20, "same": True, "right": False, "right_then": False},
    ]
    trace = Trace(Opening(Request(method="prophet-settled"), [0]), [Step([], notes={"runs": runs})])
    assert rows_of("prophet_settled", trace)[1] == (2, 10, 6, 5, False, True, False)
    figure = VIEWS["prophet_settled"](trace, theme=look)
    found = series(figure)
    assert list(found["settled"].y) == [1, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert list(found["Prophet stops"].y) == [0, 0, 1, 0, 1, 0, 0, 0, 0, 1]
    assert list(zip(found["same answer"].x, found["same answer"].y)) == [(0.1, 0.3), (1.0, 1.0)]
    assert list(zip(found["another answer"].x, found["another answer"].y)) == [(0.6, 0.5)]
    assert figure.layout.meta["words"] == (
        "1 of 3 answers stood after half of their rounds; Prophet stops after 50% at the median, 1 times with another answer. "
        "Right at the end: 2; where Prophet stops: 1."
    )
    assert VIEWS["prophet_settled"](trace, 0, theme=look).layout.meta["words"] == "No answer yet."
