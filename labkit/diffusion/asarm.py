"""The any-subset model of P006: one network that, asked with one mask, guesses many places and, with another, checks its guess.

Every place has a rank: 0 where the token is given, 1, 2, ... for the places to be filled, in the order of filling. The sequence
is read twice, in two streams with the same weights (XLNet's):

- content: token and place are known. It sees the content of its own rank and below.
- query: the place is known, the token is not. It sees the content of lower ranks, and itself. Its logits are the law there.

Nobody sees a query but itself, so queries that are not asked, and content that nobody sees, need not be computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit import parts

PART = "asarm"
WINDOW = 128  # places the model was trained on at once
UNSEEN = 2**30  # the rank of places that are not decided yet: whatever stands there, nobody sees it


@dataclass(frozen=True)
class Shape:
    """The shipped one: 3.4 M parameters."""

    vocabulary: int = 4096
    width: int = 192
    layers: int = 6
    heads: int = 4
    inner: int = 512  # of the SwiGLU


def hidden(ranks: Tensor, known: int) -> Tensor:
    """The ranks [...] as a draft has them: nobody sees the places whose rank is above `known`."""
    return torch.where(ranks > known, UNSEEN, ranks)


def sight(content: Tensor, queries: Tensor) -> Tensor:
    """Who sees whom, bool [..., n + m, n + m]: row i sees column j. `content` [..., n] and `queries` [..., m] are ranks.

    This one function gives both masks: the oracle's from the ranks as they are, the draft's from `hidden` ranks.
    """
    sees_equal = content[..., None, :] <= content[..., :, None]
    sees_lower = content[..., None, :] < queries[..., :, None]
    nobody = torch.zeros_like(sees_lower).transpose(-1, -2)
    itself = torch.eye(queries.shape[-1], dtype=torch.bool, device=queries.device).expand(*sees_lower.shape[:-1], -1)
    return torch.cat([torch.cat([sees_equal, nobody], -1), torch.cat([sees_lower, itself], -1)], -2)


class Norm(nn.Module):
    """Root mean square norm with a gain."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, states: Tensor) -> Tensor:
        return F.rms_norm(states, self.gain.shape, self.gain.to(states.dtype), 1e-5)


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`states` [B, H, R, D] turned by their places' angles, cos and sin [B, 1, R, D / 2]."""
    one, two = states.chunk(2, -1)
    return torch.cat([one * cos - two * sin, one * sin + two * cos], -1)


class Block(nn.Module):
    """Attention under any mask, then a SwiGLU."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.heads = shape.heads
        self.before, self.between = Norm(shape.width), Norm(shape.width)
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.up = nn.Linear(shape.width, 2 * shape.inner, bias=False)
        self.down = nn.Linear(shape.inner, shape.width, bias=False)
        for last in (self.out, self.down):
            nn.init.zeros_(last.weight)

    def forward(self, states: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:
        """`states` [B, R, d]; `bias` [B, 1, R, R]: 0 where a row sees a column, else -inf."""
        batch, rows, width = states.shape
        parted = self.qkv(self.before(states)).view(batch, rows, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = (rotated(part, cos, sin) for part in parted[:2])
        weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + bias).softmax(-1)
        mixed = (weights.to(query.dtype) @ parted[2]).transpose(1, 2).reshape(batch, rows, width)
        states = states + self.out(mixed)
        gate, value = self.up(self.between(states)).chunk(2, -1)
        return states + self.down(F.silu(gate) * value)


class AsArm(nn.Module):
    """Tokens at any places under any mask; the logits of the last rows, the queries."""

    def __init__(self, shape: Shape = Shape()):
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocabulary + 1, shape.width)  # the last row is the mask: what a query is made of
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)
        nn.init.normal_(self.embed.weight, std=0.02)

    @property
    def mask(self) -> int:
        return self.shape.vocabulary

    def forward(self, tokens: Tensor, places: Tensor, ranks: Tensor, asked: Tensor, asked_ranks: Tensor) -> Tensor:
        """Logits [B, m, V] at the places `asked` [B, m], with the ranks `asked_ranks`.

        Content: `tokens`, `places`, `ranks`, [B, n] each. The mask is no token: no logit stands for it.
        """
        queries = torch.full_like(asked, self.mask)
        states = self.embed(torch.cat([tokens, queries], 1))
        half = self.shape.width // self.shape.heads // 2
        speeds = 10_000 ** (-torch.arange(half, device=places.device, dtype=self.embed.weight.dtype) / half)
        angles = torch.cat([places, asked], 1)[:, None, :, None] * speeds  # [B, 1, R, D / 2]
        dtype = torch.get_autocast_dtype(states.device.type) if torch.is_autocast_enabled(states.device.type) else states.dtype
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        sees = sight(ranks, asked_ranks)
        bias = torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill_(~sees, float("-inf"))[:, None]
        for block in self.blocks:
            states = block(states, cos, sin, bias)
        return F.linear(self.norm(states[:, tokens.shape[1] :]), self.embed.weight[: self.mask])


def two_stream(model: AsArm, ids: Tensor, targets: Tensor) -> Tensor:
    """Logits [B, T, V] for `targets` [B, T], places in the order of their ranks, of a known text `ids` [B, N], in one pass.

    Row t is conditioned on everything that is no target and on the targets before t: together, the density of all targets.
    """
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    order = torch.arange(1, targets.shape[1] + 1, device=ids.device).expand_as(targets)
    ranks = torch.zeros_like(ids).scatter(1, targets, order)
    return model(ids, places, ranks, targets, order)


def arm(session) -> AsArm:
    """The shipped any-subset model, on the session's device in its dtype; loaded once.

    Raises `ModelError` when it is not there, or when the session's model reads by another tokenizer.
    """
    if PART not in session.memory:
        tensors = parts.load(PART, session.runner)
        model = AsArm().to(session.runner.device)
        model.load_state_dict(tensors)
        session.memory[PART] = model.to(session.runner.dtype).requires_grad_(False).eval()
    return session.memory[PART]
