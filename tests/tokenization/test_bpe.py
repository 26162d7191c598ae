"""The lab's own BPE trainer: the library's merges, exact counts, stages, weights; and the superwords that it made."""

from __future__ import annotations

import random

import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers, trainers
from tokenizers import models as kinds

from labkit.errors import KnobError
from labkit.tokenization.bpe import (
    ALL_BYTES,
    LINE,
    WHITESPACE,
    Corpus,
    base_bytes,
    base_characters,
    joined,
    learn,
    tokenizer_of,
    train,
    train_superwords,
    words,
)
from labkit.tokenization.segmenter import build_segmenter
from labkit.tokenization.superwords import SIZE, TRANSITION

TEXT = ["the cat sat on the mat\n", "the dog ran to the cat\n", "on the mat the cat sat\n", "of the people, by the people\n"]


def corpus(texts, pattern=WHITESPACE):
    return Corpus({base_bytes(word): count for word, count in words(texts, pattern).items()})


def recounted(found: Corpus) -> dict:
    pairs: dict = {}
    for word, weight in zip(found.words, found.weights):
        for pair in zip(word, word[1:]):
            pairs[pair] = pairs.get(pair, 0) + weight
    return pairs


def test_as_the_library_where_nothing_ties():
    """Letters drawn at random, some far more often, leave no two pairs equal; a tie would be settled differently."""
    draw = random.Random(2)
    texts = ["".join(draw.choices("abcdefgh ", (21, 17, 13, 11, 7, 5, 3, 2, 19), k=6000))]
    mine = train(texts, 256 + 14)
    found = corpus(texts)
    for pair in mine:
        ranked = sorted(found.counts.values(), reverse=True)
        assert ranked[0] > ranked[1], "no tie, so that both must agree"
        found.merge(pair)
    library = Tokenizer(kinds.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WHITESPACE), "isolated"), byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(mine), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    library.train_from_iterator(texts, trainer)
    sample = "".join(draw.choices("abcdefgh ", k=400))
    assert tokenizer_of(mine).encode(sample).tokens == library.encode(sample).tokens
    spelled = {left + right for left, right in mine}
    names = set(library.get_vocab()) - set(pre_tokenizers.ByteLevel.alphabet())
    assert {name.replace("Ġ", " ").encode() for name in names} == spelled


def test_counts_stay_true():
    found = corpus(TEXT)
    for pair in learn(found):
        counts = {pair: count for pair, count in found.counts.items() if count}
        assert counts == recounted(found)
        assert found.tokens == sum(weight * len(word) for word, weight in zip(found.words, found.weights))
        assert pair not in counts


def test_the_commonest_pair_and_ties_by_bytes():
    found = corpus(["ab ab xy xy q"], None)
    first = next(learn(found))
    assert first == (b" ", b"x") or found.counts[first] == 0
    tied = Corpus({(b"x", b"y"): 3, (b"a", b"b"): 3, (b"k", b"l"): 2})
    assert list(learn(tied)) == [(b"a", b"b"), (b"x", b"y"), (b"k", b"l")]
    assert list(learn(Corpus({(b"a", b"b"): 1}))) == []


def test_runs_are_joined_from_the_left():
    a = b"a"
    assert joined((a,) * 5, (a, a), b"aa") == (b"aa", b"aa", a)
    assert Corpus({(a,) * 3: 1}).counts[a, a] == 2


def test_weights_are_counts():
    weighted = Corpus({base_bytes("abc"): 3, base_bytes("bcd"): 5})
    repeated = corpus(["abc"] * 3 + ["bcd"] * 5, None)
    assert weighted.counts == repeated.counts
    assert list(learn(weighted)) == list(learn(repeated))


def test_superwords_begin_as_words():
    plain = train(TEXT, 280)
    both = train_superwords(TEXT, 300, 280)
    assert both[: len(plain)] == plain
    pieces = {left + right for left, right in both[len(plain) :]}
    assert any(b" " in piece[1:] for piece in pieces), "merges cross the spaces"
    assert all(b" " not in (left + right)[1:] for left, right in plain)
    assert all(b"\n" not in piece[:-1] for piece in pieces), "but never a line's end"


@pytest.mark.parametrize("pattern", [WHITESPACE, LINE, None])
def test_the_library_encodes_as_the_trainer_merges(pattern):
    merges = train(TEXT, 300, pattern)
    found = corpus(TEXT, pattern)
    for pair in merges:
        found.merge(pair)
    tokenizer = tokenizer_of(merges, pattern)
    assert sum(len(tokenizer.encode(text).ids) for text in TEXT) == found.tokens


def test_characters_fall_apart_where_unknown():
    assert base_characters("aяé", {"a", "я"}) == (b"a", "я".encode(), b"\xc3", b"\xa9")
    assert b"".join(base_characters("aяé🙂", set())).decode() == "aяé🙂"


def test_the_shipped_superwords():
    whole, plain = (build_segmenter("superwords", {"size": size}) for size in (SIZE, TRANSITION))
    assert len(whole.vocabulary) == SIZE and len(plain.vocabulary) == TRANSITION
    assert all(b" " not in piece.strip() for piece in plain.vocabulary)
    text = "    def __init__(self, name):\n        self.name = name\n"
    assert b" __init__(self," in {whole.spelling(token) for token in whole.cut(text)}
    assert len(whole.cut(text)) < len(plain.cut(text)) < len(text)
    assert len(build_segmenter("superwords", {"size": 256}).cut(text)) == len(text)
    odd = "🙂é\0\u202eאב ｱ"
    assert whole.decode(whole.cut(odd)).decode() == odd
    assert set(map(whole.spelling, range(256))) == ALL_BYTES
    with pytest.raises(KnobError, match="12000"):
        build_segmenter("superwords", {"size": SIZE + 1})
