"""The shipped tokenizers: lossless, their vocabularies what they say, shorter ones exactly what training would have given."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer

from labkit.tokenization.backend import FOLDER, merges_within, shortened
from labkit.tokenization.kl3m import CAPS, CUSTOM, SPECIAL, CharBpe, DomainBpe
from labkit.tokenization.zoo import Bpe, Unigram, WordPiece
from labkit.train.tokenizers import LONGEST, bpe, compact, unigram, wordpiece

TEXTS = (
    "",
    "def __init__(self, name):\n    return self.name\n\n\n\n# ## ##a … « naïve » 日本語 \0 \x85 \u2028 <|end|><|spare_3|>",
    "👩‍👩‍👧 e\u0301 שלום عالم 0x1234567 Copyright (c) !important #include <b> \t\r\n ",
)
ZOO = [Bpe(), Bpe(256), Bpe(300), Unigram(), WordPiece(), CharBpe(1), CharBpe(4)]
ZOO += [DomainBpe("css"), DomainBpe("legal", False, "512")]
SAMPLE = ["the cat sat on the mat, the rat sat on the cat; that hat is at the cat's mat\n" * 3]
SAMPLE.append("return the_cat(mat) or that_cat(hat)")


@pytest.mark.parametrize("segmenter", ZOO, ids=repr)
def test_no_byte_is_lost(segmenter):
    for text in TEXTS:
        assert segmenter.decode(segmenter.cut(text)) == text.encode()


@pytest.mark.parametrize("segmenter", [Bpe(), Unigram(), WordPiece(), CharBpe(3)], ids=repr)
def test_a_long_word_is_no_trap(segmenter):
    for text in ("a" * 50_000, "日本" * 10_000, " " * 50_000):
        assert segmenter.decode(segmenter.cut(text)) == text.encode()


@pytest.mark.parametrize("size", [257, 264, 281, 300])
def test_a_shorter_bpe_is_what_training_would_have_given(tmp_path, size):
    long, short = bpe(SAMPLE, 330), bpe(SAMPLE, size)
    file = tmp_path / "long.json"
    file.write_text(compact(long), encoding="utf-8")
    cut = shortened(str(file), merges_within(str(file), size))
    assert json.loads(cut.to_str())["model"] == json.loads(short.to_str())["model"]
    assert cut.encode(SAMPLE[1]).ids == short.encode(SAMPLE[1]).ids


def test_two_merges_that_make_one_type_are_both_counted(tmp_path):
    """abc is made of ab + c and of a + bc: the second costs a merge and no type."""
    names = [*"abc", "ab", "bc", "abc", "ca"]
    model = {"type": "BPE", "vocab": {name: token for token, name in enumerate(names)}}
    model["merges"] = ["a b", "b c", "ab c", "a bc", "c a"]
    file = tmp_path / "twice.json"
    file.write_text(json.dumps({"version": "1.0", "model": model}))
    assert [merges_within(str(file), types) for types in (3, 4, 5, 6, 7)] == [0, 1, 2, 3, 5]
    assert shortened(str(file), 4).get_vocab_size() == 6


@pytest.mark.parametrize("size", [256, 257, 1000, 8192])
def test_bpe_has_as_many_types_as_asked(size):
    assert len(Bpe(size).vocabulary) == size
    assert len(Bpe(size).merges or ()) >= size - 256


def test_a_file_holds_all_that_a_tokenizer_was():
    for tokenizer in (bpe(SAMPLE, 300), bpe(SAMPLE, 300, 3), unigram(SAMPLE, 280)):
        again = Tokenizer.from_str(compact(tokenizer))
        assert again.get_vocab().keys() == tokenizer.get_vocab().keys()
        assert again.encode(SAMPLE[1]).tokens == tokenizer.encode(SAMPLE[1]).tokens


def test_training_twice_gives_the_same_file():
    for train in (lambda: bpe(SAMPLE, 300), lambda: unigram(SAMPLE, 280), lambda: wordpiece(SAMPLE, 540)):
        assert compact(train()) == compact(train())


def test_wordpiece_reads_as_the_library_does():
    assert json.loads((FOLDER / "wordpiece.json").read_text(encoding="utf-8"))["model"]["type"] == "WordPiece"
    for text in ("def unbelievable(self): return tokenization", "## naïve 日本語\n    x = 12345"):
        assert WordPiece().cut(text) == WordPiece().tokenizer.encode(text).ids
    assert max(map(len, WordPiece().vocabulary)) <= LONGEST


@pytest.mark.parametrize("domain", CUSTOM)
@pytest.mark.parametrize("custom", [True, False])
@pytest.mark.parametrize("size", ["512", "4096"])
def test_a_domain_vocabulary_is_exactly_a_power_of_two(domain, custom, size):
    tokenizer = DomainBpe(domain, custom, size).tokenizer
    assert tokenizer.get_vocab_size() == int(size)
    assert sorted(tokenizer.get_vocab().values()) == list(range(int(size)))
    assert set(SPECIAL) <= tokenizer.get_vocab().keys()
    assert (set(CUSTOM[domain]) <= tokenizer.get_vocab().keys()) == custom


@pytest.mark.parametrize("cap", CAPS)
def test_no_token_is_longer_than_the_cap(cap):
    segmenter = CharBpe(cap)
    assert max(map(len, segmenter.vocabulary)) == cap
    assert segmenter.tokenizer.get_vocab_size() == (512 if cap == 1 else 4096)


def test_custom_tokens_are_whole_and_special_ones_are_text():
    text = "html { color: red !important }"
    assert b"!important" in [DomainBpe("css").spelling(token) for token in DomainBpe("css").cut(text)]
    assert b"!important" not in [DomainBpe("css", False).spelling(token) for token in DomainBpe("css", False).cut(text)]
    assert len(DomainBpe("css").cut("<|end|>")) > 1


def test_every_domain_is_read_best_by_its_own_tokenizer():
    """The direction of P075, in the shipped figures."""
    measured = json.loads((FOLDER / "figures.json").read_text())["bytes_per_token"]
    for domain in ("python", "css", "legal", "c++"):
        rows = {name: row[domain] for name, row in measured.items() if name.startswith("domain-")}
        assert max(rows, key=rows.get) == f"domain-{domain}"
    sizes = [measured[f"bpe-{size}"]["python"] for size in (512, 1024, 2048, 4096, 8192)]
    assert sizes == sorted(sizes)
