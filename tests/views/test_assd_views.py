"""The charts of ASSD: their numbers are the trace's, their masks are those the model is asked with."""

from __future__ import annotations

import itertools

import pytest
import torch

from labkit.diffusion.asarm import UNSEEN, hidden, sight
from labkit.trace import Cost, Opening, Request, Step, Trace, Tree
from labkit.views.assd_forwards import assd_forwards
from labkit.views.assd_forwards import rows as forwards_rows
from labkit.views.assd_masks import BLIND, DRAFTED, IDLE, KNOWN, assd_masks, cells
from labkit.views.assd_masks import rows as mask_rows
from labkit.views.assd_rounds import assd_rounds
from labkit.views.assd_rounds import rows as round_rows


def step(known, tokens, drafted, calls, at, ranks=(0, 0, 1, 2, 3, 4, 5)) -> Step:
    kept = len(tokens) if drafted and tokens == drafted[: len(tokens)] else len(tokens) - 1
    tree = Tree(drafted, list(range(-1, len(drafted) - 1)), path=list(range(kept))) if drafted else None
    window = {"places": list(range(-2, 5)), "ranks": list(ranks)}
    notes = {"known": known, "asked": len(drafted) or 1, "drafter": "itself", "gap": 0.0, "window": window}
    return Step(emitted=tokens, at=at, tree=tree, cost=Cost(target_forwards=calls), notes=notes)


@pytest.fixture
def trace():
    pieces = {token: f"t{token}" for token in range(20)} | {11: "<b>"}
    opening = Opening(request=Request(method="assd"), prompt_ids=[10, 11], pieces=pieces, charts=["assd_rounds", "assd_masks"])
    steps = [step(0, [1, 9], [1, 2, 3], 2, [0, 1]), step(2, [4, 5], [4, 5], 2, [2, 3]), step(4, [6], [], 1, [4])]
    return Trace(opening, steps)


def test_rounds_are_the_traces(trace):
    assert round_rows(trace) == [(1, 1, 1, 1, 2, 2, 2), (2, 2, 0, 0, 2, 4, 4), (3, 0, 1, 0, 1, 5, 5)]
    assert round_rows(trace, 2) == round_rows(trace)[:2]
    for look in ("light", "dark"):
        figure = assd_rounds(trace, theme=look)
        assert [list(bar.y) for bar in figure.data[:3]] == [[1, 2, 0], [1, 0, 1], [1, 0, 0]]
        assert list(figure.data[4].x) == [0, 2, 4, 5] and list(figure.data[4].y) == [0, 2, 4, 5]
        assert "5 calls for 5 tokens" in figure.layout.meta["words"]
        assert assd_rounds(trace, 0, theme=look).layout.title.text and assd_rounds(Trace(trace.opening), theme=look).data


@pytest.mark.parametrize("checking", [False, True])
def test_the_grids_are_the_masks_the_model_is_asked_with(checking):
    """Every row that is computed sees what `sight` lets it see, whatever the order; rows nobody reads are grey."""
    for order in itertools.permutations([1, 2, 3, 4]):
        ranks, known, asked = [0, *order[:2], 0, *order[2:]], 1, 2
        inside = torch.tensor(ranks) if checking else hidden(torch.tensor(ranks), known)
        seen = sight(inside, inside)[:, :6].tolist()
        grid = cells(ranks, known, asked, checking)
        assert len(grid) == 12
        for number, (row, sees) in enumerate(zip(grid, seen)):
            rank = ranks[number % 6]
            computed = (known < rank <= known + asked) if number >= 6 else rank < known + asked if checking else rank <= known
            if not computed:
                assert set(row) == {IDLE}
                continue
            for other, cell, visible in zip(ranks, row, sees):
                assert cell == (BLIND if not visible else KNOWN if other <= known else DRAFTED)
        assert any(DRAFTED in row for row in grid) == checking
    assert UNSEEN > 128


def test_masks_of_a_round(trace):
    for look in ("light", "dark"):
        draft, check = assd_masks(trace, theme=look).data  # the last step was not checked: the round before is shown
        assert len(draft.z) == len(check.z) == 14 and len(draft.z[0]) == 7
        assert [list(row) for row in check.z] == cells([0, 0, 1, 2, 3, 4, 5], 2, 2, True)
    first = mask_rows(trace, 1)
    assert len(first) == 28 and first[0] == ("draft", "token", -2, "t10", "-2 -1")
    question = [row for row in first if row[:3] == ("check", "question", 2)]
    assert question == [("check", "question", 2, "t3", "-2 -1 0 1")], "the third draft is checked behind the first two"
    assert mask_rows(trace, 0) == [] and assd_masks(trace, 0).layout.title.text
    later = [row for row in mask_rows(trace, 2) if row[:3] == ("draft", "token", 1)]
    assert later == [("draft", "token", 1, "t9", "-2 -1 0 1")], "the token that was redrawn stands there now"
    assert "<b>" not in assd_masks(trace).to_json().replace("<br>", "")


def test_forwards_are_the_runs_sums():
    results = [
        {"drafter": "nobody", "k": 1, "calls": [4, 6], "tokens": [4, 6], "nats": [8.0, 18.0]},
        {"drafter": "itself", "k": 8, "calls": [4, 5], "tokens": [4, 6], "nats": [4.0, 6.0]},
        {"drafter": "itself", "k": 16, "calls": [], "tokens": [], "nats": []},
    ]
    trace = Trace(Opening(request=Request(method="assd-forwards")), [Step(emitted=[], notes={"results": results})])
    assert forwards_rows(trace) == [
        ("nobody", 1, 2, 1.0, 2.6, pytest.approx(0.5)),
        ("itself", 8, 2, 0.9, 1.0, 0.0),
    ]
    for look in ("light", "dark"):
        figure = assd_forwards(trace, theme=look)
        assert [list(one.y) for one in figure.data] == [[1.0], [2.6], [0.9], [1.0]]
    assert forwards_rows(trace, 0) == [] and assd_forwards(trace, 0).layout.title.text
