"""Batches of unequal rows: every row writes its own greedy text, the rectangle is sound, and the broken variants are caught."""

from __future__ import annotations

import pytest
import torch

from labkit.errors import PromptError
from labkit.lm import Session
from labkit.methods import build_law, build_method
from labkit.run import open_session, run
from labkit.speculative.batch import BY_COLUMN, EQ, EX, UNCROPPED, Batch, Rectangle, Row, one_length, rounds
from labkit.speculative.batch_spec import Own, alone, compare, prompts_of
from labkit.trace import Closing, Request, Step, Trace, loads

BUDGET = 20


def begin(pair) -> Session:
    law = build_law(0.0, [])
    return Session(pair.target, [5], law, Session(pair.draft, [5], law))


@pytest.fixture(scope="module")
def own():
    """`own(pair, prompts, budget, ends)`: what each prompt writes alone; computed once."""
    known = {}

    def write(pair, prompts, budget=BUDGET, ends=None):
        ends = pair.ends if ends is None else ends
        for prompt in prompts:
            key = id(pair), tuple(prompt), budget, ends
            if key not in known:
                known[key] = alone(begin(pair), prompt, budget, ends).tokens
        return [known[id(pair), tuple(prompt), budget, ends] for prompt in prompts]

    return write


def decode(pair, prompts, variant=EQ, size=4, window=3, drafted=5, budget=BUDGET, ends=None):
    """(texts by prompt, all rounds, the batch)."""
    batch = Batch(begin(pair), drafted, budget, pair.ends if ends is None else ends, variant)
    found = list(rounds(batch, prompts, size, window * size))
    texts = {row.number: row.new for now in found for row in now.finished}
    return [texts[number] for number in range(len(prompts))], found, batch


@pytest.fixture(scope="module")
def ragged(prompts):
    """Prompts of many lengths, 16 to 48 tokens."""
    return [prompt[: 16 + 3 * (place % 12)] for place, prompt in enumerate(prompts[:12])]


# -- the rectangle -----------------------------------------------------------------------------------------------------


def test_rows_in_one_call_are_rows_alone(tiny_pair, ragged):
    """Keys, values and logits of rows behind padding are those of each row by itself, for every style of model."""
    runner = tiny_pair.target
    alone_, parts = [Session(runner, prompt) for prompt in ragged[:4]], []
    for one in alone_:
        _ = one.logits
        parts.append(one.cache.part(0, 0, len(one.ids)))
    laid = Rectangle(Session(runner, [5]), parts, 3)
    assert min(laid.pads) == 0 < max(laid.pads)
    tokens = torch.tensor([[7, 8, 9], [10, 11, 12], [7, 8, 9], [3, 2, 4]])
    with torch.inference_mode():
        positions = torch.tensor([len(prompt) for prompt in ragged[:4]])[:, None] + torch.arange(3)
        logits = laid.feed(tokens, positions)
        more = laid.feed(tokens[:, :1], positions[:, 2:] + 1)
    for row, one in enumerate(alone_):
        one.push(*tokens[row].tolist())
        due = one.prompt_logits()[-3:]
        assert torch.allclose(logits[row], due, atol=1e-9, rtol=0)
        again = laid.part(row, len(one.ids))
        assert torch.allclose(again, one.cache.part(0, 0, len(one.ids)), atol=1e-9, rtol=0)
        one.push(int(tokens[row, 0]))
        assert torch.allclose(more[row, 0], one.logits, atol=1e-9, rtol=0)


def test_a_call_counts_every_token_once(shipped32, ragged):
    whole = begin(shipped32)
    batch = Batch(whole, 3, 8, frozenset())
    rows = [Row(number, list(ids), len(ids)) for number, ids in enumerate(ragged[:3])]
    for row in rows:
        batch.read(row)
    assert whole.ledger.forwards == whole.draft.ledger.forwards == 3
    assert whole.ledger.tokens == sum(len(ids) - 1 for ids in ragged[:3])
    target, draft = whole.ledger.tokens, whole.draft.ledger.tokens
    batch.round(rows)
    assert (whole.ledger.forwards, whole.ledger.tokens - target) == (4, 3 * 4)  # the newest token and three drafts a row
    assert (whole.draft.ledger.forwards, whole.draft.ledger.tokens - draft) == (6, 3 * (2 + 1 + 1))
    assert batch.calls == 1 and set(batch.seconds) == {"read", "realign", "draft", "verify"}


