"""Sessions: trees are scored as separate paths, caches keep exactly what was committed, costs are what was fed."""

from __future__ import annotations

import random

import pytest
import tiny_models
import torch
from tiny_models import some_tokens

from labkit import lm
from labkit.errors import LabError, PromptError
from labkit.llama import FIRST_CAPACITY, LlamaRunner
from labkit.lm import Session
from labkit.trace import Tree

EXACT = {"rtol": 0, "atol": 1e-10}


@pytest.fixture(scope="module", params=tiny_models.STYLES)
def runner(request):
    """A runner of every style over 64 tokens, in float64; Llama-like ones through the lean forward."""
    made = tiny_models.runner(tiny_models.tiny(request.param, vocabulary=64))
    assert isinstance(made, LlamaRunner) == (request.param in tiny_models.LEAN)
    return made


@pytest.fixture(scope="module")
def llama():
    return tiny_models.runner(tiny_models.tiny("llama, grouped, tied", vocabulary=64))


def some_tree(size: int, seed: int) -> Tree:
    rng = random.Random(seed)
    return Tree(some_tokens(size, seed), [rng.randrange(-1, node) for node in range(size)])


def path_to(tree: Tree, node: int) -> list[int]:
    path = []
    while node >= 0:
        path.insert(0, node)
        node = tree.parents[node]
    return path


def test_forward_in_pieces_is_the_forward_at_once(runner):
    ids = some_tokens(30)
    whole = Session(runner, ids).prompt_logits()
    session = Session(runner, ids[:1])
    torch.testing.assert_close(session.logits, whole[0], **EXACT)
    at = 1
    for piece in (1, 3, 1, 7, 2, 15):
        session.push(*ids[at : at + piece])
        at += piece
        torch.testing.assert_close(session.logits, whole[at - 1], **EXACT)
    assert session.ids == ids


# -- trees -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 12, 24])
def test_a_tree_is_scored_as_its_paths(runner, size):
    ids, tree = some_tokens(9, 7), some_tree(size, size)
    for fed in (False, True):  # the root in the same forward, or fed before
        session = Session(runner, ids)
        if fed:
            assert session.logits.shape == (64,)
        scores = session.score(tree, hidden=fed)
        assert scores.logits.shape == (size + 1, 64)
        torch.testing.assert_close(scores.logits[0], Session(runner, ids).logits, **EXACT)
        for node in range(size):
            path = [tree.tokens[step] for step in path_to(tree, node)]
            torch.testing.assert_close(scores.logits[node + 1], Session(runner, ids + path).logits, **EXACT)
        if fed:
            assert scores.hidden.shape == (3, size + 1, 48)


@pytest.mark.parametrize("lead", [0, 1, 3, 70])
@pytest.mark.parametrize("size", [2, 7, 8, 65])
def test_a_mask_shows_a_node_its_path_and_all_before_the_tree(size, lead):
    tree = some_tree(size, lead)
    tree.parents[-1] = -1  # else a small one may be a chain
    depths, mask = lm._shape(tuple(tree.parents), lead)
    due = torch.full((lead + size, lead + size), float("-inf"))
    for row in range(lead + size):
        due[row, : min(row + 1, lead)] = 0
        for node in path_to(tree, row - lead):
            due[row, lead + node] = 0
    assert torch.equal(mask, due)
    assert depths == tree.depths
    assert lm._shape(tuple(range(-1, size - 1)), lead) == (list(range(1, size + 1)), None), "a chain is plain causal"


def test_positions_are_depths_and_not_indices(llama):
    """Equal siblings see the same past at the same place: their rows are equal whatever their index."""
    scores = Session(llama, some_tokens(5)).score(Tree([9, 3, 9, 9], [-1, -1, -1, 1]))
    torch.testing.assert_close(scores.logits[1], scores.logits[3], **EXACT)
    assert (scores.logits[1] - scores.logits[4]).abs().max() > 1e-3


