"""P035: all verifiers on the same laws. What does one more draft bring, and how near is each to the best possible?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.speculative import cover
from labkit.speculative.ground import KSEQ, MATCH, RESIDUAL
from labkit.speculative.spectr import SpecTr
from labkit.trace import Step

MOST = 8  # drafts
V1, V2, V3, DISTINCT, BEST = "V1 match", "V2 residual", "V3 k-SEQ", "V2 no repeats", "best possible"
COVERS = {V1: cover.matched, V2: cover.residual_iid, V3: cover.k_seq}
VERIFIERS = {V1: MATCH, V2: RESIDUAL, V3: KSEQ}
COUNTS = (1, 2, 4, 8)  # drafts of the trees
PLACES, PATHS = 12, 16  # places of a text, orders of refusal at each
COINS = 4  # sets of coins a tree is verified with
TOYS = {
    "3 tokens": ([0.2, 0.3, 0.5], [0.5, 0.3, 0.2]),
    "4 tokens": ([0.3, 0.4, 0.2, 0.1], [0.6, 0.2, 0.1, 0.1]),
}  # p, q


@dataclass
class VerifierRace(Study):
    """What does one more draft bring, and which verifier makes the most of it (P035)?

    Acceptance = the chance that one of k drafts is kept. First on a toy vocabulary, exactly: with the best possible as a line
    that no verifier of independent drafts can pass. Then at places of held-out texts, from both models' laws there, also exactly;
    only V2 without replacement is followed along random orders of refusal (16 a place), since there are too many to sum.
    Its drafts are not independent, so it may pass the line. Last, tokens per target call: SpecTr drafts along the same texts, and
    every tree of drafts is verified by each verifier with several sets of coins. All of them keep the target's law: they differ
    in how often they have to refuse.
    """

    name, title, paper, drafts = "verifiers", "Verifiers and the number of drafts", "P035", "model"
    charts = ("acceptance_by_drafts", "cover", "blocks_by_drafts")
    toy: str = knob("3 tokens", choices=(*TOYS, "shaped"), label="Toy laws", help="shaped: by the next three")
    tokens: int = knob(5, 2, 6, unit="tokens", label="Toy tokens", help="shaped only")
    sharpness: float = knob(3.0, 0.0, 8.0, step=0.25, label="Sharpness", help="shaped: 0 is flat")
    overlap: float = knob(0.3, 0.0, 1.0, step=0.05, label="Overlap", help="shaped: at 1 q is p")
    count: int = knob(3, 1, MOST, label="Drafts in the bars", help="best possible: up to 3")
    texts: int = knob(6, 1, 40, label="Held-out texts", help="for the models' laws")
    length: int = knob(4, 1, 8, unit="tokens", label="Drafted tokens", help="of every draft")

    def steps(self, session, rng):
        p, q = self.toy_laws()
        exact = acceptances(p, q) | {DISTINCT: _by_drafts(cover.without_replacement(p, q, MOST))}
        notes = {"done": 1, "of": 1 + self.texts * (1 + len(COUNTS)), "drafts": list(range(1, MOST + 1))}
        notes |= {"toy": {"p": p.tolist(), "q": q.tolist(), "acceptance": exact}, "cover": [self.toy_cover(p, q)]}
        yield Step([], notes=dict(notes))

        half = min(session.runner.context, session.draft.runner.context) // 2
        found: list[dict[str, list[float]]] = []  # one entry a place
        calls = {name: {count: [0, 0] for count in COUNTS} for name in VERIFIERS}  # tokens, target calls
        for text in heldout(self.texts):
            ids = session.vocabulary.encode(text)[:half]
            found += [measured(p, q, rng) for p, q in laws_of(session.open(ids))]
            mean = {name: _means([place[name] for place in found]) for name in found[0]}
            notes["places"] = {"count": len(found), "paths": PATHS, "acceptance": mean}
            notes["cover"] = [notes["cover"][0], self.mean_cover(mean, len(found))]
            notes["done"] += 1
            yield Step([], notes=dict(notes))
            for count in COUNTS:
                self.draft_along(session.open(ids[:1]), ids, count, rng, calls)
                notes["calls"] = {name: [[count, *calls[name][count]] for count in COUNTS] for name in VERIFIERS}
                notes["done"] += 1
                yield Step([], notes=dict(notes))

    def draft_along(self, session: Session, ids: list[int], count: int, rng: torch.Generator, calls: dict) -> None:
        """Draft at places spread over `ids`, let every verifier decide over the same trees, and count tokens and calls."""
        method = SpecTr(count=count, length=self.length)
        for place in _spread(len(ids)):
            gap = ids[len(session.ids) : place + 1]
            session.push(*gap)
            session.draft.push(*gap)
            tree, laws = method.propose(session, rng)
            scores = session.score(tree)
            for name, method.verifier in VERIFIERS.items():
                for _ in range(COINS):
                    outcome, _ = method.check(session, tree, laws, scores, rng)
                    calls[name][count][0] += len(outcome.path) + 1
                    calls[name][count][1] += 1

    def toy_laws(self) -> tuple[Tensor, Tensor]:
        """p and q. Shaped: p falls off by e^-sharpness from its first token to its last, q is drawn towards the mirror of p."""
        if self.toy in TOYS:
            p, q = TOYS[self.toy]
            return torch.tensor(p, dtype=torch.float64), torch.tensor(q, dtype=torch.float64)
        p = (-self.sharpness * torch.linspace(0, 1, self.tokens, dtype=torch.float64)).softmax(-1)
        return p, self.overlap * p + (1 - self.overlap) * p.flip(0)

    def toy_cover(self, p: Tensor, q: Tensor) -> dict:
        covers = {name: make(p, q, self.count) for name, make in COVERS.items()}
        covers[DISTINCT] = cover.without_replacement(p, q, self.count)
        if self.count <= 3:
            covers[BEST] = cover.transport(p, q, self.count)
        bars = [
            {"group": name, "token": None, "label": "abcdef"[token], "parts": parts}
            for name, rows in covers.items()
            for token, parts in enumerate(rows.t().tolist())
        ]
        return {"title": f"toy laws, {self.count} drafts", "bars": bars}

    def mean_cover(self, mean: dict[str, list[float]], places: int) -> dict:
        """What the first, second, ... draft adds to the acceptance, and what is left."""
        bars = []
        for name in (*COVERS, DISTINCT):
            line = [0.0, *mean[name][: self.count]]
            parts = [after - before for before, after in zip(line, line[1:])] + [1 - line[-1]]
            bars.append({"group": "", "token": None, "label": name, "parts": parts})
        return {"title": f"mean of {places} places", "bars": bars}


def _by_drafts(rows: Tensor) -> list[float]:
    """The acceptance of 1, 2, ... drafts from the cover [k + 1, V] of k of them, for verifiers that test one after the other."""
    return rows[:-1].sum(1).cumsum(0).tolist()


def _means(lists: list[list[float]]) -> list[float]:
    return torch.tensor(lists, dtype=torch.float64).mean(0).tolist()


def _spread(length: int) -> list[int]:
    """Up to PLACES places of a text of `length` tokens."""
    return torch.linspace(0, length - 1, min(PLACES, length)).long().tolist()


def acceptances(p: Tensor, q: Tensor) -> dict[str, list[float]]:
    """The acceptance of 1 .. MOST independent drafts, by verifier, and the best possible."""
    found = {name: _by_drafts(COVERS[name](p, q, MOST)) for name in (V1, V2)}
    found[V3] = [cover.k_seq(p, q, drafts)[:-1].sum().item() for drafts in range(1, MOST + 1)]  # rho depends on their number
    found[BEST] = [cover.ceiling(p, q, drafts) for drafts in range(1, MOST + 1)]
    return found


def laws_of(session: Session) -> list[tuple[Tensor, Tensor]]:
    """p and q [V] at places spread over the session's text, in float64."""
    rows = _spread(len(session.ids))
    p, q = (session.law(one.prompt_logits()[rows].double()).cpu() for one in (session, session.draft))
    return list(zip(p, q))


def measured(p: Tensor, q: Tensor, rng: torch.Generator) -> dict[str, list[float]]:
    """`acceptances`, and V2 without replacement along PATHS random orders of refusal."""
    return acceptances(p, q) | {DISTINCT: cover.without_replacement_sampled(p, q, MOST, PATHS, rng)[0].tolist()}
