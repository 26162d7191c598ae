"""The n-gram table of superposed drafts: counted, pruned, laid out and read as by hand."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labkit import parts
from labkit.sampling.ngrams import LONGEST, PART, NGrams
from labkit.sampling.superposed import WEIGHTS
from labkit.train import ngrams, ngrams_super
from labkit.train.ngrams_super import prune, table

VOCABULARY = 76
BUDGET = 2500


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    """Phrases of seven words, one word in ten another, with reserved tokens strewn in."""
    chance = np.random.default_rng(0)
    phrases = chance.integers(64, VOCABULARY, (6, 7))
    text = phrases[chance.integers(0, 6, 4000)].ravel()
    text = np.where(chance.random(len(text)) < 0.1, chance.integers(64, VOCABULARY, len(text)), text)
    return np.where(chance.random(len(text)) < 0.01, 3, text).astype(np.uint16)


@pytest.fixture(scope="module")
def orders(ids) -> list[ngrams.Counts]:
    return [ngrams.count(ids, order, VOCABULARY, width=VOCABULARY) for order in range(2, LONGEST + 2)]


def by_hand(ids, order: int) -> dict[tuple, Counter]:
    found: dict[tuple, Counter] = defaultdict(Counter)
    text = ids.tolist()
    for start in range(len(text) - order + 1):
        gram = tuple(text[start : start + order])
        if min(gram) >= 64:
            found[gram[:-1]][gram[-1]] += 1
    return found


def tuple_of(context: int, length: int) -> tuple[int, ...]:
    found = []
    for _ in range(length):
        context, token = divmod(context, VOCABULARY)
        found.insert(0, token)
    return tuple(found)


def test_long_runs_are_counted_as_by_hand(ids, orders):
    for length, grams in enumerate(orders, 1):
        due = {
            (context, token): (count, followers.total())
            for context, followers in by_hand(ids, length + 1).items()
            for token, count in followers.items()
            if count >= ngrams.RAREST
        }
        rows = zip(*(column.tolist() for column in grams))
        assert {(tuple_of(c, length), token): (count, total) for c, token, count, total in rows} == due


def test_six_tokens_of_the_largest_vocabulary_fit_into_a_number():
    """A context of five is 60 bits; with the sixth token it would be 72."""
    phrase = np.array([4095, 4094, 4093, 4092, 4091, 4090] * 5, dtype=np.uint16)
    grams = ngrams.count(phrase, 6, 4096, width=4096)
    assert len(grams.counts) == 6 and (grams.contexts >= 0).all() and set(grams.counts.tolist()) == {4, 5}
    assert grams.tokens[np.argmax(grams.contexts)] == 4090


def test_what_is_kept_fits_and_no_context_lacks_its_shorter_ones(orders):
    kept, least = prune(orders, BUDGET)
    tensors = table(kept, VOCABULARY)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert least > ngrams_super.BIGRAMS_SEEN and size <= BUDGET + 2 * VOCABULARY, "the sizes of single tokens are not counted"
    assert ngrams_super._bytes(orders[1:], least - 1) + 4 * len(kept[0].tokens) > BUDGET, "a count less would not fit"
    for length in range(2, LONGEST + 1):
        shorter = set(kept[length - 2].contexts.tolist())
        longer = {context % VOCABULARY ** (length - 1) for context in kept[length - 1].contexts.tolist()}
        assert longer and longer <= shorter
    with pytest.raises(ValueError, match="give at least 1"):
        prune(orders, 100)


def test_the_table_reads_as_it_was_counted(ids, orders):
    kept, _ = prune(orders, BUDGET)
    grams = NGrams({name: t.float() if t.is_floating_point() else t for name, t in table(kept, VOCABULARY).items()})
    due = [
        {(tuple_of(c, length), token): count / total for c, token, count, total in zip(*(column.tolist() for column in found))}
        for length, found in enumerate(kept, 1)
    ]
    windows = np.lib.stride_tricks.sliding_window_view(ids.astype(np.int64), LONGEST)[:300].tolist()
    windows += [[-1] * (LONGEST - n) + windows[0][:n] for n in range(1, LONGEST)]
    windows += [[-1] * (LONGEST - 1) + [token] for token in range(64, VOCABULARY)]  # -1 must not pass for the last token
    mixed = grams.mixed(torch.tensor(windows), WEIGHTS)
    hits = Counter()
    for window, mass in zip(windows, mixed.tolist()):
        for token in range(VOCABULARY):
            chances = [due[m - 1].get((tuple(window[-m:]), token), 0.0) for m in range(1, LONGEST + 1)]
            hits.update(m for m, chance in enumerate(chances, 1) if chance)
            assert mass[token] == pytest.approx(sum(w * chance for w, chance in zip(WEIGHTS, chances)), rel=0.01, abs=1e-9)
    assert all(hits[m] > 20 for m in range(1, LONGEST + 1)), "every length was met"
    contexts, short = torch.tensor(windows), WEIGHTS[:2]
    assert torch.equal(grams.mixed(contexts, short), grams.mixed(contexts, (*short, 0, 0, 0)))


def test_figures_are_those_by_hand(ids, orders):
    kept, _ = prune(orders, BUDGET)
    grams = NGrams({name: t.float() if t.is_floating_point() else t for name, t in table(kept, VOCABULARY).items()})
    held_out = ids[:3000]
    found = ngrams_super.measure(grams, held_out)
    places, top, possible, known = 0, 0, 0, 0
    for window in np.lib.stride_tricks.sliding_window_view(held_out.astype(np.int64), LONGEST + 1).tolist():
        if min(window) < 64:
            continue
        places += 1
        mass = grams.mixed(torch.tensor([window[:-1]]), WEIGHTS)[0]
        top += bool(mass[window[-1]] == mass.max() > 0)
        possible += bool(mass[window[-1]] > 0)
        known += bool(grams.mixed(torch.tensor([window[:-1]]), (0, 0, 1.0)).any())
    assert (found["places"], found["top_1"], found["possible"]) == (places, top / places, possible / places)
    assert found["known"][2] == known / places and 0 < found["known"][4] < found["known"][0] <= 1


def test_from_text_to_file(token_set, tmp_path, monkeypatch):
    often = dataclasses.replace(token_set, train=np.tile(token_set.train[:500], 60), held_out=token_set.train[:2000])
    monkeypatch.setattr(ngrams_super, "load_tokens", lambda tokenizer, seed: often)
    said = []
    file = ngrams_super.train_ngrams_super(0.1, folder=tmp_path, report=said.append)
    figures = json.loads((tmp_path / f"{PART}.json").read_text())
    part = parts.load(PART, SimpleNamespace(name="lab-draft", device=torch.device("cpu")), tmp_path)
    assert figures["bytes"] < file.stat().st_size < figures["bytes"] + 4000 and figures["summary"] == said[-1]
    assert [len(part[f"tokens_{m}"]) for m in range(1, LONGEST + 1)] == figures["entries"]
    assert NGrams(part).vocabulary == 4096 and figures["held_out"]["top_1"] > 0.2
