"""The table of forwards: what is fed is what is said, the arithmetic is the formula, the study's frames grow."""

from __future__ import annotations

import pytest
import tiny_models
from tiny_models import some_tokens

from labkit.lm import Session
from labkit.speculative import latency
from labkit.speculative.latency import Latency, measured, sizes, timed

TABLE = Latency((1, 4, 8), (0.002, 0.005, 0.007), (0.001, 0.001, 0.003))


@pytest.fixture
def session():
    pair = tiny_models.letters_pair("llama, grouped, tied", 64)
    return Session(pair.target, some_tokens(9), draft=Session(pair.draft, some_tokens(9)), memory=pair.memory)


def test_between_sizes_and_beyond_them_lie_straight_lines():
    assert [TABLE.target_at(n) for n in (1, 2.5, 4, 6, 8, 12)] == pytest.approx([0.002, 0.0035, 0.005, 0.006, 0.007, 0.009])
    assert TABLE.draft_at(6) == pytest.approx(0.002)
    assert Latency((1, 2), (1.0, 2.0), ()).draft_at(5) == 0.0


def test_speedup_is_the_formula():
    assert TABLE.speedup(1, 1) == 1.0
    assert TABLE.speedup(3, 4, 4 * 0.001) == pytest.approx(3 * 0.002 / (0.005 + 0.004))


def test_sizes_are_powers_of_two_up_to_the_most():
    assert sizes(16) == [1, 2, 4, 8, 16] and sizes(20) == [1, 2, 4, 8, 16, 20]


def test_every_timed_forward_feeds_what_it_says(session):
    assert session.logits.shape == (64,)
    for tokens in (1, 5, 16):
        before = session.cost()
        assert len(timed(session, tokens, 3)) == 3
        after = session.cost()
        assert after.target_forwards - before.target_forwards == 3 + (tokens > 1)  # the prompt's end is known only at first
        assert after.target_tokens - before.target_tokens == 3 * tokens + (tokens > 1)
        assert session.ids == some_tokens(9)


def test_the_table_is_measured_once_and_costs_the_session_nothing(session, monkeypatch):
    monkeypatch.setattr(latency, "MOST", 8)
    table = measured(session)
    assert table.tokens == (1, 2, 4, 8) and min(*table.target, *table.draft) > 0
    assert session.cost().target_forwards == session.cost().draft_forwards == 0
    assert measured(session) is table
    session.push(*some_tokens(3))
    assert measured(session) is table, "nine tokens or twelve are much the same"
    session.push(*some_tokens(9))
    assert measured(session) is not table
    session.draft = None
    session.push(*some_tokens(40))
    assert measured(session).draft == ()


def test_the_studys_frames_grow(shipped32, traced):
    trace = traced(shipped32, "latency", prompt="def read(path):\n", knobs={"most": 16, "repeats": 3})
    notes = [step.notes for step in trace.steps]
    assert [len(note["forwards"]) for note in notes[:5]] == [1, 2, 3, 4, 5]
    assert [one["tokens"] for one in notes[-1]["forwards"]] == [1, 2, 4, 8, 16]
    assert all(one[role] == sorted(one[role]) for one in notes[-1]["forwards"] for role in ("target_ms", "draft_ms"))
    assert [note["done"] for note in notes] == sorted(note["done"] for note in notes)
    assert notes[-1]["done"] <= notes[-1]["of"]
    assert trace.ids == [] and trace.closing.reason == "done"
    spots = {one["name"]: one for one in notes[-1]["methods"]}
    assert {"chain", "lookup", "token-recycling"} <= set(spots)
    assert spots["chain"]["fed"] == pytest.approx(5) and spots["chain"]["draft_ms"] > 0  # four drafts and the root
    assert spots["lookup"]["draft_ms"] == 0
    table = Latency(*zip(*((one["tokens"], one["target_ms"][1], one["draft_ms"][1]) for one in notes[-1]["forwards"])))
    for one in spots.values():
        assert one["predicted"] == pytest.approx(table.speedup(one["tokens"], one["fed"], one["draft_ms"]))
    assert trace.cost.target_forwards > 15, "its forwards are counted"
