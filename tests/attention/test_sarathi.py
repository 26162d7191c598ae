"""P170: chunks change no logit and no token, batches keep to their shape, no work is lost, and the direction of the claims."""

from __future__ import annotations

from collections import Counter, deque

import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st

from labkit.attention.packed import Live, Packed
from labkit.attention.pipeline import Stages, bubbles, pipeline
from labkit.attention.sarathi import (
    POLICIES,
    PREFILL,
    REQUEST,
    SARATHI,
    Asked,
    Scheduler,
    aligned,
    asked,
    priced,
    serve,
)
from labkit.attention.serving import REAL, TABLE, fed
from labkit.attention.serving_table import CHUNKS, DECODES, KEY, PRESETS, SHORT, Roofline, Table, measure
from labkit.errors import KnobError, ModelError
from labkit.ledger import Ledger
from labkit.lm import Session
from labkit.run import run
from labkit.speculative.batch_spec import alone
from labkit.trace import Closing, Request, Step

A6000 = PRESETS["A6000 (model)"]
PROMPT = torch.randint(64, 4096, (45,), generator=torch.Generator().manual_seed(3)).tolist()


@pytest.fixture(scope="module", params=tiny_models.STYLES)
def runner(request):
    return tiny_models.runner(tiny_models.tiny(request.param))


# -- the model ---------------------------------------------------------------------------------------------------------


