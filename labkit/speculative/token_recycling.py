"""P025 Token Recycling: yesterday's rejected candidates are today's drafts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Iterable

import torch

from labkit.knobs import knob
from labkit.speculative.ground import MATCH, Proposal, Speculative, room
from labkit.trace import Tree

# nodes per level; the paper's template has 80 nodes in 6 levels, ours of 30 suits a CPU
LEVELS = {"80 nodes": (8, 21, 25, 15, 8, 3), "30 nodes": (6, 9, 7, 4, 3, 1), "chain": (1, 1, 1, 1, 1, 1)}


@lru_cache
def template(levels: tuple[int, ...], width: int) -> list[tuple[int, int]]:
    """(parent, rank) of every node, level by level: each level holds the paths with the smallest product of ranks (from 1).

    The release lists its 80 paths; only their level sizes and "heavier to the left" are kept here, the order is inferred.
    """
    nodes: list[tuple[int, int]] = []
    level = [(1, -1)]  # (product of ranks along the path, node)
    for size in levels:
        options = sorted((weight * (rank + 1), node, rank) for weight, node in level for rank in range(width))[:size]
        level = []
        for weight, parent, rank in sorted(options, key=lambda option: (option[1], option[2])):
            level.append((weight, len(nodes)))
            nodes.append((parent, rank))
    return nodes


@dataclass
class TokenRecycling(Speculative):
    """Each token remembers its latest likeliest successors; a fixed tree template is filled from that memory (P025).

    M [V, k]: the k successors of every token, best first. A tree node at path (..., j) under a node holding token u gets
    M[u][j]. After the forward, EVERY input token's row becomes the top k of the logits there, accepted or not; where a token
    stands in several nodes the last in level order wins. V0 at temperature 0 as released; V1 above it is the lab's.
    Left out: the release fills unknown rows with token 0, here nodes without a known successor are not proposed.
    A hot start goes on with the matrix that earlier requests left in this engine, so its trace depends on them.
    """

    name, title, paper, drafts = "token-recycling", "Token Recycling", "P025", "free"
    verifier = MATCH
    shape: str = knob("30 nodes", choices=tuple(LEVELS), label="Tree template", help="80 nodes is the paper's")
    width: int = knob(8, 2, 16, unit="tokens", label="Successors kept", help="kept for every token")
    start_from: str = knob("cold", choices=("cold", "hot"), label="Start", help="hot: keep what runs left")
    learn_from: str = knob("every node", choices=("every node", "accepted only"), label="Learn from", help="whose logits count")
    learn_prompt: bool = knob(True, label="Learn the prompt", help="off in the release")

    def start(self, session):
        empty = torch.full((session.runner.vocabulary, self.width), -1, dtype=torch.int64)
        if self.start_from == "hot":
            self.matrix = session.memory.setdefault(("token-recycling", self.width), empty)
        else:
            self.matrix = empty
        self.nodes = template(LEVELS[self.shape], self.width)
        if self.learn_prompt:
            self.learn(session.ids, range(len(session.ids)), session.prompt_logits())

    def propose(self, session, rng):
        deepest = room(session)
        tokens, parents, depths, index = [], [], [], {-1: -1}
        rows: dict[int, list[int]] = {}
        for number, (parent, rank) in enumerate(self.nodes):
            if parent not in index:
                continue
            under = index[parent]
            token = session.ids[-1] if under < 0 else tokens[under]
            if token not in rows:
                rows[token] = self.matrix[token].tolist()
            depth = 1 if under < 0 else depths[under] + 1
            if rows[token][rank] < 0 or depth > deepest:
                continue
            index[number] = len(tokens)
            tokens.append(rows[token][rank])
            parents.append(under)
            depths.append(depth)
        return Proposal(Tree(tokens, parents, source="matrix"))

    def learn(self, tokens: list[int], rows: Iterable[int], logits: torch.Tensor) -> None:
        """M[token] <- the top k of its row of `logits` [N+1, V]."""
        last = dict(zip(tokens, rows))  # the last of equal tokens wins
        best = logits[list(last.values())].topk(self.width).indices
        self.matrix[list(last)] = best.to(self.matrix.device)

    def observe(self, session, tree, scores):
        root = session.ids[-len(tree.path) - 2]  # the token the tree hung on: before the path and the added token
        nodes = tree.path if self.learn_from == "accepted only" else range(len(tree.tokens))
        rows = [0, *(node + 1 for node in nodes)]
        self.learn([root, *(tree.tokens[node] for node in nodes)], rows, scores.logits)
        return {"rows known": int((self.matrix[:, 0] >= 0).sum()), "nodes proposed": len(tree.tokens)}
