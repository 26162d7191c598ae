"""Roots and affixes: every text comes back byte for byte under every setting, and one number stands for every form."""

from __future__ import annotations

import itertools
import random

import pytest

from labkit.tokenization.metrics import boundary_f1
from labkit.tokenization.morphs import CAPITALS, LANGUAGES, UPPERCASE, Morphs
from labkit.tokenization.turkish import generate, turkish

CHOICES = itertools.product(LANGUAGES, (True, False), (True, False), (100, 30), ("longest root", "best total"))
SETTINGS = [dict(zip(("language", "shared", "marks", "dictionary", "matching"), choice)) for choice in CHOICES]
ALPHABET = "abcdeıiİIğüÜşŞAEOKTR ßǅᾳℵ٣_9.-\n\t\0é\u0301🙂漢אבϒẞKſΣσςªⅧⓐ"
HARD = [
    "",
    "HTTPServer",
    "ABc",
    "aBC",
    "ǅungla",
    "Straße STRASSE",
    "İstanbul ISPARTA",
    "ΑΣ Ας",
    "A",
    "\0",
    "🙂" * 9,
    "x" * 200,
]
HARD += [
    "Ev" * 40,
    "evx",
    "xEV",
    "EVx",
    "kitapı kitabı",
    "bekle bekl bekliyor",
    "matches MATCHES Matchs",
    "e\u0301E\u0301",
]


def comes_back(segmenter, text):
    pieces, data = segmenter.encode(text), text.encode()
    assert segmenter.decode([piece.id for piece in pieces]) == data, text
    edges = [0, *(piece.end for piece in pieces)]
    assert [piece.start for piece in pieces] == edges[:-1] and edges[-1] == len(data), text
    assert [piece.id for piece in pieces] == segmenter.cut(text)
    assert all(0 <= piece.id < segmenter.size for piece in pieces)


