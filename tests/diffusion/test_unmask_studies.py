"""The two studies of masked diffusion tell what their runs did: the same texts, forwards and judgements as runs of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig

from labkit.diffusion.any_order import AnyOrder, causal_flops
from labkit.diffusion.masked import MaskedDiffusion
from labkit.diffusion.predictor import MaskPredictor, open_llama
from labkit.diffusion.unmask_race import ONE, RULE, UnmaskRace, surprise, variety
from labkit.law import Law
from labkit.lm import Session
from labkit.prompts import heldout
from labkit.run import run
from labkit.trace import Request, Trace

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
