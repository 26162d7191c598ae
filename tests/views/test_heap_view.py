"""The heap's bars are the notes: v in the order of growth, coloured by what became of the node, open places behind them."""

from __future__ import annotations

import pytest

from labkit import views
from labkit.errors import LabError
from labkit.law import Law
from labkit.lm import Session
from labkit.trace import Trace, loads
from labkit.views import layout, table, theme
from labkit.views.heap import OPEN, SHOWN

KINDS = {"accepted": "accepted", "refused": "refused", "never reached": "unreached"}


@pytest.fixture(scope="module", params=["heap", "threshold"])
def grown(request, shipped32, traced):
    """A run of DySpec over the shipped pair, read back from its file."""
    knobs = {"mode": request.param, "budget": 24}
    trace = traced(shipped32, "dyspec", prompt="def read(path):\n    ", temperature=0.7, max_new_tokens=24, knobs=knobs, seed=3)
    return loads(trace.dumps())


@pytest.mark.parametrize("look", ["light", "dark"])
def test_bars_are_the_notes(grown, look):
    seen = set()
    for upto in range(1, len(grown.steps) + 1):
        step = grown.steps[upto - 1]
        figure = views.VIEWS["heap"](grown, upto, theme=look)
        heights, names = {}, {}
        for bars in figure.data:
            heights.update(zip(bars.x, bars.y))
            names.update(dict.fromkeys(bars.x, bars.name))
            seen.add(bars.name)
        values, left = step.notes["values"], [v for _, v in step.notes["open"]]
        size = len(values)
        assert [heights[x] for x in range(1, size + 1)] == values
        assert [heights[x] for x in sorted(heights)[size:]] == left[:SHOWN]
        for node, verdict in enumerate(step.tree.verdicts):
            assert KINDS[names[node + 1]] == verdict
        assert {names[x] for x in sorted(heights)[size:]} <= {OPEN}
        ink = theme.colours(look)
        assert {bars.name: bars.marker.color for bars in figure.data}.get("accepted", ink["draft"]) == ink["draft"]
        accepted = len(step.tree.path)
        assert f"{size} filled, {accepted} accepted" in figure.layout.meta["words"]
    assert seen == {*KINDS, OPEN}


def test_the_table_has_every_place(grown):
    columns, rows = table.table("heap", grown, 2)
    step = grown.steps[1]
    assert [row[3] for row in rows] == step.notes["values"] + [v for _, v in step.notes["open"]]
    assert [row[2] for row in rows] == step.tree.parents + [parent for parent, _ in step.notes["open"]]
    assert len(columns) == 5


def test_nothing_yet_and_other_methods(grown, trees):
    empty = views.VIEWS["heap"](Trace(grown.opening))
    assert not empty.data and empty.layout.title.text and empty.layout.meta["words"]
    assert views.VIEWS["heap"](grown, 0).to_json() == empty.to_json()
    with pytest.raises((KeyError, LabError)):
        views.VIEWS["heap"](trees)


def test_shares_are_the_drafts_whole_law(grown, shipped32):
    """Siblings are stacked and edges drawn by q before the elder siblings were taken out of it, not by the row drawn from."""
    ids, bushes = list(grown.opening.prompt_ids), 0
    for step in grown.steps[:6]:
        shares = layout.draft_shares(step.tree)
        q = Law(0.7)(Session(shipped32.draft, ids).logits)
        born = [node for node, parent in enumerate(step.tree.parents) if parent == -1]
        assert [shares[node] for node in born] == pytest.approx(q[[step.tree.tokens[node] for node in born]].tolist(), abs=1e-5)
        bushes += len(born) > 2
        ids += step.emitted
    assert bushes
