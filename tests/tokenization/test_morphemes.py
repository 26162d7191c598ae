"""%valid and %pure where the answer is known, the trigram model against counting by hand, and r against scipy."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from labkit.tokenization.morpheme_standards import corpus, pieces_of
from labkit.tokenization.morphemes import (
    LEXICA,
    NEITHER,
    PURE,
    VALID,
    bits_per_byte,
    correlation,
    tagged,
    valid_and_pure,
)
from labkit.tokenization.morphs import Morphs
from labkit.tokenization.plain_units import Bytes, Characters, Words
from labkit.tokenization.trained_bpe import TrainedBPE
from labkit.tokenization.turkish import generate, turkish

TAGS = {
    "turkish": {
        PURE: ["ev", " ev", "Kitap", "kitab", "KİTAP", "lar", "ler", "ımız", "m", "diğ"],
        VALID: ["evler", " Kitaplarımız", "bekliyor"],
        NEITHER: ["evlar", "larım", "itap", "x", "ev.", "lar.", "KITAP"],
        None: [".", " ", "\n", "12", ""],
    },
    "python": {
        PURE: ["def", " return", "Error", "name", "ing", "True", "isinstance"],
        VALID: ["__init__", "ValueError", "__name__"],
        NEITHER: ["q", "eturn", "self.", "vALUE", "(x"],
        None: ["(", "    ", "==", "1"],
    },
}


@pytest.mark.parametrize("name", TAGS)
def test_tags(name):
    lexicon = LEXICA[name]()
    for tag, texts in TAGS[name].items():
        assert {text: lexicon.tag(text.encode()) for text in texts} == dict.fromkeys(texts, tag)


def test_half_a_character_means_nothing():
    assert [LEXICA["turkish"]().tag(bytes([byte])) for byte in "ş".encode()] == [NEITHER] * 2


def test_characters_are_pure_where_a_morpheme_has_one_letter():
    text = " ".join(word.text for word in generate(300, seed=2))
    found = dict((piece.decode(), tag) for piece, tag, _ in tagged(pieces_of(Characters(), text), LEXICA["turkish"]()))
    single = {letter for letter in found if letter != " " and found[letter] == PURE}
    assert single == set("aeıiuümnkr") and VALID not in found.values()


@pytest.mark.parametrize("name", LEXICA)
def test_pure_is_valid_and_order_does_not_matter(name):
    text = corpus(name, 1000, 0)
    for segmenter in (TrainedBPE(text.train, 500), Morphs(name), Words(), Bytes()):
        pieces = pieces_of(segmenter, text.test[:4000])
        shuffled = random.Random(0).sample(pieces, len(pieces))
        for unique in (True, False):
            valid, pure = valid_and_pure(pieces, LEXICA[name](), unique)
            assert 0 <= pure <= valid <= 1
            assert valid_and_pure(shuffled, LEXICA[name](), unique) == (valid, pure)
        once = valid_and_pure(pieces, LEXICA[name]())
        assert (
            once
            == valid_and_pure(pieces * 2, LEXICA[name]())
            == valid_and_pure(dict.fromkeys(pieces), LEXICA[name](), False)
        )


@pytest.mark.parametrize("name", LEXICA)
def test_morphemes_are_purer_than_bpe(name):
    text, mine = corpus(name, 2000, 0), Morphs(name)
    bpe = TrainedBPE(text.train, mine.size)
    lexicon = LEXICA[name]()
    for mine_share, bpe_share in zip(*(valid_and_pure(pieces_of(one, text.test), lexicon) for one in (mine, bpe))):
        assert mine_share > bpe_share


def test_valid_and_pure_part_as_the_vocabulary_grows():
    text, lexicon = corpus("turkish", 4000, 0), LEXICA["turkish"]()
    small, large = (valid_and_pure(pieces_of(TrainedBPE(text.train, size), text.test), lexicon) for size in (500, 3000))
    assert large[0] > small[0] and large[1] < small[1]


def test_nothing_to_judge():
    assert valid_and_pure([b" ", b"."], LEXICA["turkish"]()) == (0.0, 0.0)


def test_gold_of_the_corpus_spells_it():
    text = corpus("turkish", 1000, 3)
    assert "".join(text.gold_train) == text.train and "".join(text.gold_test) == text.test
    assert valid_and_pure([piece.encode() for piece in text.gold_test], LEXICA["turkish"]()) == (1.0, 1.0)
    assert turkish().lower(text.test) != text.test


def test_bits_a_byte_by_hand():
    train, test = [0, 1, 0, 1], [0, 1]
    first = (2 + 2 / 4) / (4 + 2)  # 2 of 4 tokens, 2 kinds, an even chance among 4 behind them
    second = (2 + 1 * first) / (2 + 1)  # behind 0 always 1
    assert bits_per_byte(train, test, 4, 2) == pytest.approx(-(math.log2(first) + math.log2(second)) / 2)
    assert bits_per_byte([], test, 4, 2) == 2.0
    chances = [2 ** -bits_per_byte(train, [token], 4, 1) for token in range(4)]
    assert sum(chances) == pytest.approx(1), "a law over the vocabulary"


def test_r_is_scipys():
    rng = random.Random(1)
    x = [rng.random() for _ in range(9)]
    y = [a + rng.random() for a in x]
    wanted = stats.pearsonr(x, y)
    low, r, high = correlation(x, y)
    interval = wanted.confidence_interval(0.95)
    assert (low, r, high) == pytest.approx((interval.low, wanted.statistic, interval.high), abs=1e-3)
    assert correlation(x[:3], y[:3]) is None and correlation([1.0] * 5, y[:5]) is None
