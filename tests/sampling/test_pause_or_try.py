"""The study of pauses and trials: its counts are those of runs made another way."""

from __future__ import annotations

import pytest
import torch

from labkit.lm import Session
from labkit.methods import build_law
from labkit.prompts import heldout
from labkit.run import run
from labkit.sampling.adadec import BY_HAND, AdaDec
from labkit.sampling.pause_or_try import RUN, TAUS, TRIALS, PauseOrTry, Places, Tally
from labkit.trace import Closing, Cost, Request, Setting, Step

KNOBS = {"texts": 2, "places": 3, "tokens": 8}
LAW = {"temperature": 0.8, "transforms": [Setting("top-p", {"p": 0.95})]}


@pytest.fixture(scope="module")
def frames(shipped64):
    events = list(run(shipped64, Request(method="pause-or-try", prompt="x", knobs=KNOBS, **LAW)))
    assert isinstance(events[-1], Closing) and events[-1].reason == "done"
    return [event for event in events if isinstance(event, Step)]


def test_it_counts_up(frames):
    of = 2 * (1 + len(RUN) + len(TRIALS))
    assert [(step.notes["done"], step.notes["of"]) for step in frames] == [(number, of) for number in range(1, of + 1)]
    assert not any(step.emitted for step in frames)
    assert all(step.cost.target_forwards for step in frames)


def test_shares_are_those_of_the_texts(frames, shipped64):
    nats = []
    for text in heldout(2):
        logs = Session(shipped64.target, shipped64.vocabulary.encode(text)).prompt_logits()[:-1].log_softmax(-1)
        nats += (-(logs.exp() * logs).sum(-1)).tolist()
    notes = frames[-1].notes
    assert notes["places"] == len(nats)
    assert [row["paused"] for row in notes["by_tau"]] == pytest.approx([sum(h >= t for h in nats) / len(nats) for t in TAUS])
    for name in ("paused", "looked", "tried"):
        counts = [row[name] for row in notes["by_tau"]]
        assert counts == sorted(counts, reverse=True), "never more at a higher threshold"
    for row in notes["by_tau"]:
        assert max(row["greedy"], row["kept"]) <= row["tried"] <= row["looked"] <= 6
        assert row["kept"] - row["greedy"] == row["won"] - row["lost"]


def test_what_is_right_at_a_place(shipped64, monkeypatch):
    """Every place of a text, decided again by AdaDec's own run behind the text up to there."""
    ids = shipped64.vocabulary.encode(heldout(1)[0])[:40]
    session = Session(shipped64.target, ids)
    session.vocabulary, session.ends = shipped64.vocabulary, shipped64.ends
    found, places = Places(), []
    pause = AdaDec.pause

    def watched(self, session, logs):
        places.append(len(session.ids))
        return pause(self, session, logs)

    monkeypatch.setattr(AdaDec, "pause", watched)
    with torch.inference_mode():
        PauseOrTry(places=40).look(session, found, torch.Generator().manual_seed(0))
    assert places == sorted(places, reverse=True) and len(places) == sum(h >= TAUS[0] for h in found.nats) > 10
    monkeypatch.undo()
    for length, looked in list(zip(places, found.looked))[::3]:
        fresh = Session(shipped64.target, ids[:length])
        fresh.vocabulary, fresh.ends = shipped64.vocabulary, shipped64.ends
        with torch.inference_mode():
            step = next(AdaDec(threshold=BY_HAND, tau=0.0).steps(fresh, torch.Generator()))
        first = [way["tokens"][0] for way in step.notes["branches"]]
        true = ids[length]
        assert looked == (
            pytest.approx(step.beliefs[0].entropy, abs=1e-9),
            first[0] == true,
            step.emitted[0] == true,
            true in first,
        )


def test_runs_are_counted(frames, shipped64, traced):
    """AdaDec's rows, from runs of its own."""
    rows = {(name, value): row for name, value, *row in frames[-1].notes["runs"]}
    assert list(rows) == [("AdaDec", value if value < 9 else None) for value in RUN] + [("CNTP", value) for value in TRIALS]
    for tau in (0.5, 2.0, None):
        cost, nats = Cost(), 0.0
        for text in heldout(2):
            knobs = {"method": "plain"} if tau is None else {"method": "adadec", "knobs": {"threshold": BY_HAND, "tau": tau}}
            trace = traced(shipped64, prompt=text, max_new_tokens=8, **knobs)
            cost += trace.cost
            nats -= sum(belief.logprob for step in trace.steps for belief in step.beliefs)
        assert rows["AdaDec", tau] == [16, cost.target_forwards, pytest.approx(nats)]
    assert rows["CNTP", 1][:2] == [16, 16]
    assert rows["CNTP", 20][0] >= 16


def test_a_tally_counts_only_its_own(shipped64):
    session = Session(shipped64.target, [600, 601, 602], build_law(0.0, []))
    session.vocabulary = shipped64.vocabulary
    tally = Tally()
    with torch.inference_mode():
        session.ledger.forwards = 100  # others counted before
        tally.add(AdaDec(threshold=BY_HAND, tau=99.0), session, 5, torch.Generator())
        tally.add(AdaDec(threshold=BY_HAND, tau=99.0), session.open([600]), 5, torch.Generator())
    assert (tally.tokens, tally.forwards) == (10, 10) and tally.nats > 0


def test_rank_rises_with_entropy(shipped32):
    """What the method rests on: the true token stands further down where the entropy is higher."""
    ranks = {False: [], True: []}
    for text in heldout(20):
        ids = torch.tensor(shipped32.vocabulary.encode(text))
        logs = Session(shipped32.target, ids.tolist()).prompt_logits()[:-1].log_softmax(-1)
        nats = -(logs.exp() * logs).sum(-1)
        rank = (logs > logs.gather(1, ids[1:, None])).sum(1)
        for high in (False, True):
            ranks[high] += rank[(nats >= 2) == high].tolist()
    low, high = (sum(some) / len(some) for some in ranks.values())
    assert high > 3 * low

