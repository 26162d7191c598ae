"""The studies of masked diffusion tell what their runs did: the same texts, forwards and judgements as runs of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig

from labkit.diffusion.any_order import AnyOrder, causal_flops
from labkit.diffusion.leap_agreement import NEAR, SURE, LeapAgreement, column, distances, seen
from labkit.diffusion.masked import MaskedDiffusion
from labkit.diffusion.predictor import MaskPredictor, open_llama
from labkit.diffusion.prophet import Prophet
from labkit.diffusion.prophet_settled import ROOM as ANSWER
from labkit.diffusion.prophet_settled import ProphetSettled, answers, settled
from labkit.diffusion.unmask_race import ONE, RULE, UnmaskRace, surprise, variety
from labkit.law import Law
from labkit.lm import Session
from labkit.prompts import heldout
from labkit.run import run
from labkit.trace import Request, Step, Trace

ROOM, MASK, END = 10, 2, 0


@pytest.fixture(scope="module")
def pair(shipped32):
    """The shipped pair, with a small network of random weights in place of its masked-diffusion model."""
    shape = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=64)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = open_llama(LlamaConfig(vocab_size=4096, initializer_range=0.6, tie_word_embeddings=True, **shape))
    return replace(shipped32, memory={"mdm": MaskPredictor(module, MASK, END)})


def ran(pair, method, **request) -> Trace:
    events = run(pair, Request(method=method.name, **request), method)
    trace = Trace(next(events))
    for event in events:
        trace.add(event)
    return trace


@pytest.fixture(scope="module")
def ordered(pair):
    return ran(pair, AnyOrder(room=ROOM, texts=2, drafted=3, tau=0.5), prompt="a")


@pytest.fixture(scope="module")
def raced(pair):
    return ran(pair, UnmaskRace(room=ROOM, texts=2, tau=0.5, block=6), prompt="a")


def test_every_way_fills_every_place_once_and_forward_by_forward(ordered):
    notes = ordered.steps[-1].notes
    assert (notes["done"], notes["text"]) == (2 * ROOM, 2) and len(ordered.steps) == 2 * ROOM
    lanes = {lane["name"]: lane for lane in notes["lanes"]}
    assert all(sorted(sum(lane["filled"], [])) == list(range(ROOM)) for lane in lanes.values())
    assert lanes["left to right"]["filled"] == [[place] for place in range(ROOM)]
    assert [len(places) for places in lanes["any order, 1"]["filled"]] == [1] * ROOM
    assert [len(places) for places in lanes["any order, 4"]["filled"]] == [4, 3, 3]
    third = next(step.notes for step in ordered.steps if step.notes["text"] == 1 and step.notes["done"] == 3)
    assert [len(lane["filled"]) for lane in third["lanes"]] == [3, min(3, len(third["lanes"][1]["filled"])), 3, 3, 3]
    assert not third["whole"] and notes["whole"]


def test_the_texts_are_those_of_runs_of_their_own(pair, ordered):
    """The chain is lossless, so its text is plain decoding's; the masks' is that of the decoder alone."""
    notes = ordered.steps[-1].notes
    texts = {
        lane["name"]: [token for _, token in sorted(zip(sum(lane["filled"], []), tokens))]
        for lane, tokens in zip(notes["lanes"], notes["tokens"])
    }
    ids = pair.vocabulary.encode(heldout(2)[1])
    alone = ran(pair, MaskedDiffusion(rule="threshold", tau=0.5), ids=ids, max_new_tokens=ROOM)
    assert texts["any order, sure"] == alone.ids and texts["drafted, checked"] == texts["left to right"]
    lane = next(lane for lane in notes["lanes"] if lane["name"] == "any order, sure")
    assert lane["filled"] == [step.at for step in alone.steps]
    cost = lane["costs"][1]
    assert (cost["forwards"], cost["drafts"]) == (alone.cost.target_forwards, 0)
    assert cost["flops"] == sum(step.notes["flops"] for step in alone.steps)


def test_causal_work_is_counted_from_what_was_fed(pair, ordered):
    plain, chain = ordered.steps[-1].notes["lanes"][:2]
    length = len(pair.vocabulary.encode(heldout(2)[1]))
    fed = [(length, length + 1), *((1, length + place) for place in range(2, ROOM + 1))]
    assert plain["costs"][1]["flops"] == sum(causal_flops(pair.target, *one) for one in fed)
    assert chain["costs"][1]["forwards"] == len(chain["filled"]) < ROOM and chain["costs"][1]["drafts"] > 0
    one = causal_flops(pair.target, 1, 100)
    assert one == 2 * pair.target.parameters + 4 * 8 * 100 * 256


def test_the_race_counts_forwards_and_agreement(pair, raced):
    results = {one["name"]: one["runs"] for one in raced.steps[-1].notes["results"]}
    assert raced.steps[-1].notes["done"] == raced.steps[-1].notes["of"] == 2 * len(results) == 22
    assert [run["forwards"] for run in results[ONE]] == [ROOM] * 2 and [run["same"] for run in results[ONE]] == [1.0] * 2
    assert [run["forwards"] for run in results["2 a round"]] == [5] * 2  # blocks of 6 and 4
    for number, text in enumerate(heldout(2)):
        ids = pair.vocabulary.encode(text)
        both = [
            ran(pair, MaskedDiffusion(rule=rule, tau=0.5, block=6), ids=ids, max_new_tokens=ROOM) for rule in ("static", RULE)
        ]
        told = results[RULE][number]
        assert told["forwards"] == both[1].cost.target_forwards
        assert told["same"] == sum(a == b for a, b in zip(both[0].ids, both[1].ids)) / ROOM
        rows = Session(pair.target, ids + both[1].ids).prompt_logits().log_softmax(-1)[len(ids) - 1 : -1]
        assert told["nll"] == pytest.approx(-float(rows[range(ROOM), both[1].ids].mean()), rel=1e-5)
        assert told["entropy"] == variety(both[1].ids)


def test_the_judge_and_the_variety(pair):
    session = Session(pair.target, [5, 6], Law(0))
    best = int(session.logits.argmax())
    other = (best + 1) % 4096
    assert surprise(session, [5, 6], [best]) < surprise(session, [5, 6], [other])
    assert variety([1, 1, 1]) == 0 and variety([1, 2]) == pytest.approx(0.6931, abs=1e-4)


def test_an_end_of_text_is_counted_and_what_stands_behind_it_is_not(pair):
    """A network that sees an end at once: a text of one token, whatever the policy filled behind it."""
    ending = replace(pair, memory={"mdm": Ending(pair.memory["mdm"])})
    trace = ran(ending, UnmaskRace(room=8, texts=1, block=4), prompt="a")
    runs = {one["name"]: one["runs"][0] for one in trace.steps[-1].notes["results"]}
    assert {run["tokens"] for run in runs.values()} == {1} and {run["same"] for run in runs.values()} == {1.0}
    assert {run["nll"] for run in runs.values()} == {None}
    order = ran(ending, AnyOrder(room=8, texts=1), prompt="a").steps[-1].notes["lanes"]
    assert all(lane["costs"][0]["tokens"] == 1 for lane in order if lane["diffuses"])


def a_round(at, emitted, block=(0, 6), **guesses):
    """A step of the loop: `guesses` by place, as p3=(token, confidence)."""
    rows = {int(name[1:]): row for name, row in guesses.items()}
    notes = {"places": list(rows), "tokens": [[token for token, _ in rows.values()]], "block": list(block)}
    return Step(emitted, at=at, notes=notes | {"confidence": [sure for _, sure in rows.values()]})


def test_agreement_is_counted_at_places_that_stay_masked_by_their_distance_to_an_anchor():
    rounds = [
        a_round([0], [7], (0, 4), p0=(7, 0.95), p1=(8, 0.4), p2=(5, 0.8), p3=(9, 0.1), p4=(3, 0.99)),
        a_round([2], [5], (0, 4), p1=(8, 0.6), p2=(5, 0.7), p3=(4, 0.2), p4=(3, 0.99)),
    ]
    final = {0: 7, 1: 8, 2: 5, 3: 4}  # place 4 lies behind the block, and behind the end of the text
    found = list(seen(rounds, final, 0.75))
    assert found == [(1, 0.4, True), (0, 0.8, True), (1, 0.1, False), (None, 0.6, True), (None, 0.2, True)]
    assert [distance for distance, *_ in seen(rounds, final, 0.9)][:3] == [1, 2, 3]


def test_every_distance_has_its_class():
    names = distances()
    assert [names[column(one)] for one in (0, 1, 4, 5, 6, 8, 9, 16, 17, 90, None)] == [
        "anchor", "1", "4–5", "4–5", "6–8", "6–8", "9–16", "9–16", "17+", "17+", "none",
    ]  # fmt: skip
    assert len(names) == len(NEAR) + 2


def test_the_map_of_agreement_counts_every_place_of_every_round_once(pair):
    """Of a text of G places, round r leaves G - r masked; and a second count, by hand, over the static decoder's own run."""
    trace = ran(pair, LeapAgreement(texts=2, room=ROOM, block=ROOM, tau=0.5), prompt="a", temperature=1.0)
    notes = trace.steps[-1].notes
    assert notes["done"] == notes["of"] == 2 * ROOM and notes["texts"] == 2
    assert [step.notes["texts"] for step in trace.steps] == [0] * (ROOM - 1) + [1] * ROOM + [2]
    assert sum(map(sum, notes["all"])) == 2 * ROOM * (ROOM - 1) // 2
    agreeing = [[0] * len(distances()) for _ in SURE]
    for text in heldout(2):
        alone = ran(pair, MaskedDiffusion(rule="static", block=ROOM), ids=pair.vocabulary.encode(text), max_new_tokens=ROOM)
        for step in alone.steps:
            sure = dict(zip(step.notes["places"], step.notes["confidence"]))
            anchors = [place for place, one in sure.items() if one >= 0.5]
            for place, guess in zip(step.notes["places"], step.notes["tokens"][0]):
                if place not in step.at and alone.ids[place] == guess:
                    away = [abs(place - anchor) for anchor in anchors]
                    agreeing[sum(sure[place] >= low for low in SURE) - 1][column(min(away, default=None))] += 1
    assert notes["final"] == agreeing and 0 < sum(map(sum, agreeing)) < sum(map(sum, notes["all"]))


