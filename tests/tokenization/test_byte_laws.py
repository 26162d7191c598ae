"""The toy, where everything is counted: covers, chances of texts, the process byte by byte, and the variants that are wrong."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from labkit.law import draw
from labkit.tokenization import byte_toy as toy
from labkit.tokenization.byte_laws import (
    END,
    Ensemble,
    ExactBytes,
    by_bytes,
    by_tokens,
    contexts,
    distance,
    healed,
    naive,
    shared,
)
from labkit.tokenization.byte_ngrams import ByteNGrams, Counts

UNITS = toy.toy_units()
TEXTS = [bytes(letters) for length in range(7) for letters in product(b"ab", repeat=length)]


def brute_cover(text: bytes) -> dict:
    """Valid sequences that spell `text` or more, but not without their last token; from all that are valid."""
    if not text:
        return {(): 1.0}
    found = [tokens for tokens in SEQUENCES if b"".join(tokens).startswith(text)]
    return {tokens: toy.chance(UNITS, tokens) for tokens in found if len(b"".join(tokens[:-1])) < len(text)}


SEQUENCES = toy.sequences(UNITS, 6)
BRUTE = {text: brute_cover(text) for text in TEXTS}
CHANCE = {text: sum(cover.values()) for text, cover in BRUTE.items()}


def read(text: bytes, per_token: bool = True) -> ExactBytes:
    """Nothing given: chances are whole."""
    exact = ExactBytes(UNITS, toy.hashed, per_token)
    exact.read(text, contexts(UNITS, text))
    return exact


def test_covers_are_those_of_brute_force():
    for text in TEXTS:
        found = dict(read(text).cover())
        assert found.keys() == BRUTE[text].keys()
        assert found == pytest.approx(BRUTE[text], abs=1e-12)
    assert max(map(len, BRUTE.values())) >= 3, "a text must be covered in several ways"


def test_next_bytes_are_those_of_brute_force():
    for text in (text for text in TEXTS if len(text) < 6):
        law = np.exp(read(text).law())
        for byte in b"ab":
            assert law[byte] == pytest.approx(CHANCE[text + bytes([byte])] / CHANCE[text], abs=1e-12)
        assert law[END] == pytest.approx(1 - law[list(b"ab")].sum(), abs=1e-12)
        assert law.sum() == pytest.approx(1, abs=1e-12)


def test_chances_add_up_with_every_law_masked():
    """sum over b of P(xb), and the end, is P(x). The released code's way, to strike out and not normalise, fails this."""
    off = []
    for text in (text for text in TEXTS if len(text) < 6):
        for per_token in (True, False):
            here = read(text, per_token)
            ends = here.fronts[len(text)]
            whole = sum(np.exp(read(text + bytes([byte]), per_token).logprob) for byte in b"ab")
            whole += np.exp(ends.log) * ends.p[-1] if len(text) in here.fronts else 0
            if per_token:
                assert whole == pytest.approx(np.exp(here.logprob), abs=1e-12)
            else:
                off.append(abs(1 - whole / np.exp(here.logprob)))
    assert max(off) > 0.3 and np.mean(off) > 0.1


@pytest.mark.parametrize("per_token", [True, False])
def test_going_on_is_beginning_anew(per_token):
    """`advance` and `logprobs` agree, and so do any tokens taken as given; the model is asked once a byte."""
    asked = []

    def model(left):
        asked.append(left)
        return toy.hashed(left)

    for text in (text for text in TEXTS if len(text) == 5):
        exact = ExactBytes(UNITS, model, per_token)
        exact.logprobs(b"")
        for place, byte in enumerate(text, 1):
            before = len(asked)
            law = exact.advance(byte)
            assert len(asked) <= before + 1
            anew = ExactBytes(UNITS, toy.hashed, per_token)
            assert law == pytest.approx(anew.logprobs(text[:place]), abs=1e-12)
            assert anew.given == shared(contexts(UNITS, text[:place]))
            assert law == pytest.approx(read(text[:place], per_token).law(), abs=1e-12)


