"""PEARL: its law exactly, its rounds against ordinary speculation's, its caches after a roll back, its two timelines."""

from __future__ import annotations

import itertools

import exact
import pytest
import tiny_models
import torch
from bigrams import Bigrams, law_of_texts, session
from scipy.stats import chisquare

from labkit.lm import Session
from labkit.methods import build_law
from labkit.prompts import heldout
from labkit.run import run
from labkit.speculative import clock, ground, verify
from labkit.speculative.lanes import Lanes, Ordinary
from labkit.speculative.pearl import MEASURED, Pearl
from labkit.trace import Closing, Request, Setting, Step

OFF = {"pre": False, "post": False}
SWITCHES = [{}, {"pre": False}, {"post": False}, OFF]


def text_of(steps, tokens: int) -> tuple[int, ...]:
    out: list[int] = []
    while len(out) < tokens:
        out += next(steps).emitted
    return tuple(out[:tokens])


# -- the law -----------------------------------------------------------------------------------------------------------


def exact_law(monkeypatch, knobs: dict, vocabulary: int, tokens: int, law):
    """(law of the first tokens through the real code, every coin played; the same by multiplying)."""
    target = Bigrams(vocabulary, 1)
    draft = Bigrams(vocabulary, 2, target)
    memory = {}
    clock.measured(session(target, draft, 0, law, memory))

    def play():
        return text_of(Pearl(**knobs).steps(session(target, draft, 0, law, memory), None), tokens)

    return exact.law_of(monkeypatch, play, drawing=[ground]), law_of_texts(target, 0, tokens, law)


SMALL = [(1, 3, 3), (2, 3, 2), (2, 2, 3), (3, 2, 2)]  # gamma, letters, tokens of the text: few enough ways for the coins to fall
CASES = [({}, *sizes) for sizes in SMALL] + [({"post": False}, *sizes) for sizes in SMALL[1:3]]
CASES += [({"pre": False}, 2, 2, 2), ({"pre": False}, 1, 3, 2), (OFF, 2, 3, 2)]


@pytest.mark.parametrize(("switches", "gamma", "vocabulary", "tokens"), CASES, ids=str)
def test_the_law_is_exact(monkeypatch, switches, gamma, vocabulary, tokens):
    found, due = exact_law(monkeypatch, {"gamma": gamma, **switches}, vocabulary, tokens, build_law(1.0, []))
    assert max(abs(found.get(text, 0.0) - share) for text, share in due.items()) < 1e-12
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)


def test_the_law_is_exact_after_a_cut(monkeypatch):
    found, due = exact_law(monkeypatch, {"gamma": 2}, 3, 2, build_law(0.8, [Setting("top-k", {"k": 2})]))
    assert max(abs(found.get(text, 0.0) - share) for text, share in due.items()) < 1e-12
    assert min(due.values()) == 0, "nothing was cut"


residual_chain = verify.residual_chain


def no_residual(tree, p, q, rng):
    """Draws from p, not from what the draft left of it."""
    outcome = residual_chain(tree, p, q, rng)
    if outcome.added_from == "residual":
        outcome.added = verify.draw(p[len(outcome.path)], rng)
    return outcome


def trusting(tree, p, q, rng):
    """Does not test the first of three tokens: with gamma = 2 and PRE off that is the first of a segment, as in the release."""
    if len(tree.tokens) < 3:
        return residual_chain(tree, p, q, rng)
    outcome = residual_chain(ground.chain(tree.tokens[1:], build_law(1.0, [])), p[1:], q[1:], rng)
    outcome.path = [0, *(node + 1 for node in outcome.path)]
    outcome.tested = []
    return outcome


@pytest.mark.parametrize(("wrong", "switches"), [(no_residual, {}), (trusting, {"pre": False})])
def test_wrong_verifiers_are_caught(monkeypatch, wrong, switches):
    monkeypatch.setattr(verify, "residual_chain", wrong)
    found, due = exact_law(monkeypatch, {"gamma": 2, **switches}, 2, 2, build_law(1.0, []))
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    assert max(abs(found.get(text, 0.0) - share) for text, share in due.items()) > 0.01


