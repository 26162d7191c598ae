"""The theme's shared ground: propose a tree, score it in one forward, verify it, keep the path, go on.

A method of this theme gives `propose` (and, if it learns, `observe`); everything else is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, NamedTuple

import torch
from torch import Tensor

from labkit.knobs import knob
from labkit.law import entropy
from labkit.lm import Scores, Session
from labkit.methods import Method
from labkit.speculative import verify
from labkit.trace import Step, Test, Tree

SHOWN = 12  # tokens of p and of q that a kept test names
RESIDUAL, MATCH = "residual chain (V2)", "sample and match (V1)"


class Proposal(NamedTuple):
    """A drafted tree and, where tokens were drawn, the laws they were drawn from."""

    tree: Tree
    laws: Tensor | None = None  # [N, V] the exact row node i was drawn from; None = deterministic


@dataclass
class Speculative(Method):
    """Base of every method that drafts a tree and lets the target check it.

    `verifier` decides at temperatures above 0: V2 needs the laws the drafts were drawn from, V1 does without. A method may
    make it a knob.
    """

    verifier = RESIDUAL

    def start(self, session: Session) -> None:
        """Called once, before the first proposal."""

    def propose(self, session: Session, rng: torch.Generator) -> Proposal:
        """A tree to hang on the last committed token, at most `room(session)` deep."""
        raise NotImplementedError

    def observe(self, session: Session, tree: Tree, scores: Scores) -> dict:
        """Learn from a verified tree; what is returned goes into the step's notes."""
        return {}

    def steps(self, session: Session, rng: torch.Generator) -> Iterator[Step]:
        self.start(session)
        while True:
            tree, laws = self.propose(session, rng)
            scores = session.score(tree)
            outcome, p = self.check(session, tree, laws, scores, rng)
            session.commit(outcome.path)
            if session.draft:  # what the target refused must leave the draft's cache too
                if session.draft.holds(tree):
                    session.draft.commit(outcome.path)
                else:
                    session.draft.rewind(min(len(session.ids), len(session.draft.ids)))
                session.draft.push(*session.ids[len(session.draft.ids) :], outcome.added)
            session.push(outcome.added)
            notes = self.observe(session, tree, scores)
            rows = scores.logits[[0, *(node + 1 for node in outcome.path)]]  # the row that spoke of each emitted token
            emitted = [tree.tokens[node] for node in outcome.path] + [outcome.added]
            sources = [tree.source] * len(outcome.path) + ["target"]
            tests = kept_tests(tree, p, laws, outcome) if "tests" in session.keep else []
            yield session.step(rows, emitted, sources=sources, tree=tree, tests=tests, notes=notes)

    def check(self, session: Session, tree: Tree, laws: Tensor | None, scores: Scores, rng: torch.Generator):
        """Verify and write the verdicts into the tree. Returns (outcome, p [N+1, V] or None at temperature 0 untraced)."""
        law, logits = session.law, scores.logits
        p = None if law.greedy and "tests" not in session.keep else law(logits)
        if law.greedy:
            outcome = verify.greedy(tree, logits.argmax(-1).tolist())
        elif laws is None or self.verifier == MATCH:
            outcome = verify.sample_and_match(tree, p, rng)
        else:
            outcome = verify.residual_chain(tree, p, laws, rng)
        verify.write(tree, outcome)
        _measure(tree, logits if law.greedy else p, law.greedy, laws, outcome)
        return outcome, p


def room(session: Session) -> int:
    """How deep a tree may be so that no drafted token stands outside the context of target or draft."""
    runners = [session.runner, session.draft.runner] if session.draft else [session.runner]
    return max(0, min(runner.context for runner in runners) - len(session.ids) - 1)


def _measure(tree: Tree, rows: Tensor, greedy: bool, laws: Tensor | None, outcome: verify.Outcome) -> None:
    """Log-probs and entropies of p and q at every node. At temperature 0 the raw law is shown: the greedy one says nothing."""
    if greedy:
        rows = rows.softmax(-1)
    parents = torch.tensor([parent + 1 for parent in tree.parents], dtype=torch.long, device=rows.device)
    places = torch.tensor(tree.tokens, dtype=torch.long, device=rows.device)[:, None]
    chances = rows[parents].gather(1, places)
    figures = [chances.log(), entropy(rows)[parents][:, None]]
    if laws is not None:
        figures += [laws.gather(1, places).log(), entropy(laws)[:, None]]
    columns = torch.cat(figures, 1).t().tolist() if tree.tokens else [[] for _ in figures]
    floor = [[max(value, -1e9) for value in column] for column in columns]  # JSON has no -inf
    tree.target_logprobs, tree.target_entropies = floor[0], floor[1]
    if laws is not None:
        tree.draft_logprobs, tree.draft_entropies = floor[2], floor[3]
    if greedy:
        last = outcome.path[-1] + 1 if outcome.path else 0
        outcome.added_probability = rows[last, outcome.added].item()
    tree.added_logprob = float(torch.tensor(outcome.added_probability, dtype=torch.float64).log())


def kept_tests(tree: Tree, p: Tensor, laws: Tensor | None, outcome: verify.Outcome) -> list[Test]:
    """The laws of every tested node, cut to the tokens worth drawing."""
    tests = []
    for tested in outcome.tested:
        node = tested.node
        law = p[tree.parents[node] + 1] if tested.p is None else tested.p
        if laws is None:  # proposed for certain
            q = torch.zeros_like(law)
            q[tree.tokens[node]] = 1.0
        else:
            q = laws[node]
        residual = tested.residual
        if residual is None:  # what a refusal would have left
            residual = (law - q).clamp(min=0)
            residual = residual / residual.sum().clamp(min=1e-30)
        shown = [tree.tokens[node], outcome.added]
        for best in (law, q):
            shown += best.topk(min(SHOWN, best.shape[-1])).indices.tolist()
        shown = list(dict.fromkeys(shown))
        index = torch.tensor(shown, device=law.device)
        picked = torch.stack([law, q, residual])[:, index]
        rest = (torch.stack([law, q, residual]).sum(-1) - picked.sum(-1)).clamp(min=0).tolist()
        agreement = torch.minimum(law, q).sum().item()
        tests.append(Test(node, shown, *picked.tolist(), agreement, *rest))
    return tests


def verifier_knob():
    """The knob of methods whose drafts were drawn from a law: both verifiers are lossless."""
    return knob(RESIDUAL, choices=(RESIDUAL, MATCH), label="Verifier", help="both are lossless")
