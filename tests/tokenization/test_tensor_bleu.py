"""TensorBLEU (P046): the same score as counting in Python, as NLTK and as sacrebleu, sentence by sentence."""

from __future__ import annotations

import logging
import math
import random
from collections import Counter

import pytest
import torch
from nltk.translate.bleu_score import SmoothingFunction
from nltk.translate.bleu_score import corpus_bleu as nltk_corpus
from nltk.translate.bleu_score import sentence_bleu as nltk_sentence
from sacrebleu.metrics import BLEU

from labkit.errors import KnobError
from labkit.tokenization.tensor_bleu import SMOOTHINGS, corpus_bleu, ngram_counts, sentence_bleu

PAD = -1
CLOSE = 1e-6
NLTK = {"none": SmoothingFunction().method0, "floor": SmoothingFunction(epsilon=0.1).method1}
NLTK |= {"add-k": SmoothingFunction().method2, "exp": SmoothingFunction().method3}
logging.getLogger("sacrebleu").setLevel(logging.ERROR)
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*The hypothesis contains 0 counts")


def texts(seed, count=60, several=3, low=1, high=14, vocabulary=6):
    """Ragged candidates and references; the references begin as the candidate does, so that long n-grams match."""
    rng = random.Random(seed)
    candidates, references = [], []
    for _ in range(count):
        candidate = [rng.randrange(vocabulary) for _ in range(rng.randint(low, high))]
        rows = []
        for _ in range(several):
            shared = candidate[: rng.randint(0, len(candidate))]
            rest = [rng.randrange(vocabulary) for _ in range(rng.randint(low, high))]
            rows.append((shared + rest)[: rng.randint(max(low, 1), high)])
        candidates.append(candidate)
        references.append(rows)
    return candidates, references


def padded(rows, width=None, pad=PAD):
    width = width or max(map(len, rows))
    return torch.tensor([row + [pad] * (width - len(row)) for row in rows])


def tensors(candidates, references, more=0):
    width = max(len(row) for rows in references for row in rows) + more
    inner = torch.stack([padded(rows, width) for rows in references])
    return padded(candidates, max(map(len, candidates)) + more), inner


def oracle(candidate, references, max_n, smoothing, released, effective=False, weights=None):
    """BLEU with counters, order by order."""
    matches, windows = [], []
    for n in range(1, max_n + 1):
        grams = [Counter(zip(*(text[i:] for i in range(n)))) for text in (candidate, *references)]
        most = Counter()
        for other in grams[1:]:
            most |= other
        matches.append(sum((grams[0] & most).values()))
        windows.append(sum(grams[0].values()))
    lengths = [len(text) for text in references]
    gap = min(abs(length - len(candidate)) for length in lengths)
    near = [length for length in lengths if abs(length - len(candidate)) == gap]
    reference = near[0] if released else min(near)
    if not candidate or (not released and not matches[0]):
        return 0.0
    halving, precisions, weights = 1.0, [], list(weights or [1 / max_n] * max_n)
    for n, (hits, total) in enumerate(zip(matches, windows)):
        if smoothing == "add-k" and (n or released):
            hits, total = hits + 1, total + 1
        if effective and not total:
            weights[n] = 0.0
        total = max(total, 1)
        if not hits and smoothing == "floor":
            hits = 0.1
        if not hits and smoothing == "exp":
            halving /= 2
            hits = 1e-12 * total if released else halving
        precisions.append(hits / total)
    weights = [weight / sum(weights) for weight in weights] if effective else weights
    if any(weight and not precision for weight, precision in zip(weights, precisions)):
        return 0.0
    mean = sum(weight * math.log(precision) for weight, precision in zip(weights, precisions) if weight)
    return min(1.0, math.exp(1 - reference / len(candidate))) * math.exp(mean)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("released", [False, True])