@pytest.mark.parametrize("knobs", SETTINGS, ids=lambda knobs: "-".join(map(str, knobs.values())))
def test_every_text_comes_back(knobs):
    segmenter, rng = Morphs(**knobs), random.Random(0)
    words = [word.text for word in generate(25, seed=3)]
    cases = [change(word) for word in words for change in (str, str.title, str.upper, turkish().upper)]
    strings = ["".join(rng.choices(ALPHABET, k=rng.randint(1, 12))) for _ in range(120)]
    for text in (*HARD, *cases, *strings):
        comes_back(segmenter, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_ten_thousand_strings_in_two_languages(language):
    segmenter, rng = Morphs(language), random.Random(7)
    for _ in range(5_000):
        text = "".join(rng.choices(ALPHABET, k=rng.randint(1, 8)))
        assert segmenter.decode(segmenter.cut(text)) == text.encode()


def test_every_generated_word_is_written_without_pieces():
    segmenter = Morphs("turkish")
    starts, gold = [], []
    for place, word in enumerate(generate(1000, seed=8)):
        tokens = segmenter.encode(word.text)
        assert segmenter.decode([piece.id for piece in tokens]) == word.text.encode()
        assert {segmenter.says(piece.id)[0] for piece in tokens} <= {"root", "affix"}
        starts += [(place, piece.start) for piece in tokens]
        ends = list(itertools.accumulate(len(piece.encode()) for piece in word.pieces))
        gold += [(place, start) for start in [0, *ends[:-1]]]
    assert boundary_f1(starts, gold)[2] > 0.97, "longest match is not always what was meant"


PAIRS = [
    ("evler", "kitaplar", "lAr"),
    ("evde", "sokakta", "DA"),
    ("evi", "kapıyı", "(y)I"),
    ("evin", "arabanın", "(n)In"),
]


@pytest.mark.parametrize("one,other,name", PAIRS)
def test_forms_share_a_number(one, other, name):
    segmenter = Morphs("turkish")
    number = next(token for token in range(segmenter.size) if segmenter.says(token) == ("affix", name))
    surfaces = segmenter.book.surfaces[name]
    for word in (one, other):
        assert segmenter.decode(segmenter.cut(word)) == word.encode()
    apart = Morphs("turkish", shared=False)
    assert len({apart.cut(word)[-1] for word in (one, other)}) == 2
    roots = [root for root in segmenter.book.language.roots if not segmenter.book.language.roots[root].soft]
    found = {segmenter.decode([segmenter.cut(root)[0], number])[len(root.encode()) :].decode() for root in roots}
    assert found <= set(surfaces) and len(found) > 1


def test_every_affix_has_one_number_for_all_its_forms():
    segmenter, numbers, letters = Morphs("turkish"), {}, {}
    for word in generate(2000, seed=6):
        for piece in segmenter.encode(word.text):
            kind, name = segmenter.says(piece.id)
            if kind == "affix":
                numbers.setdefault(name, set()).add(piece.id)
                letters.setdefault(name, set()).add(word.text.encode()[piece.start : piece.end].decode())
    assert all(len(found) == 1 for found in numbers.values())
    assert letters["lAr"] == {"lar", "ler"} and letters["DA"] >= {"da", "de", "ta", "te"}
    assert sum(len(found) > 1 for found in letters.values()) >= 35
    assert all(found <= set(segmenter.book.surfaces[name]) for name, found in letters.items())


def test_a_root_and_its_soft_form_are_one():
    segmenter, apart = Morphs("turkish"), Morphs("turkish", shared=False)
    assert segmenter.cut("kitap")[0] == segmenter.cut("kitabım")[0]
    assert apart.cut("kitap")[0] != apart.cut("kitabım")[0]


def named(segmenter, text):
    return [segmenter.says(token)[1] for token in segmenter.cut(text)]


def test_capitals():
    segmenter = Morphs()
    assert named(segmenter, "HTTPServer") == ["<capitals>", "http", "<uppercase>", "server"]
    assert named(segmenter, "Entries mapped") == ["<uppercase>", "entry", "s", "<space>", "map", "ed"]
    assert segmenter.spelling(UPPERCASE) == segmenter.spelling(CAPITALS) == b""
    whole = Morphs(marks=False)
    assert named(whole, "Server SERVER server") == ["server", "<space>"] * 2 + ["server"]
    assert len(set(whole.cut("Server SERVER server"))) == 4


def test_a_rule_is_never_bent():
    """evlar is not ev-lAr, for that would be written evler."""
    assert "lAr" not in named(Morphs("turkish"), "evlar")
    assert Morphs("turkish").decode(Morphs("turkish").cut("evlar")) == b"evlar"


def test_names_alone_do_not_spell_a_word():
    """Without the sound rules most words with affixes would come back wrong."""
    segmenter = Morphs("turkish")
    words = [word.text for word in generate(400, seed=5) if len(word.pieces) > 2]
    wrong = [word for word in words if b"".join(map(segmenter.spelling, segmenter.cut(word))) != word.encode()]
    assert len(wrong) > len(words) / 2


def test_longest_root_and_best_total_differ():
    greedy, best = Morphs("turkish"), Morphs("turkish", matching="best total")
    words = [word.text for word in generate(600, seed=8)]
    longer = sum(len(greedy.cut(word)) for word in words)
    assert sum(len(best.cut(word)) for word in words) <= longer
    assert all(len(best.cut(word)) <= len(greedy.cut(word)) for word in words)
    assert named(greedy, "sorup") == ["soru", "p"] and named(best, "sorup") == ["sor", "(y)Ip"]


def test_a_smaller_dictionary_leaves_more_to_the_pieces():
    sizes = [len(Morphs("turkish", dictionary=share).cut("kitaplarımızdan evler yollar")) for share in (0, 50, 100)]
    assert sizes[0] >= sizes[1] >= sizes[2] and sizes[0] > sizes[2]
    none = Morphs("turkish", dictionary=0)
    assert {none.says(token)[0] for token in none.cut("ev")} == {"piece"}


def test_any_numbers_decode():
    rng = random.Random(3)
    for language in LANGUAGES:
        for marks in (True, False):
            segmenter = Morphs(language, marks=marks)
            for _ in range(200):
                segmenter.decode([rng.randrange(segmenter.size) for _ in range(12)])


@pytest.mark.parametrize("unit", ["x", "🙂", "A", "evler ", "Ab"])
def test_long_lines(unit):
    text = unit * (40_000 // len(unit))
    segmenter = Morphs("turkish")
    assert segmenter.decode(segmenter.cut(text)) == text.encode()
