"""Rows of several sequences in one forward: the products run over all of them at once, attention runs by sequence."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from labkit.ledger import Ledger
from labkit.llama import LlamaCache
from labkit.speculative.batch import Row


class Packed:
    """Stands in for a model's cache while it feeds rows that belong to several sequences, each with a cache of its own.

    Nothing is padded: one sequence may bring a piece of its prompt, the others one token each. It uses the door that cache
    policies use, so the lean forward and any model of transformers take it. Counts into `ledger`.
    """

    def __init__(self, runner, ledger: Ledger):
        self.runner, self.ledger = runner, ledger
        self.shares: list[tuple[LlamaCache, int, Tensor | None]] = []  # of the forward under way: cache, rows, causal mask
        self.cache = runner.policy_cache(self)

    def begin(self, spec) -> None:
        """Learn the model's shape."""
        self.spec, self.fed = spec, 0

    def fresh(self) -> LlamaCache:
        """An empty cache for one sequence."""
        spec = self.spec
        like = torch.empty(0, dtype=spec.dtype, device=spec.device)
        return LlamaCache((spec.layers, spec.kv_heads, spec.size), self.runner.context, like)

    def feed(self, parts: list[tuple[LlamaCache, list[int]]], first: int = 0) -> Tensor:
        """Logits [rows - first, V] of the rows from `first` on: the tokens of each part stand behind what its cache holds.

        Raises `PromptError` when a sequence would outgrow the model's context.
        """
        tokens = [token for _, piece in parts for token in piece]
        places = [cache.length + place for cache, piece in parts for place in range(len(piece))]
        device = self.spec.device
        with self.ledger.forward(self.runner, len(tokens), self.runner.depth, max(places) + 1):
            self.shares = [(cache, len(piece), self._causal(len(piece))) for cache, piece in parts]
            for cache, rows, _ in self.shares:
                cache.room(rows)
            unmasked = torch.zeros(1, 1, dtype=self.spec.dtype, device=device)  # every share masks its own
            ids, positions = torch.tensor(tokens, device=device), torch.tensor(places, device=device)
            logits, _ = self.runner.forward(ids, positions, unmasked, self.cache, first, False)
        for cache, rows, _ in self.shares:
            cache.length += rows
        return logits

    def _causal(self, rows: int) -> Tensor | None:
        if rows == 1:
            return None
        return torch.full((rows, rows), float("-inf"), dtype=self.spec.dtype, device=self.spec.device).triu_(1)

    def attend(self, layer: int, query: Tensor, keys: Tensor, values: Tensor, positions: Tensor) -> Tensor:
        """One layer's attention, share by share: query [n, heads, size] (scaled), keys and values [n, kv_heads, size]."""
        out, start = torch.empty_like(query), 0
        for cache, rows, mask in self.shares:
            mine = slice(start, start + rows)
            mixed = cache.attend(layer, query[mine], keys[mine], values[mine], positions[mine], mask, cache.length)
            out[mine] = mixed.view(rows, *query.shape[1:])
            start += rows
        if layer == self.spec.layers - 1:
            self.fed += query.shape[0]
        return out


class Live:
    """Serves prompts with the real model, turn by turn as a scheduler wants it; always greedy.

    `rows` hold every request's text so far. A request's keys and values are let go when it has written all it was asked for.
    """

    def __init__(self, session, prompts: list[list[int]]):
        self.packed = Packed(session.runner, session.ledger)
        self.rows = [Row(number, list(ids), len(ids)) for number, ids in enumerate(prompts)]
        self.caches: dict[int, LlamaCache] = {}

    def spend(self, turn) -> float:
        """Do one turn (`sarathi.Turn`); the seconds it took, choosing the tokens included.

        It is one forward. Only where a scheduler asks for several whole prompts, each goes in one of its own: hundreds of rows
        gain nothing from company, and one row of logits is all that is needed of each.
        """
        started = time.perf_counter()
        for one, rows in turn.reads[:-1]:
            self._forward([(one, rows)], [])
        self._forward(turn.reads[-1:], turn.writers)
        return time.perf_counter() - started

    def _forward(self, reads: list[tuple], writers: list) -> None:
        """Feed at most one piece of a prompt, and the newest token of each writer; append what they gain."""
        parts, gaining = [], []
        for one, rows in reads:
            if not one.read:
                self.caches[one.number] = self.packed.fresh()
            parts.append((self.caches[one.number], self.rows[one.number].ids[one.read : one.read + rows]))
            gaining.append(one if one.read + rows == one.prompt else None)  # inside a prompt, what follows is known
        parts += [(self.caches[one.number], self.rows[one.number].ids[-1:]) for one in writers]
        gaining += writers
        first = len(parts[0][1]) - 1  # its last row, and all of the writers'
        with torch.inference_mode():
            best = self.packed.feed(parts, first).argmax(-1).tolist()
        for one, token in zip(gaining, best):
            if one:
                self.rows[one.number].ids.append(token)
                if one.written + 1 == one.output:
                    del self.caches[one.number]
