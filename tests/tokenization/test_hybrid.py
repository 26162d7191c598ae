"""Coverage against counting by hand, tiles against their word, and the study's figures against its own segmenters."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from labkit.tokenization.hybrid import BATCHES, coverage, entries_for, ranks, tiles
from labkit.tokenization.morpheme_standards import corpus
from labkit.tokenization.morphs import Morphs
from labkit.tokenization.trained_bpe import TrainedBPE

WORDS = {(1, 2): 5, (1, 3): 3, (4,): 2}  # token 1 stands 8 times, 2 5 times, 3 3 times, 4 2 times


def test_coverage_by_hand():
    assert ranks(WORDS) == Counter({2: 5, 3: 3, 4: 2})
    assert coverage(ranks(WORDS), sizes=(1, 2, 3, 9)) == [(1, 0.0), (2, 0.5), (3, 0.8), (4, 1.0)]
    assert [entries_for(ranks(WORDS), share) for share in (0.5, 0.6, 0.8, 1.0)] == [2, 3, 3, 4]
    assert coverage(Counter()) == [] and entries_for(Counter()) == 0


@pytest.mark.parametrize("word", ["Kitaplarımızı", "EVLERİ", "bekliyorum", "xyz", "şş"])
def test_tiles_spell_the_word(word):
    assert "".join(letters for _, _, letters in tiles(Morphs("turkish"), word)) == word


def test_tiles_name_the_morphemes():
    assert tiles(Morphs("turkish"), "Çocuğu") == [
        ("mark", "<uppercase>", ""),
        ("root", "çocuk", "Çocuğ"),
        ("affix", "(y)I", "u"),
    ]


@pytest.fixture(scope="module")
def studied(traced, shipped32):
    """A whole run of the study over little text."""
    return traced(shipped32, "hybrid", prompt="Kitaplar evler", knobs={"words": 1000}, seed=2)


def test_the_study_counts_what_its_segmenters_cut(studied):
    notes = studied.steps[-1].notes
    assert len(studied.steps) == BATCHES == notes["of"] and studied.closing.reason == "done"
    assert [one["word"] for one in notes["words"]][:2] == ["Kitaplar", "evler"]
    figures = notes["figures"]
    assert sum(notes["kinds"].values()) == figures["roots and affixes"]["tokens"]
    assert notes["kinds"]["root"] >= 0.99 * notes["read"]
    assert figures["roots and affixes"]["tokens"] > figures["BPE"]["tokens"], "more tokens: the spaces are some"
    assert figures["roots and affixes"]["pure"] > figures["BPE"]["pure"]
    needed = notes["needed"]
    assert needed["roots and affixes"] < needed["every form by itself"] and needed["roots and affixes"] < needed["BPE"]
    for points in notes["curves"].values():
        assert points == sorted(points) and points[-1][1] == 1.0
    assert 0.97 < notes["f1"] <= 1


def test_what_is_read_grows_to_the_whole_text(studied):
    read = [step.notes["read"] for step in studied.steps]
    assert read == sorted(read) and read[0] < read[-1]
    tokens = [step.notes["figures"]["BPE"]["tokens"] for step in studied.steps]
    text = corpus("turkish", 1000, int(torch.randint(2**31, (1,), generator=torch.Generator().manual_seed(2))))
    assert tokens[-1] == len(TrainedBPE(text.train, Morphs("turkish").size).cut(text.test))
