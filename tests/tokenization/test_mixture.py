"""P106: the same sample explains every merge, other lines give the mixture to three points, lazy rounds lose nothing."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import KnobError, ModelError
from labkit.run import run
from labkit.tokenization.bpe import WHITESPACE, Corpus, learn
from labkit.tokenization.mixture import MEGABYTE, WHOLE, Guess, History, infer, mixed, sample, size, solve, violated
from labkit.tokenization.mixture_study import CATEGORIES, Triangle, lines
from labkit.trace import Request

SECRETS = ([0.4, 0.2, 0.1, 0.2, 0.1], [0.1, 0.1, 0.5, 0.05, 0.25])


@pytest.fixture(scope="module")
def halves():
    from labkit.train.tokenizer import PRE_TOKENIZER

    return [[sample(half, PRE_TOKENIZER) for half in lines(name, 100)] for name in CATEGORIES]


def trained(samples, alpha, count):
    return list(islice(learn(Corpus(mixed(samples, alpha)), least=1), count))


def recorded(samples, merges):
    history = History(samples, merges)
    assert list(history.record()) == list(range(1, len(merges) + 1))
    return history


def answer(history, merges=None):
    *_, guess = infer(history, merges)
    assert guess.alpha.min() >= 0 and guess.alpha.sum() == pytest.approx(1)
    return guess


def test_mixing_weighs_bytes():
    one, other = sample(["ab ab"], WHITESPACE), sample(["xyz"], WHITESPACE)
    assert (size(one), size(other)) == (5, 3)
    both = mixed([one, other], [0.25, 0.75])
    bytes_of = [sum(both[word] * len(word) for word in found) / WHOLE for found in (one, other)]
    assert bytes_of == pytest.approx([0.25, 0.75], abs=1e-12)
    assert not set(mixed([one, other], [1, 0])) & set(other)


@pytest.mark.parametrize("secret", SECRETS)
def test_other_lines_give_it_to_three_points(halves, secret):
    history = recorded([half for _, half in halves], trained([half for half, _ in halves], secret, 100))
    assert abs(answer(history).alpha - secret).max() < 0.03


def test_the_same_lines_explain_everything(halves):
    secret, taught = np.array(SECRETS[0]), [half for half, _ in halves]
    history = recorded(taught, trained(taught, secret, 100))
    truth = Guess(secret, np.zeros(100), np.zeros(len(history.index)), 0.0, 0)
    assert not list(violated(history, truth)), "the true mixture is feasible"
    errors = []
    for count in (30, 100):
        guess = answer(history, count)
        assert guess.objective < 1e-9
        errors.append(abs(guess.alpha - secret).max())
    assert errors[1] <= errors[0] and errors[1] < 0.005


def test_a_withheld_category_leaves_much_unexplained(halves):
    merges = trained([half for half, _ in halves], SECRETS[0], 100)
    other = [half for _, half in halves]
    whole, without = answer(recorded(other, merges)), answer(recorded(other[:-1], merges))
    assert without.objective > 5 * whole.objective


def test_relabelling_permutes(halves):
    merges = trained([half for half, _ in halves], SECRETS[0], 60)
    other = [half for _, half in halves]
    order = [3, 0, 4, 2, 1]
    plain, relabelled = answer(recorded(other, merges)), answer(recorded([other[place] for place in order], merges))
    assert relabelled.alpha == pytest.approx(plain.alpha[order], abs=1e-6)
    assert relabelled.objective == pytest.approx(plain.objective, abs=1e-9)


def in_full(history):
    """The programme with every constraint there is."""
    rows = {}
    for number, rates in enumerate(history.rates()):
        winner = history.winners[number]
        rows |= {(number, pair): rates[winner] - rates[pair] for pair in range(len(rates)) if pair != winner}
    return solve(rows, len(history.winners), len(history.index), len(history.megabytes))


def test_lazy_is_whole():
    taught = [sample([text], WHITESPACE) for text in ("abab abc bcd abcd aab", "xyx yxy abx xya bxy", "cdc dcd abdc xcd dcx")]
    tried = [sample([text], WHITESPACE) for text in ("abc abd bcb abab aac", "xyy xyx bax xyb yab", "cdd dcc abcd xdc cxd")]
    merges = trained(taught, [0.5, 0.3, 0.2], 8)
    history = recorded(tried, merges)
    lazy, full = answer(history), in_full(history)
    assert full.objective > 0, "something has to be explained away"
    assert lazy.objective == pytest.approx(full.objective, abs=1e-9)
    assert lazy.constraints < full.constraints
    assert not list(violated(history, lazy)) and not list(violated(history, full))


@settings(max_examples=25)
@given(st.lists(st.text("abcd ", min_size=4, max_size=40), min_size=2, max_size=3), st.integers(1, 12))
def test_history_is_a_recount(texts, count):
    """Rates before each merge, by applying the merges from the beginning and counting all pairs inside words."""
    samples = [sample([text], WHITESPACE) for text in texts]
    merges = trained(samples, [1 / len(texts)] * len(texts), count)
    history = recorded(samples, merges)
    assert len(list(history.rates(2))) == max(0, len(merges) - 2)
    for number, rates in enumerate(history.rates()):
        for category, found in enumerate(samples):
            corpus = Corpus(found)
            for pair in merges[:number]:
                corpus.merge(pair)
            pairs: dict = {}
            for word, weight in zip(corpus.words, corpus.weights):
                for pair in zip(word, word[1:]):
                    pairs[pair] = pairs.get(pair, 0) + weight
            expected = [pairs.get(pair, 0) / size(found) * MEGABYTE for pair in history.index]
            assert rates[:, category] == pytest.approx(expected, abs=1e-6)


def test_pairs_only_inside_words():
    history = recorded([sample(["ab cd"], WHITESPACE)], [(b"a", b"b")])
    assert (b"b", b" ") not in history.index and {(b"a", b"b"), (b" ", b"c"), (b"c", b"d")} == set(history.index)
    across = recorded([sample(["ab cd"], r".+")], [(b"a", b"b")])
    assert (b"b", b" ") in across.index


def test_an_even_mixture_that_breaks_nothing_is_the_answer():
    history = recorded([sample(["ab ab"], WHITESPACE), sample(["abab"], WHITESPACE)], [(b"a", b"b")])
    (guess,) = infer(history)
    assert guess.alpha.tolist() == [0.5, 0.5] and (guess.objective, guess.constraints) == (0, 0)


def test_a_merge_that_no_sample_has():
    history = recorded([sample(["ab ab"], WHITESPACE), sample(["cd"], WHITESPACE)], [(b"q", b"z"), (b"a", b"b")])
    assert answer(history).objective > 0


def test_the_triangle_sums_shortfalls():
    names = ["one", "two", "three", "four"]
    triangle = Triangle(names, np.array([0.5, 0.1, 0.2, 0.2]))
    assert triangle.known()["corners"] == ["one", "three", "four"] and triangle.room == pytest.approx(0.9)
    assert np.allclose(triangle.mixtures.sum(1), 1) and np.allclose(triangle.mixtures[:, 1], 0.1)
    rates = np.array([[4.0, 0, 0, 0], [0, 0, 8.0, 0], [1.0, 1, 1, 1]]) * MEGABYTE
    triangle.see(rates, 0)
    for mixture, found in zip(triangle.mixtures, triangle.shortfall):
        scores = [4 * mixture[0], 8 * mixture[2], 1.0]
        assert found == pytest.approx(max(scores) - scores[0])


def finished(pair, **knobs):
    events = run(pair, Request(method="mixture", prompt="x", knobs={"merges": 20, "kilobytes": 10, **knobs}))
    next(events)
    return [event.notes for event in events if hasattr(event, "notes")]


def test_the_study(shipped32):
    notes = finished(shipped32, python=3, cpp=1, css=0, finnish=1, russian=0)
    last = notes[-1]
    assert last["true"] == {"Python": 0.6, "C++": 0.2, "CSS": 0.0, "Finnish": 0.2, "Russian": 0.0}
    assert sum(last["inferred"].values()) == pytest.approx(1) and last["phase"] == "done"
    assert [note["done"] for note in notes] == sorted(note["done"] for note in notes) and last["done"] == last["of"]
    assert [one["merges"] for one in last["settling"]] == [10, 20] and last["settling"][-1]["inferred"] == last["inferred"]
    assert last["triangle"]["corners"] == ["Python", "C++", "Finnish"] and len(last["list"]) == 12
    assert all(row["number"] <= 20 and {"even", "true", "inferred"} <= set(row) for row in last["list"])


def test_the_shipped_tokenizer(shipped32):
    """Trained on Python from many packages; the standard library alone is a poor sample of that, and the slack says so."""
    here, last = (finished(shipped32, victim=victim, merges=40)[-1] for victim in ("trained here", "the model's own"))
    assert last["true"] == {} and "true" not in last["list"][0] and here["true"]
    shares = last["inferred"]
    assert shares["Python"] == max(shares.values()) and sum(shares.values()) == pytest.approx(1)
    assert last["rounds"][-1][1] > 2 * here["rounds"][-1][1]


def test_refusals(shipped32):
    with pytest.raises(KnobError, match="nothing in it"):
        finished(shipped32, python=1, cpp=0, css=0, finnish=0, russian=0, withheld="Python")

    class NoMerges:
        merges = None

    from labkit.tokenization.mixture_study import Mixture

    session = type("Session", (), {"vocabulary": NoMerges()})()
    with pytest.raises(ModelError, match="no merges"):
        list(Mixture(victim="the model's own", kilobytes=5).steps(session, None))