@pytest.mark.parametrize("seed", range(6))
def test_commit_keeps_exactly_the_path(runner, seed):
    ids, tree = some_tokens(6, seed), some_tree(14, seed + 50)
    deepest = max(range(14), key=lambda node: tree.depths[node])
    for node in (-1, deepest, seed):
        path = path_to(tree, node)
        session = Session(runner, ids)
        session.score(tree)
        session.commit(path)
        kept = ids + [tree.tokens[step] for step in path]
        assert session.ids == kept
        assert session.cache.length == len(kept)
        torch.testing.assert_close(session.logits, Session(runner, kept).logits, **EXACT)
        more = some_tokens(3, seed + 1)
        session.push(*more)
        torch.testing.assert_close(session.logits, Session(runner, kept + more).logits, **EXACT)
        second = some_tree(8, seed + 90)  # rows of the first tree that stayed behind would be seen now
        torch.testing.assert_close(
            session.score(second).logits, Session(runner, kept + more).score(second).logits, **EXACT
        )


def test_a_tree_nobody_accepted_leaves_no_rows(runner):
    session = Session(runner, some_tokens(6))
    before = session.logits
    session.score(some_tree(9, 2))
    session.push(5)
    torch.testing.assert_close(session.logits, Session(runner, [*some_tokens(6), 5]).logits, **EXACT)
    session.rewind(6)
    torch.testing.assert_close(session.logits, before, **EXACT)


def test_an_empty_tree_costs_nothing_when_the_root_is_known(runner):
    session = Session(runner, some_tokens(6))
    assert session.score(Tree([], [])).logits.shape == (1, 64)
    session.commit([])
    assert session.cost().target_forwards == 1
    torch.testing.assert_close(session.score(Tree([], [])).logits[0], session.logits, **EXACT)
    assert session.cost().target_forwards == 1


# -- going back, branching, growing ------------------------------------------------------------------------------------


def test_rewind_forgets(runner):
    ids = some_tokens(20)
    session = Session(runner, ids)
    assert session.logits.shape == (64,)
    for length in (20, 13, 12, 1):
        session.rewind(length)
        assert session.ids == ids[:length]
        assert session.cache.length <= length
        torch.testing.assert_close(session.logits, Session(runner, ids[:length]).logits, **EXACT)
    for length in (0, 2, -1):
        with pytest.raises(LabError, match=f"Cannot rewind to {length} tokens"):
            session.rewind(length)


def test_going_on_after_a_rewind_feeds_only_what_is_new(runner):
    session = Session(runner, some_tokens(20))
    assert session.logits.shape == (64,)
    session.rewind(12)
    session.push(3)
    fed = session.cost().target_tokens
    torch.testing.assert_close(session.logits, Session(runner, [*some_tokens(12), 3]).logits, **EXACT)
    assert session.cost().target_tokens == fed + 1


def test_forks_share_the_past_and_nothing_else(runner):
    ids = some_tokens(10)
    draft = Session(runner, ids)
    session = Session(runner, ids, draft=draft)
    start = session.logits
    left, right = session.fork(2)
    left.push(1, 2, 3)
    right.push(7)
    left.draft.push(4)
    session.push(9, 9)
    torch.testing.assert_close(left.logits, Session(runner, [*ids, 1, 2, 3]).logits, **EXACT)
    torch.testing.assert_close(session.logits, Session(runner, [*ids, 9, 9]).logits, **EXACT)
    torch.testing.assert_close(right.logits, Session(runner, [*ids, 7]).logits, **EXACT)
    torch.testing.assert_close(left.draft.logits, Session(runner, [*ids, 4]).logits, **EXACT)
    assert (draft.ids, right.draft.ids) == (ids, ids)
    tree = some_tree(6, 3)
    scored = right.score(tree).logits
    left.rewind(10)
    torch.testing.assert_close(left.logits, start, **EXACT)
    torch.testing.assert_close(scored, Session(runner, [*ids, 7]).score(tree).logits, **EXACT)
    right.commit(path_to(tree, 5))
    grandchild = right.fork()[0]
    grandchild.push(8)
    torch.testing.assert_close(grandchild.logits, Session(runner, grandchild.ids).logits, **EXACT)
    # 1 prompt, 3 pushes, 1 tree, 1 after the rewind (its last token again), 1 grandchild; the draft's are apart
    cost = session.cost()
    assert (cost.target_forwards, cost.target_tokens) == (7, 10 + 3 + 2 + 1 + 6 + 1 + 1)
    assert (cost.draft_forwards, cost.draft_tokens) == (1, 11)
    assert cost == grandchild.cost().__class__(*[getattr(cost, name) for name in cost.__struct_fields__])
    assert grandchild.cost().target_forwards == 7


