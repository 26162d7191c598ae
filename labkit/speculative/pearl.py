"""P182 PEARL: draft and target work at the same time, so that neither waits for the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, NamedTuple

import torch
from torch import Tensor

from labkit.knobs import knob
from labkit.lm import Session
from labkit.speculative.clock import Clock, measured
from labkit.speculative.ground import Speculative, chain, draft_token, kept_tests, room
from labkit.speculative.lanes import Lanes, Ordinary
from labkit.trace import Step

PRE, POST = "PRE", "POST"
LONGEST = 16  # drafted tokens a round
TYPED, MEASURED = "c as typed", "measured here"


class Block(NamedTuple):
    """Tokens that the draft wrote in one go, and the laws [V] they were drawn from."""

    tokens: list[int]
    laws: list[Tensor]


@dataclass
class Pearl(Speculative):
    """Draft and target work at the same time: one writes the next tokens while the other checks the last ones (P182).

    Mode PRE, nothing is pending: the target's call over the text so far gives the law of the first of the gamma new tokens, so
    that one is tested at once; if it survives, the others are pending. Mode POST: the target checks what is pending while the
    draft writes gamma more behind it; the same call tests the first of those. If all survive the mode stays POST, and no token
    is the target's own. If one is refused, a token from the residual takes its place, both caches roll back, and the mode is
    PRE. So a drafted segment has no fixed length: it ends where the target disagrees. A round takes the longer of gamma draft
    calls and one target call, not their sum.

    Here both models take turns in one thread and a virtual clock says what two machines would take (`labkit.speculative.clock`;
    on two streams of a GPU it would be the real one). The notes hold its two lanes, and beside them ordinary speculation over the
    same text. Each switch takes out one half, as the paper's ablation does; with both off it IS ordinary speculation. Unlike in
    the release, without PRE the first token of a segment is tested too. Where the target adds a token untested (POST off),
    ordinary speculation is taken to have agreed with it, which flatters it.
    """

    name, title, paper, drafts = "pearl", "PEARL", "P182", "model"
    charts = ("swimlanes", "segments")
    gamma: int = knob(0, 0, LONGEST, unit="tokens", label="Drafted tokens (γ)", help="a round; 0: c")
    ratio: float = knob(5.0, 1, 20, step=0.5, unit="draft calls", label="Target call (c)", help="takes as long as")
    clock: str = knob(TYPED, choices=(TYPED, MEASURED), label="Virtual clock", help="where c comes from")
    pre: bool = knob(True, label="Test while drafting (PRE)", help="off: the target waits")
    post: bool = knob(True, label="Draft while testing (POST)", help="off: the draft waits")

    def steps(self, session: Session, rng: torch.Generator) -> Iterator[Step]:
        here = measured(session)
        clock = here if self.clock == MEASURED else Clock(1 / self.ratio)
        gamma = self.gamma or min(LONGEST, max(1, round(1 / clock.draft)))
        lanes, ordinary = Lanes(clock), Ordinary(clock, gamma)
        about = {"gamma": gamma, "clock": self.clock, "c": 1 / clock.draft, "c measured": 1 / here.draft}
        mode, pending = PRE, Block([], [])
        while True:
            if mode == PRE and not self.pre:  # the ablation: nothing to test yet, the target waits
                mode, pending = POST, write(session, min(gamma, room(session)), rng)
                lanes.alone(len(pending.tokens))
            drafting = mode == PRE or self.post
            fresh = write(session, min(gamma, room(session) - len(pending.tokens)) if drafting else 0, rng)

            scores = session.score(chain(pending.tokens, session.law))  # the last row is the law of the first fresh token
            tree = chain([*pending.tokens, *fresh.tokens[:1]], session.law)
            laws = torch.stack([*pending.laws, *fresh.laws[:1]]) if tree.tokens else None
            outcome, p = self.check(session, tree, laws, scores, rng)
            kept, passed = len(outcome.path), outcome.added is None
            lanes.together(len(fresh.tokens), kept, passed)
            session.commit([node for node in outcome.path if node < len(pending.tokens)])
            session.push(*tree.tokens[len(pending.tokens) : kept])
            emitted, verdicts = tree.tokens[:kept], [True] * kept
            notes = {"mode": mode, **about}
            if passed:  # what was written meanwhile stands on firm ground
                mode, pending = POST, Block(fresh.tokens[1:], fresh.laws[1:])
            else:
                mode, pending = PRE, Block([], [])
                session.draft.rewind(len(session.ids))
                session.draft.push(outcome.added)
                session.push(outcome.added)
                emitted.append(outcome.added)
                verdicts.append(kept == len(tree.tokens))  # nothing was refused, and this token not tested

            notes |= {"next": mode, **lanes.notes(), "ordinary": ordinary.follow(verdicts)}
            sources = ["draft"] * kept + ["target"] * (not passed)
            tests = kept_tests(tree, p, laws, outcome) if "tests" in session.keep else []
            yield session.step(scores.logits[: len(emitted)], emitted, sources=sources, tree=tree, tests=tests, notes=notes)


def write(session: Session, tokens: int, rng: torch.Generator) -> Block:
    """The draft writes `tokens` behind whatever it wrote before, verified or not."""
    drawn = [draft_token(session.draft, session.law, rng) for _ in range(tokens)]
    return Block([token for token, _ in drawn], [law for _, law in drawn])
