"""P020: one head one vote, the Selection Cache, compact positions past the trained length."""

from __future__ import annotations

from itertools import islice

import pytest
import tiny_models
import torch

from labkit.attention.token_select import TokenSelect, votes_of
from labkit.errors import ModelError
from labkit.law import Law
from labkit.lm import Session

PROMPT = torch.randint(64, 4096, (120,), generator=torch.Generator().manual_seed(3)).tolist()
SMALL = {"count": 8, "first": 2, "local": 8}


@pytest.fixture(scope="module")
def runner():
    return tiny_models.runner(tiny_models.tiny("llama, grouped, tied"))


def tokens(runner, new=12, **knobs):
    policy = TokenSelect(**{**SMALL, **knobs})
    session = Session(runner, PROMPT, Law(0))
    steps = list(islice(policy.steps(session, torch.Generator()), new))
    return [step.emitted[0] for step in steps], steps, policy


def states():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 16, generator=rng, dtype=torch.float64), torch.randn(2, 40, 16, generator=rng, dtype=torch.float64)


def test_every_head_has_one_vote():
    query, keys = states()
    assert votes_of(query, keys).sum() == pytest.approx(6)
    loud = query.clone()
    loud[0, 0] *= 50
    raw, soft = (set(votes_of(loud, keys, how).topk(8).indices.tolist()) for how in ("raw", "soft"))
    alone = set((loud[0, 0] @ keys[0].T).topk(8).indices.tolist())
    assert raw == alone and soft != alone  # one loud head decides where raw scores are averaged


def test_a_constant_added_to_one_heads_scores_changes_nothing():
    query, keys = states()
    wider = torch.cat([keys, torch.ones(2, 40, 1, dtype=keys.dtype)], -1)
    lifted = torch.cat([query, torch.zeros(2, 3, 1, dtype=query.dtype)], -1)
    lifted[0, 1, -1] = 7
    assert torch.allclose(votes_of(lifted, wider), votes_of(query, keys))


def test_the_selection_cache_hits_and_can_be_turned_off(runner):
    texts = {threshold: tokens(runner, threshold=threshold) for threshold in (1.0, 0.9999999, 0.5)}
    hits = {t: sum(map(sum, (step.notes["hits"] for step in steps))) for t, (_, steps, _) in texts.items()}
    assert hits[1.0] == 0 and texts[1.0][0] == texts[0.9999999][0]
    assert hits[0.5] >= hits[0.9999999]
    policy = texts[0.5][2]
    query, best = policy.chosen[0]
    assert torch.equal(policy._vote(0, query, slice(2, 90), alone=True), best) and policy.hits[0]
    policy._vote(0, -query, slice(2, 90), alone=True)
    assert not policy.hits[0]


def test_compact_positions_reach_past_the_trained_length():
    short = tiny_models.runner(tiny_models.tiny("llama, grouped, tied", context=256))
    policy = TokenSelect(**SMALL, positions="compact")
    session = Session(short, PROMPT, Law(0))
    _ = list(islice(policy.steps(session, torch.Generator()), 6))
    seen = policy.read(0, policy.select(0, torch.zeros(2, 2, 1, short.size, dtype=torch.float64), torch.tensor([policy.fed - 1])))
    assert seen.keys.shape[1] == 2 + 8 + 8
    assert torch.equal(seen.positions[0], seen.positions[1])


def test_compact_positions_are_the_original_ones_where_everything_is_read(runner):
    original, _, _ = tokens(runner, count=4096)
    compact, _, _ = tokens(runner, count=4096, positions="compact")
    assert original == compact


def test_compact_positions_need_rotary_ones():
    with pytest.raises(ModelError, match="Compact positions need a model with rotary positions"):
        tokens(tiny_models.runner(tiny_models.tiny("gpt2")), positions="compact")
