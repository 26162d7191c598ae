"""The shipped tokenizer as bytes: the trie, the cuts, the masks, and who is refused."""

from __future__ import annotations

import random
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from labkit.errors import ModelError
from labkit.prompts import heldout
from labkit.tokenization.byte_units import ODD, check_closed, letters, splitter, units_of

TAILS = ("", "n", " num", "(", '"""', " ", "\n", "\n    ", "42", "\t", "é", "\u00a0", "🚨")


@pytest.fixture(scope="module")
def units(shipped32):
    return units_of(shipped32.vocabulary)


def test_the_cuts_are_the_tokenizers(units, shipped32):
    vocabulary = shipped32.vocabulary
    for text in [*heldout(60), *ODD, "\x00\x01", "e\u0301 ﷽ 한국어 👩‍👩‍👧", " " * 70, "\n" * 9 + "x"]:
        assert [vocabulary.spelling(token) for token in vocabulary.encode(text)] == list(units.cut(text.encode()))


def test_pre_tokens_are_the_librarys(shipped32):
    backend = shipped32.vocabulary.tokenizer.backend_tokenizer
    split = splitter(backend)
    assert split.__name__ == "findall"
    for code in [*range(0x3100), 0xFEFF, 0x1F6A8, 0xE0C2]:
        text = f"a{chr(code)}(  {chr(code)}1"
        assert split(text) == [text[start:end] for _, (start, end) in backend.pre_tokenizer.pre_tokenize_str(text)]


def test_the_trie(units):
    for beginning in (b"", b"i", b" nu", b"\n  ", b"\xe2", b"zzzq"):
        low, high = units.beginning(beginning)
        assert units.spelled[low:high] == sorted(token for token in units.spelled if token.startswith(beginning))
        beyond = units.beyond(low, high, len(beginning))
        assert units.spelled[beyond:high] == sorted(t for t in units.spelled if t.startswith(beginning) and t != beginning)


def test_masks_are_those_of_cutting_anew(units):
    tried = {units.pieces(tail.encode())[-1] if tail else b"" for tail in TAILS}
    rng = random.Random(0)
    for text in heldout(3):
        data = text.encode()
        tried.add(units.pieces(data[: rng.randrange(1, len(data))])[-1])
    tried |= {b"\xc2", b"(\xf0\x9f", b"\xe2\x94"}  # inside a character
    for tail in tried:
        due = [units.is_next(tail, token) for token in units.spelled]
        assert units.valid(tail).tolist() == due, tail
        assert 0 < sum(due) < len(due), tail


def test_only_the_last_pre_token_matters(units):
    rng = random.Random(1)
    for text in heldout(12):
        data = text.encode()
        data = data[: rng.randrange(40, 120)]
        mask = units.valid(units.pieces(data)[-1])
        for row in rng.sample(range(len(units.spelled)), 40):
            assert mask[row] == units.is_next(data, units.spelled[row])


def test_half_a_character(units):
    assert letters(b"a\xe2\x94") == ("a\ue0e2\ue094", 2)
    assert units.pieces("x🚨".encode()[:-1]) == [b"x", b"\xf0\x9f\x9a"]
    with pytest.raises(UnicodeDecodeError):
        units.cut(b"\xff")
    assert not units.is_next(b"a", b"\x80")


def closed(vocabulary):
    backend = vocabulary.tokenizer.backend_tokenizer
    return partial(check_closed, lambda texts: [one.ids for one in backend.encode_batch(texts)], vocabulary.spelling)


def test_the_shipped_tokenizer_is_prefix_closed(shipped32):
    snippets = [text[at : at + 100] for text in heldout(120) for at in range(0, len(text), 100)]
    assert closed(shipped32.vocabulary)(snippets) > 10_000


def gpt2_like() -> SimpleNamespace:
    """GPT-2's regex, which looks ahead at spaces, over the 256 bytes and one merge of two line ends."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = {name: token for token, name in enumerate([*alphabet, "ĊĊ"])}
    backend = Tokenizer(models.BPE(vocab=names, merges=[("Ċ", "Ċ")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    spelled = {token: b"\n\n" if name == "ĊĊ" else backend.decode([token]).encode() for name, token in names.items()}
    tokenizer = SimpleNamespace(backend_tokenizer=backend)
    return SimpleNamespace(tokenizer=tokenizer, size=257, spelling=spelled.__getitem__, merges=[(b"\n", b"\n")])


def test_who_looks_ahead_is_refused():
    with pytest.raises(ModelError, match="tokenizer looks ahead: it cuts '.*' in another way when more text follows") as caught:
        units_of(gpt2_like())
    assert str(caught.value).endswith(".") and ". " not in str(caught.value)


def test_who_is_no_byte_level_bpe_is_refused():
    with pytest.raises(ModelError, match="need a byte-level BPE"):
        units_of(SimpleNamespace(tokenizer=None))


def test_columns(units):
    assert np.array_equal(units.columns[0], [token[0] for token in units.spelled])
