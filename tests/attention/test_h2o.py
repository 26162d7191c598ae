"""P054: what stays is what attention has given most, by the rows that each slot really took part in."""

from __future__ import annotations

import pytest
import tiny_models
import torch

from labkit.attention.ground import runs
from labkit.attention.h2o import H2O
from labkit.attention.windows import Window
from labkit.law import Law
from labkit.lm import Session

PROMPT = torch.randint(64, 4096, (60,), generator=torch.Generator().manual_seed(3)).tolist()
NEXT = PROMPT[:9]


@pytest.fixture(scope="module")
def runner():
    return tiny_models.runner(tiny_models.tiny("llama, grouped, tied"))


def forced(runner, policy, watch=lambda layer, probs, before: None):
    """Read the prompt and the next tokens; `watch` sees the probabilities of every forward and the positions they fell on."""
    session = Session(runner, PROMPT, Law(0))
    session.carry(runner.policy_cache(policy))
    policy.summed = False  # the prompt's too, row by row
    observe = policy.observe

    def seen(layer, query, probs, selection):
        watch(layer, probs, policy.slots[layer].positions.clone())
        observe(layer, query, probs, selection)

    policy.observe = seen
    rows = [session.logits]
    for token in NEXT:
        session.push(token)
        rows.append(session.logits)
    return torch.stack(rows)


def test_without_heavy_slots_it_is_a_sliding_window(runner):
    assert torch.equal(forced(runner, H2O(heavy=0.0, recent=0.2)), forced(runner, Window(budget=0.2)))
    assert not torch.equal(forced(runner, H2O(heavy=0.1, recent=0.1)), forced(runner, Window(budget=0.2)))


@pytest.mark.parametrize("score", ["sum", "normalised"])
def test_scores_are_the_rows_a_slot_took_part_in(runner, score):
    """Added up by position in a dictionary: an evicted slot stops counting, a new one begins with its own probability."""
    given: dict[tuple, float] = {}
    queries: dict[tuple, int] = {}

    def watch(layer, probs, positions):
        assert torch.allclose(probs.sum(-1), torch.ones_like(probs.sum(-1)))  # what is left is shared out anew
        for head in range(probs.shape[0]):
            for slot, position in enumerate(positions[head].tolist()):
                key = (layer, head, position)
                given[key] = given.get(key, 0.0) + float(probs[head, :, :, slot].sum())
                queries[key] = queries.get(key, 0) + int((probs[head, :, :, slot] > 0).any(0).sum())

    policy = H2O(score=score)
    forced(runner, policy, watch)
    heavy, recent = policy.sizes
    for layer, slots in enumerate(policy.slots):
        assert slots.length == heavy + recent == 12
        for head, row in enumerate(slots.positions.tolist()):
            assert row[-recent:] == list(range(len(PROMPT) + len(NEXT) - recent, len(PROMPT) + len(NEXT)))
            for slot, position in enumerate(row):
                assert float(slots["score"][head, slot]) == pytest.approx(given[layer, head, position], abs=1e-5)
                assert int(slots["queries"][head, slot]) == queries[layer, head, position]


def test_the_heaviest_stay_behind_the_prompt(runner):
    """Against a plain sum of the whole attention matrix's columns."""
    columns = {}
    policy = H2O(heavy=0.1, recent=0.1)
    session = Session(runner, PROMPT, Law(0))
    session.carry(runner.policy_cache(policy))
    policy.observe = lambda layer, query, probs, selection, after=policy.observe: (
        columns.update({layer: probs.sum((1, 2))}),
        after(layer, query, probs, selection),
    )
    _ = session.logits
    for layer, slots in enumerate(policy.slots):
        for head, row in enumerate(slots.positions.tolist()):
            old = columns[layer][head, : len(PROMPT) - 6]
            assert row[:-6] == sorted(old.topk(6).indices.tolist())


def test_a_prompts_sums_are_those_of_its_rows(runner):
    """The path that keeps no rows, which is a kernel on a GPU, gives the same numbers to the last bit."""
    scores = {}
    for summed in (True, False):
        policy = H2O()
        session = Session(runner, PROMPT, Law(0))
        session.carry(runner.policy_cache(policy))
        assert policy.summed
        policy.summed = summed
        scores[summed] = [session.logits, *(slots["score"].clone() for slots in policy.slots)]
    assert all(torch.equal(one, other) for one, other in zip(scores[True], scores[False]))


def test_an_evicted_token_never_returns(runner):
    policy, held = H2O(), []
    session = Session(runner, PROMPT, Law(0))
    session.carry(runner.policy_cache(policy))
    for token in NEXT:
        _ = session.logits
        held.append([[set(row) for row in slots.positions.tolist()] for slots in policy.slots])
        session.push(token)
    for before, after in zip(held, held[1:]):
        for old, new in zip(before, after):
            assert all(len(now - was) == 1 for was, now in zip(old, new))  # the new token alone


def test_the_first_layer_can_be_spared(runner):
    policy = H2O(spare_first=True)
    forced(runner, policy)
    assert policy.slots[0].length == len(PROMPT) + len(NEXT) and policy.slots[1].length == 12


def test_runs_of_positions():
    assert runs([0, 1, 2, 5, 7, 8]) == [0, 3, 5, 6, 7, 9] and runs([]) == []