@pytest.mark.parametrize(("gamma", "start"), [(2, 0), (4, 1), (4, 2)])
def test_the_law_by_drawing(gamma, start):
    """The atlas' own check, on tables of our own: texts of two tokens over five letters, with seeds of their own."""
    law, target = build_law(1.0, []), Bigrams(5, 7)
    draft, memory, seeds = Bigrams(5, 8, target), {}, 2500
    due = law_of_texts(target, start, 2, law)
    counts = dict.fromkeys(due, 0)
    with torch.inference_mode():
        for seed in range(seeds):
            rng = torch.Generator().manual_seed(10_000 * start + seed)
            counts[text_of(Pearl(gamma=gamma).steps(session(target, draft, start, law, memory), rng), 2)] += 1
    frequent = [text for text, share in due.items() if share * seeds >= 5]
    assert len(frequent) >= 12
    seen, expected = [counts[text] for text in frequent], [due[text] * seeds for text in frequent]
    if seeds - sum(expected) > 1:
        seen, expected = [*seen, seeds - sum(seen)], [*expected, seeds - sum(expected)]
    assert chisquare(seen, expected, sum_check=False).pvalue > 1e-3


# -- the rounds --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(quick64, prompts, traced):
    """Traces of a few prompts: `runs(method, temperature, **knobs)`; each computed once."""
    known = {}

    def write(method, temperature=0.0, **knobs):
        key = method, temperature, str(knobs)
        if key not in known:
            asked = dict(temperature=temperature, max_new_tokens=40, seed=3, knobs=knobs)
            known[key] = [traced(quick64, method, ids=prompt, **asked) for prompt in prompts[:4]]
        return known[key]

    return write


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("gamma", [1, 4, 9])
def test_a_round_writes_at_most_gamma_tokens(runs, gamma, temperature):
    steps = [step for trace in runs("pearl", temperature, gamma=gamma) for step in trace.steps[:-1]]  # the last one is cut
    assert all(1 <= len(step.emitted) <= gamma for step in steps)
    assert {step.notes["mode"] for step in steps} == {"PRE", "POST"}
    for step in steps:
        assert step.sources == ["draft"] * len(step.tree.path) + ["target"] * (step.tree.added is not None)
        assert step.notes["next"] == ("POST" if step.tree.added is None else "PRE")
        if step.notes["mode"] == "PRE":
            assert len(step.tree.tokens) == 1, "only the first new token can be tested"
    assert any(step.tree.added is None for step in steps), "no round ever passed: nothing was tested"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_without_both_halves_it_is_ordinary_speculation(runs, temperature):
    """Same seed, same coins: step for step what the chain does."""
    pairs = zip(runs("pearl", temperature, gamma=4, **OFF), runs("chain", temperature, length=4))
    for mine, theirs in pairs:
        assert [step.emitted for step in mine.steps] == [step.emitted for step in theirs.steps]


@pytest.mark.parametrize("c", [2, 4, 8])
def test_more_rounds_than_ordinary_speculation_but_less_time(runs, c):
    mine, theirs = runs("pearl", gamma=c, ratio=float(c)), runs("pearl", gamma=c, ratio=float(c), **OFF)
    rounds, ordinary = (sum(len(trace.steps) for trace in traces) for traces in (mine, theirs))
    time, longer = (sum(trace.steps[-1].notes["now"] for trace in traces) for traces in (mine, theirs))
    assert rounds >= ordinary
    assert time == pytest.approx(rounds) and longer == pytest.approx(2 * ordinary), "gamma = c: one target call, or two"
    assert time < longer


