"""Chain speculation: a small model writes a few tokens, the target checks them all in one forward."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labkit.knobs import knob
from labkit.speculative.ground import Proposal, Speculative, chain, draft_token, room, verifier_knob


@dataclass
class Chain(Speculative):
    """A draft model writes `length` tokens one by one; the target keeps the agreeing beginning and adds one of its own.

    Leviathan et al. 2023, Chen et al. 2023. The draft is warped like the target (temperature, top-k, ...), so q and p meet
    on equal terms; `heat` multiplies the draft's temperature alone. At temperature 0 the draft is greedy.
    The draft stops early behind a token it gave less than `doubt`, as transformers' assisted generation does: the doubted
    token is still proposed, so that the stop tells nothing about what was drawn next and the law is kept.
    """

    name, title, drafts = "chain", "Draft-model chain", "model"
    length: int = knob(4, 1, 16, unit="tokens", label="Drafted tokens", help="before the target looks")
    heat: float = knob(1.0, 0.2, 3.0, step=0.1, label="Draft heat", help="× the target's temperature")
    doubt: float = knob(0.0, 0.0, 1.0, step=0.05, label="Stop when in doubt", help="below this q; 0: never")
    verifier: str = verifier_knob()

    def propose(self, session, rng):
        law = session.law.heated(self.heat)
        tokens, laws = [], []
        for _ in range(min(self.length, room(session))):
            token, q = draft_token(session.draft, law, rng)
            tokens.append(token)
            laws.append(q)
            if q[token].item() < self.doubt:
                break
        return Proposal(chain(tokens, law), torch.stack(laws) if laws else None)