def in_chunks(runner, size, beside=None):
    """Logits [45, V] of the prompt read in chunks of `size`; `beside` decodes along with every chunk."""
    packed, found = Packed(runner, Ledger()), []
    mine, other = packed.fresh(), packed.fresh()
    if beside:
        packed.feed([(other, beside[:5])])
    for start in range(0, len(PROMPT), size):
        piece = PROMPT[start : start + size]
        rider = [(other, [beside[5 + start // size]])] if beside else []
        found.append(packed.feed([(mine, piece), *rider])[: len(piece)])
    return torch.cat(found)


@pytest.mark.parametrize("size", [1, 2, 7, 16, 44, 45, 64])
def test_a_prompt_in_chunks_is_the_prompt_at_once(runner, size):
    """For every chunk size, with and without a decode beside it, on eight styles of model."""
    once = Session(runner, PROMPT).prompt_logits()
    assert (in_chunks(runner, size) - once).abs().max() < 1e-9
    beside = tiny_models.some_tokens(60, 7)
    assert (in_chunks(runner, size, beside) - once).abs().max() < 1e-9


def test_a_chunk_that_forgets_the_ones_before_it_is_caught(runner):
    """The wrong variant: every chunk in a fresh cache."""
    packed = Packed(runner, Ledger())
    wrong = torch.cat([packed.feed([(packed.fresh(), PROMPT[start : start + 15])]) for start in range(0, 45, 15)])
    assert (wrong - Session(runner, PROMPT).prompt_logits()).abs().max() > 1e-3


@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_writes_what_it_writes_alone(runner, policy):
    prompts = [tiny_models.some_tokens(12, seed) for seed in range(5)]
    session = Session(runner, [1])
    live = Live(session, prompts)
    scheduler = Scheduler(policy, 3, 4, 2, deque(asked(5, 12, 6, 1e-9)))
    turns = list(serve(scheduler, live.spend))
    for row, prompt in zip(live.rows, prompts):
        assert row.new == alone(Session(runner, [1]), prompt, 6, frozenset()).tokens
    assert session.ledger.tokens == 5 * (12 + 6 - 1)
    assert session.ledger.forwards == sum(max(len(reads), 1) for _, _, reads, _ in turns)
    assert not live.caches, "keys and values are let go"


# -- the schedule ------------------------------------------------------------------------------------------------------

LOADS = st.builds(
    dict,
    policy=st.sampled_from(POLICIES),
    size=st.integers(1, 9),
    chunk=st.integers(1, 40),
    tile=st.sampled_from([1, 8, 16]),
    gap=st.floats(0, 0.4),
    spread=st.floats(0, 0.9),
    count=st.integers(1, 12),
    prompt=st.integers(1, 60),
    output=st.integers(1, 20),
)


@given(LOADS)
def test_what_every_schedule_must_hold(load):
    """One chunk a batch at the most, rows within C + B - 1, no work lost or done twice, the device never idle beside work."""
    requests = asked(load["count"], load["prompt"], load["output"], load["gap"], load["spread"])
    lengths = {one.number: (one.prompt, one.output, one.arrival) for one in requests}
    scheduler = Scheduler(load["policy"], load["size"], load["chunk"], load["tile"], deque(requests))
    turns = list(serve(scheduler, priced(A6000)))
    read, wrote, now = Counter(), Counter(), 0.0
    for begin, end, reads, writers in turns:
        assert end > begin >= now
        if begin > now:  # a pause: everyone who had come is done
            assert all(read[n] == p and wrote[n] == d - 1 for n, (p, d, arrival) in lengths.items() if arrival < begin)
        readers, rows = [number for number, _ in reads], sum(rows for _, rows in reads)
        assert len({*readers, *writers}) == len(readers) + len(writers) <= load["size"], "nobody is in it twice"
        if load["policy"] == SARATHI:
            assert len(reads) <= 1, "no batch with two prefill chunks"
            assert rows <= load["chunk"] and (not reads or rows + len(writers) <= load["chunk"] + load["size"] - 1)
        else:
            assert not (reads and writers) and all(rows == lengths[number][0] for number, rows in reads)
        assert all(read[number] == lengths[number][0] for number in writers), "a request is written once it is read"
        read.update(dict(reads))
        wrote.update(writers)
        now = end
    assert all(read[n] == p and wrote[n] == d - 1 for n, (p, d, _) in lengths.items())


def served(policy, gap=0.3):
    """Eight requests of 1,024 + 64 tokens on a device on paper."""
    return list(serve(Scheduler(policy, 8, 256, 128, deque(asked(8, 1024, 64, gap))), priced(A6000)))


def test_nobody_who_writes_waits_for_a_prompt():
    """With SARATHI a request is in every iteration from its first decode to its last; with prefill first it is not."""
    unbroken, longest = {}, {}
    for policy in POLICIES:
        turns = served(policy)
        places = [[place for place, turn in enumerate(turns) if number in turn[3]] for number in range(8)]
        unbroken[policy] = all(one == list(range(one[0], one[-1] + 1)) for one in places)
        longest[policy] = max(turns[b][1] - turns[a][1] for one in places for a, b in zip(one, one[1:]))
    assert unbroken == {REQUEST: True, PREFILL: False, SARATHI: True}
    assert longest[PREFILL] > A6000.seconds([(1024, 0)], []) > 2 * longest[SARATHI]


def test_request_level_lets_nobody_in_until_all_are_done():
    requests = [Asked(number, 0.0, 10, 2 + 5 * number) for number in range(4)]
    turns = list(serve(Scheduler(REQUEST, 2, 4, 1, deque(requests)), priced(A6000)))
    assert [(place, reads) for place, (_, _, reads, _) in enumerate(turns) if reads] == [
        (0, [(0, 10), (1, 10)]),
        (7, [(2, 10), (3, 10)]),  # after the last token of the second, though the first was done long before
    ]


def test_a_chunk_leaves_room_for_its_riders_in_whole_tiles():
    assert aligned(256, 7, 128) == 249 and aligned(256, 0, 128) == 256 and aligned(128, 7, 128) == 121
    assert aligned(64, 7, 128) == 64, "no tile can be filled"
    assert aligned(200, 7, 1) == 200 and aligned(200, 7, 64) == 185
    assert all(0 < aligned(c, d, t) <= c for c in range(1, 300, 7) for d in range(32) for t in (1, 64, 128))


def test_lengths_spread_around_their_mean():
    found = [one.prompt for one in asked(50, 1000, 100, spread=0.5)]
    assert 500 <= min(found) < 560 and 1440 < max(found) <= 1500 and abs(sum(found) / 50 - 1000) < 20
    assert {(one.prompt, one.output, one.arrival) for one in asked(3, 9, 4, 2.0)} == {(9, 4, 0.0), (9, 4, 2.0), (9, 4, 4.0)}


# -- the clocks --------------------------------------------------------------------------------------------------------


def test_the_roofline_is_worked_out_by_hand():
    paper = Roofline(1e12, 1e11, 1e9, parameters=1e8, layers=2, width=10, tile=4)
    assert paper.token_bytes == 80 and paper.most(1000) == 10_000
    assert paper.seconds([], [50] * 3) == pytest.approx(2e8 / 1e11 + 150 * 80 / 1e11)  # weights, then keys and values
    compute = 2 * 1e8 * 1200 / 1e12  # 1,197 + 1 rows fill 300 tiles
    pairs = 1197 * 30 + 1197 * 1198 / 2
    chunk = max(4 * 2 * 10 * pairs / 1e12, 1227 * 80 / 1e11)
    assert paper.seconds([(1197, 30)], [9]) == pytest.approx(compute + chunk + 9 * 80 / 1e11)


def test_decodes_that_ride_cost_a_fraction_of_decodes_alone():
    """The paper's claim: seven decodes beside a chunk of 249 rows; and without whole tiles it is lost."""
    contexts = [1024] * 7
    own, alone_ = A6000.seconds([(249, 0)], []), A6000.seconds([], contexts)
    assert alone_ > 0.8 * own and A6000.seconds([(249, 0)], contexts) - own < alone_ / 5
    assert A6000.seconds([(256, 0)], contexts) - A6000.seconds([(256, 0)], []) > alone_ / 2


def test_the_table_gives_back_what_was_measured_and_straight_lines_between():
    known = tuple(tuple(0.001 * (chunk + 2 * decodes) for decodes in DECODES) for chunk in CHUNKS)
    table = Table(known, tuple(1e-6 * chunk for chunk in CHUNKS), tuple(2e-6 * decodes for decodes in DECODES))
    assert table.seconds([(32, SHORT)], [SHORT] * 4) == pytest.approx(0.040)
    assert table.seconds([(20, SHORT)], []) == pytest.approx(0.020)
    assert table.seconds([(700, SHORT)], [SHORT] * 20) == pytest.approx(0.740), "beyond the largest the line goes on"
    assert table.seconds([(8, SHORT + 100)], []) == pytest.approx(0.008 + 8e-4)
    assert table.seconds([], [SHORT, SHORT + 100]) == pytest.approx(0.004 + 50 * 2 * 2e-6), "their mean context"


def test_the_table_is_measured_once_step_by_step(shipped32, monkeypatch):
    """Sizes are cut down here: what counts is that every cell is a forward of that size, counted nowhere, kept for the next."""
    from labkit.attention import serving_table

    monkeypatch.setattr(serving_table, "CHUNKS", (0, 1, 24))
    monkeypatch.setattr(serving_table, "DECODES", (0, 1, 3))
    session = Session(shipped32.target, [1], memory={})
    steps = list(measure(session))
    assert steps == [(done, 12) for done in range(1, 13)] and session.ledger.forwards == 0
    assert all(one > 0 for row in session.memory[KEY].short for one in row if row[0] or one)
    assert list(measure(session)) == []


def test_a_short_context_is_refused_in_a_sentence():
    runner = tiny_models.runner(tiny_models.tiny("llama, untied"))
    with pytest.raises(ModelError, match="holds 512 tokens, the table needs 1,024: choose another clock"):
        next(measure(Session(runner, [1])))


# -- the studies -------------------------------------------------------------------------------------------------------


def notes_of(pair, method, knobs, **more):
    events = list(run(pair, Request(method=method, prompt="def", knobs=knobs, **more)))
    assert isinstance(events[-1], Closing)
    return [event.notes for event in events if isinstance(event, Step)]


def flat_table():
    """Seconds that nobody measured, where a test is of something else."""
    known = tuple(tuple(1e-3 + 1e-5 * (chunk + decodes) for decodes in DECODES) for chunk in CHUNKS)
    return Table(known, (0.0,) * len(CHUNKS), (0.0,) * len(DECODES))


@pytest.fixture
def tabled(shipped64):
    """The shipped pair in float64 with a table in its memory."""
    before = shipped64.memory.get(KEY)
    shipped64.memory[KEY] = flat_table()
    yield shipped64
    shipped64.memory.pop(KEY) if before is None else shipped64.memory.update({KEY: before})


def test_a_real_run_writes_the_same_texts_under_every_scheduler(tabled):
    knobs = {"clock": REAL, "chunk": 16, "size": 3, "prompt": 32, "ratio": 8, "every": 2, "tile": "1", "count": 4}
    notes = notes_of(tabled, "sarathi", knobs)
    last = notes[-1]
    assert set(last["checked"]) == set(POLICIES)
    assert all(found == [(number, 4, "equal") for number in range(4)] for found in last["checked"].values())
    assert last["done"] == last["of"] and [one["done"] for one in notes] == sorted(one["done"] for one in notes)
    for turns in last["runs"].values():
        assert fed(turns) == 4 * (32 + 4 - 1)


def test_a_real_run_of_too_many_rows_is_refused_in_a_sentence(tabled):
    with pytest.raises(KnobError, match="B x P = 8,192 tokens in one iteration: choose a smaller batch or prompt, 4,096"):
        notes_of(tabled, "sarathi", {"clock": REAL, "prompt": 1024})


def test_a_simulation_shows_the_whole_schedule_moment_by_moment(tabled):
    for clock in (*PRESETS, TABLE):
        notes = notes_of(tabled, "sarathi", {"clock": clock, "count": 3, "prompt": 256})
        assert [one["done"] for one in notes] == list(range(1, 13))
        last = notes[-1]
        assert max(turns[-1][1] for turns in last["runs"].values()) == last["end"] == last["now"]
        assert all(turn[1] <= notes[5]["now"] for turns in notes[5]["runs"].values() for turn in turns)
        assert all(len(row) == 4 for row in last["cost"]) and len(last["cost"]) == 7


def test_a_pipeline_keeps_its_order_and_its_work():
    """No stage holds two micro-batches, none is in two stages, and a request's next one waits for its last."""
    groups = Stages(size=3, prompt=256).groups(SARATHI, 4)
    requests = list(groups[0].waiting)
    work = sum(one.prompt + one.output - 1 for one in requests)
    found = list(pipeline(groups, priced(A6000), 4))
    assert sum(micro.reads + micro.decodes for micro in found) == work
    for before, after in zip(found, found[1:]):
        assert all(b + before.seconds <= a + 1e-12 for b, a in zip(before.enters, after.enters))
    assert all(b >= a + micro.seconds - 1e-12 for micro in found for a, b in zip(micro.enters, micro.enters[1:]))
    assert all(one.written == one.output for one in requests)


def test_equal_batches_leave_fewer_bubbles():
    """The direction of the paper's claim, and none at all in a pipeline of one stage."""
    study = Stages()
    share = {
        (policy, stages): bubbles(list(pipeline(study.groups(policy, stages), priced(A6000), stages)))
        for policy in POLICIES
        for stages in (1, 4)
    }
    assert all(abs(share[policy, 1]) < 1e-9 for policy in POLICIES)
    assert share[SARATHI, 4] < share[REQUEST, 4] / 2 < share[PREFILL, 4] / 2


def test_the_study_of_stages_ends_with_the_stages_asked_for(tabled):
    notes = notes_of(tabled, "sarathi-stages", {"stages": 3, "prompt": 256, "size": 4, "clock": TABLE})
    assert [one["stages"] for one in notes] == [1, 2, 3]
    assert all(len(shares) == 3 for shares in notes[-1]["bubbles"].values())
    assert all(len(enters) == 3 for turns in notes[-1]["runs"].values() for _, _, enters, _ in turns)