# -- the texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "knobs", [{}, {"size": 1}, {"size": 3, "drafted": 1}, {"size": 12, "drafted": 8}, {"size": 2, "window": 6}], ids=str
)
@pytest.mark.parametrize("variant", [EQ, EX])
def test_every_row_writes_its_own_text(quick64, ragged, own, variant, knobs):
    texts, found, _ = decode(quick64, ragged, variant, **knobs)
    assert texts == own(quick64, ragged)
    assert sum(len(row) for row in texts) > len(found) + BUDGET, "no draft was ever accepted: nothing was tested"


@pytest.mark.parametrize("variant", [EQ, EX])
def test_every_style_of_model(tiny_pair, ragged, own, variant):
    texts, found, _ = decode(tiny_pair, ragged[:6], variant, size=3, window=2)
    assert texts == own(tiny_pair, ragged[:6])
    accepted = [kept for now in found for *_, kept, _ in now.cells]
    assert 0 < sum(accepted) < 5 * len(accepted), "drafts that are always right, or never, test nothing"


def test_the_padding_token_may_stand_in_a_text(quick64, ragged, own):
    """The release finds padding by comparing with its id: a prompt that begins with that token would lose it."""
    pad = quick64.vocabulary.tokenizer.pad_token_id
    rows = [[pad] * (place % 3) + prompt[:12] + [pad] + prompt[12:] for place, prompt in enumerate(ragged[:6])]
    assert decode(quick64, rows)[0] == own(quick64, rows)


@pytest.mark.parametrize("variant", [BY_COLUMN, UNCROPPED])
def test_the_broken_variants_are_caught(quick64, ragged, own, variant):
    texts, _, _ = decode(quick64, ragged, variant)
    wrong = sum(mine != due for mine, due in zip(texts, own(quick64, ragged)))
    assert wrong > len(ragged) // 2


def test_positions_by_column_are_right_while_nothing_is_padded(quick64, ragged, own):
    """So that a test with one row, or with equal rows, would not see the mistake."""
    assert decode(quick64, ragged[:4], BY_COLUMN, size=1)[0] == own(quick64, ragged[:4])


@pytest.mark.parametrize("variant", [EQ, EX])
def test_rows_end_with_their_text_and_stay_so(quick64, ragged, own, variant):
    """A frequent token ends the text here: rows finish at different times, and those behind them go on undisturbed."""
    due = own(quick64, ragged)
    often = max({token for row in due for token in row}, key=lambda token: sum(token in row[1:-1] for row in due))
    ends = frozenset([often])
    texts, found, _ = decode(quick64, ragged, variant, ends=ends)
    assert texts == own(quick64, ragged, ends=ends)
    assert len({len(row) for row in texts}) > 3 and all(often not in row[:-1] for row in texts)
    seen: set[int] = set()
    for now in found:
        assert not seen & {cells[0] for cells in now.cells}, "a finished row was fed again"
        seen |= {row.number for row in now.finished}
    assert seen == set(range(len(ragged)))


@pytest.mark.parametrize("budget", [1, 2, 7])
def test_budgets_are_kept_to_the_token(quick64, ragged, own, budget):
    for variant in (EQ, EX):
        texts, found, _ = decode(quick64, ragged[:6], variant, size=3, budget=budget)
        assert texts == own(quick64, ragged[:6], budget)
        left = dict.fromkeys(range(6), budget)
        for now in found:
            assert max(kept + refused for *_, kept, refused in now.cells) <= min(left[number] for number, *_ in now.cells)
            for number, *_, kept, _ in now.cells:
                left[number] -= kept + 1


# -- the schedule ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [EQ, EX])
def test_the_rectangle_is_never_wider_than_its_longest_row(quick64, ragged, variant):
    _, found, _ = decode(quick64, ragged, variant, size=3)
    for now in found:
        assert min(pad for _, pad, *_ in now.cells) == 0, "a column that is all padding"
        assert len({pad + past for _, pad, past, *_ in now.cells}) == 1
        assert len({kept + refused for *_, kept, refused in now.cells}) == 1
        assert (now.kind == "realigned") <= any(pad for _, pad, *_ in now.cells)
        if now.kind == "grouped":
            assert variant == EX and len(now.cells) == 3 and not any(pad for _, pad, *_ in now.cells)
    if variant == EX:
        assert {"grouped", "realigned"} <= {now.kind for now in found}


