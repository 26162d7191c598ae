"""The tri-gram table: counted, pruned and measured as by hand; what is saved is what is read."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labkit import parts
from labkit.speculative.trigrams import LEFT, NOTHING, PART, WIDTH, Counted
from labkit.train import ngrams

VOCABULARY = 82


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    """Text in which the next token hangs on the last two, with reserved tokens strewn in."""
    chance = np.random.default_rng(0)
    text = [70, 71]
    for _ in range(30_000):
        even = chance.integers(64, VOCABULARY)
        text.append(int(chance.choice([even, even, 64 + (text[-1] * 3 + text[-2]) % 17])))
        if chance.random() < 0.02:
            text.append(int(chance.integers(0, 64)))
    return np.array(text, dtype=np.uint16)


def by_hand(ids, order: int) -> dict[tuple, Counter]:
    found: dict[tuple, Counter] = defaultdict(Counter)
    for start in range(len(ids) - order + 1):
        gram = tuple(ids[start : start + order].tolist())
        if min(gram) >= 64:
            found[gram[:-1]][gram[-1]] += 1
    return found


@pytest.mark.parametrize("order", [2, 3])
def test_counts_are_those_by_hand(ids, order):
    found, due = ngrams.count(ids, order, VOCABULARY), by_hand(ids, order)
    rows: dict[tuple, list] = defaultdict(list)
    for context, token, count, total in zip(*(column.tolist() for column in found)):
        key = (context,) if order == 2 else divmod(context, VOCABULARY)
        assert due[key][token] == count >= ngrams.RAREST and due[key].total() == total
        rows[key].append(count)
    for key, counts in due.items():
        assert rows[key] == sorted((n for n in counts.values() if n >= ngrams.RAREST), reverse=True)[:WIDTH]
    assert any(len(row) == WIDTH for row in rows.values()) and (np.diff(found.contexts) >= 0).all()


def test_what_is_pruned_was_seen_least(ids):
    grams = ngrams.count(ids, 3, VOCABULARY)
    for budget in (1500, 5000):
        kept, least = ngrams.prune(grams, budget)
        assert (kept.counts >= least).all() and len(kept.counts) == (grams.counts >= least).sum()
        sizes = [4 * (grams.counts >= n).sum() + 5 * len(set(grams.contexts[grams.counts >= n])) for n in (least, least - 1)]
        assert sizes[0] <= budget < sizes[1], "a count less would not fit"
    assert len(ngrams.prune(grams, 3)[0].tokens) == 0


def test_the_table_reads_as_it_was_counted(ids):
    pairs, singles = ngrams.prune(ngrams.count(ids, 3, VOCABULARY), 5000)[0], ngrams.count(ids, 2, VOCABULARY)
    table = Counted(ngrams.table(pairs, singles, VOCABULARY))
    due: dict[tuple, tuple] = defaultdict(lambda: ([], []))
    for context, token, count, total in zip(*(column.tolist() for column in pairs)):
        tokens, chances = due[divmod(context, VOCABULARY)]
        tokens.append(token)
        chances.append(pytest.approx(count / total, rel=0.01))
    one = by_hand(ids, 2)
    behind = 0
    for u in range(60, VOCABULARY):
        for v in range(60, VOCABULARY):
            tokens, chances = table.row(u, v)
            if (u, v) in due:
                assert (tokens, chances) == due[u, v]
            elif v < 64:
                assert (tokens, chances) == NOTHING
            else:
                behind += 1
                best = [token for token, count in one[(v,)].most_common() if count >= ngrams.RAREST]
                assert len(tokens) == min(WIDTH, len(best)) and tokens[0] in best
                assert chances[0] == pytest.approx(one[(v,)].most_common(1)[0][1] / one[(v,)].total(), rel=0.01)
    assert behind > 50 and len(due) > 50


def test_figures_are_those_by_hand(ids):
    pairs, singles = ngrams.prune(ngrams.count(ids, 3, VOCABULARY), 5000)[0], ngrams.count(ids, 2, VOCABULARY)
    held_out = ids[:4000]
    found = ngrams.measure(pairs, singles, held_out, VOCABULARY)
    rows = {"pairs": defaultdict(dict), "singles": defaultdict(dict)}
    for name, grams in (("pairs", pairs), ("singles", singles)):
        for context, token, count, total in zip(*(column.tolist() for column in grams)):
            rows[name][context][token] = count / total
    known, figures = [], {"pairs": [], "singles": []}
    for u, v, w in zip(*(held_out[i : len(held_out) - 2 + i].tolist() for i in range(3))):
        if min(u, v, w) < 64:
            continue
        pair = u * VOCABULARY + v
        known.append(pair in rows["pairs"])
        for name in figures:
            row = rows["pairs"][pair] if name == "pairs" and known[-1] else rows["singles"][v]
            left = max(1 - sum(row.values()), LEFT)
            law = {token: left / VOCABULARY for token in range(VOCABULARY)}
            for token, chance in row.items():
                law[token] += chance * (1 - left) / sum(row.values())
            spread = -sum(p * math.log(p) for p in law.values())
            figures[name].append((w in list(row)[:1], w in list(row)[:8], -math.log(law[w]), spread))
    assert found["places"] == len(known) and found["known"] == pytest.approx(sum(known) / len(known))
    for name, of in figures.items():
        assert list(found[name].values()) == pytest.approx([sum(column) / len(of) for column in zip(*of)])
    assert found["pairs"]["top_1"] > found["singles"]["top_1"] and found["pairs"]["loss"] < found["singles"]["loss"]


def test_from_text_to_file(token_set, tmp_path, monkeypatch):
    often = dataclasses.replace(token_set, train=np.tile(token_set.train, 5))
    monkeypatch.setattr(ngrams, "load_tokens", lambda tokenizer, seed: often)
    said = []
    file = ngrams.train_ngrams(0.3, folder=tmp_path, report=said.append)
    figures = json.loads((tmp_path / f"{PART}.json").read_text())
    part = parts.load(PART, SimpleNamespace(name="lab-draft", device=torch.device("cpu")), tmp_path)
    assert figures["bytes"] <= 0.3e6 and figures["bytes"] < file.stat().st_size < figures["bytes"] + 4000
    assert len(part["pairs"]) == figures["pairs"] == len(part["sizes"]) and part["sizes"].sum() == figures["entries"]
    assert Counted(part).vocabulary == 4096 and figures["summary"] == said[-1]
    with pytest.raises(ValueError, match="give at least 0.5"):
        ngrams.train_ngrams(0.1, folder=tmp_path, report=said.append)
