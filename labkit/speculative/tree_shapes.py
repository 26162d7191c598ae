"""Which shape of tree is worth its nodes: chain, k-ary, static and DySpec on the same prompts, with the same budget."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable

import torch

from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.speculative.chain import Chain
from labkit.speculative.dyspec import HEAP, LAYERS, DySpec
from labkit.speculative.ground import Speculative
from labkit.speculative.static_tree import BEST, StaticTree
from labkit.trace import Step

BUDGETS = (4, 8, 16, 32, 64)  # nodes a tree


@dataclass
class TreeShapes(Study):
    """Does a tree that follows the draft's beliefs beat a chain, a k-ary and a static tree of as many nodes? (P004)

    Every shape writes the same number of tokens behind the same held-out prompts, at the request's temperature; a step is one
    such run. Counted: rounds (one target forward each), tokens, drafted and accepted nodes, draft forwards, seconds.
    The paper's direction: at temperature 0 DySpec brings more tokens a target call than any shape of equal budget; at 1 its v
    is too low, since a drawn y is accepted with min(1, p/q) and not with q, so it makes bushes where a chain would do. With the
    shipped pair the static tree keeps up at temperature 0 and is ahead at 1 (16 nodes, 40 prompts of 96 tokens: 3.05 by heap,
    static 3.08, 2-ary 2.84, chain 2.63 at temperature 0; 2.15, 2.71, 2.61, 2.33 at 1).
    """

    name, title, paper, drafts = "tree-shapes", "Which tree shape pays?", "P004", "model"
    charts = ("tree_shapes",)
    prompts: int = knob(6, 1, 40, unit="prompts", help="held-out prompts")
    tokens: int = knob(32, 8, 96, unit="tokens", label="New tokens", help="written behind every prompt")
    largest: int = knob(32, 4, 64, unit="nodes", label="Largest budget", help="4, 8, 16, ... up to this")
    draft_temperature: float = knob(0.6, 0.2, 1.2, step=0.1, label="Draft temperature", help="DySpec's, at temperature 0")

    def shapes(self) -> dict[str, Callable[[int], Speculative]]:
        """Name of a shape -> the method that drafts it with so many nodes."""
        return {
            "chain": lambda m: Chain(length=m),
            "2-ary": lambda m: StaticTree(shape="2-ary", budget=m),
            "static": lambda m: StaticTree(shape=BEST, budget=m),
            "DySpec, heap": lambda m: DySpec(m, HEAP, draft_temperature=self.draft_temperature),
            "DySpec, threshold": lambda m: DySpec(m, LAYERS, draft_temperature=self.draft_temperature),
        }

    def steps(self, session, rng):
        budgets = [m for m in BUDGETS if m <= self.largest]
        shapes = self.shapes()
        nothing = dict.fromkeys(("prompts", "rounds", "tokens", "nodes", "accepted", "draft_calls", "seconds"), 0)
        rows = {(name, m): {"shape": name, "budget": m, **nothing} for m in budgets for name in shapes}
        room = session.runner.context - self.tokens - max(budgets) - 2
        done, of = 0, self.prompts * len(rows)
        for text in heldout(self.prompts):
            ids = session.vocabulary.encode(text)[:room]
            seed = int(torch.randint(2**63 - 1, (), generator=rng))  # the same coins for every shape
            for (name, m), row in rows.items():
                self.run(session.open(ids), shapes[name](m), torch.Generator().manual_seed(seed), row)
                done += 1
                notes = {"done": done, "of": of, "temperature": session.law.temperature}
                yield Step(emitted=[], notes=notes | {"rows": [dict(row) for row in rows.values() if row["prompts"]]})

    def run(self, session: Session, method: Speculative, rng: torch.Generator, row: dict) -> None:
        """Write at least `tokens` tokens with `method` and add what it took to `row`."""
        calls, started, written = session.cost().draft_forwards, time.perf_counter(), 0
        for step in method.steps(session, rng):
            written += len(step.emitted)
            row["rounds"] += 1
            row["nodes"] += len(step.tree.tokens)
            row["accepted"] += len(step.tree.path)
            if written >= self.tokens:
                break
        row["prompts"] += 1
        row["tokens"] += written
        row["draft_calls"] += session.cost().draft_forwards - calls
        row["seconds"] += time.perf_counter() - started
