"""The views on traces of the shipped models: whatever the methods write, every view can draw and tabulate it."""

import math

import pytest

from labkit import views
from labkit.errors import TraceError
from labkit.trace import Setting, loads
from labkit.views import read, table

OF_EVERY_RUN = ("strip", "entropy", "next_token", "draft_tree", "acceptance", "block_efficiency", "cost")  # others need notes
CUTS = [Setting("top-k", {"k": 20}), Setting("top-p", {"p": 0.95})]


@pytest.fixture(scope="module", params=[0.0, 0.8])
def runs(request, shipped32, traced):
    more = dict(temperature=request.param, transforms=CUTS, max_new_tokens=24, seed=5, prompt="def read(path):\n    ")
    keep = {"plain": ["laws", "prompt"]}
    methods = ("plain", "chain", "lookup", "token-recycling")
    return {method: traced(shipped32, method, keep=keep.get(method, ["tests"]), **more) for method in methods}


@pytest.mark.parametrize("name", OF_EVERY_RUN)
@pytest.mark.parametrize("method", ["plain", "chain", "lookup", "token-recycling"])
def test_every_view_draws_every_method(runs, method, name):
    trace = loads(runs[method].dumps())
    if method == "plain" and name == "draft_tree":
        with pytest.raises(TraceError, match="drafted nothing"):
            views.VIEWS[name](trace)
        return
    for upto in (None, 1):
        assert len(views.VIEWS[name](trace, upto).to_json()) > 200
        columns, rows = table.table(name, trace, upto)
        assert all(len(row) == len(columns) for row in rows)


def test_stored_laws_are_the_beliefs(runs):
    for token in read.tokens(runs["plain"]):
        if token.step < 0:  # the prompt was not drawn from
            continue
        law = read.law(token.belief)
        assert len(law) == runs["plain"].opening.vocabulary
        assert -sum(math.exp(x) * x for x in law) == pytest.approx(token.belief.entropy, abs=0.02)
        assert law[token.id] == pytest.approx(token.belief.logprob, rel=1e-3, abs=1e-3)


def test_what_was_drawn_survived_the_cuts(runs):
    trace = runs["plain"]
    request = trace.opening.request
    for token in read.tokens(trace):
        if token.step >= 0:
            cut = read.apply(read.law(token.belief), request.temperature, request.transforms)
            kept = len(cut.after) + 1  # the stored law is rounded: the last one kept may have changed places
            assert token.id in cut.order[:kept]