def test_an_answer_settles_when_it_is_the_last_one_for_good():
    assert settled([[1], [2], [1], [1]]) == 3 and settled([[1], [1]]) == 1 and settled([[1], [2]]) == 2
    rounds = [
        a_round([1], [8], p0=(7, 0.5), p1=(8, 0.9), p2=(6, 0.1)),
        a_round([2], [4], p0=(7, 0.5), p2=(4, 0.6)),
        a_round([0], [3], p0=(3, 0.5)),
    ]
    assert answers(rounds) == [{0: 7, 1: 8, 2: 6}, {1: 8, 0: 7, 2: 4}, {1: 8, 2: 4, 0: 3}]


@pytest.mark.parametrize("bars", [(0.0, 0.0, 0.0), (20.0, 20.0, 20.0), (4.0, 2.0, 1.0)], ids=["at once", "never", "between"])
@pytest.mark.parametrize("region", [0, 5])
def test_where_prophet_would_stop_he_stops(pair, bars, region):
    """The study asks the rule and goes on; Prophet himself makes as many forwards and writes the answer of that round."""
    knobs = dict(zip(("early", "middle", "late"), bars)) | {"region": region}
    trace = ran(pair, ProphetSettled(texts=4, **knobs), prompt="a", temperature=1.0)
    runs = trace.steps[-1].notes["runs"]
    assert len(runs) == len(trace.steps) == 4 and all(one["rounds"] == ANSWER for one in runs)
    for text, one in zip(heldout(4), runs):
        ask = {"ids": pair.vocabulary.encode(text), "max_new_tokens": ANSWER}
        alone = ran(pair, Prophet(block=48, **knobs), **ask)
        static = ran(pair, MaskedDiffusion(rule="static", block=48), **ask)
        assert alone.cost.target_forwards == one["exit"]
        upto = static.ids.index(END) + 1 if END in static.ids else ANSWER
        assert one["same"] == (alone.ids[:upto] == static.ids[:upto]) and 1 <= one["settled"] <= len(static.steps)
        assert one["same"] or one["exit"] < one["settled"], "a stop behind the settling changes nothing"


def test_answers_to_lists_are_judged(shipped32):
    trace = ran(shipped32, ProphetSettled(task="copy", n=6, texts=4), prompt="a", seed=3)
    for one in trace.steps[-1].notes["runs"]:
        assert one["right"] and one["right_then"] == one["same"] and one["rounds"] == 6 and one["exit"] <= 6


class Ending:
    """A network that is sure of an end of text at every place."""

    def __init__(self, network: MaskPredictor):
        self.network = network

    def __getattr__(self, name):
        return getattr(self.network, name)

    def __call__(self, ids, ledger):
        logits = self.network(ids, ledger)
        logits[..., END] = logits[..., 1:].amax() + 20
        return logits
