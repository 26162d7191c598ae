"""How DHSA (P056) cuts a text into chunks and scores them: labels from dense attention, their predictor, the choice of gaps.

Gap c lies behind token c. A score of -inf says that there is no gap to cut, or not yet: `WINDOW` tokens must stand on both sides.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from labkit import parts
from labkit.attention.ground import Policy

WINDOW = 4  # tokens on either side of a gap that are looked at (the paper's w)
RATIO = 1.1  # above it a gap is a boundary, the paper's
EPSILON = 1e-6  # the release's
NORMS = {"mean": 1.0, "sqrt": 0.5, "sum": 0.0}  # a chunk's key is the sum of its keys over its length to this power
PART = "dhsa"


def ratios(attention: Tensor) -> Tensor:
    """Of dense attention [N, N], a mean over heads: how unlike the tokens on the two sides of each gap are to later readers, [N].

    past and future are what all rows from c + w on give to the w columns up to c and to the w columns behind it; the ratio is
    (max + eps) / (min + eps).
    """
    length = attention.shape[0]
    found = attention.new_full((length,), float("-inf"))
    gaps = torch.arange(WINDOW - 1, length - WINDOW, device=attention.device)
    if len(gaps):
        later = attention.flip(0).cumsum(0).flip(0)  # row i: the sum of the rows from i on
        columns = gaps[:, None] + torch.arange(1 - WINDOW, WINDOW + 1, device=attention.device)
        past, future = later[(gaps + WINDOW)[:, None], columns].unflatten(1, (2, WINDOW)).sum(-1).unbind(1)
        found[gaps] = (torch.maximum(past, future) + EPSILON) / (torch.minimum(past, future) + EPSILON)
    return found


class Labels(Policy):
    """Reads a text densely, in one piece; keeps by layer what `ratios` says of its gaps, [N]."""

    chunk = 1 << 30

    def begin(self, spec):
        super().begin(spec)
        self.ratios: list[Tensor] = []

    def observe(self, layer, query, probs, selection):
        self.ratios.append(ratios(probs.mean((0, 1)).float()))


def labels(session) -> list[Tensor]:
    """By layer, the ratios [N] of the gaps of the text that `session` stands behind: what the predictor learned to guess."""
    policy, other = Labels(), session.aside()
    other.carry(session.runner.policy_cache(policy))
    _ = other.logits
    return policy.ratios


class Predictor(nn.Module):
    """Is there a boundary in the middle of `2 * WINDOW` keys? One for all layers, 59 thousand weights.

    One self-attention block over the window, its halves pooled to l and r, a small network on l, r, |l - r|, l r and cos(l, r).
    Keys come as the heads' keys side by side, turned back to position 0 (inferred: what a token says, not where it stands).
    """

    def __init__(self, width: int, layers: int, size: int = 64, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.lift = nn.Linear(width, size)
        self.place = nn.Parameter(0.02 * torch.randn(2 * WINDOW, size))
        self.layer = nn.Parameter(0.02 * torch.randn(layers, size))
        self.mix, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.wide, self.narrow = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.judge, self.say = nn.Linear(4 * size + 1, size), nn.Linear(size, 1)

    def forward(self, windows: Tensor, layer: int | Tensor) -> Tensor:
        """Logits [n] of keys [n, 2 * WINDOW, width] of one layer, or of a layer each [n]."""
        return self.decide(self.lifted(windows), layer)

    def lifted(self, keys: Tensor) -> Tensor:
        """Keys [..., width] as the block reads them, [..., size]; the same in every window that a key is part of."""
        return self.lift(functional.layer_norm(keys, keys.shape[-1:]))

    def decide(self, states: Tensor, layer: int | Tensor) -> Tensor:
        """Logits [n] of lifted windows [n, 2 * WINDOW, size]."""
        states = states + self.place + self.layer[layer].view(-1, 1, states.shape[-1])
        normed = functional.layer_norm(states, states.shape[-1:])
        mixed = self.mix(normed).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        asked = mixed.chunk(3, 1)  # queries, keys, values [n, heads, 2 * WINDOW, size / heads]
        states = states + self.out(functional.scaled_dot_product_attention(*asked).transpose(1, 2).flatten(2))
        states = states + self.narrow(functional.gelu(self.wide(functional.layer_norm(states, states.shape[-1:]))))
        left, right = states.unflatten(1, (2, WINDOW)).mean(2).unbind(1)
        alike = functional.cosine_similarity(left, right, -1)[:, None]
        seen = torch.cat([left, right, (left - right).abs(), left * right, alike], -1)
        return self.say(functional.gelu(self.judge(seen)))[:, 0]


def predictor(tensors: dict[str, Tensor]) -> Predictor:
    """The predictor with these weights, on their device."""
    made = Predictor(tensors["lift.weight"].shape[1], len(tensors["layer"]), len(tensors["lift.weight"]))
    made.load_state_dict(tensors)
    return made.to(tensors["layer"].device).requires_grad_(False).eval()


def load_predictor(runner) -> Predictor:
    """The predictor trained for the runner's weights. Raises `ModelError` when there is none."""
    return predictor(parts.load(PART, runner))


def best_gaps(scores: Tensor, most: int, apart: int, floor: float) -> list[int]:
    """At most `most` gaps whose score is above `floor`, best first chosen and none within `apart` of a better one; ascending.

    That is thresholding and one-dimensional non-maximum suppression (half-width `apart`).
    """
    order = scores.argsort(descending=True, stable=True)[: int((scores > floor).sum())].tolist()
    open_, chosen = bytearray(b"\1") * len(scores), []
    for gap in order:
        if len(chosen) >= most:
            break
        if open_[gap]:
            chosen.append(gap)
            low, high = max(0, gap - apart), min(len(open_), gap + apart + 1)
            open_[low:high] = bytes(high - low)
    return sorted(chosen)


def chunk_scores(query: Tensor, sums: Tensor, edges: Tensor, norm: str) -> Tensor:
    """What a query [size] gives each chunk: [chunks].

    `sums` [N, size]: running sums of the keys, the token's own included; `edges` [chunks + 1]: 0, the cuts, the length.
    """
    ends = sums[edges[1:] - 1]
    totals = ends.diff(dim=0, prepend=torch.zeros_like(ends[:1]))
    return (totals @ query.to(totals.dtype)) / edges.diff().to(totals.dtype) ** NORMS[norm]


def spread(scores: Tensor, edges: Tensor) -> Tensor:
    """Every token's score is its chunk's: [N]."""
    return scores.repeat_interleave(edges.diff())


def ranked(scores: Tensor, first: int, newest: int) -> Tensor:
    """All tokens [N], the best first: the `first` and the `newest` ones, which are always read, then by score, ties by place."""
    scores = scores.clone()
    scores[:first] = float("inf")
    scores[len(scores) - newest :] = float("inf")
    return scores.argsort(descending=True, stable=True)
