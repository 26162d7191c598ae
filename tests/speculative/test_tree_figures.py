"""The figures that every drafting method's steps carry, against what they mean written down plainly, node by node."""

from __future__ import annotations

import random

import pytest
import torch

from labkit.law import entropy
from labkit.speculative import verify
from labkit.speculative.ground import SHOWN, kept_tests, measure
from labkit.trace import Tree

LETTERS = 40


def tree_and_laws(size: int, seed: int, temperature: float):
    """A random tree with its target logits [N+1, V] and the laws its tokens were drawn from [N, V], some tokens cut."""
    rng, chance = torch.Generator().manual_seed(seed), random.Random(seed)
    logits = 3 * torch.randn(size + 1, LETTERS, generator=rng)
    laws = (3 * torch.randn(size, LETTERS, generator=rng)).softmax(-1)
    laws[:, ::7] = 0
    laws /= laws.sum(-1, keepdim=True)
    tokens = torch.multinomial(laws, 1, generator=rng)[:, 0].tolist() if size else []
    tree = Tree(tokens, [chance.randint(-1, node - 1) for node in range(size)], kind="iid")
    p = logits.softmax(-1) if temperature else torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1)
    return tree, logits, p, laws, rng


def verified(tree, logits, p, laws, rng, temperature):
    if temperature == 0:
        return verify.greedy(tree, logits.argmax(-1).tolist())
    return verify.sample_and_match(tree, p, rng) if laws is None else verify.residual_chain(tree, p, laws, rng)


@pytest.mark.parametrize("drafted", [True, False], ids=["drafted", "undrafted"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("size", [0, 1, 6, 40])
def test_a_trees_figures_are_those_of_its_laws(size, temperature, drafted):
    tree, logits, p, laws, rng = tree_and_laws(size, size, temperature)
    outcome = verified(tree, logits, p, laws if drafted else None, rng, temperature)
    verify.write(tree, outcome)
    measure(tree, p if temperature else logits, temperature == 0, laws if drafted else None, outcome)
    shown = p if temperature else logits.softmax(-1)  # at temperature 0 the raw law
    for node, (parent, token) in enumerate(zip(tree.parents, tree.tokens)):
        row = shown[parent + 1]
        assert tree.target_logprobs[node] == row[token].log().item()
        assert tree.target_entropies[node] == pytest.approx(torch.special.entr(row).sum().item(), abs=1e-5)
        if drafted:
            assert tree.draft_logprobs[node] == laws[node, token].log().item()
            assert tree.draft_entropies[node] == pytest.approx(torch.special.entr(laws[node]).sum().item(), abs=1e-5)
    assert drafted or not tree.draft_logprobs
    if temperature == 0:
        last = tree.path[-1] + 1 if tree.path else 0
        assert tree.added_logprob == pytest.approx(logits[last].log_softmax(-1)[tree.added].item(), abs=1e-5)


@pytest.mark.parametrize("drafted", [True, False], ids=["drafted", "undrafted"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_kept_tests_name_the_best_of_both_laws_and_what_is_left(temperature, drafted):
    looked = 0
    for seed in range(12):
        tree, logits, p, laws, rng = tree_and_laws(30, seed, temperature)
        laws = laws if drafted else None
        outcome = verified(tree, logits, p, laws, rng, temperature)
        for test, tested in zip(kept_tests(tree, p, laws, outcome), outcome.tested, strict=True):
            looked += 1
            node, token = tested.node, tree.tokens[tested.node]
            law = p[tree.parents[node] + 1] if tested.p is None else tested.p
            q = torch.eye(LETTERS)[token] if laws is None else laws[node]
            left = (law - q).clamp(min=0)
            left = left / left.sum().clamp(min=1e-30) if tested.residual is None else tested.residual
            best = [token, outcome.added, *law.topk(SHOWN).indices.tolist(), *q.topk(SHOWN).indices.tolist()]
            assert (test.node, test.tokens) == (node, list(dict.fromkeys(best)))
            for values, rest, whole in (
                (test.p, test.p_rest, law), (test.q, test.q_rest, q), (test.residual, test.residual_rest, left)
            ):  # fmt: skip
                assert values == pytest.approx(whole[test.tokens].tolist(), abs=1e-7)
                assert rest == pytest.approx((whole.sum() - whole[test.tokens].sum()).item(), abs=1e-6)
            assert test.agreement == pytest.approx(torch.minimum(law, q).sum().item(), abs=1e-6)
    assert looked > 12


def test_a_verifier_may_add_nothing_behind_the_last_node():
    """Then the target's law there need not be known."""
    tree, logits, p, laws, _ = tree_and_laws(3, 5, 1.0)
    tree.parents = [-1, 0, 1]
    outcome = verify.Outcome([0, 1, 2], None, tested=[verify.Tested(node, True, "") for node in range(3)])
    for rows, greedy in ((p[:3], False), (logits[:3], True)):
        measure(tree, rows, greedy, laws, outcome)
        assert tree.added_logprob is None and len(tree.target_logprobs) == 3
    tests = kept_tests(tree, p[:3], laws, outcome)
    assert [test.tokens[0] for test in tests] == tree.tokens and None not in tests[0].tokens


def test_entropy_of_certainty_is_nought_and_of_no_number_none():
    law = torch.tensor([[1.0, 0.0], [0.5, 0.5], [float("nan"), 0.0]])
    nats = entropy(law).tolist()
    assert nats[:2] == [0.0, pytest.approx(0.6931472)] and nats[2] != nats[2]
    assert str(nats[0]) == "0.0", "not the other zero"
    assert law[0].tolist() == [1.0, 0.0], "the law itself stays as it is"
