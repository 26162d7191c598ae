"""P013 SpecDec++: a small head on the draft says when to stop drafting."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labkit.knobs import knob
from labkit.speculative.ground import Proposal, Speculative, room, verifier_knob
from labkit.speculative.stopping import HEADS, EntropyStop, Oracle, RiskStop, Stop, load_head
from labkit.trace import Tree

HEAD, ENTROPY, FIXED, ORACLE = "trained head", "entropy", "fixed length", "oracle (peeks)"


@dataclass
class SpecDecPlusPlus(Speculative):
    """The draft writes on as long as a trained head believes that all of it will be accepted (P013).

    Behind every drafted token that was fed, a head on the draft's last hidden state gives P(accepted); drafting stops when
    1 - their product passes `h`. The newest token is always kept unjudged. Where a discarded draft and a target call have
    their prices, the best rule is such a threshold. At h = 1 this is the fixed chain of length `longest`. Lossless at any h: the
    stop comes before the next draw. The other policies are for comparison; the oracle asks the target and is no method.
    Heads are trained at temperature 1 (`labkit train stop-head`). Our pair agrees less than the paper's: at h = 0.3 the weighted
    head stops nearly every chain after two tokens; try 0.8, or the even head. Left out: the release also ends a chain at an end
    of text.
    """

    name, title, paper, drafts = "specdec++", "SpecDec++", "P013", "model"
    charts = ("stop",)
    policy: str = knob(HEAD, choices=(HEAD, ENTROPY, FIXED, ORACLE), label="Stops by", help="the oracle is no method")
    h: float = knob(0.3, 0.05, 1.0, step=0.05, label="Line h", help="risk to stop at; 1: never")
    head: str = knob(HEADS[0], choices=HEADS, label="Head", help="weighted: refusals count 6×")
    longest: int = knob(20, 1, 20, unit="tokens", label="Longest chain", help="of every policy")
    nats: float = knob(1.5, 0.0, 8.0, step=0.1, unit="nats", label="Entropy line", help="for the entropy policy")
    shortest: int = knob(2, 1, 8, unit="tokens", label="Shortest chain", help="no stop before")
    verifier: str = verifier_knob()

    def start(self, session):
        self.stop = self.made(session.draft.runner)

    def made(self, runner) -> Stop:
        """The policy that the knobs ask for, for the draft `runner`."""
        if self.policy == HEAD:
            return RiskStop(self.h, load_head(self.head, runner))
        return {ENTROPY: lambda: EntropyStop(self.nats), FIXED: Stop, ORACLE: Oracle}[self.policy]()

    def propose(self, session, rng):
        draft, law, stop = session.draft, session.law, self.stop
        tree = Tree([], [], kind="deterministic" if law.greedy else "iid", source="draft")
        laws, state, most = [], None, min(self.longest, room(session))
        stop.begin(session)
        while len(tree.tokens) < most:
            if tree.tokens:  # the newest token is fed only now, when another one is wanted
                logits, trail = draft.grow(tree, [len(tree.tokens) - 1], hidden=stop.wants_state)
                logits, state = logits[0], trail[-1, 0] if stop.wants_state else None
            else:
                logits = draft.logits  # [V]
            q = logits.softmax(-1) if law.greedy else law(logits)
            last = stop.passes(stop.value(q, state))  # decided before the draw
            token = stop.pick(q, law.greedy, rng)
            if token is None:
                break
            tree.parents.append(len(tree.tokens) - 1)
            tree.tokens.append(token)
            laws.append(q)
            if last and len(tree.tokens) >= self.shortest:
                break
        return Proposal(tree, torch.stack(laws) if laws else None)

    def decide(self, tree, p, laws, rng):
        if self.policy == ORACLE:  # it has thrown its coins: nothing is left to test
            return self.stop.outcome(tree, p, rng)
        return super().decide(tree, p, laws, rng)

    def observe(self, session, tree, scores):
        return {"policy": self.policy, **self.stop.notes()}
