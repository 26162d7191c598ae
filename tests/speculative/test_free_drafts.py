"""The study of drafts from nothing: it counts what single runs count, and says what learning brings."""

from __future__ import annotations

import pytest
import torch

from labkit.prompts import heldout
from labkit.run import run
from labkit.speculative import free_drafts
from labkit.speculative.free_drafts import CODE, CONTENDERS, FIXED, LEARNS, ODD, odd_text
from labkit.trace import Closing, Request, Step


def frames(pair, temperature=0.0, seed=0, **knobs) -> list[Step]:
    asked = Request(method="free-drafts", prompt="x", temperature=temperature, seed=seed, knobs=knobs)
    events = list(run(pair, asked))
    assert isinstance(events[-1], Closing) and events[-1].reason == "done"
    return [event for event in events if isinstance(event, Step)]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_it_counts_what_single_runs_count(temperature, quick64, traced):
    steps = frames(quick64, temperature, seed=4, prompts=2, length=16)
    assert [step.notes["done"] for step in steps] == list(range(1, 21)) and steps[-1].notes["of"] == 20
    assert [sum(len(one["runs"]) for one in step.notes["results"]) for step in steps] == list(range(1, 21)), "it grows"
    seed = int(torch.randint(2**31, (), generator=torch.Generator().manual_seed(4)))
    texts = {CODE: heldout(2), ODD: [odd_text(seed), odd_text(seed + 1)]}
    calls = 0
    for result in steps[-1].notes["results"]:
        method, knobs = CONTENDERS[result["name"]]
        for number, (tokens, forwards, rounds, hits, nodes, seconds) in enumerate(result["runs"]):
            ids = quick64.vocabulary.encode(texts[result["text"]][number])
            more = {"temperature": temperature, "seed": seed + number, "max_new_tokens": 16}
            trace = traced(quick64, method.name, ids=ids, knobs=knobs, **more)
            assert rounds == len(trace.steps) and forwards == trace.cost.target_forwards
            assert hits == sum(bool(step.tree.path) for step in trace.steps)
            assert nodes == sum(len(step.tree.tokens) for step in trace.steps)
            assert tokens >= len(trace.ids) and seconds > 0  # what the last step wrote beyond the end was cut off there
            calls += forwards
    assert calls == sum(step.cost.target_forwards for step in steps)


def test_learning_helps_most_where_the_corpus_does_not(shipped32, monkeypatch):
    """The paper's direction, at temperature 0; of the contenders only these two are needed."""
    monkeypatch.setattr(free_drafts, "CONTENDERS", {name: CONTENDERS[name] for name in (FIXED, LEARNS)})
    results = frames(shipped32, prompts=4)[-1].notes["results"]
    of = {(one["name"], one["text"]): sum(run[0] for run in one["runs"]) / sum(run[1] for run in one["runs"]) for one in results}
    gains = [of[LEARNS, text] / of[FIXED, text] for text in (CODE, ODD)]
    assert gains[0] > 1.05 and gains[1] > 1.3 * gains[0]


def test_odd_texts_are_odd(shipped32):
    """The counted table knows few of their pairs; the same seed gives the same text."""
    from labkit.lm import Session
    from labkit.speculative.trigrams import counted

    table = counted(Session(shipped32.target, [70], memory={}))

    def likeliest(text: str) -> float:
        ids = shipped32.vocabulary.encode(text)
        return sum(w in table.row(u, v)[0][:1] for u, v, w in zip(ids, ids[1:], ids[2:])) / (len(ids) - 2)

    assert odd_text(3) == odd_text(3) != odd_text(4)
    odd, code = ([likeliest(text) for text in texts] for texts in (map(odd_text, range(8)), heldout(8)))
    assert max(odd) < min(code) and sum(odd) < 0.4 * sum(code)
