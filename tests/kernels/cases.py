"""Every kernel against its reference in float64, and the edges of both; started by `test_kernels.py`, in a process of its own.

With TRITON_INTERPRET=1 the kernels run on CPU tensors in Triton's interpreter, otherwise compiled on this machine's GPU.
"""

from __future__ import annotations

import os

import pytest
import torch

from labkit.attention.double_sparsity import DoubleSparsity, quantised
from labkit.attention.ground import Spec
from labkit.attention.h2o import H2O
from labkit.attention.token_select import TokenSelect
from labkit.kernels import indexed, labels, launch, sums, tree
from labkit.kernels.indexed import attend_indexed_torch, attend_indexed_triton
from labkit.kernels.labels import best, label_scores_torch, label_scores_triton
from labkit.kernels.merge import merge_torch, merge_triton
from labkit.kernels.sums import attend_summed_torch, attend_summed_triton
from labkit.kernels.tree import attend_tree_torch, attend_tree_triton
from labkit.llama import LlamaCache

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
NEAR = {torch.float32: 1e-5, torch.float16: 5e-3} | ({torch.bfloat16: 4e-2} if DEVICE == "cuda" else {})  # not interpreted
NOTHING = float("-inf")


@pytest.fixture(autouse=True)
def many_processors(monkeypatch):
    """So that even small work is cut into shares, as on a GPU."""
    monkeypatch.setattr(launch, "_processors", lambda device: 8)


