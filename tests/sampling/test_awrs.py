"""AWRS with particles: the posterior of whole texts, what it emits and when, and masking beside it."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
import torch
from bigrams import Bigrams, law_of_texts
from scipy.stats import chisquare
from tiny_models import Letters, letters_pair

from labkit.errors import LabError, PromptError
from labkit.law import Law
from labkit.lm import Session
from labkit.sampling.awrs import AWRS, GEOMETRIC, RECURSIVE, agreed
from labkit.sampling.constraint_costs import PROMPTS, Toy
from labkit.sampling.ground import NONE
from labkit.sampling.lcd import EVERY, LCD, SHARED
from labkit.sampling.shipped_constraints import SHIPPED, Python, Regex
from labkit.sampling.toy import Trap

END, START, ROOM = 5, 2, 4  # of six letters "f" ends the text; three others before it at most
PATTERN = "a|b[cd]?|(cc|dd|ed)e"
@pytest.fixture
def toy(monkeypatch):
    """`toy()`: a session over six letters, whose every law is known; the constraint "toy" is `PATTERN`."""
    monkeypatch.setitem(SHIPPED, "toy", lambda: Regex(PATTERN))
    model = Bigrams(6, 11, noise=0.7)

    def make(temperature: float = 1.0) -> Session:
        session = Session(model, [START], Law(temperature))
        session.vocabulary, session.ends, session.room = Letters(6), frozenset([END]), ROOM
        return session

    return make


@pytest.fixture
def posterior(toy) -> dict[str, float]:
    """p of every text that obeys and ends in time, not normalised."""
    session, found = toy(), {}
    letters = session.vocabulary
    for size in range(ROOM):
        for text, chance in law_of_texts(session.runner, START, size + 1, session.law).items():
            if text[-1] == END and END not in text[:-1] and Regex(PATTERN).is_right(letters.decode(text[:-1])):
                found[letters.decode(text)] = chance
    assert len(found) == 7
    return found


def runs(make, method: AWRS, count: int, seed: int = 0) -> list[tuple[str, float]]:
    """(text, estimate of the mass of all that obey) of `count` runs; ("", 0) where no particle came through."""
    rng, found = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        session, ids, last = make(), [], None
        try:
            for last in method.steps(session, rng):
                ids += last.emitted
            found.append((session.vocabulary.decode(ids), math.exp(last.notes["logz"])))
        except LabError:
            found.append(("", 0.0))
    return found


def distance(texts: list[str], posterior: dict[str, float]) -> float:
    """Total variation."""
    counts, mass = Counter(texts), sum(posterior.values())
    return sum(abs(counts[text] / len(texts) - chance / mass) for text, chance in posterior.items()) / 2


@pytest.mark.parametrize("knobs", [{"form": RECURSIVE}, {"form": GEOMETRIC, "accepts": 3}, {"threshold": 1.0}], ids=str)
def test_weights_of_whole_texts_are_unbiased(toy, posterior, knobs):
    """The mean of estimate x [text] is p(text), for every text that is not rare, within 4 standard errors; so is their sum."""
    count, mass = 500, sum(posterior.values())
    found = runs(toy, AWRS(constraint="toy", count=3, **knobs), count, seed=5)
    common = [text for text, chance in posterior.items() if chance > mass / 20]
    assert len(common) > 3
    for text in [*common, None]:
        due = posterior[text] if text else mass
        values = torch.tensor([weight if text in (None, one) else 0.0 for one, weight in found], dtype=torch.float64)
        error = values.std().item() / count**0.5
        assert abs(values.mean().item() - due) < 4 * error, (text, values.mean().item(), due)


def test_more_particles_come_near_the_posterior(toy, posterior):
    """One particle writes as masking does, whose law is off; many come near the law of the texts that obey."""
    one, many = (runs(toy, AWRS(constraint="toy", count=count), 150, seed=1) for count in (1, 16))
    near, far = distance([text for text, _ in many if text], posterior), distance([text for text, _ in one if text], posterior)
    assert near < 0.22 < 0.4 < far
    mass = sum(posterior.values())
    assert sum(weight for _, weight in many) / 150 == pytest.approx(mass, rel=0.1)
    assert {text for text, _ in many} <= {*posterior, ""}


def test_one_particle_has_the_law_of_masking(toy):
    """Without weights AWRS and masking draw alike: token by token, among the allowed."""
    awrs, masking = Counter(), Counter()
    for seed in range(1000):
        for method, counts in ((AWRS(constraint="toy", count=1), awrs), (LCD(constraint="toy"), masking)):
            counts[next(method.steps(toy(), torch.Generator().manual_seed(seed))).emitted[0]] += 1
    p = toy().law(toy().logits)
    allowed = [0, 1, 2, 3, 4]
    for counts in (awrs, masking):
        assert set(counts) == set(allowed)
        due = (p[allowed] / p[allowed].sum() * 1000).tolist()
        assert chisquare([counts[token] for token in allowed], due, sum_check=False).pvalue > 1e-3


def test_notes_add_up(toy):
    """Weights are the products of the estimates, resampling keeps their sum, tests are counted, parents are particles."""
    for seed in range(30):
        session = toy()
        steps, logw, asked = [], [0.0] * 6, 0
        try:
            for step in AWRS(constraint="toy", count=6, threshold=0.8).steps(session, torch.Generator().manual_seed(seed)):
                steps.append(step)
        except LabError:
            pass
        for step in steps:
            notes = step.notes
            for slot, (z, token) in enumerate(zip(notes["z"], notes["chosen"])):
                if z is not None:
                    logw[slot] = logw[slot] + math.log(z) if z > 0 else None
                    assert (token is None) == (z == 0)
            assert notes["logw"] == pytest.approx(logw)
            alive = [math.exp(one) for one in logw if one is not None]
            if alive:
                assert notes["logz"] == pytest.approx(math.log(sum(alive) / 6))
                assert notes["ess"] == pytest.approx(sum(alive) ** 2 / sum(one**2 for one in alive))
            asked += sum(notes["tested"])
            assert notes["asked"] == asked
            assert max(notes["tested"]) <= 6, "no token is tested twice"
            if "parents" in notes:
                assert notes["ess"] < 0.8 * 6 and all(logw[parent] is not None for parent in notes["parents"])
                logw = [notes["logz"]] * 6
    assert any("parents" in step.notes for step in steps)


def test_texts_that_agree():
    assert agreed([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2
    assert agreed([[1, 2]]) == 2 and agreed([[1], []]) == 0


def test_what_is_emitted_is_what_all_particles_share(shipped32, traced):
    trace = traced(shipped32, "awrs", prompt=PROMPTS["JSON"], knobs={"count": 6}, temperature=1.0, max_new_tokens=32, seed=3)
    slots, written = [[] for _ in range(6)], []
    for step in trace.steps:
        for slot, token in enumerate(step.notes["chosen"]):
            slots[slot] += [] if token is None else [token]
        alive = [slot for slot, weight in enumerate(step.notes["logw"]) if weight is not None]
        if "parents" in step.notes:
            slots, alive = [list(slots[parent]) for parent in step.notes["parents"]], range(6)
        written += step.emitted
        assert all(slots[slot][: len(written)] == written for slot in alive if "picked" not in step.notes)
    assert written == slots[trace.steps[-1].notes["picked"]] == trace.ids
    assert [belief.token for step in trace.steps for belief in step.beliefs] == trace.ids
    assert isinstance(json.loads(trace.closing.text), dict | list)
    one = traced(shipped32, "awrs", prompt=PROMPTS["JSON"], knobs={"count": 1}, temperature=1.0, max_new_tokens=48, seed=1)
    assert all(len(step.emitted) == 1 for step in one.steps), "one particle always agrees with itself"


@pytest.mark.parametrize("name", PROMPTS)
def test_what_is_written_obeys_and_costs_few_questions(name, shipped32, traced):
    """Twenty times fewer questions a token than masking, at least, with the shipped model and its 4,096 tokens."""
    asked = {"prompt": PROMPTS[name], "temperature": 1.0, "seed": 2}
    knobs = {"constraint": name, "count": 6}
    trace = traced(shipped32, "awrs", knobs=knobs, max_new_tokens=24, **asked)
    constraint, text = SHIPPED[name](), shipped32.vocabulary.decode(trace.ids[:-1])  # the last token ends it
    assert constraint.is_right(PROMPTS[name] + text if constraint.reads_prompt else text)
    masked = traced(shipped32, "lcd", knobs={"constraint": name}, max_new_tokens=2, **asked)
    notes, every = trace.steps[-1].notes, masked.steps[-1].notes
    assert every["asked"] > 3900 * every["moves"]
    assert 20 * notes["asked"] / notes["moves"] < every["asked"] / every["moves"]


def test_without_a_constraint_it_is_plain_decoding(tiny_pair, traced):
    for ids in ([5, 9, 12], [40, 41]):
        plain = traced(tiny_pair, "plain", ids=ids, max_new_tokens=16)
        for method in ("awrs", "lcd"):
            trace = traced(tiny_pair, method, ids=ids, knobs={"constraint": NONE}, max_new_tokens=16)
            assert trace.ids == plain.ids and trace.closing.reason == plain.closing.reason


def test_without_a_constraint_it_has_the_law_of_the_model(traced):
    """Two tokens of five letters against their enumerated law; two tests a token, and every weight is 1."""
    pair, counts, seeds = letters_pair("llama, untied"), Counter(), 1000
    for seed in range(seeds):
        knobs = {"constraint": NONE, "count": 1}
        trace = traced(pair, "awrs", ids=[1, 2], knobs=knobs, temperature=1.0, max_new_tokens=2, seed=seed)
        counts[tuple(trace.ids)] += 1
        assert all(step.notes["logw"] == pytest.approx([0.0]) and step.notes["tested"][0] <= 2 for step in trace.steps)
    session = Session(pair.target, [1, 2], Law(1.0))
    due = {}
    for first, chance in enumerate(session.law(session.logits).tolist()):
        fork = session.fork()[0]
        fork.push(first)
        due |= {(first, second): chance * other for second, other in enumerate(session.law(fork.logits).tolist())}
    assert chisquare([counts[text] for text in due], [seeds * chance for chance in due.values()], sum_check=False).pvalue > 1e-3


def test_particles_without_a_constraint_end_where_the_text_is_cut(shipped32, traced):
    knobs = {"constraint": NONE, "count": 3}
    trace = traced(shipped32, "awrs", prompt="import os", knobs=knobs, temperature=1.0, max_new_tokens=6)
    assert len(trace.ids) == 6 and len(trace.steps) == 6 and trace.closing.reason == "length"


def test_greedy_takes_the_likeliest_allowed_token(toy):
    session = toy(0.0)
    p = session.logits.softmax(-1)
    step = next(AWRS(constraint="toy", count=9).steps(session, torch.Generator()))
    assert len(step.notes["chosen"]) == 1, "there is nothing to weigh"
    assert step.emitted == [max((0, 1, 2, 3, 4), key=lambda token: p[token])]
    assert step.emitted == next(LCD(constraint="toy").steps(toy(0.0), None)).emitted


@pytest.mark.parametrize("ask", [EVERY, SHARED])
def test_masking_counts_its_questions(toy, ask):
    session = toy()
    step = next(LCD(constraint="toy", ask=ask).steps(session, torch.Generator().manual_seed(0)))
    p = session.law(session.runner.table[[START]])[0]
    assert step.notes["asked"] == 6, "six letters, none begins like another"
    assert step.notes["z"] == [pytest.approx(p[:5].sum().item())]


def test_the_trap():
    """Masking writes "ac" with 0.9, throwing whole texts away with the exact 1/11; weights are right on average for every N."""
    trap, plays = Trap(), 80
    toy = Toy(trap, torch.Generator().manual_seed(6))
    for _ in range(plays):
        toy.play()
    known, shares = toy.known(), {name: found["trapped"] / plays for name, found in toy.found.items()}
    for name, due in (("masking", 0.9), ("N = 1", 0.9), ("start again", trap.share)):
        assert abs(shares[name] - due) < 4 * (due * (1 - due) / plays) ** 0.5
    assert shares["N = 64"] < 0.3 < shares["N = 8"] < 0.75
    for mean, spread in known["masses"].values():
        assert abs(mean - trap.mass) < 4 * spread / plays**0.5
    asked = {name: found["asked"] / plays for name, found in toy.found.items()}
    assert asked["N = 1"] < 5 < asked["masking"] <= 3 * trap.vocabulary
    assert asked["start again"] == pytest.approx(1 / trap.mass, rel=0.4), "a question for every text thrown away"


# -- where nothing can go on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [AWRS, LCD])
def test_where_nothing_is_allowed_it_says_so(toy, monkeypatch, method):
    monkeypatch.setitem(SHIPPED, "toy", lambda: Regex("z"))
    steps = method(constraint="toy").steps(toy(), torch.Generator().manual_seed(0))
    with pytest.raises(LabError, match="Nothing that may be drawn behind '' is allowed"):
        for step in steps:
            assert step.emitted == [] and step.notes["logz"] is None, "the tests are shown all the same"
            assert step.notes["tested"] == [6] * 10


def test_a_text_that_does_not_end_in_time_says_so(toy, monkeypatch):
    monkeypatch.setitem(SHIPPED, "toy", lambda: Regex("[a-e]{7}"))
    with pytest.raises(LabError, match="No particle of 10 was complete at token 4, the last one asked for: ask for more"):
        list(AWRS(constraint="toy").steps(toy(), torch.Generator().manual_seed(0)))


def test_a_prompt_that_is_no_python(shipped32, traced):
    with pytest.raises(PromptError, match="no beginning of a Python program"):
        traced(shipped32, "awrs", prompt="def f(:", knobs={"constraint": "Python"}, temperature=1.0)


def test_the_same_seed_writes_the_same(shipped32, traced):
    asked = {"prompt": PROMPTS["Python"], "knobs": {"constraint": "Python", "count": 4}, "temperature": 0.8, "max_new_tokens": 24}
    first, second = (traced(shipped32, "awrs", seed=4, **asked) for _ in range(2))
    assert [step.notes for step in first.steps] == [step.notes for step in second.steps]
    assert Python().may_become(PROMPTS["Python"] + shipped32.vocabulary.decode(first.ids[:-1]))
