"""The study of truncation: its sums against a loop, and its texts against laws that leave no choice."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
import torch

from labkit.law import Law, entropy
from labkit.lm import Session
from labkit.prompts import heldout
from labkit.run import run
from labkit.sampling.top_k import TopK
from labkit.sampling.truncations import EDGES, PLACES, TEMPERATURES, Kept, Truncations, variety, write
from labkit.trace import Request, Step
from labkit.views.loss_and_variety import at_variety

KNOBS = {"texts": 2, "samples": 2, "tokens": 8}


def frames(pair, temperature: float = 1.0, seed: int = 1, **knobs) -> list[dict]:
    asked = Request(method="truncations", prompt="x", temperature=temperature, knobs=KNOBS | knobs, seed=seed)
    return [event.notes for event in run(pair, asked) if isinstance(event, Step)]


def test_sizes_and_masses_are_those_of_a_loop():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 300, generator=rng, dtype=torch.float64) * torch.linspace(0.2, 9, 40)[:, None]
    laws = logits.softmax(-1)
    cuts = Truncations().cuts()
    kept = Kept(cuts)
    nats = entropy(laws)
    kept.add(laws[:15], nats[:15])
    kept.add(laws[15:], nats[15:])
    notes = kept.notes()
    classes = [sum(entropy(law).item() >= edge for edge in EDGES) for law in laws]
    assert sum(notes["counts"]) == 40 and len(notes["counts"]) == len(set(classes)) > 4
    for place, one in enumerate(sorted(set(classes))):
        mine = [law for law, its in zip(laws, classes) if its == one]
        assert notes["counts"][place] == len(mine)
        assert notes["entropy"][place] == pytest.approx(fmean(entropy(law).item() for law in mine))
        for sampler, cut in zip(notes["samplers"], cuts.values()):
            stays = [cut(law.log()) > -math.inf for law in mine]
            assert sampler["kept"][place] == pytest.approx(math.exp(fmean(math.log(some.sum().item()) for some in stays)))
            lost = [law[~some].sum().item() for law, some in zip(mine, stays)]
            assert sampler["lost"][place] == pytest.approx(fmean(lost), abs=1e-9)


def test_progress_counts_and_the_same_seed(shipped32):
    found = frames(shipped32)
    assert [(one["done"], one["of"]) for one in found] == [(done, 8) for done in range(1, 9)]
    ids = [shipped32.vocabulary.encode(text)[:PLACES] for text in heldout(2)]
    assert sum(found[0]["counts"]) == len(ids[0])
    assert sum(found[-1]["counts"]) == sum(map(len, ids))
    assert found[0]["written"] == [] and {one["texts"] for one in found[-1]["written"]} == {2}
    assert len(found[-1]["written"]) == 4 * len(TEMPERATURES)
    assert frames(shipped32)[-1] == found[-1]
    assert frames(shipped32, seed=2)[-1]["written"] != found[-1]["written"]


def test_heat_lets_more_in_and_at_zero_one_token_is_left(shipped32):
    cold, usual, hot = (frames(shipped32, temperature, texts=1)[0] for temperature in (0.0, 1.0, 2.0))
    assert all(set(one["kept"]) == {1.0} and set(one["lost"]) == {0.0} for one in cold["samplers"])

    def top_p(notes):
        sizes = next(one["kept"] for one in notes["samplers"] if one["name"].startswith("Top-p"))
        return sum(count * math.log(size) for count, size in zip(notes["counts"], sizes))

    assert top_p(usual) < top_p(hot)


def test_one_tree_of_samples_is_one_sample_after_another(quick64):
    """Where one token is left, every branch writes the greedy text; its loss is that text's, token by token."""
    ids = quick64.vocabulary.encode("class Queue:\n    def __init__(self):\n        ")
    plain = Session(quick64.target, ids)
    text, spent = [], 0.0
    for _ in range(6):
        logs = plain.logits.log_softmax(-1)
        text.append(int(logs.argmax()))
        spent -= logs[text[-1]].item()
        plain.push(text[-1])
    found = write(Session(quick64.target, ids), [Law(1.5, (TopK(1),)), Law(0.0)], 3, 6, torch.Generator().manual_seed(0))
    for loss, varied in found:
        assert loss == pytest.approx(spent / 6, abs=1e-9)
        assert varied == pytest.approx(variety([text] * 3))


def test_samples_have_the_law(quick64):
    """First and second tokens of many branches: loss of both as expected under the law they are drawn from."""
    session = Session(quick64.target, quick64.vocabulary.encode("def read(path):\n    "))
    law = Law(1.0, (TopK(3),))
    first = session.logits
    p = law(first)
    due = -(p * first.log_softmax(-1)).nan_to_num(0.0).sum().item()
    for token in p.nonzero().flatten().tolist():
        after = session.fork()[0]
        after.push(token)
        q = law(after.logits)
        due -= (p[token] * (q * after.logits.log_softmax(-1)).nan_to_num(0.0).sum()).item()
    ((loss, _),) = write(session, [law], 600, 2, torch.Generator().manual_seed(3))
    assert loss == pytest.approx(due / 2, abs=0.1)


def test_variety():
    assert variety([[1, 2, 3, 4], [1, 2, 3, 5]]) == 3 / 4  # 123, 234, 123, 235
    assert variety([[1, 1, 1, 1]]) == 1 / 2
    assert variety([[1, 2]]) == 0.0


def test_hot_texts_keep_their_loss_under_top_h(shipped32):
    """The paper's direction, at equal settings: at temperature 2 Top-H's texts are far likelier than top-p's."""
    written = {(one["name"], one["temperature"]): one for one in frames(shipped32, texts=8, samples=4, tokens=24)[-1]["written"]}
    assert written["Top-H 0.4", 2.0]["loss"] < 0.6 * written["Top-p 0.9", 2.0]["loss"]
    assert written["Top-p 0.9", 2.0]["loss"] < written["no cut", 2.0]["loss"]
    table = [(name, heat, 8, one["loss"], one["variety"]) for (name, heat), one in written.items()]
    mine = written["Top-H 0.4", 1.5]
    assert mine["loss"] < at_variety(table, "Top-p 0.9", mine["variety"]), "at equal variety too"
    assert written["Top-H 0.4", 1.0]["variety"] < written["Top-H 0.4", 2.0]["variety"]
