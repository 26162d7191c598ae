"""P034: premiums are plain ratios, curves never rise, V* levels the counts, superwords help on average, bytes do not explain."""

from __future__ import annotations

import math
from statistics import mean, pstdev, variance

import pytest

from labkit.errors import KnobError
from labkit.run import run
from labkit.tokenization.bpe import WHITESPACE, base_bytes, tokenizer_of, train
from labkit.tokenization.languages import LEARN, TEST, called, family, keys_to_test, locales, to_learn, to_test
from labkit.tokenization.premium_studies import levelling
from labkit.tokenization.premiums import Recipe, at, best_size, counts, explained, fit
from labkit.tokenization.texts import phrases
from labkit.trace import Request

SOME = ("en", "fi", "ru", "ja", "vi", "fa", "gd", "hi")


@pytest.fixture(scope="module")
def curves():
    return {locale: counts(to_learn(locale), to_test(locale), Recipe()) for locale in SOME}


def test_languages_are_dealt_alike():
    assert len(locales()) >= 60 and locales()[0] == "en" and "nb" in locales() and "no" not in locales()
    keys = set(keys_to_test())
    assert len(keys) == TEST
    for locale in SOME:
        learned, tested = to_learn(locale), to_test(locale)
        assert len(learned) == LEARN and len(tested) == TEST
        held = {key: text for key, text in phrases(locale).items() if key in keys}
        assert sorted(tested) == sorted(held.values())
        assert keys.isdisjoint(key for key in phrases(locale) if key not in held)
    assert [family(to_test(locale)) for locale in ("fi", "ru", "ja", "fa", "hi")] == [
        "Latin",
        "Cyrillic",
        "East Asian",
        "right to left",
        "South Asian",
    ]
    assert called("fi") == "Finnish" and called("xx-none") == "xx-none"


def test_counts_by_hand(curves):
    """The same figures by training anew and encoding with the library, as anyone would."""
    found = {}
    for locale in ("en", "ru", "vi"):
        tokenizer = tokenizer_of(train(to_learn(locale), 500), WHITESPACE)
        found[locale] = sum(len(tokenizer.encode(text).ids) for text in to_test(locale))
        assert at(curves[locale], 500) == found[locale]
    assert found["en"] / found["en"] == 1
    assert 1 < found["vi"] / found["en"] < 1.5


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(words="none"), Recipe(words="superwords"), Recipe(base="characters")])
def test_counts_never_rise(recipe):
    for locale in ("en", "ja"):
        found = counts(to_learn(locale), to_test(locale), recipe)
        sizes = list(found)
        assert sizes == sorted(sizes) and sizes[0] == 256
        assert found[256] == sum(len(text.encode()) for text in to_test(locale))
        assert all(found[a] >= found[b] for a, b in zip(sizes, sizes[1:]))


def test_characters_come_before_pairs():
    found = counts(["яя ж", "яж", "q"], ["яжз"], Recipe(base="characters"))
    assert [found[size] for size in (256, 257, 258)] == [6, 5, 4], "я, then ж; з was never seen and stays two bytes"


def test_superwords_need_no_more_on_average(curves):
    """On what they learned from, where it is expected; equal in languages without spaces, most in Vietnamese."""
    plain, crossed = [], []
    few = ("en", "ja", "vi")
    for locale in few:
        learned = to_learn(locale)
        last = min(1000, max(curves[locale]))
        plain.append(at(counts(learned, learned, Recipe()), last))
        crossed.append(at(counts(learned, learned, Recipe(words="superwords", transition=500)), last))
    assert mean(crossed) < mean(plain)
    gains = {locale: before / after for locale, before, after in zip(few, plain, crossed)}
    assert max(gains, key=gains.get) == "vi" and gains["vi"] > 1.03


