"""StochasTok: the text stays, every split is one the vocabulary allows, and all are as likely as the paper says."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from types import SimpleNamespace

import pytest
import torch
from exact import Dice
from scipy.stats import chisquare

from labkit.models import byte_letters
from labkit.tokenization import stochastok as ours
from labkit.tokenization.shipped import Shipped
from labkit.tokenization.stochastok import expansions, merged, stochastok

TEXTS = [
    'def strawberry(self, tokenization="configuration"):\n    return [word for word in self.words]\n',
    "naïve 🍓 e\u0301té \u202eabc\u202c שלום \0 end",
    "a",
]
SMALL = {b"a": 0, b"b": 1, b"c": 2, b"ab": 3, b"bc": 4, b"abc": 5, b"xy": 6}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def cutter(shipped32):
    return Shipped(shipped32.vocabulary)


@pytest.fixture(scope="module")
def table(cutter):
    return expansions(cutter.vocabulary)


@pytest.fixture(scope="module")
def ranks(cutter):
    return {pair: rank for rank, pair in enumerate(cutter.merges)}


def test_every_split_is_there_and_no_other(cutter, table):
    assert expansions(SMALL) == {3: [(0, 1)], 4: [(1, 2)], 5: [(0, 4), (3, 2)]}
    for token in range(cutter.source.size):
        piece = cutter.spelling(token)
        cuts = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        due = [pair for pair in cuts if set(pair) <= cutter.vocabulary.keys()]
        assert [tuple(map(cutter.spelling, pair)) for pair in table.get(token, [])] == due
    made_by_merges = {left + right for left, right in cutter.merges}
    assert {cutter.spelling(token) for token in table} == made_by_merges, "what a merge made can be taken apart, the rest not"
    more = sum(len(pairs) > 1 for pairs in table.values())
    assert more > len(table) / 3, "any split counts, not only the merge's: the wrong table would have one pair a token"


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_the_text_stays_and_the_length_is_bounded(cutter, table, p):
    for text in TEXTS:
        ids = cutter.cut(text)
        for seed in range(10):
            made = stochastok(ids, table, p, rng(seed))
            assert cutter.decode(made) == text.encode()
            assert len(ids) <= len(made) <= len(ids) + int(len(ids) * p)
            assert set(starts(cutter, ids)) <= set(starts(cutter, made)), "a split takes no boundary away"


def starts(cutter, ids):
    at, found = 0, []
    for token in ids:
        found.append(at)
        at += len(cutter.spelling(token))
    return found


def test_p_of_zero_changes_nothing(cutter, table):
    for text in TEXTS:
        ids = cutter.cut(text)
        assert stochastok(ids, table, 0.0, rng()) == ids


def test_each_success_adds_one_token_and_most_ends_it(cutter, table, monkeypatch):
    ids, pairs = cutter.cut(TEXTS[0]), []
    real = ours.below
    monkeypatch.setattr(ours, "below", lambda number, source: pairs.append(number) or real(number, source))
    made = stochastok(ids, table, 0.8, rng(3))
    attempts = int(len(ids) * 0.8)
    assert len(pairs) == attempts + (len(made) - len(ids)), "a draw of a place each attempt, a draw of a pair each success"
    assert len(stochastok(ids, table, 0.8, rng(3), most=2)) == len(ids) + 2


def test_the_law_is_the_papers(monkeypatch):
    """All ways the draws can fall: places of the sequence as it is by then, pairs alike, halves split again."""
    table, dice, law = expansions(SMALL), Dice(), defaultdict(float)
    monkeypatch.setattr(ours, "below", lambda number, _: dice.ask([(place, 1 / number) for place in range(number)]))
    for made, chance in dice.outcomes(lambda: tuple(stochastok([5, 6], table, 1.0, rng()))):
        law[made] += chance
    # first place: abc (1/2, then one of two pairs) or xy (1/2, no pair); second place: of three, or of two
    once = 1 / 2 * 1 / 2 * 2 / 3 + 1 / 2 * 1 / 2 * 1 / 2
    due = {(5, 6): 1 / 4, (0, 4, 6): once, (3, 2, 6): once, (0, 1, 2, 6): 2 * 1 / 2 * 1 / 2 * 1 / 3}
    assert dict(law) == pytest.approx(due)


def test_the_chosen_split_is_uniform(cutter, table):
    token = max(table, key=lambda one: len(table[one]))
    draws = rng(1)
    counts = Counter(tuple(stochastok([token], table, 1.0, draws)) for _ in range(3000))
    assert set(counts) == set(table[token])
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_a_table_kept_as_json_splits_nothing(table):
    """The release's trap: from its second run on the keys are strings."""
    ids = list(table)[:200]
    cached = {key: [tuple(pair) for pair in pairs] for key, pairs in json.loads(json.dumps(table)).items()}
    assert stochastok(ids, table, 1.0, rng()) != ids
    assert stochastok(ids, cached, 1.0, rng()) == ids, "the wrong variant"
    mended = {int(key): pairs for key, pairs in cached.items()}
    assert stochastok(ids, mended, 1.0, rng()) == stochastok(ids, table, 1.0, rng())


def test_dropout_of_nothing_is_the_tokenizer_and_of_everything_bytes(cutter, ranks):
    letters = byte_letters()
    for text in TEXTS:
        found = []
        for name, _ in cutter.source.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text):
            word = bytes(letters[letter] for letter in name)
            found += merged(word, ranks, 0.0, rng())
            assert merged(word, ranks, 1.0, rng()) == [word[at : at + 1] for at in range(len(word))]
        assert [cutter.vocabulary[piece] for piece in found] == cutter.cut(text)


def test_dropouts_law(monkeypatch):
    """Every coin both ways: a round's merges are left out one by one, the best of the others is done."""
    ranks, p, dice, law = {(b"a", b"b"): 0, (b"b", b"c"): 1, (b"ab", b"c"): 2}, 0.3, Dice(), defaultdict(float)
    coins = {"rand": lambda size, generator: SimpleNamespace(tolist=lambda: [thrown(dice, p) for _ in range(size)])}
    monkeypatch.setattr(ours, "torch", SimpleNamespace(**coins))
    for made, chance in dice.outcomes(lambda: tuple(merged(b"abc", ranks, p, None))):
        law[made] += chance
    kept = 1 - p
    due = {(b"abc",): kept * kept, (b"ab", b"c"): kept * p, (b"a", b"bc"): p * kept, (b"a", b"b", b"c"): p * p}
    assert dict(law) == pytest.approx(due)


def thrown(dice, p):
    """A coin that lies below p with chance p."""
    return dice.ask([(0.0, p), (1.0, 1 - p)])


def test_the_library_leaves_out_fewer(cutter, ranks):
    """Ours has the paper's law, see above; the library's pieces are fewer. Its draws have no seed: six standard errors here."""
    tokenizer = type(cutter.source.tokenizer.backend_tokenizer).from_str(cutter.source.tokenizer.backend_tokenizer.to_str())
    tokenizer.model.dropout = 0.2
    word, count, draws = "configuration", 2000, rng(2)
    theirs = sum(len(tokenizer.encode(word).ids) for _ in range(count)) / count
    mine = sum(len(merged(word.encode(), ranks, 0.2, draws)) for _ in range(count)) / count
    assert 1 < theirs < mine
