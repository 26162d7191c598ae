"""The references, which are what runs on a CPU, against other ways to the same numbers; nothing of Triton."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from labkit.attention.double_sparsity import quantised
from labkit.kernels import launch
from labkit.kernels.indexed import attend_indexed
from labkit.kernels.labels import best, dequantised, label_scores
from labkit.kernels.merge import merge
from labkit.kernels.sums import attend_summed
from labkit.kernels.tree import attend_tree

RNG = torch.Generator().manual_seed(0)
HEADS, GROUP, SIZE, LENGTH = 3, 2, 8, 20


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=RNG, dtype=torch.float64)


@pytest.fixture
def cache():
    return some(HEADS, LENGTH, SIZE), some(HEADS, LENGTH, SIZE)


def dense(query, keys, values, allowed):
    """Query heads [HEADS, GROUP, n, SIZE] over all keys that `allowed` [..., n, N] lets them see."""
    grouped = (held[:, None].expand(-1, GROUP, -1, -1) for held in (keys, values))
    return scaled_dot_product_attention(query, *grouped, attn_mask=allowed, scale=1.0)


def test_an_index_set_is_a_mask(cache):
    query, index = some(HEADS, GROUP, SIZE), best(some(HEADS, LENGTH), 7)
    out, sums = attend_indexed(query, *cache, index)
    allowed = torch.zeros(HEADS, 1, 1, LENGTH, dtype=torch.bool).scatter_(3, index[:, None, None], True)
    assert torch.allclose(out, dense(query[:, :, None], *cache, allowed)[:, :, 0])
    scores = (query @ cache[0].transpose(1, 2)).masked_fill(~allowed[:, 0], float("-inf"))
    assert torch.allclose(sums, scores.logsumexp(-1))
    index[0, 4:], index[1] = -1, -1
    ragged, none = attend_indexed(query, *cache, index)
    assert torch.allclose(ragged[0], attend_indexed(query[:1], *(held[:1] for held in cache), index[:1, :4])[0][0])
    assert (ragged[1] == 0).all() and (none[1] == float("-inf")).all() and torch.equal(ragged[2], out[2])


def test_parts_merge_to_the_whole(cache):
    query, index = some(HEADS, GROUP, SIZE), torch.arange(LENGTH).expand(HEADS, -1)
    parts = [attend_indexed(query, *cache, index[:, cut]) for cut in (slice(0, 3), slice(3, 4), slice(4, LENGTH))]
    empty = (torch.zeros_like(query), torch.full((HEADS, GROUP), float("-inf"), dtype=torch.float64))
    merged = merge(*(torch.stack(part) for part in zip(*parts, empty)))
    for found, wanted in zip(merged, attend_indexed(query, *cache, index)):
        assert torch.allclose(found, wanted)
    out, sums = merge(*(torch.stack(part) for part in zip(empty, empty)))
    assert (out == 0).all() and (sums == float("-inf")).all()


def test_sums_are_the_columns_of_the_whole_matrix(cache):
    query, places, positions = some(HEADS, GROUP, 6, SIZE), torch.arange(14, 20), torch.arange(LENGTH).expand(HEADS, -1)
    out, sums = attend_summed(query, *cache, places, positions)
    allowed = positions[0] <= places[:, None]
    assert torch.allclose(out, dense(query, *cache, allowed))
    probs = (query @ cache[0][:, None].transpose(2, 3)).masked_fill(~allowed, float("-inf")).softmax(-1)
    assert torch.allclose(sums, probs.sum((1, 2))) and torch.allclose(sums.sum(1), torch.tensor(12.0, dtype=torch.float64))
    out, sums = attend_summed(query, *cache, places, positions + 16)
    assert (out[:, :, :2] == 0).all() and not out.isnan().any() and sums.sum() == pytest.approx(HEADS * GROUP * 4)


def test_a_tree_sees_its_ancestors(cache):
    query, mask = some(HEADS, GROUP, 3, SIZE), torch.zeros(3, 3, dtype=torch.float64)
    mask[0, 1:] = mask[1, 2] = mask[2, 1] = float("-inf")  # two children of one node
    allowed = torch.cat([torch.zeros(3, LENGTH - 3, dtype=torch.float64), mask], 1)
    found = attend_tree(query.flatten(1, 2), *cache, mask).view_as(query)
    assert torch.allclose(found, dense(query, *cache, allowed))
    assert torch.allclose(attend_tree(query[:, :, 0], *cache, None), dense(query, *cache, None)[:, :, 0])


@pytest.mark.parametrize("bits", ["whole", "4"])
def test_label_scores(bits):
    part, held = some(HEADS, 5), quantised(some(HEADS, LENGTH, 5), bits)
    labels = dequantised(held, bits, 5)
    wanted = torch.stack([(labels[head].double() * part[head]).sum(-1) for head in range(HEADS)])
    assert torch.allclose(label_scores(part, held, bits).double(), wanted, atol=1e-5)
    index = best(wanted, 4)
    assert torch.equal(index, index.sort(-1).values) and torch.equal(wanted.gather(1, index).amax(1), wanted.amax(1))


def test_work_is_cut_into_shares_that_cover_it(monkeypatch):
    monkeypatch.setattr(launch, "_processors", lambda device: 132)
    for length, programs, block in [(1, 8, 64), (64, 8, 64), (65, 8, 64), (8192, 8, 64), (131072, 8, 64), (300, 4000, 64)]:
        share, parts = launch.shares(length, programs, block, torch.device("cpu"))
        assert share % block == 0 and (parts - 1) * share < length <= parts * share
        assert parts * programs <= max(4 * 132, programs)
    assert launch.shares(131072, 8, 64, torch.device("cpu"))[1] > 60


def test_nothing_imports_triton_before_a_launch():
    names = "indexed labels launch merge sums tree".split()
    code = f"import sys, {', '.join('labkit.kernels.' + name for name in names)}; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
