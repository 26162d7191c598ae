"""CharBench: answers, properties and figures are what Python and plain arithmetic say; words of tests are never taught."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest

from labkit.errors import KnobError
from labkit.tokenization.charbench import (
    GOLD,
    LENGTHS,
    PROPERTIES,
    Item,
    ask,
    bias,
    buckets,
    correlations,
    kept_apart,
    overlap,
    pearson,
    pieces_of,
    properties,
    stratified,
    words,
)
from labkit.tokenization.language_games import CHOICES, GAMES, play, score


def python_says(item):
    """Counted letter by letter, with none of the code under test."""
    places = [place for place, letter in enumerate(item.word) if letter == item.letter]
    different = len({letter: None for letter in item.word})
    tasks = {"count_char": len(places), "count_unique": different}
    return tasks | ({"find_first": min(places), "find_last": max(places)} if places else {})


def test_gold_answers():
    rng = random.Random(0)
    for task in GOLD:
        for item in stratified(task, 20, rng):
            assert item.gold == python_says(item)[item.task]
            assert item.letter in item.word and (item.letter == "") == (task == "count_unique")
    assert [GOLD[task]("Mississippi", "s") for task in GOLD] == [4, 4, 2, 6]
    assert GOLD["count_char"]("Sass", "s") == 2, "case-sensitive"
    assert Item("count_char", "mississippi", "s", 4).prompt == "count s mississippi = "
    assert Item("count_unique", "mississippi", "", 4).prompt == "unique mississippi = "


def test_strata_are_equal_and_no_word_comes_twice():
    items = stratified("find_last", 25, random.Random(1))
    assert Counter(len(item.word) for item in items) == {length: 25 for length in LENGTHS}
    assert len({item.word for item in items}) == len(items)
    assert [len(item.word) for item in stratified("find_last", 2, random.Random(1), [5, 6])] == [5, 5, 6, 6]
    assert items == stratified("find_last", 25, random.Random(1))
    with pytest.raises(KnobError, match="100000 items of length 4 are asked for: choose 1 to"):
        stratified("find_last", 100_000, random.Random(1))


def test_words_of_tests_are_never_taught():
    asked, taught = (set().union(*words(test).values()) for test in (True, False))
    assert asked and taught and not asked & taught
    assert all(map(kept_apart, asked)) and not any(map(kept_apart, taught))
    assert 0.17 < len(asked) / (len(asked) + len(taught)) < 0.23
    rng = random.Random(2)
    assert all(word in taught for game in GAMES for word in play(game, rng, test=False).choices)
    assert all(item.word in asked for item in stratified("find_first", 10, rng))
    some = ("self", "mississippi", "strawberry", "return")
    assert [kept_apart(word) for word in some] == [False, False, False, True], "by its hash alone"


def test_token_lengths_sum_to_the_words(shipped32):
    vocabulary, rng = shipped32.vocabulary, random.Random(3)
    for item in (ask("find_first", word, rng) for length in LENGTHS for word in rng.sample(words(True)[length], 10)):
        spellings = [vocabulary.spelling(token) for token in vocabulary.encode(item.prompt)]
        start = item.prompt.encode().index(b" " + item.word.encode() + b" =") + 1
        pieces = pieces_of(spellings, start, len(item.word))
        assert sum(pieces) == len(item.word) == properties(item, pieces)["WL"]


def test_properties_of_a_known_word():
    pieces = [1, 3, 3, 2, 2]  # m iss iss ip pi
    first = properties(Item("find_first", "mississippi", "s", 2), pieces)
    assert first == {"WL": 11, "GT": 2, "GT/WL": 2 / 11, "NT": 5, "CR": 11 / 5, "TTL": 3}
    assert properties(Item("find_last", "mississippi", "p", 9), pieces)["TTL"] == 2
    assert properties(Item("find_first", "mississippi", "m", 0), pieces)["TTL"] == 1
    assert properties(Item("count_char", "mississippi", "s", 4), pieces)["TTL"] is None
    assert pieces_of([b"count s", b" m", b"iss", b"issi pp", b"i"], 8, 11) == [1, 3, 7, 0][:3]


def test_correlations_are_numpys():
    rng = random.Random(4)
    items = stratified("find_last", 15, rng)
    table = [properties(item, [1, len(item.word) - 1]) for item in items]
    right = [rng.random() < 0.5 for _ in items]
    found = correlations(right, table)
    for name in PROPERTIES:
        values = [row[name] for row in table]
        due = None if len(set(values)) == 1 else np.corrcoef(values, np.array(right, dtype=float))[0, 1]
        assert found[name] == (None if due is None else pytest.approx(due, abs=1e-9))
    assert found["NT"] is None, "it never varies here"
    assert pearson([1, 2], [3, 5]) == pytest.approx(1) and pearson([1], [1]) is None
    counts = [properties(ask("count_char", item.word, rng), [len(item.word)]) for item in items]
    assert correlations(right, counts)["TTL"] is None


def test_buckets_overlap_and_bias():
    assert buckets([True, False, True, True], [2, 2, 1, 2]) == [(1, 1.0, 0.0, 1), (2, 2 / 3, math.sqrt(2 / 27), 3)]
    assert overlap({1, 2, 3}, {2, 3, 4}) == 0.5 and overlap(set(), set()) == 1.0 and overlap({1}, set()) == 0.0
    assert bias([3, 3, 3, 3], [3, 2, 5, None]) == pytest.approx((-1 + 2) / 2)
    assert bias([3], [3]) is None


def test_a_game_has_one_right_answer():
    rng = random.Random(5)
    for game in GAMES:
        golds = Counter()
        for _ in range(60):
            made = play(game, rng)
            assert len(made.choices) == CHOICES and made.prompt.startswith(f"{game} ") and made.prompt.endswith(" =")
            right = [place for place, word in enumerate(made.choices) if best(made, word)]
            assert right == [made.gold] and made.answers[made.gold] == f" {made.choices[made.gold]}\n"
            golds[made.gold] += 1
        assert set(golds) == set(range(CHOICES))
    assert [score("most", "s", "mississippi"), score("ends", "pi", "mississippi"), score("shortest", "", "ab")] == [4, 1, -2]


def best(made, word):
    """Whether `word` answers the game, said in another way."""
    if made.game in ("longest", "shortest", "most"):
        key = {"longest": len, "shortest": lambda one: -len(one), "most": lambda one: one.count(made.part)}[made.game]
        return all(key(word) >= key(other) for other in made.choices)
    where = {"starts": word[: len(made.part)], "ends": word[-len(made.part) :]}.get(made.game, word)
    return made.part in where
