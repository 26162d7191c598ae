"""What every cache policy must hold, whatever it does: the five contract tests, on every style of model."""

from __future__ import annotations

import re
from itertools import islice

import pytest
import tiny_models
import torch

from labkit.attention.ground import Policy
from labkit.knobs import build
from labkit.law import Law
from labkit.lm import Session
from labkit.methods import all_methods
from labkit.paths import PACKAGE

POLICIES = {name: cls for name, cls in all_methods().items() if issubclass(cls, Policy)}
PROMPT = torch.randint(64, 4096, (60,), generator=torch.Generator().manual_seed(3)).tolist()
NEW = 8
PLAIN = {"dhsa": {"cuts": "fixed size"}}  # its predictor belongs to the shipped target


@pytest.fixture(scope="module", params=tiny_models.STYLES)
def runner(request):
    return tiny_models.runner(tiny_models.tiny(request.param))


def decode(runner, policy, prompt=PROMPT, new=NEW):
    """The session and its steps."""
    session = Session(runner, prompt, Law(0))
    rng = torch.Generator().manual_seed(0)
    return session, list(islice(policy.steps(session, rng), new))


def rows_of(runner, policy, tokens, prompt=PROMPT):
    """Logits [n + 1, V] behind the prompt and behind each of `tokens`, forced."""
    session = Session(runner, prompt, Law(0))
    session.carry(runner.policy_cache(policy))
    rows = [session.logits]
    for token in tokens:
        session.push(token)
        rows.append(session.logits)
    return torch.stack(rows)


def dense_rows(runner, tokens, prompt=PROMPT):
    session = Session(runner, prompt + tokens, Law(0))
    return session.prompt_logits()[len(prompt) - 1 :]


@pytest.mark.parametrize("name", POLICIES)
def test_a_whole_budget_is_dense_attention(runner, name):
    policy = build(POLICIES[name], POLICIES[name].whole)
    session, steps = decode(runner, policy)
    tokens = session.ids[len(PROMPT) :]
    plain = Session(runner, PROMPT, Law(0))
    for token in tokens:
        assert int(plain.logits.argmax()) == token
        plain.push(token)
    rows = rows_of(runner, build(POLICIES[name], POLICIES[name].whole), tokens)
    assert (rows - dense_rows(runner, tokens)).abs().max() < 1e-5
    assert all(step.notes["agrees"] and step.notes["kl"] < 1e-9 for step in steps)


class Replayed(Policy):
    """Mask mode: everything is held, and what another run had forgotten or not chosen is masked with -inf."""

    def __init__(self, seen):
        self.seen = iter(seen)

    def attend(self, layer, query, keys, values, positions):
        spec, (n, heads, size) = self.spec, query.shape
        self.append(layer, keys.transpose(0, 1), values.transpose(0, 1), positions)
        slots = self.slots[layer]
        grouped = query.transpose(0, 1).reshape(spec.kv_heads, heads // spec.kv_heads, n, size)
        scores = grouped @ slots.keys[:, None].transpose(2, 3)
        allowed = torch.zeros(spec.kv_heads, n, slots.length, dtype=torch.bool)
        done = 0
        while done < n:
            places, rows = next(self.seen)
            for head in range(spec.kv_heads):
                allowed[head, done : done + rows, places[head].long()] = True
            done += rows
        allowed &= slots.positions[:, None] <= positions[None, :, None]
        probs = scores.masked_fill(~allowed[:, None], float("-inf")).softmax(-1)
        if layer == spec.layers - 1:
            self.fed += n
        return (probs @ slots.values[:, None]).view(heads, n, size).transpose(0, 1)


@pytest.mark.parametrize("name", POLICIES)
def test_mask_mode_is_gather_mode(runner, name):
    policy = build(POLICIES[name], PLAIN.get(name, {}))
    if policy.changes:
        pytest.skip("its keys and values are not the ones that were given: there is no mask for that")
    seen = []
    observe = policy.observe

    def watch(layer, query, probs, selection):
        positions = policy.slots[layer].positions
        places = positions if selection is None else positions.gather(1, selection.index)
        seen.append((places.clone(), query.shape[2]))
        observe(layer, query, probs, selection)

    policy.observe = watch
    tokens = PROMPT[:NEW]
    gathered = rows_of(runner, policy, tokens)
    masked = rows_of(runner, Replayed(seen), tokens)
    assert (gathered - masked).abs().max() < 1e-5


@pytest.mark.parametrize("name", POLICIES)
def test_never_above_budget_and_no_slot_twice(runner, name):
    policy = build(POLICIES[name], PLAIN.get(name, {}))
    session = Session(runner, PROMPT, Law(0))
    session.carry(runner.policy_cache(policy))
    for token in PROMPT[:NEW]:
        _ = session.logits
        for layer, slots in enumerate(policy.slots):
            limit = policy.limit(layer)
            assert limit is None or slots.length <= limit < session.cache.length
        for row in (row for heads in policy.kept() for row in heads):  # unbroken runs, from ... to behind the last
            assert row == sorted(set(row)) and row[-1] <= len(session.ids)
        session.push(token)


@pytest.mark.parametrize("name", POLICIES)
def test_later_tokens_change_nothing_before(runner, name):
    """Behind the same tokens the logits are the same, whatever comes after; and a prompt's end does not see what follows."""
    first = rows_of(runner, build(POLICIES[name], PLAIN.get(name, {})), PROMPT[:4])
    other = rows_of(runner, build(POLICIES[name], PLAIN.get(name, {})), PROMPT[:3] + PROMPT[40:44])
    assert torch.equal(first[:4], other[:4]) and not torch.equal(first[4], other[4])


@pytest.mark.parametrize("name", POLICIES)
def test_bytes_are_those_of_the_tensors_held(runner, name):
    policy = build(POLICIES[name], PLAIN.get(name, {}))
    session, steps = decode(runner, policy)
    held = sum(tensor.nelement() * tensor.element_size() for tensor in policy.tensors())
    assert policy.bytes == session.cache.bytes == held
    notes = steps[-1].notes
    assert 0 < notes["bytes"]["payload"] <= notes["bytes"]["whole"]
    assert notes["dense bytes"] == notes["fed"] * 2 * len(policy.slots) * policy.spec.kv_heads * policy.spec.size * 8


def test_comparing_is_no_part_of_the_cost(runner):
    """Dense attention beside a policy is counted nowhere, neither its forwards nor its seconds."""
    session, steps = decode(runner, POLICIES["window"]())
    assert session.cost().target_forwards == NEW and session.seconds_aside > 0
    alone, bare = decode(runner, POLICIES["window"](compare=False))
    assert alone.seconds_aside == 0 and [step.emitted for step in bare] == [step.emitted for step in steps]
    assert "kl" in steps[0].notes and "kl" not in bare[0].notes


@pytest.mark.parametrize("name", POLICIES)
def test_the_menu_knows_its_leaf(name):
    """Every policy stands in the survey's taxonomy (P083), and the menu has words for it."""
    words = (PACKAGE / "ui" / "js" / "knobs.js").read_text(encoding="utf-8")
    leaves = re.findall(r"(\w+): \"Cache: ", words)
    assert POLICIES[name].leaf in leaves
