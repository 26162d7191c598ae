"""P020 TokenSelect: the heads of a layer vote for the tokens worth reading; a similar query reads what the last one read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from labkit.attention.ground import Policy, Seen, Selection, turned
from labkit.errors import ModelError
from labkit.knobs import knob


@dataclass
class TokenSelect(Policy):
    """Every head gives one vote, spread over the middle of the text; the best tokens are read beside the first and newest (P020).

    Always read: the `first` and the `local` newest tokens. Over the middle each query head takes the softmax of its scores; the
    votes are summed over heads and the `count` best are read, the same for all heads of the layer. A prompt is read in chunks of
    32 queries whose mean votes. Selection Cache: while the cosine of a layer's query with the one that last chose is at least
    `threshold`, its choice is used again (the release ships with this off). `positions` "compact": keys are stored unrotated,
    the query is scored at distance `local`, and what is read stands at positions 0, 1, 2, ..., none beyond the trained range.
    Votes divide by sqrt(D), which the release does not; query head h reads key head h // g.
    """

    name, title, paper = "token-select", "TokenSelect", "P020"
    leaf = "select"
    chunk = 32
    whole = {"count": 4096}
    count: int = knob(64, 8, 4096, unit="tokens", help="read from the middle", scale="log")
    first: int = knob(4, 0, 32, unit="tokens", help="always read, from the beginning")
    local: int = knob(32, 8, 128, unit="tokens", help="always read, the newest")
    threshold: float = knob(0.9, 0.5, 1.0, unit="cosine", help="1 turns the Selection Cache off", step=0.01)
    vote: str = knob("soft", choices=("soft", "hard", "one head", "raw"), help="how heads are heard")
    pool: int = knob(1, 1, 7, unit="tokens", help="width of the max over neighbours", step=2)
    positions: str = knob("original", choices=("original", "compact"), help="where read keys stand")

    def begin(self, spec):
        if self.positions == "compact" and spec.turns is None:
            raise ModelError("Compact positions need a model with rotary positions run by the lab's own loop: choose original.")
        super().begin(spec)
        self.changes = self.positions == "compact"
        self.indexed = not self.changes
        self.chosen: list[tuple[Tensor, Tensor] | None] = [None] * spec.layers  # the query that chose, and its tokens
        self.hits: list[bool] = [False] * spec.layers

    def append(self, layer, keys, values, positions):
        if self.positions == "compact":
            keys = turned(keys, self.spec.turns[positions, 0], back=True)
        super().append(layer, keys, values, positions)

    def select(self, layer, query, positions):
        held = self.slots[layer].length - (int(self.slots[layer].positions[0, -1]) - int(positions[-1]))  # up to the last query
        middle = slice(self.first, held - query.shape[2] - self.local + (query.shape[2] == 1))
        if held <= self.first + self.count + self.local + query.shape[2]:
            return None if held == self.slots[layer].length else self._shared(torch.arange(held, device=query.device))
        best = self._vote(layer, self._asking(query, positions), middle, alone=query.shape[2] == 1)
        ends = [torch.arange(self.first, device=best.device), best, torch.arange(middle.stop, held, device=best.device)]
        return self._shared(torch.cat(ends))

    def _shared(self, index: Tensor) -> Selection:
        return Selection(index.expand(self.spec.kv_heads, -1))

    def _asking(self, query: Tensor, positions: Tensor) -> Tensor:
        """The query that votes, [kv_heads, g, size]: the mean of a chunk's, at distance `local` where positions are compact."""
        if self.positions == "compact":
            query = turned(query, self.spec.turns[positions, 0], back=True)
            query = turned(query, self.spec.turns[self.local, 0])
        return query.mean(2)

    def _vote(self, layer: int, query: Tensor, middle: slice, alone: bool) -> Tensor:
        """The slots of the middle to be read, ascending."""
        known = self.chosen[layer]
        self.hits[layer] = bool(
            alone
            and known is not None
            and self.threshold < 1
            and functional.cosine_similarity(query.flatten(), known[0].flatten(), 0) >= self.threshold
        )
        if self.hits[layer]:
            return known[1]
        votes = votes_of(query, self.slots[layer].keys[:, middle], self.vote)
        if self.pool > 1:
            votes = functional.max_pool1d(votes[None], self.pool, 1, self.pool // 2)[0]
        best = votes.topk(self.count).indices.sort().values + middle.start
        if alone:
            self.chosen[layer] = (query, best)
        self.taken += self.slots[layer].keys[:, middle].nelement() * query.element_size()  # the votes read all of them
        return best

    def read(self, layer, selection):
        seen = super().read(layer, selection)
        if self.positions == "original":
            return seen
        places = torch.arange(seen.keys.shape[1], device=seen.keys.device)
        return Seen(turned(seen.keys, self.spec.turns[places, 0]), *seen[1:])

    def face(self, query, positions, seen):
        if self.positions == "original":
            return query
        query = turned(query, self.spec.turns[positions, 0], back=True)
        places = torch.searchsorted(seen.positions[0].contiguous(), positions.int())  # each query stands where its own key does
        return turned(query, self.spec.turns[places, 0])

    def notes(self):
        return {"hits": list(self.hits)}


def votes_of(query: Tensor, keys: Tensor, how: str = "soft") -> Tensor:
    """What the query heads [kv_heads, g, size] (scaled) together give to keys [kv_heads, N, size]: [N].

    "soft" sums the heads' softmax, so that each has one vote; "hard" counts the heads whose favourite a token is; "one head"
    hears the first only; "raw" averages the scores, where one loud head decides.
    """
    scores = (query @ keys.transpose(1, 2)).flatten(0, 1)  # [heads, N]
    if how == "raw":
        return scores.mean(0)
    if how == "hard":
        return functional.one_hot(scores.argmax(-1), scores.shape[-1]).sum(0) + scores.softmax(-1).sum(0) / (2 * len(scores))
    return (scores[:1] if how == "one head" else scores).softmax(-1).sum(0)
