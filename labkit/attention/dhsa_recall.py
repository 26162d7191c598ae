"""How much of dense attention the chosen chunks catch, by where the text is cut and how chunks are weighed (P056)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from labkit.attention.dhsa import DHSA, SOURCES
from labkit.attention.dhsa_chunks import NORMS, chunk_scores, ranked, spread
from labkit.attention.ground import Policy
from labkit.knobs import knob
from labkit.methods import Study
from labkit.prompts import needles
from labkit.trace import Step

BUDGETS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
BOUNDS = ("best tokens", "newest tokens")  # the most that tokens shared by all heads can catch, and no choice at all
LENGTH, LEAST, EVERY = 512, 192, 3  # tokens read of a text; every third block counts that has 192 tokens before it


@dataclass
class DhsaRecall(Study):
    """How much of dense attention do the chosen chunks catch, by where the text is cut and how chunks are weighed?

    Held-out code is read densely. For every block of 16 queries and every layer, each way of cutting and weighing names its
    tokens for a budget, and what dense attention gives these, a mean over queries and heads, is its recall. Bounds: the tokens
    with the most attention, and the newest ones. All ways read the same first, local and own tokens, and a fixed `size` of 12
    makes about as many chunks as the predictor's cuts. A step is one text.
    """

    name, title, paper = "dhsa-recall", "What chunks catch", "P056"
    charts = ("dhsa_recall",)
    texts: int = knob(12, 1, 40, unit="texts", help="one a step")
    chunks: int = knob(32, 4, 128, help="chunks at most", scale="log")
    apart: int = knob(8, 0, 16, unit="tokens", help="between two cuts")
    size: int = knob(12, 2, 64, unit="tokens", help="of a fixed chunk")
    heads: str = knob("averaged", choices=("averaged", "apart"), help="of a chunk's score")
    local: int = knob(16, 0, 64, unit="tokens", help="read, before the block")
    first: int = knob(4, 0, 16, unit="tokens", help="read, at the beginning")

    def steps(self, session, rng):
        common = {name: getattr(self, name) for name in ("chunks", "apart", "size", "heads", "local", "first")}
        tally = Tally({source: DHSA(cuts=source, **common) for source in SOURCES})
        encode = session.vocabulary.encode
        texts = [ids for one in needles() if len(ids := encode(one["text"])) >= LENGTH][: self.texts]
        for done, ids in enumerate(texts, 1):
            other = session.open(ids[:LENGTH])
            for way in tally.ways.values():
                way.prepare(other)
            other.carry(session.runner.policy_cache(tally))
            _ = other.logits
            yield Step(emitted=[], notes={"done": done, "of": len(texts), "budgets": list(BUDGETS), **tally.told()})


class Tally(Policy):
    """Reads texts densely, and adds up what every way of choosing would have caught."""

    chunk = DHSA.chunk

    def __init__(self, ways: dict[str, DHSA]):
        super().__init__()
        self.ways, self.blocks = ways, 0
        names = [(source, norm) for source in ways for norm in NORMS] + [(bound, "") for bound in BOUNDS]
        self.caught = {name: torch.zeros(len(BUDGETS), dtype=torch.float64) for name in names}
        self.best = dict.fromkeys(names, 0.0)  # tokens of the chunk with the highest score
        self.chunks = dict.fromkeys(ways, 0)

    def begin(self, spec):
        super().begin(spec)
        for way in self.ways.values():
            way.begin(spec)

    def append(self, layer, keys, values, positions):
        super().append(layer, keys, values, positions)
        for way in self.ways.values():
            way.append(layer, keys, values, positions)

    def select(self, layer, query, positions):
        self.seen = int(positions[-1]) + 1  # tokens up to the last query of the block
        return None

    def observe(self, layer, query, probs, selection):
        new = query.shape[2]
        if self.seen - new < LEAST or self.seen // new % EVERY:
            return
        given = probs.mean((0, 1, 2))[: self.seen]
        self.blocks += 1
        orders = {}
        for source, way in self.ways.items():
            ends = (way.first, way.local + new)
            edges = way.edges(layer, self.seen)
            lengths, sums = edges.diff(), way.slots[layer]["sums"][0]
            self.chunks[source] += len(lengths)
            for norm in NORMS:
                scores = chunk_scores(way.asking(query), sums, edges, norm)
                orders[source, norm] = ranked(spread(scores, edges), *ends)
                self.best[source, norm] += int(lengths[scores.argmax()])
        orders["best tokens", ""] = ranked(given, *ends)
        orders["newest tokens", ""] = ranked(torch.arange(float(self.seen), device=given.device), *ends)
        counts = torch.tensor([max(round(share * self.seen), sum(ends)) for share in BUDGETS]) - 1
        for name, order in orders.items():
            self.caught[name] += given[order].cumsum(0).cpu()[counts]

    def told(self) -> dict[str, Any]:
        """Means over blocks and layers, as plain data."""
        results = []
        for (source, norm), caught in self.caught.items():
            one = {"cuts": source, "norm": norm, "recall": (caught / self.blocks).tolist()}
            if source in self.ways:
                one |= {"chunks": self.chunks[source] / self.blocks, "best chunk": self.best[source, norm] / self.blocks}
            results.append(one)
        return {"blocks": self.blocks, "results": results}