def test_bytes_have_the_law_of_tokens():
    """The first three bytes, drawn byte by byte, against token sampling from the masked laws, counted whole; and drawn."""
    rng = torch.Generator().manual_seed(1)
    due = Counter()
    for tokens in toy.sequences(UNITS, 3):
        text = b"".join(tokens)
        law = toy.hashed(tokens) * np.append([UNITS.is_next(text, token) for token in UNITS.spelled], 1)
        chance = toy.chance(UNITS, tokens)
        if len(text) < 3:
            due[text] += chance * law[-1] / law.sum()  # it ends here
        elif len(b"".join(tokens[:-1])) < 3:
            due[text[:3]] += chance
    assert sum(due.values()) == pytest.approx(1, abs=1e-12)

    def written() -> bytes:
        text = b""
        for data, _ in by_bytes(ExactBytes(UNITS, toy.hashed), b"", lambda logs: draw(torch.from_numpy(np.exp(logs)), rng)):
            text += data
            if len(text) == 3:
                break
        return text

    found = Counter(written() for _ in range(1000))
    texts = sorted(due)
    assert set(found) <= set(texts)
    expected = np.array([due[text] for text in texts])
    seen = np.array([found[text] for text in texts])
    assert chisquare(seen, expected / expected.sum() * seen.sum()).pvalue > 1e-3
    wrong = np.array([np.exp(read(text, False).logprob) for text in texts if len(text) == 3])
    right = np.array([CHANCE[text] for text in texts if len(text) == 3])
    assert distance(wrong / wrong.sum(), right / right.sum()) > 0.05, "the variant would be caught"


def test_naive_and_healed_are_other_laws():
    far = [distance(naive(UNITS, toy.hashed, text), np.exp(read(text).law())) for text in TEXTS if text]
    near = [distance(healed(UNITS, toy.hashed, text), np.exp(read(text).law())) for text in TEXTS if text]
    assert np.mean(far) > 0.15 and max(far) > 0.6
    assert np.mean(near) > 0.05


def test_healing_by_hand():
    """Behind "ab", cut as one token: the token is taken back, the next must begin with it."""
    raw, more = toy.hashed(()), toy.hashed((b"ab",))
    row = UNITS.row
    begins = {"aba": raw[row[b"aba"]], "ab": raw[row[b"ab"]]}
    due = begins["aba"] + begins["ab"] * sum(more[row[token]] for token in (b"a", b"ab", b"aba"))
    assert healed(UNITS, toy.hashed, b"ab")[ord("a")] == pytest.approx(due / sum(begins.values()), abs=1e-12)


def test_healed_tokens_begin_with_what_stood_there():
    rng = torch.Generator().manual_seed(0)
    starts = set()
    for _ in range(60):
        data, _, owed = next(by_tokens(UNITS, toy.hashed, b"bab", lambda logs: draw(torch.from_numpy(np.exp(logs)), rng), True))
        starts.add((owed, data))
    last = UNITS.cut(b"bab")[-1]
    assert {owed for owed, _ in starts} == {last, b""}, "b'' when it was that very token, and another behind it"
    assert all(owed + data in UNITS.row and data for owed, data in starts)


def test_an_ensemble():
    exact, other = ExactBytes(UNITS, toy.hashed), ByteNGrams(Counts(b"abba" * 9))
    twice = Ensemble([ExactBytes(UNITS, toy.hashed), ExactBytes(UNITS, toy.hashed)])
    assert twice.logprobs(b"ab") == pytest.approx(exact.logprobs(b"ab"), abs=1e-12), "of a model with itself: the model"
    assert twice.advance(97) == pytest.approx(exact.advance(97), abs=1e-12)
    mixed = Ensemble([exact, other], [3, 1])
    due = 0.75 * np.exp(exact.logprobs(b"ab")) + 0.25 * np.exp(other.logprobs(b"ab"))
    assert np.exp(mixed.logprobs(b"ab")) == pytest.approx(due, abs=1e-12)
    due = 0.75 * np.exp(exact.advance(98)) + 0.25 * np.exp(other.advance(98))
    mixed.logprobs(b"ab")
    assert np.exp(mixed.advance(98)) == pytest.approx(due, abs=1e-12)


def test_byte_ngrams_count():
    """Witten-Bell by hand, over what was counted before and what it reads itself."""
    model = ByteNGrams(Counts(b"aab"))
    even = 1 / 257
    once = (2 + 2 * even) / (3 + 2)
    assert np.exp(model.logprobs(b""))[97] == pytest.approx(once)
    law = np.exp(model.advance(97))  # now a was seen 3 times of 4; behind a: a, b
    single = (3 + 2 * even) / (4 + 2)
    assert law[97] == pytest.approx((1 + 2 * single) / (2 + 2))
    assert law.sum() == pytest.approx(1, abs=1e-12) and law[END] > 0
    assert model.logprobs(b"aba") == pytest.approx(np.array([model.logprobs(b"ab"), model.advance(97)][1]), abs=1e-12)