def test_every_sentence_is_as_counted_in_python(smoothing, released):
    for max_n in (1, 2, 3, 4):
        for several in (1, 3, 8):
            candidates, references = texts(10 * max_n + several, several=several, low=0 if max_n > 2 else 1)
            weights = None if several < 8 else tuple(range(max_n))
            choices = {"max_n": max_n, "smoothing": smoothing, "released": released, "weights": weights}
            found = sentence_bleu(*tensors(candidates, references), **choices)
            due = [
                oracle(candidate, rows, max_n, smoothing, released, weights=weights)
                for candidate, rows in zip(candidates, references)
            ]
            assert found.tolist() == pytest.approx(due, abs=CLOSE)
            assert 0 < sum(0 < score < 1 for score in due)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("max_n", [2, 4])
def test_every_sentence_is_as_nltk_has_it(smoothing, max_n):
    """Short ones too, but for add-k, where NLTK gives an order without windows one window to start from."""
    candidates, references = texts(1, low=max_n if smoothing == "add-k" else 1)
    weights = (1 / max_n,) * max_n
    due = [nltk_sentence(r, c, weights, NLTK[smoothing]) for c, r in zip(candidates, references)]
    found = sentence_bleu(*tensors(candidates, references), smoothing=smoothing, max_n=max_n)
    assert found.tolist() == pytest.approx(due, abs=CLOSE)
    uneven = (0.5, 0.5) if max_n == 2 else (0.4, 0.3, 0.2, 0.1)
    due = [nltk_sentence(r, c, uneven, NLTK[smoothing]) for c, r in zip(candidates, references)]
    found = sentence_bleu(*tensors(candidates, references), smoothing=smoothing, max_n=max_n, weights=uneven)
    assert found.tolist() == pytest.approx(due, abs=CLOSE)
    candidates, references = texts(1, low=max_n)  # a short sentence brings one window along in NLTK's corpus
    whole = nltk_corpus(references, candidates, weights, NLTK[smoothing])
    assert corpus_bleu(*tensors(candidates, references), smoothing=smoothing, max_n=max_n) == pytest.approx(whole, abs=CLOSE)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize(("effective", "low"), [(False, 4), (True, 1)])
def test_every_sentence_is_as_sacrebleu_has_it(smoothing, effective, low):
    """Percent there; without `effective_order` sentences shorter than an order score 0 there, so they are left out."""
    candidates, references = texts(2, low=low)
    judge = BLEU(tokenize="none", smooth_method=smoothing, effective_order=effective)
    words = [(" ".join(map(str, c)), [" ".join(map(str, row)) for row in r]) for c, r in zip(candidates, references)]
    due = [judge.sentence_score(candidate, rows).score / 100 for candidate, rows in words]
    found = sentence_bleu(*tensors(candidates, references), smoothing=smoothing, effective_order=effective)
    assert found.tolist() == pytest.approx(due, abs=CLOSE)
    if not effective:
        whole = judge.corpus_score([c for c, _ in words], [list(rows) for rows in zip(*(r for _, r in words))]).score / 100
        assert corpus_bleu(*tensors(candidates, references), smoothing=smoothing) == pytest.approx(whole, abs=CLOSE)


def test_a_tie_in_length_takes_the_shorter_and_the_release_the_first():
    candidate, references = [1, 2, 3, 4], [[1, 2, 3, 4, 5, 6], [1, 2]]
    ours = sentence_bleu(*tensors([candidate], [references]), max_n=1)
    assert ours.item() == pytest.approx(nltk_sentence(references, candidate, (1,)), abs=CLOSE) == 1
    released = sentence_bleu(*tensors([candidate], [references]), max_n=1, released=True)
    assert released.item() == pytest.approx(math.exp(1 - 6 / 4))
    assert sentence_bleu(*tensors([candidate], [references[::-1]]), max_n=1, released=True).item() == 1


@pytest.mark.parametrize(("smoothing", "due"), [("exp", 1e-3), ("floor", 0.1**0.25), ("add-k", 1.0), ("none", 0.0)])
def test_an_identical_pair_that_is_too_short_is_no_perfect_one_as_released(smoothing, due):
    pair = tensors([[5, 6, 7]], [[[5, 6, 7]]])
    assert sentence_bleu(*pair, smoothing=smoothing, released=True).item() == pytest.approx(due, abs=CLOSE)
    assert sentence_bleu(*pair, smoothing=smoothing, effective_order=True).item() == pytest.approx(1)


