"""The lab's Turkish against forms from a grammar book, and generated words against their own analysis."""

from __future__ import annotations

import pytest

from labkit.tokenization.analysis import written
from labkit.tokenization.morphemes import LEXICA, valid_and_pure
from labkit.tokenization.turkish import VOWELS, generate, gold, sentences, spelled, turkish

FORMS = {  # typed from grammars, morpheme by morpheme
    "ev lAr (I)mIz DAn": "ev-ler-imiz-den",
    "kitap (y)I": "kitab-ı",
    "kitap lAr": "kitap-lar",
    "renk (s)I": "reng-i",
    "kanat (y)A": "kanad-a",
    "araba (y)I": "araba-yı",
    "araba (s)I": "araba-sı",
    "araba (s)I (y)A": "araba-sı-na",
    "ev (s)I DA": "ev-i-nde",
    "ev DA ki (y)I": "ev-de-ki-ni",
    "masa (n)In": "masa-nın",
    "göz (n)In": "göz-ün",
    "okul DA": "okul-da",
    "sokak DA": "sokak-ta",
    "ağaç DAn": "ağaç-tan",
    "güneş (y)lA": "güneş-le",
    "kapı (y)lA": "kapı-yla",
    "altı (ş)Ar": "altı-şar",
    "dört (ş)Ar": "dörd-er",
    "üç (I)ncI": "üç-üncü",
    "kitap CI": "kitap-çı",
    "öğretmen lIK (s)I": "öğretmen-liğ-i",
    "gel (I)yor (y)Im": "gel-iyor-um",
    "bekle (I)yor": "bekl-iyor",
    "anla (I)yor": "anl-ıyor",
    "söyle (I)yor": "söyl-üyor",
    "oyna (I)yor": "oyn-uyor",
    "oku (I)yor": "oku-yor",
    "gör mA (I)yor": "gör-m-üyor",
    "git (I)yor": "gid-iyor",
    "git DI k": "git-ti-k",
    "oku (y)AcAK (y)Im": "oku-yacağ-ım",
    "gel mA (y)AcAK": "gel-me-yecek",
    "gel Vr": "gel-ir",
    "yap Vr": "yap-ar",
    "konuş Vr": "konuş-ur",
    "bekle Vr": "bekle-r",
    "git Vr": "gid-er",
    "gel (y)Abil Vr": "gel-ebil-ir",
    "gel DIK (I)mIz": "gel-diğ-imiz",
    "tut DIK (I)m": "tut-tuğ-um",
    "yürü (y)Ip": "yürü-yüp",
    "güzel lAş DI": "güzel-leş-ti",
    "bil mAk DAn": "bil-mek-ten",
}


@pytest.mark.parametrize("names", FORMS)
def test_joins_as_the_grammar_does(names):
    language = turkish()
    root, *affixes = names.split(" ")
    found = written(language, language.roots[root], [language.affixes[name] for name in affixes])
    assert "-".join(found) == FORMS[names]
    assert tuple(one.written for one in gold("".join(found))), "and it is a word"


def test_generated_words_are_words_and_seeds_repeat():
    words = generate(800, seed=4)
    assert words == generate(800, seed=4) != generate(800, seed=5)
    agree = 0
    for word in words:
        assert "".join(word.pieces) == word.text and set(word.text) & VOWELS
        found = gold(word.text)
        assert "".join(one.written for one in found) == word.text
        agree += tuple(one.written for one in found) == word.pieces
    assert agree > 0.97 * len(words)  # the rest reads in two ways: evin is "of the house" and "your house"


@pytest.mark.parametrize(
    "wrong", ["evlar", "kitapı", "kitab", "geldım", "gelyor", "lar", "bekleyor", "geldiğ", "xev", "evx", ""]
)
def test_what_breaks_a_rule_is_no_word(wrong):
    assert not gold(wrong)


def test_enough_of_it():
    assert len(turkish().roots) >= 200 and len(turkish().affixes) >= 40


def test_capitals_know_the_dot():
    language = turkish()
    assert language.upper("ışık iki") == "IŞIK İKİ" and language.lower("IŞIK İKİ") == "ışık iki"


def test_gold_pieces_spell_the_text_and_are_pure():
    pieces = [piece for sentence in sentences(600, seed=1) for piece in spelled(sentence)]
    assert valid_and_pure((piece.encode() for piece in pieces), LEXICA["turkish"]()) == (1.0, 1.0)
