"""OCR errors and what survives them: nothing lost without noise, nothing spreads where tokens are single characters."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.tokenization.kl3m import CharBpe
from labkit.tokenization.kl3m_studies import held_out
from labkit.tokenization.ocr import CONFUSED, corrupt, places, survival
from labkit.tokenization.zoo import Bpe

TEXT = "The Licensor may return all modern forms; Oh, 10 lemmas → été 日本 turn illegal.\n" * 4
LETTERS = st.text(alphabet="rnml10O a\né" + string.ascii_lowercase[:4], max_size=40)


def read(columns):
    return tuple("".join(side) for side in zip(*columns)) if columns else ("", "")


def judged(text, rate, segmenter, seed=0):
    columns = corrupt(text, rate, random.Random(seed).random)
    clean, noisy = read(columns)
    return survival(columns, segmenter.starts(clean), segmenter.starts(noisy))


@given(LETTERS, st.floats(0, 1), st.integers(0, 99))
def test_the_columns_hold_the_clean_text_and_only_known_errors(text, rate, seed):
    columns = corrupt(text, rate, random.Random(seed).random)
    assert read(columns)[0] == text
    for before, after in columns:
        assert before == after or CONFUSED.get(before) == after or (before, after) in ((" ", ""), ("", " "))


def test_at_rate_one_every_place_where_an_error_fits_has_one():
    assert read(corrupt("barn ml01 O", 1.0, lambda: 0.5)) == ("barn ml01 O", "bamrn1Ol0")
    assert read(corrupt("abc", 1.0, lambda: 0.1)) == ("abc", "a b c")


def test_how_often_errors_happen():
    """4,000 sites: the count lies within four standard deviations of rate * sites."""
    columns = corrupt("l" * 4000, 0.05, random.Random(1).random)
    wrong = sum(after == "1" for _, after in columns)
    added = sum(column == ("", " ") for column in columns)
    assert abs(wrong - 200) < 4 * (4000 * 0.05 * 0.95) ** 0.5 and added == 0
    added = sum(column == ("", " ") for column in corrupt("a" * 4000, 0.05, random.Random(1).random))
    assert abs(added - 40) < 4 * (4000 * 0.01 * 0.99) ** 0.5


@pytest.mark.parametrize("segmenter", [CharBpe(1), CharBpe(3), CharBpe(8), Bpe()], ids=repr)
def test_no_noise_no_harm(segmenter):
    assert judged(TEXT, 0.0, segmenter) == (1.0, 0.0, 0)


@pytest.mark.parametrize("rate", [0.02, 0.1, 1.0])
def test_nothing_spreads_from_single_characters(rate):
    found = judged(TEXT, rate, CharBpe(1))
    assert found.agreement == 1 and found.reach == 0 and found.errors > 0


def test_places_are_the_unchanged_bytes():
    assert list(places([("a", "a"), ("é", "é"), ("rn", "m"), ("b", "b"), ("c", "c")])) == [
        (0, 0, False),
        (1, 1, True),
        (2, 2, True),
        (5, 4, False),
        (6, 5, True),
    ]


def test_survival_by_hand():
    """ab|cd|ef against ab|Xc|d|ef: b, d, e, f stand outside the error; the boundary before e agrees, the one before d is new."""
    columns = [("a", "a"), ("b", "b"), ("", "X"), ("c", "c"), ("d", "d"), ("e", "e"), ("f", "f")]
    found = survival(columns, [0, 2, 4], [0, 2, 4, 5])
    assert found.agreement == pytest.approx(2 / 3) and found.errors == 1
    assert found.reach == 2, "c and d, no more one token"
    assert survival(columns, [0, 2, 4], [0, 2, 5]).reach == 2, "Xcd is another token"
    assert survival(columns, [0, 2, 4], [0, 2, 3, 5]) == (1.0, 0.0, 1), "X alone: nothing spread"


def test_a_token_over_an_added_sign_is_no_survivor():
    """abcd against abXcd in one token each: the same bytes stand around the error, the token is another."""
    columns = [*((letter, letter) for letter in "ab"), ("", "X"), *((letter, letter) for letter in "cd")]
    assert survival(columns, [0], [0]).reach == 4


def test_a_lower_limit_keeps_errors_local():
    """The direction of P075, on held-out licences."""
    text = held_out("legal", 6)
    found = [judged(text, 0.05, CharBpe(cap)) for cap in (1, 2, 4, 8)]
    reach = [row.reach for row in found]
    assert reach == sorted(reach) and found[0].agreement == 1 > found[1].agreement > found[3].agreement