def test_the_halves_alone_lie_between(runs):
    times = [sum(trace.steps[-1].notes["now"] for trace in runs("pearl", gamma=4, ratio=4.0, **off)) for off in SWITCHES]
    both, *halves, neither = times
    assert both < min(halves) and max(halves) < neither


def test_ordinary_lanes_are_those_of_a_real_run(runs):
    for mine, theirs in zip(runs("pearl", gamma=4), runs("chain", length=4)):
        lanes = [kept for step in mine.steps for *_, kept in step.notes["ordinary"]["rounds"]]
        real = [len(step.tree.path) for step in theirs.steps]
        assert len(lanes) > 5 and lanes[: len(real) - 1] == real[: len(lanes)][: len(real) - 1]


def test_the_lanes_add_up(runs):
    for switches in SWITCHES:
        for trace in runs("pearl", gamma=5, ratio=4.0, **switches):
            wrote, fate, now, ends = {}, {}, 0.0, 0.0
            for step in trace.steps:
                notes = step.notes
                for block, begin, end, tokens in notes["drafts"]:
                    assert begin >= ends - 1e-9, "the draft does one thing at a time"
                    assert end - begin == pytest.approx(tokens / 4.0)
                    wrote[block], ends = tokens, end
                begin, end, tested, kept = notes["verify"]
                assert begin >= now - 1e-9 and end - begin == 1 and (tested, kept) == (len(step.tree.tokens), len(step.tree.path))
                assert notes["now"] == pytest.approx(max(end, ends))
                for block, verified, wasted in notes["decided"]:
                    known = fate.setdefault(block, [0, 0])
                    known[0], known[1] = known[0] + verified, known[1] + wasted
                now = notes["now"]
            assert all(sum(fate[block]) <= tokens for block, tokens in wrote.items())
            kept = sum(len(step.tree.path) for step in trace.steps)
            assert sum(verified for verified, _ in fate.values()) == kept
            segments = [length for step in trace.steps for length in step.notes["segments"]]
            assert sum(segments) <= kept


def test_lanes_by_hand():
    lanes = Lanes(clock.Clock(0.25))
    lanes.together(4, 1, passed=True)  # PRE: the first of four survives
    first = lanes.notes()
    assert first["drafts"] == [[0, 0.0, 1.0, 4]] and first["verify"] == [0.0, 1.0, 1, 1]
    assert first["decided"] == [[0, 1, 0]] and first["segments"] == [] and first["now"] == 1.0
    lanes.together(4, 2, passed=False)  # POST: two of the three pending survive
    second = lanes.notes()
    assert second["decided"] == [[0, 2, 1], [1, 0, 4]] and second["segments"] == [3] and second["verify"] == [1.0, 2.0, 4, 2]
    lanes.alone(2)
    lanes.together(0, 2, passed=False)
    third = lanes.notes()
    assert third["drafts"] == [[2, 2.0, 2.5, 2]] and third["verify"] == [2.5, 3.5, 2, 2] and third["decided"] == [[2, 2, 0]]


def test_ordinary_by_hand():
    ordinary = Ordinary(clock.Clock(0.5), 2)
    assert ordinary.follow([True, True])["rounds"] == [], "the target's own token is still to come"
    assert ordinary.follow([False, False, True])["rounds"] == [[0.0, 1.0, 2.0, 2], [2.0, 3.0, 4.0, 0]]
    assert ordinary.follow([])["tokens"] == 4


