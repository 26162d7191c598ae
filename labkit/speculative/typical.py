"""Typical acceptance: keep what the target finds plausible, not what its law asks for. Lossy, as a contrast."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labkit.errors import LabError
from labkit.knobs import knob
from labkit.law import NOT_NUMBERS
from labkit.speculative import verify
from labkit.speculative.ground import Proposal, Speculative, room
from labkit.trace import Tree


@dataclass
class Typical(Speculative):
    """LOSSY: a draft stays when the target gives it more than min(epsilon, delta e^-H); more is kept, the law is not.

    Cai et al. 2024 (Medusa), the verifier V4 of several released drafters. H is the entropy of the target's law in nats: where it
    is unsure, less is enough. The draft model follows its favourite for `length` tokens and proposes its `width` likeliest at
    every place (no coin is thrown; Medusa's heads do the same without a model). A token above the bar is always taken, so
    likely tokens come too often: acceptance looks better than a lossless verifier's because the target is asked for less.
    At temperature 0 drafts must match the target's favourite, and the text is the target's own.
    """

    name, title, drafts, lossless = "typical", "Typical acceptance (LOSSY)", "model", False
    length: int = knob(4, 1, 16, unit="tokens", label="Drafted tokens", help="the draft's favourites")
    width: int = knob(2, 1, 4, unit="tokens", label="Candidates", help="likeliest, at every place")
    epsilon: float = knob(0.09, 0.0, 1.0, step=0.01, label="Bar ε", help="more than this always stays")
    delta: float = knob(0.3, 0.0, 1.0, step=0.05, label="Factor δ", help="lowers the bar to δ·e^-H")

    def propose(self, session, rng):
        draft, law, depth = session.draft, session.law, min(self.length, room(session))
        tree, laws, follow = Tree([], [], source="draft"), [], -1
        for place in range(depth):
            logits = draft.grow(tree, [follow]).logits[0] if place else draft.logits  # [V]
            q = logits.softmax(-1) if law.greedy else law(logits)
            chances, tokens = (best.tolist() for best in q.topk(min(self.width, len(q))))
            if not law.greedy and chances[0] != chances[0]:
                raise LabError(NOT_NUMBERS)
            tokens = tokens[: max(1, sum(chance > 0 for chance in chances))]  # a cut law may know fewer
            tree.parents += [follow] * len(tokens)
            follow = len(tree.tokens)
            tree.tokens += tokens
            laws += [q] * len(tokens)
        return Proposal(tree, torch.stack(laws) if laws else None)

    def decide(self, tree, p, laws, rng):
        return verify.typical(tree, p, rng, self.epsilon, self.delta)
