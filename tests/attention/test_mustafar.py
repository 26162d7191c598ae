"""P143: the bitmap gives every bit back and costs what it says; attention over it is dense attention over the zeroed tensors."""

from __future__ import annotations

from itertools import islice

import pytest
import tiny_models
import torch

from labkit.attention import bitmap
from labkit.attention import mustafar as paper
from labkit.attention.ground import Policy, Spec
from labkit.law import Law
from labkit.lm import Session

PROMPT = torch.randint(64, 4096, (150,), generator=torch.Generator().manual_seed(3)).tolist()
MORE = PROMPT[:70]  # enough for another group to be written
BITS = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}


@pytest.fixture(scope="module", params=["llama, grouped, tied", "llama, biased", "gpt2"])
def runner(request):
    return tiny_models.runner(tiny_models.tiny(request.param))


def rows_of(runner, policy, tokens=MORE):
    """Logits [n + 1, V] behind the prompt and behind each of `tokens`."""
    session = Session(runner, PROMPT, Law(0))
    session.carry(runner.policy_cache(policy))
    rows = [session.logits]
    for token in tokens:
        session.push(token)
        rows.append(session.logits)
    return torch.stack(rows)


def states(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def begun(size=64, heads=2, dtype=torch.float16, **knobs):
    policy = paper.Mustafar(**knobs)
    policy.begin(Spec(1, heads, heads, size, None, dtype, torch.device("cpu")))
    return policy


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("width", [64, 12, 1])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_every_bit_comes_back(dtype, width, share):
    tiles = states(50, width, dtype=dtype)
    tiles[states(50, width, seed=1).abs() < states(50, width, seed=2).abs() * share * 2] = 0
    tiles[0], tiles[1, 0], tiles[2, 0], tiles[3, 0] = 0, -0.0, float("inf"), float("nan")
    if share == 1.0:
        tiles[4:] = 0
    held = bitmap.pack(tiles)
    assert torch.equal(bitmap.unpack(held, width).view(BITS[dtype]), tiles.view(BITS[dtype]))
    kept = tiles.view(BITS[dtype]) != 0
    ones = [bin(number % 2**64).count("1") for number in held.maps.tolist()]
    assert ones == kept.sum(1).tolist() and bitmap.nonzeros(held) == sum(ones)
    padded = [-(-count // 8) * 8 for count in ones]
    assert len(held.numbers) == sum(padded)
    assert held.offsets.tolist() == [sum(padded[:tile]) for tile in range(len(padded))]
    assert (held.maps.dtype, held.offsets.dtype) == (torch.int64, torch.int32)


def test_the_most_significant_bit_is_the_first_number():
    tiles = torch.zeros(2, 64)
    tiles[0, 0], tiles[1, 63] = 5.0, 7.0
    assert bitmap.pack(tiles).maps.tolist() == [-(2**63), 1]


def test_tiles_put_behind_others_are_tiles_packed_at_once():
    tiles = states(20, 64).relu()
    both = bitmap.joined(bitmap.pack(tiles[:7]), bitmap.pack(tiles[7:]))
    assert all(map(torch.equal, both, bitmap.pack(tiles)))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.29, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("size", [64, 100, 12])
def test_exactly_so_many_zeros_a_vector(share, size):
    given = states(2, 128, size).half()  # magnitudes tie
    found = begun(size).pruned(given, share)
    gone = found == 0
    assert (gone.sum(-1) == int(round(share * size * 100) // 100)).all()
    assert torch.equal(found[~gone], given[~gone])
    largest = given.abs().masked_fill(~gone, -1).amax(-1)  # of those that went
    assert (found.abs().masked_fill(gone, 6e4).amin(-1) >= largest).all()


def test_the_threshold_of_the_release_prunes_one_less():
    given = states(1, 64, 64)
    threshold = given.abs().sort(-1).values[..., int(0.7 * 64) - 1 : int(0.7 * 64)]
    release = given.where(given.abs() >= threshold, 0)
    assert ((release == 0).sum(-1) == 43).all() and ((begun().pruned(given, 0.7) == 0).sum(-1) == 44).all()


@pytest.mark.parametrize("direction", ["channel", "whole channels"])
def test_other_directions(direction):
    found = begun(direction=direction).pruned(states(2, 128, 64), 0.5).unflatten(1, (2, 64)) == 0
    if direction == "channel":
        assert (found.sum(2) == 32).all() and not (found.sum(3) == 32).all()
    else:
        assert ((found.sum(2) == 64).sum(-1) == 32).all() and found.sum() == found.numel() / 2


def test_weights_change_what_goes():
    given, weight = states(1, 64, 64), torch.ones(1, 1, 64)
    weight[..., :19] = 1e9
    assert (begun().pruned(given, 0.7, weight)[..., :19] != 0).all()


def stored(size, share, dtype=torch.float16, tokens=128):
    policy = begun(size, keys=share, values=share, window=0, dtype=dtype)
    policy.append(0, states(2, tokens, size, dtype=dtype), states(2, tokens, size, seed=1, dtype=dtype), torch.arange(tokens))
    policy.evict(0, True)
    return policy


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7])
def test_bytes_are_the_formula(share):
    policy = stored(64, share)
    for tiles, held in zip((paper.key_tiles, paper.value_tiles), policy.bitmaps[0]):
        index = 0 if tiles is paper.key_tiles else 1
        counts = (tiles(policy.older(0)[index]) != 0).sum(-1)
        assert held.numbers.nelement() * 2 == sum(2 * -(-count // 8) * 8 for count in counts.tolist())
        assert (held.maps.nelement() * 8 + held.offsets.nelement() * 4) == 12 * len(counts) == 12 * 2 * 128
    assert policy.payload(0) + policy.metadata(0) == sum(t.nelement() * t.element_size() for t in policy.tensors())
    kinds = policy.notes()["storage"]
    assert sum(kinds.values()) == policy.bytes and kinds["fresh"] == 0
    assert kinds["numbers"] + kinds["padding"] == policy.payload(0)
    assert policy.weight(0, None) == policy.bytes - kinds["positions and scores"]


def test_seventy_percent_zeros_are_47_percent_of_the_values_and_break_even_is_near_15():
    def of_dense(share):
        held = stored(64, share).bitmaps[0][1]
        return sum(one.nelement() * one.element_size() for one in held) / (2 * 128 * 64 * 2)

    assert of_dense(0.7) == (24 * 2 + 12) / 128 == 0.46875
    assert of_dense(0.15) < 1 < of_dense(0.10)


class Zeroed(Policy):
    """Dense tensors whose older tokens are zeroed one vector at a time, as the paper says."""

    def __init__(self, keys, values, window):
        super().__init__()
        self.shares, self.window = (keys, values), window

    def begin(self, spec):
        super().begin(spec)
        self.done = [0] * spec.layers

    def evict(self, layer, prompt):
        slots = self.slots[layer]
        until = self.done[layer] + max(0, (slots.length - self.window - self.done[layer]) // 64 * 64)
        for held, share in zip((slots.keys, slots.values), self.shares):
            for head in range(held.shape[0]):
                for token in range(self.done[layer], until):
                    order = held[head, token].abs().argsort()
                    held[head, token, order[: int(share * held.shape[2] + 1e-9)]] = 0
        self.done[layer] = until


@pytest.mark.parametrize("keys, values, window", [(0.7, 0.7, 32), (0.5, 0.0, 0), (0.0, 0.9, 5)])
def test_sparse_is_dense_on_zeroed_tensors(runner, keys, values, window):
    policy = paper.Mustafar(keys=keys, values=values, window=window)
    found = rows_of(runner, policy)
    assert len(policy.places[0]) == (len(PROMPT) + len(MORE) - window) // 64 * 64 > 64
    assert (found - rows_of(runner, Zeroed(keys, values, window))).abs().max() < 1e-5
    assert (found - rows_of(runner, Policy())).abs().max() > 1e-3


@pytest.mark.parametrize("direction", ["token", "channel", "whole channels"])
@pytest.mark.parametrize("rule", ["magnitude", "output-aware", "random"])
def test_no_zeros_is_dense_attention(rule, direction):
    runner = tiny_models.runner(tiny_models.tiny("llama, grouped, tied"))
    policy = paper.Mustafar(keys=0.0, values=0.0, window=0, rule=rule, direction=direction)
    assert (rows_of(runner, policy, MORE[:4]) - rows_of(runner, Policy(), MORE[:4])).abs().max() < 1e-5
    assert len(policy.places[0]) == 128


def test_what_is_held_and_told(runner):
    session = Session(runner, PROMPT, Law(0))
    policy = paper.Mustafar(rule="output-aware", direction="channel", window=8)
    steps = list(islice(policy.steps(session, torch.Generator().manual_seed(0)), 60))
    last, size = steps[-1].notes, policy.spec.size
    assert last["held"] == [209] * policy.spec.layers and last["kept"][0] == [[0, 209]] * policy.spec.kv_heads
    assert last["numbers"] == 2 * policy.spec.layers * policy.spec.kv_heads * size * 209
    assert sum(last["storage"].values()) == last["bytes"]["whole"]
    drawn = [step.notes["pictures"] for step in steps if step.notes["pictures"]]
    assert len(drawn) == 2 and [one["first"] for one in drawn[1]] == [128, 128]
    keys = policy.older(policy.spec.layers // 2)[0][0, 128:192]
    assert [[digit == "0" for digit in row] for row in drawn[1][0]["rows"]] == (keys == 0).tolist()


def test_large_numbers_say_more_than_random_ones(shipped32, prompts):
    """The paper's claim on the shipped model, over the texts of the first held-out prompts."""
    ids = [token for prompt in prompts for token in prompt][:320]
    lost = {}
    for rule in ("magnitude", "random"):
        session = Session(shipped32.target, ids, Law(0))
        policy = paper.Mustafar(rule=rule, window=0)
        lost[rule] = sum(step.notes["kl"] for step in islice(policy.steps(session, torch.Generator().manual_seed(0)), 6))
    assert lost["magnitude"] < 0.5 * lost["random"]
