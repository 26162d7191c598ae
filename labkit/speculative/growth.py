"""A draft tree while it grows: whom the draft has spoken about, what was drawn from it, and from which law.

Shared by the methods whose tree the draft model writes. They decide which places to fill, and always BEFORE the draw: a drawn
token that is thrown away because of what it is costs the law (the atlas's first trap).
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

import torch
from torch import Tensor

from labkit.law import Law, draw
from labkit.lm import Session
from labkit.trace import Tree

ROOT = -1


class Growth:
    """Children are drawn one after another, without replacement, each by a coin of its own.

    A coin belongs to its place in the tree (which child of which child ...), not to the moment it is asked for. So trees grown
    in another order, or further, agree in every place they share. `likeliest`: nothing is drawn, each next child is the
    likeliest token left, and the rows recorded are the draft's own, for show.
    """

    def __init__(self, session: Session, law: Law, rng: torch.Generator, likeliest: bool = False):
        self.draft, self.law, self.likeliest = session.draft, law, likeliest
        self.tree = Tree([], [], kind="deterministic" if likeliest else "without_replacement", source="draft")
        self.depths: list[int] = []
        self.key = int(torch.randint(2**63 - 1, (), generator=rng)).to_bytes(8)  # of this tree's coins
        self.rng = torch.Generator()
        self.places: dict[int, bytes] = {ROOT: b""}  # which child of which child ... a node is, one byte a generation
        self.blocks: list[Tensor] = []  # the rows of one draft forward each, [n, V]
        self.rows: dict[int, int] = {}  # node -> its row among all of them
        self.left: dict[int, Tensor] = {}  # node -> its row without the children drawn so far, [V], not normalised
        self.born: dict[int, list[int]] = {}  # node -> its children, in the order they were drawn

    def depth(self, node: int) -> int:
        """0 for the root."""
        return 0 if node == ROOT else self.depths[node]

    def expand(self, nodes: list[int]) -> None:
        """Ask the draft what may follow `nodes`: one forward for all of them ([-1]: the root)."""
        logits = self.draft.logits[None] if nodes == [ROOT] else self.draft.grow(self.tree, nodes).logits  # [n, V]
        rows = self.law(logits)
        for node, left in zip(nodes, rows.clone()):
            self.rows[node] = len(self.rows)
            self.left[node], self.born[node] = left, []
        self.blocks.append(rows)

    def draw(self, parent: int) -> tuple[int, float] | None:
        """One more child of `parent`: its node, and its probability in the row it was drawn from. None: no mass is left."""
        left = self.left[parent]  # [V]
        mass = left.sum(dtype=torch.float64).item()
        if mass <= 0:
            return None
        place = self.places[parent] + bytes([len(self.born[parent])])
        token = int(left.argmax()) if self.likeliest else draw(left, self.coins(place))
        share = left[token].item()
        left[token] = 0
        node = len(self.depths)
        self.tree.tokens.append(token)
        self.tree.parents.append(parent)
        self.depths.append(self.depth(parent) + 1)
        self.born[parent].append(node)
        self.places[node] = place
        return node, min(1.0, share / mass)

    def coins(self, place: bytes) -> torch.Generator:
        """The random numbers of a place: those of a keyed hash of it."""
        return self.rng.manual_seed(int.from_bytes(blake2b(place, key=self.key, digest_size=8).digest()))

    def laws(self) -> Tensor | None:
        """The row every node was drawn from, [N, V]: its parent's, with earlier siblings taken out and normalised."""
        if not self.depths:
            return None
        rows = torch.cat(self.blocks)[[self.rows[parent] for parent in self.tree.parents]]
        if self.likeliest:
            return rows
        gone = [(node, self.tree.tokens[elder]) for nodes in self.born.values()
                for place, node in enumerate(nodes) for elder in nodes[:place]]  # fmt: skip
        if gone:
            younger, tokens = zip(*gone)
            rows[list(younger), list(tokens)] = 0
        return rows.div_(rows.sum(-1, keepdim=True))


def warm(law: Law, temperature: float) -> Law:
    """`law` where it draws; where it is greedy, the same at `temperature`: a greedy draft has but one opinion a place."""
    return replace(law, temperature=temperature) if law.greedy else law