def test_where_no_row_moves_nothing_is_moved(quick64, ragged):
    _, found, batch = decode(quick64, ragged[:4], size=1)
    assert {now.kind for now in found} == {"level"} and "realign" not in batch.seconds


def test_a_window_of_one_batch_never_chooses_and_a_wide_one_does(quick64, prompts):
    rows = [prompt[:16] for prompt in prompts[:18]]
    shares = []
    for window in (1, 2, 5):
        _, found, _ = decode(quick64, rows, EX, size=3, window=window, budget=12)
        shares.append(sum(now.kind == "grouped" for now in found) / len(found))
    assert shares[0] < shares[1] < shares[2], shares


def test_exspec_keeps_its_rectangles_full(quick64, ragged):
    calls = {variant: decode(quick64, ragged, variant, size=3)[2].calls for variant in (EQ, EX)}
    assert calls[EX] < calls[EQ], "EQSPEC waits for the last row of a batch, EXSPEC takes the next sequence"


def test_one_length():
    rows = [Row(number, [0] * length, 1) for number, length in enumerate((4, 5, 4, 6, 5, 4))]
    assert [row.number for row in one_length(rows, 2)] == [0, 2]
    assert [row.number for row in one_length(rows, 3)] == [0, 2, 5]
    assert one_length(rows, 4) == [] and [row.number for row in one_length(rows[3:], 1)] == [3]


def test_verdicts():
    row = Row(3, [9, 1, 2, 3], 1, done=True)
    assert compare(row, Own([1, 2, 3], [1.0] * 3)) == (3, "equal")
    assert compare(row, Own([1, 5, 3], [1.0, 2e-5, 1.0])) == (1, "tie")
    assert compare(row, Own([1, 5, 3], [1.0, 2e-3, 1.0])) == (1, "different")
    assert compare(row, Own([1, 2], [1.0] * 2)) == (2, "different")


# -- the studies -------------------------------------------------------------------------------------------------------


def study(pair, method, **knobs) -> list[Step]:
    events = list(run(pair, Request(method=method, prompt="x", temperature=1.0, knobs=knobs)))
    assert isinstance(events[-1], Closing) and events[-1].reason == "done"
    trace = Trace(events[0], events[1:-1], events[-1])
    assert loads(trace.dumps()).steps[-1].notes["done"] == trace.steps[-1].notes["of"]
    return trace.steps


@pytest.mark.parametrize(("variant", "right"), [(EQ, True), (EX, True), (BY_COLUMN, False), (UNCROPPED, False)])
def test_the_study_lays_every_row_beside_its_own_text(shipped32, variant, right):
    steps = study(shipped32, "batch-spec", variant=variant, prompts=8, size=4, tokens=16, longest=64)
    notes = steps[-1].notes
    words = [word for *_, word in notes["checked"]]
    assert sorted(number for number, *_ in notes["checked"]) == list(range(8))
    assert ("different" not in words) == right  # a near tie may part them in float32
    assert notes["written"] == [16] * 8 and sum(notes["kinds"].values()) == notes["calls"]
    for kind, time in notes["total"].items():
        assert sum(step.notes["seconds"].get(kind, 0) for step in steps) == pytest.approx(time)
    assert sum(step.cost.target_forwards for step in steps) >= notes["calls"] + 8 + 8 * 15


@pytest.mark.parametrize("over", ["variant", "batch size", "window"])
def test_the_sweep_compares_settings(shipped32, over):
    sweep = build_method("batch-sweep", {"over": over})
    results = study(shipped32, "batch-sweep", over=over, prompts=4, tokens=8)[-1].notes["results"]
    assert [result["name"] for result in results] == [name for name, *_ in sweep.settings()]
    for result, (_, variant, *_) in zip(results, sweep.settings()):
        assert sum(result["verdicts"].values()) == 4 and result["tokens"] == 32
        assert sum(result["kinds"].values()) == result["calls"]
        if variant in (EQ, EX):
            assert "different" not in result["verdicts"]


def test_prompts_leave_room_for_what_is_written(shipped32):
    whole = open_session(shipped32, Request(method="batch-spec", prompt="x"), [5], True)
    found = prompts_of(whole, 6, 40, 32, True)
    assert [len(ids) for ids in found] == sorted(len(ids) for ids in found) and max(map(len, found)) <= 40
    assert max(map(len, prompts_of(whole, 6, 128, whole.runner.context - 10, False))) == 10
    with pytest.raises(PromptError, match="ask for fewer"):
        prompts_of(whole, 6, 40, whole.runner.context - 2, True)
