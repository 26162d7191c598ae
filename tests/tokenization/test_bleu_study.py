"""The study of TensorBLEU: its tiles add up to the counts, its loop counts the same, its pairs are what model and file say."""

from __future__ import annotations

import pytest
import torch

from labkit.lm import Session
from labkit.prompts import heldout
from labkit.run import run
from labkit.tokenization.bleu_study import counted_in_python, hits
from labkit.tokenization.tensor_bleu import ngram_counts, sentence_bleu
from labkit.trace import Request, Step

KNOBS = {"texts": 2, "tokens": 10, "batch": 8}


def frames(pair, **knobs):
    asked = Request(method="tensorbleu", prompt="x", knobs=KNOBS | knobs)
    return [event for event in run(pair, asked) if isinstance(event, Step)]


def test_the_loop_counts_the_same():
    rng = torch.Generator().manual_seed(0)
    ids, inner = torch.randint(5, (20, 12), generator=rng), torch.randint(5, (20, 3, 12), generator=rng)
    for one, two in zip(ngram_counts(ids, inner), counted_in_python(ids.tolist(), inner.tolist(), 4)):
        assert torch.equal(one, two)


def test_hits_are_clipped():
    assert hits([1, 1, 1, 2], [1, 3, 1], 1) == [True, True, False, False]
    assert hits([1, 2, 3], [2, 3, 1, 2], 2) == [True, True] and hits([1], [1], 2) == []


@pytest.mark.parametrize("smoothing", ["floor", "none"])
def test_a_pair_is_what_the_model_writes_and_the_file_says(shipped32, smoothing):
    steps = frames(shipped32, smoothing=smoothing)
    assert [step.notes["done"] for step in steps] == [1, 2, 3, 4, 5] and {step.notes["of"] for step in steps} == {5}
    ids = next(ids for ids in map(shipped32.vocabulary.encode, heldout(20)) if len(ids) >= 20)
    first = steps[0].notes
    session, said = Session(shipped32.target, ids[:-10]), []
    for _ in range(10):
        said.append(int(session.logits.argmax()))
        session.push(said[-1])
    assert first["candidate"] == said and first["reference"] == ids[-10:] and first["tokens"] == [said, ids[-10:]]
    for notes in (first, steps[1].notes):
        assert [sum(row) for row in notes["hits"]] == [sum(row) for row in notes["found"]] == notes["matches"]
        assert [len(row) for row in notes["hits"]] == notes["windows"] == [10, 9, 8, 7]
        pair = torch.tensor([notes["candidate"]]), torch.tensor([[notes["reference"]]])
        assert notes["score"] == notes["scores"][-1] == sentence_bleu(*pair, smoothing=smoothing).item()


def test_every_batch_is_counted_alike_and_timed(shipped32):
    times = frames(shipped32, references=3)[-1].notes["times"]
    assert [one["sentences"] for one in times] == [1, 4, 8]
    assert all(one["equal"] and one["tensors"] > 0 and one["python"] > 0 for one in times)


def test_only_the_longest_order_may_count(shipped32):
    for max_n in (1, 2):
        notes = frames(shipped32, weights="longest only", max_n=max_n, smoothing="none")[0].notes
        assert notes["score"] == pytest.approx(notes["matches"][-1] / notes["windows"][-1])