# -- caches, limits, clock ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_after_a_roll_back_the_caches_are_as_new(quick64, prompts, switches):
    law = build_law(0.0, [])
    whole = Session(quick64.target, prompts[1], law, Session(quick64.draft, prompts[1], law))
    refused = 0
    with torch.inference_mode():
        for step in itertools.islice(Pearl(gamma=3, **switches).steps(whole, torch.Generator()), 20):
            refused += step.tree.added is not None
            assert whole.draft.ids[: len(whole.ids)] == whole.ids, "the draft may be ahead, never elsewhere"
            for model in (whole, whole.draft):
                fresh = Session(model.runner, model.ids).logits
                assert torch.allclose(model.logits, fresh, atol=1e-9, rtol=0)
    assert refused > 3


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_it_stops_at_the_end_of_the_context(switches, temperature, traced):
    pair = tiny_models.letters_pair("llama, untied", context=64)
    asked = dict(ids=[1, 2, 3], max_new_tokens=61, temperature=temperature)
    trace = traced(pair, "pearl", knobs={"gamma": 16, **switches}, **asked)
    assert len(trace.ids) == 61
    if not temperature:
        assert trace.ids == traced(pair, "plain", **asked).ids


def test_the_same_seed_gives_the_same_trace(shipped32, prompts, traced):
    one, other, third = (
        traced(shipped32, "pearl", ids=prompts[2], temperature=1.0, max_new_tokens=24, seed=seed) for seed in (5, 5, 6)
    )
    assert [step.notes for step in one.steps] == [step.notes for step in other.steps] and one.ids == other.ids != third.ids


def test_the_clock():
    typed = clock.Clock(0.2)
    assert [typed.target(n) for n in (1, 17)] == [1.0, 1.0]
    slower = clock.Clock(0.2, (1.0, 1.2, 1.4, 2.2, 4.0))
    assert slower.target(1) == 1 and slower.target(4) == pytest.approx(1.4)
    assert slower.target(3) == pytest.approx(1.3) and slower.target(6) == pytest.approx(1.8) and slower.target(20) > 4.0


def test_measuring_leaves_no_mark(shipped32, prompts):
    law = build_law(0.0, [])
    whole = Session(shipped32.target, prompts[0], law, Session(shipped32.draft, prompts[0], law), memory := {})
    found = clock.measured(whole)
    assert 0 < found.draft < 1, "the draft is the quicker one"
    assert all(second > 0 for second in found.seconds) and found.target(17) > 1
    assert whole.ledger.forwards == whole.draft.ledger.forwards == 0 and whole.cache.length == 0
    assert clock.measured(whole) is found and list(memory.values()) == [found]


def test_gamma_follows_the_clock(shipped32, prompts, traced):
    typed = traced(shipped32, "pearl", ids=prompts[0], max_new_tokens=8, knobs={"ratio": 7.4})
    assert typed.steps[0].notes["gamma"] == 7 and typed.steps[0].notes["c"] == pytest.approx(7.4)
    here = traced(shipped32, "pearl", ids=prompts[0], max_new_tokens=8, knobs={"clock": MEASURED})
    notes = here.steps[0].notes
    assert notes["c"] == notes["c measured"] and notes["gamma"] == min(16, max(1, round(notes["c"])))


# -- the study ---------------------------------------------------------------------------------------------------------


def test_the_sweep_counts_real_runs(quick64, traced):
    events = list(run(quick64, Request(method="pearl-sweep", prompt="x", knobs={"prompts": 2, "tokens": 16})))
    assert isinstance(events[-1], Closing) and events[-1].reason == "done"
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.notes["done"] for step in steps] == list(range(1, steps[-1].notes["of"] + 1))
    notes = steps[-1].notes
    place = notes["gammas"].index(4)
    for way, knobs in (("PEARL", {"gamma": 4}), ("ordinary", {"gamma": 4, **OFF})):
        traces = [traced(quick64, "pearl", prompt=one, max_new_tokens=16, knobs=knobs) for one in heldout(2)]
        assert notes["counts"][way]["rounds"][place] == sum(len(trace.steps) for trace in traces)
    for mine, theirs in zip(notes["counts"]["PEARL"]["rounds"], notes["counts"]["ordinary"]["rounds"]):
        assert mine >= theirs
    assert notes["counts"]["PEARL"]["rounds"][0] == notes["counts"]["PEARL"]["tokens"][0] == 32, "gamma 1 is one token a call"