def test_growing_beyond_the_first_capacity(llama):
    ids = some_tokens(FIRST_CAPACITY + 90)
    for start in (10, FIRST_CAPACITY - 1, FIRST_CAPACITY + 70):
        session = Session(llama, ids[:start])
        assert session.logits.shape == (64,)
        session.push(*ids[start:])
        torch.testing.assert_close(session.logits, Session(llama, ids).logits, **EXACT)
    assert session.cost().cache_bytes == len(ids) * 2 * 2 * 2 * 12 * 8  # layers, k and v, heads, head size, bytes


def test_the_context_ends_with_one_sentence():
    made = tiny_models.runner(tiny_models.tiny("llama, grouped, tied", vocabulary=64, context=16))
    with pytest.raises(PromptError, match="would grow to 17 tokens, the model holds 16"):
        assert Session(made, some_tokens(17)).logits
    session = Session(made, some_tokens(14))
    wide = Tree(some_tokens(9), [-1] * 8 + [7])  # nine nodes, two places
    scored = session.score(wide).logits
    torch.testing.assert_close(scored[9], Session(made, [*some_tokens(14), *wide.tokens[7:]]).logits, **EXACT)
    session.commit([7, 8])
    torch.testing.assert_close(session.logits, Session(made, session.ids).logits, **EXACT)
    session.push(1)
    with pytest.raises(PromptError, match="would grow to 17 tokens"):
        assert session.logits
    with pytest.raises(PromptError, match="The prompt is empty"):
        Session(made, [])


def test_prompt_rows_are_fed_once(runner):
    ids = some_tokens(12)
    session = Session(runner, ids)
    rows = session.prompt_logits()
    assert rows.shape == (12, 64)
    for n in (1, 5, 12):
        torch.testing.assert_close(rows[n - 1], Session(runner, ids[:n]).logits, **EXACT)
    assert session.prompt_logits() is rows
    assert (session.cost().target_forwards, session.cost().target_tokens) == (1, 12)
    session.push(4)
    torch.testing.assert_close(session.prompt_logits()[-1], Session(runner, [*ids, 4]).logits, **EXACT)
    torch.testing.assert_close(session.logits, Session(runner, [*ids, 4]).logits, **EXACT)


# -- costs -------------------------------------------------------------------------------------------------------------


def test_costs_are_the_forwards_and_the_tokens_fed(runner, monkeypatch):
    fed = []
    real = type(runner).forward
    monkeypatch.setattr(
        type(runner), "forward", lambda self, ids, *rest: fed.append(len(ids)) or real(self, ids, *rest)
    )
    session = Session(runner, some_tokens(10))
    assert session.cost().target_forwards == 0, "nothing is fed before it is needed"
    assert session.logits is session.logits
    session.push(3)
    session.push(4, 5)
    session.score(some_tree(7, 0))
    session.commit([0])
    assert session.logits.shape == (64,)
    session.push(6)
    session.score(some_tree(3, 1))
    session.push(7)
    assert session.logits.shape == (64,)
    cost = session.cost()
    assert fed == [10, 3 + 7, 1 + 3, 1]
    assert (cost.target_forwards, cost.target_tokens) == (len(fed), sum(fed))
    assert cost.target_seconds > 0
    assert (cost.draft_forwards, cost.draft_tokens, cost.draft_seconds) == (0, 0, 0.0)
    layers_rows = cost.cache_bytes / 8 / 2 / 2 / len(session.ids)  # float64, k and v, layers
    assert layers_rows in (2 * 12, 48, 8)  # grouped, all heads, one head of 8