def some(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def chosen(heads: int, length: int, count: int) -> torch.Tensor:
    """`count` slots of `length` for each head, ascending."""
    return best(torch.rand(heads, length, generator=torch.Generator().manual_seed(1)), count).to(DEVICE)


def near(found: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype = torch.float32):
    """Both are the same up to the rounding of `dtype`, minus infinity where minus infinity is wanted, and never NaN."""
    assert found.shape == wanted.shape and not found.isnan().any()
    assert torch.equal(found == NOTHING, wanted == NOTHING)
    assert (found.double() - wanted).nan_to_num().abs().max() < NEAR[dtype] * 2


def doubled(*parts: torch.Tensor) -> list[torch.Tensor]:
    return [part.double() if part.is_floating_point() else part for part in parts]


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("group, size, length, count", [(4, 32, 90, 70), (1, 16, 20, 20), (8, 24, 9, 1)])
def test_indexed(dtype, group, size, length, count):
    query, index = some(2, group, size, dtype=dtype) / size**0.5, chosen(2, length, count)
    parts = query, some(2, length, size, seed=1, dtype=dtype), some(2, length, size, seed=2, dtype=dtype)
    for found, wanted in zip(attend_indexed_triton(*parts, index), attend_indexed_torch(*doubled(*parts), index)):
        near(found, wanted, dtype)


def test_indexed_over_batches_views_and_ragged_sets():
    """Two sequences; a cache with room to spare; sets of 65, 64, 3 and no slots, in rows of 65."""
    room = some(2, 2, 2, 128, 32)
    keys, values = room[0, :, :, :100], room[1, :, :, :100]
    index = chosen(4, 100, 65).view(2, 2, 65)
    for row, held in enumerate((65, 64, 3, 0)):
        index[row // 2, row % 2, held:] = -1
    query = some(2, 2, 4, 32, seed=3)
    out, sums = attend_indexed_triton(query, keys, values, index)
    for found, wanted in zip((out, sums), attend_indexed_torch(*doubled(query, keys, values), index)):
        near(found, wanted)
    assert (out[1, 1] == 0).all() and (sums[1, 1] == NOTHING).all() and (sums[1, 0] > NOTHING).all()


def test_a_loud_score_does_not_overflow():
    query, keys, values = 1e3 * some(1, 2, 16), some(1, 40, 16, seed=1), some(1, 40, 16, seed=2)
    index = chosen(1, 40, 33)
    near(attend_indexed_triton(query, keys, values, index)[0], attend_indexed_torch(*doubled(query, keys, values), index)[0])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_merge(count):
    parts, sums = some(count, 3, 2, 24), 5 * some(count, 3, 2)
    sums[:, 0] = NOTHING  # nobody saw anything
    sums[0, 1] = NOTHING
    parts[sums == NOTHING] = 0
    for found, wanted in zip(merge_triton(parts, sums), merge_torch(*doubled(parts, sums))):
        near(found, wanted)


def test_merged_halves_are_the_whole():
    query, keys, values, index = some(2, 4, 32), some(2, 90, 32, seed=1), some(2, 90, 32, seed=2), chosen(2, 90, 40)
    halves = [attend_indexed_triton(query, keys, values, index[:, part]) for part in (slice(0, 13), slice(13, 40))]
    merged = merge_triton(*(torch.stack(half) for half in zip(*halves)))
    for found, wanted in zip(merged, attend_indexed_torch(*doubled(query, keys, values), index)):
        near(found, wanted)


def sight(parents: list[int], width: int) -> torch.Tensor:
    """The additive mask [n, width] of a tree behind width - n tokens that all may see."""
    new = len(parents)
    mask = torch.full((new, width), NOTHING)
    mask[:, : width - new] = 0
    for node, parent in enumerate(parents):
        if parent >= 0:
            mask[node] = mask[parent]
        mask[node, width - new + node] = 0
    return mask.to(DEVICE)


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("group, size, length", [(1, 16, 7), (8, 24, 70)])
def test_tree(dtype, group, size, length):
    """Two roots, nodes with two children; the mask as wide as the tree, and by one token wider."""
    parents = [-1, -1, 0, 0, 1, 2]
    new = len(parents)
    query = some(2, group * new, size, dtype=dtype) / size**0.5
    keys, values = some(2, length, size, seed=1, dtype=dtype), some(2, length, size, seed=2, dtype=dtype)
    for mask in (sight(parents, new).to(dtype), sight(parents, new + 1).to(dtype)):
        wanted = attend_tree_torch(*doubled(query, keys, values, mask))
        near(attend_tree_triton(query, keys, values, mask), wanted, dtype)


def test_one_token_and_a_long_chain():
    keys, values = some(2, 70, 32, seed=1), some(2, 70, 32, seed=2)
    near(attend_tree_triton(some(2, 1, 32), keys, values, None), attend_tree_torch(*doubled(some(2, 1, 32), keys, values), None))
    query, mask = some(2, 2 * 33, 32), sight(list(range(-1, 32)), 33)
    near(attend_tree_triton(query, keys, values, mask), attend_tree_torch(*doubled(query, keys, values, mask)))


def test_sequences_each_with_its_own_mask():
    """Three sequences padded to one length: empty columns in front are hidden, each behind its own tree."""
    mask = torch.stack([sight([-1, 0, 0], 40), sight([-1, -1, 1], 40), sight([-1, 0, 1], 40)])[:, None]
    mask[1, ..., :5] = mask[2, ..., :30] = NOTHING
    query, keys, values = some(6, 2 * 3, 16), some(6, 40, 16, seed=1), some(6, 40, 16, seed=2)
    near(attend_tree_triton(query, keys, values, mask), attend_tree_torch(*doubled(query, keys, values, mask)))


def test_a_row_that_sees_nothing():
    mask = sight([-1, 0], 20)
    mask[0] = NOTHING
    out = attend_tree_triton(some(1, 2, 16), some(1, 20, 16), some(1, 20, 16), mask)
    assert (out[0, 0] == 0).all() and not out.isnan().any()


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("group, size, new, held", [(1, 16, 5, 5), (2, 32, 70, 90), (8, 24, 2, 70)])
def test_summed(dtype, group, size, new, held):
    """The newest `new` of `held` positions ask; what one head holds has gaps."""
    query = some(2, group, new, size, dtype=dtype) / size**0.5
    keys, values = some(2, held, size, seed=1, dtype=dtype), some(2, held, size, seed=2, dtype=dtype)
    every = torch.arange(held, dtype=torch.int32, device=DEVICE) + 3
    positions, places = torch.stack([every, every - 3 * (every < held // 2)]), every[-new:]
    out, sums = attend_summed_triton(query, keys, values, places, positions)
    wanted = attend_summed_torch(*doubled(query, keys, values), places, positions)
    near(out, wanted[0], dtype)
    assert (sums - wanted[1]).abs().max() < NEAR[dtype] * group * new
    assert sums.sum(1).tolist() == pytest.approx([group * new] * 2, rel=NEAR[dtype])


def test_summed_where_the_first_queries_see_nothing():
    query, keys, values = some(1, 2, 6, 16), some(1, 8, 16, seed=1), some(1, 8, 16, seed=2)
    places, positions = torch.arange(6, device=DEVICE), torch.arange(8, device=DEVICE)[None] + 4
    out, sums = attend_summed_triton(query, keys, values, places, positions)
    for found, wanted in zip((out, sums), attend_summed_torch(*doubled(query, keys, values), places, positions)):
        near(found, wanted)
    assert (out[:, :, :4] == 0).all() and (sums[:, 2:] == 0).all() and sums.sum() == pytest.approx(4)


@pytest.mark.parametrize("bits", ["whole", "8", "4", "2"])
@pytest.mark.parametrize("width, length", [(5, 300), (16, 1)])
def test_labels(bits, width, length):
    part, held = some(2, width), quantised(some(2, length, width, seed=1), bits)
    found, wanted = label_scores_triton(part, held, bits), label_scores_torch(part.double(), held, bits)
    near(found, wanted.double())
    if length > 1:  # ties apart, the same slots are best
        assert torch.equal(best(found, 20), best(wanted, 20))


@pytest.mark.parametrize("module, policy", [
    (indexed, DoubleSparsity(share=0.2, channels=4)),
    (labels, DoubleSparsity(share=0.2, channels=4)),
    (indexed, TokenSelect(count=8, first=2, local=8)),
    (sums, H2O()),
    (sums, H2O(score="normalised")),
])  # fmt: skip
def test_policies_through_the_kernels(module, policy, monkeypatch):
    """A prompt of 40 tokens and two more, in one layer: the same with the kernel as with its reference, and the kernel ran."""
    spec, found, ran = Spec(1, 4, 2, 16, None, torch.float32, torch.device(DEVICE)), {}, []
    for kernels in (False, True):
        monkeypatch.setattr(module, "fits", lambda tensor: ran.append(kernels) or kernels)  # noqa: B023
        policy.begin(spec)
        found[kernels] = []
        for first, new in ((0, 40), (40, 1), (41, 1)):
            query, keys, values = some(new, 4, 16, seed=first), some(new, 2, 16, seed=first + 1), some(new, 2, 16, seed=first + 2)
            found[kernels].append(policy.attend(0, query, keys, values, torch.arange(first, first + new, device=DEVICE)))
        found[kernels].append(policy.slots[0].positions)
    assert True in ran
    for one, other in zip(found[True], found[False]):
        near(one, other.double())


def test_the_lean_forward_through_the_kernel(monkeypatch):
    """A cache with room to spare, behind it a tree."""
    outs, mask = [], sight([-1, 0, 0, 1], 4)
    for kernels in (False, True):
        monkeypatch.setattr(tree, "fits", lambda tensor: kernels)  # noqa: B023
        cache = LlamaCache((1, 2, 16), 64, some(1))
        places, chain = torch.arange(20, device=DEVICE), sight(list(range(-1, 19)), 20)
        cache.attend(0, some(20, 4, 16), some(20, 2, 16, seed=1), some(20, 2, 16, seed=2), places, chain, 0)
        outs.append(cache.attend(0, some(4, 4, 16), some(4, 2, 16, seed=3), some(4, 2, 16, seed=4), places[:4], mask, 20))
    near(outs[1], outs[0].double())
