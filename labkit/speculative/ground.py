"""The theme's shared ground: propose a tree, score it in one forward, verify it, keep the path, go on.

A method of this theme gives `propose` (and, if it learns, `observe`); everything else is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, NamedTuple

import torch
from torch import Tensor

from labkit.knobs import knob
from labkit.law import Law, draw, entropy
from labkit.lm import Scores, Session
from labkit.methods import Method
from labkit.speculative import verify
from labkit.trace import Step, Test, Tree

SHOWN = 12  # tokens of p and of q that a kept test names
RESIDUAL, MATCH, KSEQ = "residual chain (V2)", "sample and match (V1)", "k-SEQ (V3)"


class Proposal(NamedTuple):
    """A drafted tree and, where tokens were drawn, the laws they were drawn from."""

    tree: Tree
    laws: Tensor | None = None  # [N, V] the exact row node i was drawn from; None = deterministic


@dataclass
class Speculative(Method):
    """Base of every method that drafts a tree and lets the target check it.

    `verifier` decides at temperatures above 0: V2 needs the laws the drafts were drawn from, V1 does without. A method may
    make it a knob, or give a `decide` of its own. `hidden`: `observe` wants the target's hidden states too.
    """

    verifier = RESIDUAL
    hidden = False

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
            scores = session.score(tree, self.hidden)
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

    def decide(self, tree: Tree, p: Tensor, laws: Tensor | None, rng: torch.Generator) -> verify.Outcome:
        """Which nodes survive, at temperatures above 0; `p` [N+1, V], row 0 at the root."""
        if laws is None or self.verifier == MATCH:
            return verify.sample_and_match(tree, p, rng)
        return verify.residual_chain(tree, p, laws, rng)

    def check(self, session: Session, tree: Tree, laws: Tensor | None, scores: Scores, rng: torch.Generator):
        """Verify and write the verdicts into the tree. Returns (outcome, p [N+1, V] or None at temperature 0 untraced)."""
        law, logits = session.law, scores.logits
        p = None if law.greedy and "tests" not in session.keep else law(logits)
        if law.greedy:
            outcome = verify.greedy(tree, logits.argmax(-1).tolist())
        else:
            outcome = self.decide(tree, p, laws, rng)
        verify.write(tree, outcome)
        measure(tree, logits if law.greedy else p, law.greedy, laws, outcome)
        return outcome, p


def draft_token(draft: Session, law: Law, rng: torch.Generator) -> tuple[int, Tensor]:
    """The draft's next token, pushed, and the law [V] it was drawn from; at temperature 0 its favourite, with the raw law."""
    logits = draft.logits
    q = logits.softmax(-1) if law.greedy else law(logits)
    token = int(q.argmax()) if law.greedy else draw(q, rng)
    draft.push(token)
    return token, q


def chain(tokens: list[int], law: Law) -> Tree:
    """`tokens` that a draft model wrote under `law`, as a tree of width 1."""
    kind = "deterministic" if law.greedy else "iid"
    return Tree(list(tokens), list(range(-1, len(tokens) - 1)), kind=kind, source="draft")


def room(session: Session) -> int:
    """How deep a tree may be so that no drafted token stands outside the context of target or draft."""
    runners = [session.runner, session.draft.runner] if session.draft else [session.runner]
    return max(0, min(runner.context for runner in runners) - len(session.ids) - 1)


def measure(tree: Tree, rows: Tensor, greedy: bool, laws: Tensor | None, outcome: verify.Outcome) -> None:
    """Log-probs and entropies of p and q at every node. At temperature 0 the raw law is shown: the greedy one says nothing."""
    if outcome.added is not None:
        if greedy:
            last = rows[outcome.path[-1] + 1 if outcome.path else 0]
            outcome.added_probability = last.softmax(-1)[outcome.added].item()
        tree.added_logprob = float(torch.tensor(outcome.added_probability, dtype=torch.float64).log())
    if not tree.tokens:
        return
    inner = sorted(set(tree.parents))  # nothing hangs on the others: their laws are not shown
    place = {parent: row for row, parent in enumerate(inner)}
    rows = rows[[parent + 1 for parent in inner]]
    if greedy:
        rows = rows.softmax(-1)
    parents = torch.tensor([place[parent] for parent in tree.parents], device=rows.device)
    tokens = torch.tensor(tree.tokens, device=rows.device)
    figures = [rows[parents, tokens].log(), entropy(rows)[parents]]
    if laws is not None:
        figures += [laws.gather(1, tokens[:, None])[:, 0].log(), entropy(laws)]
    columns = torch.stack(figures).clamp_(min=-1e9).tolist()  # JSON has no -inf
    tree.target_logprobs, tree.target_entropies = columns[:2]
    if laws is not None:
        tree.draft_logprobs, tree.draft_entropies = columns[2:]


def kept_tests(tree: Tree, p: Tensor, laws: Tensor | None, outcome: verify.Outcome) -> list[Test]:
    """The laws of every tested node, cut to the tokens worth drawing; of a node tested twice, its last test."""
    looked = list({tested.node: tested for tested in outcome.tested}.values())
    if not looked:
        return []
    nodes = [tested.node for tested in looked]
    added = [] if outcome.added is None else [outcome.added]
    own = torch.tensor([[tree.tokens[node], *added] for node in nodes], device=p.device)
    law = torch.stack([p[tree.parents[tested.node] + 1] if tested.p is None else tested.p for tested in looked])
    # [T, V]; a token that no law drew was proposed for certain
    q = laws[nodes] if laws is not None else torch.zeros_like(law).scatter_(1, own[:, :1], 1.0)
    left = (law - q).clamp_(min=0)
    left /= left.sum(-1, keepdim=True).clamp_(min=1e-30)  # what a refusal would have left
    for row, tested in enumerate(looked):
        if tested.residual is not None:
            left[row] = tested.residual
    laws = torch.stack([law, q, left])  # [3, T, V]
    best = laws[:2].topk(min(SHOWN, laws.shape[-1])).indices
    named = torch.cat([own, *best], 1)  # [T, 2 + 2 SHOWN], some twice
    picked, mass = laws.gather(2, named.expand(3, -1, -1)).tolist(), laws.sum(-1).tolist()
    agreement = torch.minimum(law, q).sum(-1).tolist()
    tests = []
    for row, names in enumerate(named.tolist()):
        columns = {token: names.index(token) for token in names}
        shown = [[values[row][column] for column in columns.values()] for values in picked]
        rest = [max(0.0, whole[row] - sum(part)) for whole, part in zip(mass, shown)]
        tests.append(Test(nodes[row], list(columns), *shown, agreement[row], *rest))
    return tests


def verifier_knob():
    """The knob of methods whose drafts were drawn from a law: both verifiers are lossless."""
    return knob(RESIDUAL, choices=(RESIDUAL, MATCH), label="Verifier", help="both are lossless")