# -- trees that grow ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [[1] * 9, [3, 1, 5], [9]], ids=str)
def test_a_tree_grown_node_by_node_is_the_tree_scored_at_once(runner, pieces):
    ids, whole = some_tokens(9, 7), some_tree(9, 3)
    at_once = Session(runner, ids).score(whole).logits
    session, tree, at = Session(runner, ids), Tree([], []), 0
    torch.testing.assert_close(session.logits, at_once[0], **EXACT)
    for piece in pieces:
        tree.tokens += whole.tokens[at : at + piece]
        tree.parents += whole.parents[at : at + piece]
        rows = session.grow(tree, hidden=True)
        torch.testing.assert_close(rows.logits, at_once[1 + at : 1 + at + piece], **EXACT)
        assert rows.hidden.shape[1] == piece
        at += piece
    assert session.ledger.tokens == len(ids) + 9 and session.ledger.forwards == 1 + len(pieces)


def test_a_grown_tree_is_committed_like_a_scored_one(runner):
    ids = some_tokens(6, 2)
    tree = Tree([5, 9, 11, 13, 17], [-1, -1, 1, 2, 2])
    for nodes in ([0, 1, 2], [1, 2, 4], [0, 1, 2, 3, 4], [1]):  # the path is 1, 2, 4: some of it was never fed
        session = Session(runner, ids)
        session.grow(tree, [node for node in nodes if node < 2])
        session.grow(tree, [node for node in nodes if node >= 2]) if len(nodes) > 1 else None
        assert session.holds(tree)
        session.commit([1, 2, 4])
        assert session.ids == ids + [9, 11, 17] and not session.holds(tree)
        torch.testing.assert_close(session.logits, Session(runner, ids + [9, 11, 17]).logits, **EXACT)
        session.push(3)
        torch.testing.assert_close(session.logits, Session(runner, ids + [9, 11, 17, 3]).logits, **EXACT)


def test_a_grown_tree_that_nobody_takes_leaves_no_row(runner):
    session = Session(runner, some_tokens(6, 2))
    session.grow(Tree([5, 9], [-1, 0]))
    session.push(3)
    torch.testing.assert_close(session.logits, Session(runner, some_tokens(6, 2) + [3]).logits, **EXACT)


def test_open_counts_into_the_same_ledger(llama):
    session = Session(llama, some_tokens(6), draft=Session(llama, some_tokens(6)))
    other = session.open(some_tokens(4))
    other.logits, other.draft.logits  # noqa: B018
    cost = session.cost()
    assert (cost.target_forwards, cost.target_tokens, cost.draft_forwards, cost.draft_tokens) == (1, 4, 1, 4)
    assert session.ids == some_tokens(6) and other.law is session.law


def test_an_opened_session_knows_where_texts_end(shipped32):
    """What looks ahead from a text of its own must stop there too; so must a fork."""
    session = Session(shipped32.target, [70, 71])
    assert session.ends == frozenset()
    session.ends = shipped32.ends
    assert session.open([80]).ends == session.fork()[0].ends == shipped32.ends != frozenset()


# -- input embeddings in place of tokens -------------------------------------------------------------------------------


def test_an_embedding_of_one_token_is_that_token(runner):
    ids = some_tokens(12)
    session, plain = Session(runner, ids[:6]), Session(runner, ids[:6])
    for at, token in enumerate(ids[6:], 7):
        one_hot = torch.nn.functional.one_hot(torch.tensor([token]), 64).to(runner.dtype)  # [1, V]
        embedded = one_hot @ runner.embed(torch.arange(64))
        rows, trail = session.push_embedding(embedded[0], token, hidden=True)
        plain.push(token)
        torch.testing.assert_close(rows[0], plain.logits, **EXACT)
        assert torch.equal(session.logits, rows[0]) and session.ids == plain.ids == ids[:at]
        assert trail.shape == (runner.depth + 1, 1, embedded.shape[1])
    assert session.cost().target_forwards == 1 + 6 and session.cost().target_tokens == 12


def test_a_mix_is_neither_token_and_leaves_with_a_rewind(runner):
    ids = some_tokens(8)
    session = Session(runner, ids)
    before = session.logits.clone()
    one, other = runner.embed(torch.tensor([3, 5]))
    mixed = session.push_embedding(0.5 * one + 0.5 * other, 3).logits[0]
    for token in (3, 5):
        assert (mixed - Session(runner, [*ids, token]).logits).abs().max() > 1e-3
    session.rewind(8)
    torch.testing.assert_close(session.logits, before, **EXACT)
    session.push(5)
    torch.testing.assert_close(session.logits, Session(runner, [*ids, 5]).logits, **EXACT)
