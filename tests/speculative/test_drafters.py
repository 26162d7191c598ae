"""What the drafters propose: chains in the draft's own words, copies of what stood there before."""

from __future__ import annotations

import pytest
import tiny_models
import torch

from labkit.lm import Session
from labkit.methods import build_law, build_method
from labkit.speculative.ground import room

CONTEXT = 64


@pytest.fixture(scope="module")
def pair():
    return tiny_models.letters_pair("llama, untied", context=CONTEXT)


def proposal(pair, method: str, knobs: dict, ids: list[int], temperature: float = 0.0, seed: int = 0):
    made, law = build_method(method, knobs), build_law(temperature, [])
    session = Session(pair.target, ids, law, Session(pair.draft, ids, law))
    made.start(session)
    return made.propose(session, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [1, 4, 9])
def test_a_greedy_chain_is_the_drafts_greedy_text(pair, length):
    tree, _ = proposal(pair, "chain", {"length": length}, [1, 2, 3])
    ids = [1, 2, 3]
    for token in tree.tokens:
        assert token == int(Session(pair.draft, ids).logits.argmax())
        ids.append(token)
    assert tree.parents == list(range(-1, length - 1))
    assert (tree.kind, tree.source) == ("deterministic", "draft")


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.0])
def test_a_drawn_chain_carries_the_laws_it_was_drawn_from(pair, heat):
    seen = set()
    for seed in range(20):
        tree, laws = proposal(pair, "chain", {"length": 3, "heat": heat}, [1, 2, 3], 0.8, seed)
        assert tree.kind == "iid"
        for node in range(3):
            due = build_law(0.8 * heat, [])(Session(pair.draft, [1, 2, 3, *tree.tokens[:node]]).logits)
            torch.testing.assert_close(laws[node], due)
        seen.add(tuple(tree.tokens))
    assert len(seen) > 3


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_doubting_draft_stops_behind_the_doubted_token(pair, temperature):
    lengths = set()
    for seed in range(20):
        ids = [seed % 5, 1, 2, seed % 3]
        tree, laws = proposal(pair, "chain", {"length": 8, "doubt": 0.5}, ids, temperature, seed)
        chances = [laws[node, token].item() for node, token in enumerate(tree.tokens)]
        assert all(chance >= 0.5 for chance in chances[:-1])
        assert len(chances) == 8 or chances[-1] < 0.5
        lengths.add(len(chances))
    assert len(lengths) > 1


def copied(ids: list[int], **knobs) -> list[int]:
    pair = tiny_models.letters_pair("gpt2", 64, context=CONTEXT)
    tree, laws = proposal(pair, "lookup", knobs, ids)
    assert laws is None
    assert tree.parents == list(range(-1, len(tree.tokens) - 1))
    return tree.tokens


@pytest.mark.parametrize(
    ("ids", "knobs", "tokens"),
    [
        ([1, 2, 3, 4], {}, []),  # nothing was there before
        ([1], {}, []),
        ([7, 7], {}, [7]),
        ([1, 2, 3, 9, 1, 2], {"length": 2}, [3, 9]),
        ([1, 2, 3, 9, 1, 2], {"length": 24}, [3, 9, 1, 2]),  # no longer than the text
        ([5, 2, 3, 8, 2, 4, 5, 2], {"length": 1}, [3]),  # the longest match wins ...
        ([5, 2, 3, 8, 2, 4, 5, 2], {"length": 1, "longest": 1}, [4]),  # ... among equals the latest
        ([1, 2, 3, 6, 1, 2, 3, 7, 9, 2, 3], {"length": 1, "longest": 6}, [7]),
        ([1, 2, 3, 6, 9, 2, 3, 7, 1, 2, 3], {"length": 1, "longest": 6}, [6]),
    ],
    ids=str,
)
def test_lookup_copies_what_followed(ids, knobs, tokens):
    assert copied(ids, **knobs) == tokens


def by_hand(ids: list[int], longest: int, length: int) -> list[int]:
    """Prompt lookup without an index."""
    for n in range(min(longest, len(ids)), 0, -1):
        for end in range(len(ids) - 1, n - 1, -1):
            if ids[end - n : end] == ids[-n:]:
                return ids[end : end + length]
    return []


def test_lookup_over_a_whole_run_is_lookup_by_hand(pair):
    method = build_method("lookup", {"length": 5, "longest": 3})
    session = Session(pair.target, [1, 2, 3, 1, 2], build_law(1.0, []))
    steps, proposed = method.steps(session, torch.Generator().manual_seed(2)), 0
    with torch.inference_mode():
        for _ in range(20):
            before = list(session.ids)
            tree = next(steps).tree
            assert tree.tokens == by_hand(before, 3, 5)[: CONTEXT - len(before) - 1]
            proposed += len(tree.tokens)
            if len(session.ids) >= CONTEXT - 1:
                break
    assert proposed > 10


def test_room_is_what_the_shorter_context_leaves(pair):
    session = Session(pair.target, [1] * 60)
    assert room(session) == 3
    shorter = tiny_models.letters_pair("llama, untied", context=62).draft
    assert room(Session(pair.target, [1] * 60, draft=Session(shorter, [1] * 60))) == 1
    assert room(Session(pair.target, [1] * 63)) == 0
    assert proposal(pair, "chain", {"length": 8}, [1] * 62)[0].tokens == [
        proposal(pair, "chain", {}, [1] * 62)[0].tokens[0]
    ]