def test_best_sizes_level_the_counts(curves):
    fixed = [at(found, 600) for found in curves.values()]
    target = 5.8 * TEST
    best = {locale: best_size(fit(found), target) for locale, found in curves.items()}
    levelled = [at(curves[locale], size) for locale, size in best.items()]
    assert variance(levelled) < variance(fixed) / 10
    assert all(abs(count / target - 1) < 0.05 for count in levelled)
    found = levelling(fixed, levelled)
    assert found["f"] == pytest.approx(variance(fixed) / variance(levelled)) and found["p"] < 0.01
    assert best["vi"] > best["en"] > best["fa"]


def test_curve_and_its_inverse():
    made = {size: math.exp(9 - 0.6 * math.log(size) + 0.02 * math.log(size) ** 2) for size in range(300, 1100)}
    curve = fit(made)
    assert curve == pytest.approx((9, -0.6, 0.02), abs=1e-6)
    assert best_size(curve, made[700]) == 700
    assert best_size((9, -1.0, 0.0), math.exp(9) / 500) == 500, "a straight line"
    assert best_size((1.0, 0.0, 1.0), 1.0) is None, "below the curve's floor"
    assert best_size((9, -0.001, 0.0), 1.0) is None, "too far away"


def test_bytes_do_not_explain_the_spread(curves):
    tokens = {locale: at(found, 600) for locale, found in curves.items()}
    size = {locale: found[256] for locale, found in curves.items()}
    plain = [tokens[locale] / tokens["en"] for locale in SOME]
    normalised = [premium / (size[locale] / size["en"]) for premium, locale in zip(plain, SOME)]
    assert pstdev(normalised) > pstdev(plain) > 0.03


def test_explained_is_r_squared():
    line, noise = [1.0, 2.0, 3.0, 4.0], [1.0, -1.0, -1.0, 1.0]
    found = explained({"line": line, "noise": noise}, [3.0, 5.0, 7.0, 9.0])
    assert found == pytest.approx({"line": 1.0, "noise": 0.0, "together": 1.0})


def test_unigram_counts_and_refuses_superwords():
    learned, tested = to_learn("en"), to_test("en")[:50]
    found = counts(learned, [*tested, "я"], Recipe(algorithm="Unigram", base="characters", size=500))
    assert 500 in found and found[1070] < found[320] <= sum(len(text) for text in tested) + 2
    assert counts(learned, ["яя"], Recipe(algorithm="Unigram", base="characters", size=500))[500] == 4, "unknown: its bytes"
    with pytest.raises(KnobError, match="choose BPE"):
        counts(learned, tested, Recipe(algorithm="Unigram", words="superwords"))


def steps(pair, method, count, **knobs):
    events = run(pair, Request(method=method, prompt="x", knobs=knobs))
    next(events)
    found = [next(events).notes for _ in range(count)]
    events.close()
    return found


def test_the_study(shipped32, curves):
    notes = steps(shipped32, "premiums", 2)
    english, other = (note["language"] for note in notes)
    assert english["locale"] == "en" and english["premium"] == 1 and english["tokens"] == at(curves["en"], 600)
    assert other["premium"] == other["tokens"] / english["tokens"]
    assert notes[-1]["of"] == len(locales()) and notes[-1]["done"] == 2
    notes = steps(shipped32, "premiums", 5, algorithm="Unigram", base="characters")
    assert [note["done"] for note in notes] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1]) and notes[-1]["language"]["premium"] == 1


def test_premiums_of_shipped_tokenizers(shipped32):
    english, arabic = (note["language"] for note in steps(shipped32, "segmenter-premiums", 2, phrases=50))
    assert set(english["premiums"].values()) == {1.0} and {"model", "bytes", "superwords"} <= set(english["premiums"])
    for row in (english, arabic):
        texts = to_test(row["locale"])[:50]
        assert row["tokens"]["model"] == sum(len(shipped32.vocabulary.encode(text)) for text in texts)
        assert row["tokens"]["bytes"] == sum(len(base_bytes(text)) for text in texts)
    assert arabic["premiums"]["model"] > 2 > arabic["premiums"]["superwords"]
