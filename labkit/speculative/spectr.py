"""P035 SpecTr: several drafts at once, and a verifier that shares the target's law out among them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labkit.knobs import knob
from labkit.law import draws
from labkit.speculative import cover, verify
from labkit.speculative.ground import KSEQ, MATCH, RESIDUAL, Proposal, Speculative, room
from labkit.trace import Tree

NAMED = 8  # of the likeliest tokens, in the chart of the first place


class Drafts:
    """Several drafts as one prefix tree: those that begin alike share nodes, but how many they are is not forgotten.

    `paths[i]` are the nodes of draft i. `draws[row]` are the children of a row (0 = the root, i + 1 = node i) in draw order, a
    node as often as it was drawn: what the verifiers ask for.
    """

    def __init__(self, tree: Tree, count: int):
        self.tree = tree
        self.paths: list[list[int]] = [[] for _ in range(count)]
        self.draws: list[list[int]] = [[]]

    @property
    def ends(self) -> list[int]:
        """The node that every draft stands on; -1 = the root."""
        return [path[-1] if path else -1 for path in self.paths]

    def extend(self, tokens: list[int]) -> list[int]:
        """Every draft goes on with its token. Returns the nodes that are new."""
        tree, first = self.tree, len(self.tree.tokens)
        known: dict[tuple[int, int], int] = {}
        for path, end, token in zip(self.paths, self.ends, tokens):
            if (end, token) not in known:
                known[end, token] = len(tree.tokens)
                tree.tokens.append(token)
                tree.parents.append(end)
                self.draws.append([])
            node = known[end, token]
            self.draws[end + 1].append(node)
            path.append(node)
        return list(range(first, len(tree.tokens)))


@dataclass
class SpecTr(Speculative):
    """Several independent drafts; k-SEQ keeps as much of one of them as the target's law allows (P035).

    At every place the drafts that agree with the text so far are candidates. Each is accepted with probability
    min(1, p/(rho q)): a smaller share than usual, so that several can be tried without taking a token too often. When all are
    refused the target draws from what they left of p. rho* is found anew at every place, by bisection; for one draft it is 1,
    standard speculative sampling. The drafts are scored as one prefix tree that keeps how many go through each node: the same
    law as k chains, fewer nodes, and one forward of the draft a layer. A manual rho below rho* would need a negative residual:
    the chart shows it, and rho* is used in its place, so that the law is kept. V1 and V2 verify the same drafts, to compare.
    At temperature 0 all drafts are one: a chain. The paper's claim (2.13x over plain decoding, 1.37x over one draft, with 8
    drafts of 8 tokens) is of large models, where more nodes in a forward cost nothing; on a CPU they do, and the counts say
    what they bring.
    """

    name, title, paper, drafts = "spectr", "SpecTr: k drafts by optimal transport", "P035", "model"
    charts = ("cover",)
    count: int = knob(4, 1, 8, label="Drafts", help="k, drawn independently")
    length: int = knob(4, 1, 8, unit="tokens", label="Drafted tokens", help="of every draft")
    verifier: str = knob(KSEQ, choices=(KSEQ, RESIDUAL, MATCH), label="Verifier", help="all are lossless")
    division: str = knob("auto", choices=("auto", "manual"), label="Division ρ", help="auto: the best one, ρ*")
    rho: float = knob(1.5, 1.0, 8.0, step=0.05, label="Manual ρ", help="below ρ*, ρ* is used")

    def propose(self, session, rng):
        law, draft = session.law, session.draft
        tree = Tree([], [], kind="deterministic" if law.greedy else "iid", source="draft")
        self.grown, self.shares = Drafts(tree, self.count), []  # shares: how k-SEQ divided p, place by place
        depth, laws, fresh = min(self.length, room(session)), [], [-1]
        if not depth:
            return Proposal(tree)
        logits = draft.logits[None]  # [1, V], then one row for every new node
        self.root = law(logits[0])  # q at the first place
        for place in range(depth):
            q = logits.softmax(-1) if law.greedy else law(logits)  # at temperature 0 the raw law, for show only
            first = fresh[0]  # row r of q is the law behind node first + r
            rows = [end - first for end in self.grown.ends]
            fresh = self.grown.extend(q.argmax(-1)[rows].tolist() if law.greedy else draws(q, rows, rng))
            laws.append(q[[tree.parents[node] - first for node in fresh]])
            if place + 1 < depth:
                logits = draft.grow(tree, fresh).logits
        return Proposal(tree, torch.cat(laws))

    def decide(self, tree, p, laws, rng):
        if laws is None or self.verifier == MATCH:
            return verify.sample_and_match(tree, p, rng)
        if self.verifier == RESIDUAL:
            return verify.residual_chain(tree, p, laws, rng, self.grown.draws)
        outcome = verify.k_seq(tree, p, laws, rng, self.grown.draws, None if self.division == "auto" else self.rho)
        self.shares = outcome.shares
        return outcome

    def observe(self, session, tree, scores):
        copies = [0] * len(tree.tokens)
        for path in self.grown.paths:
            for node in path:
                copies[node] += 1
        tree.reasons = [f"{why} ({n} drafts)" if n > 1 and "coin" in why else why for why, n in zip(tree.reasons, copies)]
        figures = ("drafts", "rho", "least", "beta", "chance")
        places = [{name: getattr(share, name) for name in figures} for share in self.shares]
        panels = [self.first_place(session.law(scores.logits[0]), tree)] if tree.tokens else []
        return {"drafts": self.grown.paths, "places": places, "cover": panels}

    def first_place(self, p: Tensor, tree: Tree) -> dict:
        """The cover of p [V] at the first place, for the chart: bars by token, the rarer tokens together."""
        q, count = self.root, len(self.grown.draws[0])
        if self.shares:
            used, least = self.shares[0].rho, self.shares[0].least
            asked = used if self.division == "auto" else min(self.rho, float(count))
            divisions = {f"asked: ρ = {asked:.2f}": asked} if asked < used else {}
            divisions[f"used: ρ* = {used:.2f}" if used == least else f"used: ρ = {used:.2f}, ρ* = {least:.2f}"] = used
            covers = {words: cover.k_seq(p, q, count, rho) for words, rho in divisions.items()}
        else:
            words = "greedy (V0)" if tree.kind == "deterministic" else self.verifier
            covers = {words: (cover.matched if self.verifier == MATCH else cover.residual_iid)(p, q, count)}
        best = p.topk(min(NAMED, int((p > 0).sum()))).indices.tolist()
        shown = list(dict.fromkeys([*best, *(tree.tokens[node] for node in self.grown.draws[0])]))
        bars = []
        for group, rows in covers.items():
            named = rows[:, shown]
            columns = torch.cat([named, (rows.sum(1) - named.sum(1))[:, None]], 1).t().tolist()
            for token, parts in zip([*shown, None], columns):
                bars.append({"group": group, "token": token, "label": "all others", "parts": parts})
        return {"title": "", "bars": bars}
