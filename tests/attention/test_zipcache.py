"""P049: codes are off by half a step at most, saliency is the normalised score of the probes, bytes are the formula's."""

from __future__ import annotations

from itertools import islice

import pytest
import tiny_models
import torch

from labkit.attention import zipcache as paper
from labkit.attention.ground import Policy, Spec
from labkit.law import Law
from labkit.lm import Session

PROMPT = torch.randint(64, 4096, (70,), generator=torch.Generator().manual_seed(3)).tolist()
MORE = PROMPT[:30]


@pytest.fixture(scope="module", params=["llama, grouped, tied", "llama, biased", "gpt2"])
def runner(request):
    return tiny_models.runner(tiny_models.tiny(request.param))


def states(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows_of(runner, policy):
    """Logits [n + 1, V] behind the prompt and behind each of `MORE`."""
    session = Session(runner, PROMPT, Law(0))
    session.carry(runner.policy_cache(policy))
    rows = [session.logits]
    for token in MORE:
        session.push(token)
        rows.append(session.logits)
    return torch.stack(rows)


def written(tokens=100, size=64, heads=2, channels=1.0, **knobs):
    """A policy that has written random keys and values of one layer; values times `channels`."""
    policy = paper.ZipCache(**knobs)
    policy.begin(Spec(1, heads, heads, size, None, torch.float32, torch.device("cpu")))
    keys, values = states(heads, tokens, size), states(heads, tokens, size, seed=1) * channels
    policy.append(0, keys, values, torch.arange(tokens))
    policy.select(0, None, torch.arange(tokens))
    policy.observe(0, None, uniform(tokens).expand(heads, 1, -1, -1), None)
    policy.evict(0, True)
    return policy, keys, values


def uniform(tokens):
    """A[i, j] = 1 / (i + 1) for j up to i."""
    return torch.ones(tokens, tokens).tril() / torch.arange(1, tokens + 1)[:, None]


@pytest.mark.parametrize("scheme", ["tokenwise", "groups of 32", "channelwise"])
@pytest.mark.parametrize("bits", ["1", "2", "4", "8"])
def test_no_code_is_off_by_more_than_half_a_step(bits, scheme):
    given = states(50, 96) * torch.logspace(-4, 3, 96) + 5
    given[7] = 3.0
    held = paper.quantised(given, bits, scheme)
    wrong = (held.read(torch.float64) - given.unflatten(1, (-1, held.width))).abs()
    assert (wrong <= 0.5 * held.step.double() + 1e-5 * given.abs().max()).all() and (wrong > 0.4 * held.step.double()).any()
    parts = {"tokenwise": 50, "groups of 32": 150, "channelwise": 96}[scheme]
    assert held.low.numel() == held.step.numel() == parts and held.codes.nbytes == 50 * 96 * int(bits) / 8


def test_scales_of_one_reduce_to_tokenwise():
    ones = torch.nn.functional.normalize(states(100, 128), p=torch.inf, dim=0)  # the largest of each channel is 1
    assert torch.equal(paper.channel_scale(ones), torch.ones(128).half())
    policies = []
    for scheme in ("separable", "tokenwise"):
        policy = paper.ZipCache(values=scheme)
        policy.begin(Spec(1, 2, 2, 64, None, torch.float32, torch.device("cpu")))
        values = ones.view(100, 2, 64).transpose(0, 1)
        policy.append(0, values, values, torch.arange(100))
        policy.evict(0, True)
        policies.append(policy)
    assert torch.equal(*(policy.older(0)[1] for policy in policies))


def test_separable_beats_tokenwise_where_channels_differ():
    loud = torch.ones(64)
    loud[::16] = 30
    errors = {}
    for scheme in ("separable", "tokenwise"):
        policy, _, values = written(channels=loud, values=scheme)
        errors[scheme] = float((policy.older(0)[1] - values)[..., loud == 1].square().mean())
    assert errors["separable"] < 0.5 * errors["tokenwise"]


def test_bytes_are_the_formula():
    """60% at 4 and 40% at 2 bits: 3.2 bits a number; parameters: c, two a value's token, two a key's channel and class."""
    policy, _, _ = written()
    kinds, numbers = policy.notes()["storage"], 2 * 100 * 128
    assert kinds["numbers"] * 8 / numbers == pytest.approx(3.2) and policy.payload(0) == kinds["numbers"]
    assert kinds["scales"] == 2 * (128 + 2 * 100 + 2 * 2 * 128)
    assert kinds["maps"] == 13 and kinds["fresh"] == 0
    assert sum(kinds.values()) == policy.bytes == sum(t.nelement() * t.element_size() for t in policy.tensors())


def test_groups_of_32_at_4_bits_cost_5():
    policy, _, _ = written(values="groups of 32", high="4", low="4")
    values = [one for part in policy.groups[0][0].values for one in (part.codes, part.low, part.step)]
    assert sum(one.nelement() * one.element_size() for one in values) * 8 / (100 * 128) == 5


def test_salient_tokens_are_nearer():
    policy, keys, values = written(salient=0.3)
    salient = paper.unpacked(policy.groups[0][0].salient, 1, 100).bool()
    assert salient.sum() == 30
    for found, given in zip(policy.older(0), (keys, values)):
        wrong = (found - given).square().mean((0, 2))
        assert wrong[salient].mean() < 0.3 * wrong[~salient].mean()


def observed(probs, score, probes="all", share=1.0):
    """The saliency of tokens whose queries gave `probs` [N, N], served in two chunks."""
    tokens = len(probs)
    policy = paper.ZipCache(score=score, probes=probes, share=share)
    policy.begin(Spec(1, 1, 1, 4, None, torch.float32, torch.device("cpu")))
    policy.append(0, states(1, tokens, 4), states(1, tokens, 4), torch.arange(tokens))
    for rows in (slice(0, 20), slice(20, tokens)):
        policy.select(0, None, torch.arange(tokens)[rows])
        policy.observe(0, None, probs[None, None, rows], None)
    return policy, policy.saliency(0)


@pytest.mark.parametrize("probes, share", [("all", 0.1), ("half", 1.0), ("random", 1.0), ("recent", 1.0)])
def test_all_probes_give_the_exact_score(probes, share):
    probs = states(50, 50).masked_fill(~torch.ones(50, 50, dtype=torch.bool).tril(), -torch.inf).softmax(-1)
    exact = probs.sum(0) / torch.arange(50, 0, -1)
    assert torch.allclose(observed(probs, "normalised", probes, share)[1], exact)
    assert torch.allclose(observed(probs, "sum", probes, share)[1], probs.sum(0))


@pytest.mark.parametrize("probes", ["half", "recent", "random"])
def test_probes_are_divided_by_those_that_see(probes):
    """Uniform attention of the probes that see a token; the release divides by queries that were never asked."""
    policy, found = observed(uniform(50), "normalised", probes, 0.2)
    asked = policy.asked
    assert asked.sum() == 10 and asked[-10:].all() == (probes == "recent")
    assert probes != "half" or asked[-5:].all()
    sees = asked[:, None] & torch.ones(50, 50, dtype=torch.bool).tril()
    exact = (uniform(50) * sees).sum(0) / sees.sum(0).clamp(min=1)
    assert torch.allclose(found, exact)
    _, release = observed(uniform(50), "release", probes, 0.2)
    assert torch.allclose(release, (uniform(50) * policy.asked[:, None]).sum(0) / torch.arange(50, 0, -1))
    assert not torch.allclose(release, exact)


def test_normalising_takes_most_of_the_favour_of_age():
    """Uniform causal attention: the first token's score over the last's is N * H_N for the sum and H_N when normalised."""
    harmonic = sum(1 / i for i in range(1, 51))
    for score, ratio in (("sum", 50 * harmonic), ("normalised", harmonic)):
        _, found = observed(uniform(50), score)
        assert float(found[0] / found[-1]) == pytest.approx(ratio, rel=1e-4)


def test_whole_numbers_are_dense_attention(runner):
    policy = paper.ZipCache(high="whole", low="whole", window=10)
    found = rows_of(runner, policy)
    assert len(policy.places[0]) == len(PROMPT) + len(MORE) and len(policy.groups[0]) == 4
    assert (found - rows_of(runner, Policy())).abs().max() < 1e-5
    assert (found - rows_of(runner, paper.ZipCache(window=10))).abs().max() > 1e-3


def test_tokens_keep_their_order_and_places(runner):
    """The keys of layer 0 hang on the tokens alone: read back from several groups they are the dense ones, nearly."""
    dense, policy = Policy(), paper.ZipCache(window=10, high="8", low="4")
    rows_of(runner, dense), rows_of(runner, policy)
    assert len(policy.groups[0]) == 4
    seen, exact = policy.read(0, None), dense.read(0, None)
    assert torch.equal(seen.positions, exact.positions)
    span = exact.keys.amax(1, keepdim=True) - exact.keys.amin(1, keepdim=True)
    assert ((seen.keys - exact.keys).abs() <= span / 15 * 0.51).all()


def test_more_bits_lose_less_on_the_shipped_model(shipped32, prompts):
    ids = [token for prompt in prompts for token in prompt][:320]
    lost = []
    for high, low in (("8", "4"), ("4", "2"), ("2", "1")):
        session = Session(shipped32.target, ids, Law(0))
        steps = islice(paper.ZipCache(high=high, low=low).steps(session, torch.Generator().manual_seed(0)), 6)
        lost.append(sum(step.notes["kl"] for step in steps))
    assert lost[0] < lost[1] < lost[2]