def test_identical_pairs_score_one_and_empty_ones_nothing():
    candidates, _ = texts(3, low=4)
    for smoothing in SMOOTHINGS:
        for released in (False, True):
            found = sentence_bleu(*tensors(candidates, [[row] for row in candidates]), smoothing=smoothing, released=released)
            assert found.tolist() == pytest.approx([1.0] * len(candidates))
            empty = sentence_bleu(torch.full((2, 3), PAD), torch.ones(2, 1, 3, dtype=torch.int64), released=released)
            assert empty.tolist() == [0, 0]


def test_batch_order_and_padding_are_nobodys_business():
    candidates, references = texts(4)
    ids, inner = tensors(candidates, references)
    scores, turn = sentence_bleu(ids, inner), torch.randperm(len(ids))
    assert torch.equal(sentence_bleu(ids[turn], inner[turn]), scores[turn])
    assert torch.equal(sentence_bleu(*tensors(candidates, references, more=9)), scores)
    for name in (0, 77):  # any id may stand for padding
        moved = [tensor.add(1).masked_fill(tensor == PAD, name) for tensor in (ids, inner)]
        assert torch.equal(sentence_bleu(*moved, pad=name), scores)
    left = torch.stack([torch.cat([row[row == PAD], row[row != PAD]]) for row in ids])
    assert torch.equal(sentence_bleu(left, inner), scores)


def test_a_batch_narrower_than_the_order_has_no_windows_of_it():
    """Where unfolding raises."""
    counts = ngram_counts(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[[1, 2]], [[4, 3]]]))
    assert counts.windows.tolist() == [[2, 1, 0, 0]] * 2 and counts.matches.tolist() == [[2, 1, 0, 0], [2, 0, 0, 0]]


def test_windows_that_touch_padding_are_none():
    counts = ngram_counts(torch.tensor([[1, 2, PAD, 3, 4]]), torch.tensor([[[1, 2, 3, 4]]]))
    assert counts.windows.tolist() == [[4, 2, 0, 0]] and counts.matches.tolist() == [[4, 2, 0, 0]]


def test_a_table_shared_by_the_batch_would_be_caught():
    """Counts belong to a sentence: a reference of another one does not help, nor do two references together."""
    ids, inner = torch.tensor([[1, 1, 1], [2, 2, 2]]), torch.tensor([[[1, 2, 3], [3, 3, 1]], [[1, 1, 1], [1, 1, 1]]])
    counts = ngram_counts(ids, inner, max_n=2)
    assert counts.matches.tolist() == [[1, 0], [0, 0]]  # clipped by the most in ONE reference, not by both together


def test_ids_of_any_size():
    candidates, references = texts(5, vocabulary=5)
    names = torch.tensor([2**62, 7, 2**40 + 1, 0, 2**40])
    ids, inner = tensors(candidates, references)
    scores = sentence_bleu(ids, inner)
    large = [torch.where(tensor == PAD, PAD, names[tensor.clamp(min=0)]) for tensor in (ids, inner)]
    assert torch.equal(sentence_bleu(*large), scores)


def test_bad_input_is_refused_in_a_sentence():
    ids, inner = torch.ones(2, 5, dtype=torch.int64), torch.ones(2, 1, 5, dtype=torch.int64)
    for wrong, choices in (
        ("shapes are", {"references": inner[0]}),
        ("shapes are", {"references": inner[:, :0]}),
        ("One of the tokens is -7", {"references": inner - 8}),
        ("longest n-gram is 5", {"max_n": 5}),
        ("smoothing is 'half'", {"smoothing": "half"}),
        ("weights are", {"weights": (1.0,)}),
    ):
        with pytest.raises(KnobError, match=wrong):
            sentence_bleu(ids, **{"references": inner} | choices)
    with pytest.raises(KnobError, match="80,000 places: give at most 32,767"):
        sentence_bleu(torch.arange(40_000)[None], torch.ones(1, 1, 1, dtype=torch.int64))
