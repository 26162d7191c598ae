"""P181 FreeDave: the model's next rounds, guessed from this one and checked all at once: fewer forwards, the very same text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import torch
from torch import Tensor

from labkit.diffusion.ground import State, Unmask, guesses, surest
from labkit.diffusion.masked import static
from labkit.diffusion.predictor import MaskPredictor
from labkit.errors import KnobError
from labkit.knobs import knob
from labkit.law import Law
from labkit.lm import Session
from labkit.trace import Step

GREEDY = Law(0)
Guess = tuple[Tensor, Tensor]  # tokens [L] and confidences [L]


@dataclass
class FreeDave(Unmask):
    """Draft and verify with no drafter: one batched forward on the next K states tells how many of them come true.

    Source: P181. Static decoding is a map F from a state to the next. One forward at a state gives F's next state for certain and
    a guess of the K - 1 behind it (stale predictions, best first, block by block). All K go through the network as one batch; the
    chain of guesses that equal F of the one before is kept, and the last of them brings its own predictions for the next round.
    Ids and order are those of static decoding; K rows cost K times the work, so it is no gain in seconds on a CPU, and on
    the shipped model eight save hardly a forward more than four, but for lists that copy. Temperature 0 only. The tree-mask
    layout is left out: bidirectional rows share no cache here.
    """

    name = "freedave"
    title = "FreeDave"
    paper = "P181"
    charts = (*Unmask.charts, "freedave_ladder")
    ahead: int = knob(4, 1, 16, label="K", unit="states", help="future states checked in one forward")
    tokens: int = knob(1, 1, 4, unit="a round", help="places that become final in a round of the static decoder")

    def read(self, state: State, logits: Tensor) -> Guess:
        """The token and the confidence of every place of `state`, from logits [L, V]."""
        return self.score(state, logits, GREEDY, None)

    def advance(self, state: State, guess: Guess) -> State:
        """F: the state behind one static round in which the network guesses this."""
        twin, (tokens, confidence) = state.clone(), guess
        if not twin.active.any():
            self.open(twin, None)  # its blocks have one size, whatever is guessed
        chosen = surest(twin, confidence, static(twin, self.tokens))
        twin.ids = torch.where(chosen, tokens, twin.ids)
        twin.round += 1
        twin.rounds += 1
        return twin

    def ladder(self, state: State, guess: Guess) -> list[State]:
        """The next states as one guess foresees them, `ahead` at most; the first one is certain."""
        found = [self.advance(state, guess)]
        while len(found) < self.ahead and not found[-1].done:
            found.append(self.advance(found[-1], guess))
        return found

    def fill(self, state: State, network: MaskPredictor, session: Session, rng: torch.Generator) -> Iterator[Step]:
        if not session.law.greedy:
            raise KnobError(f"FreeDave checks greedy rounds and the temperature is {session.law.temperature:g}: set it to 0.")
        logits = network(state.ids[None], session.ledger)[0]
        rows = 1
        while not state.done:
            drafts = self.ladder(state, self.read(state, logits))
            asked = [draft for draft in drafts if not draft.done]
            seen = network(torch.stack([draft.ids for draft in asked]), session.ledger) if asked else []
            kept, right = 1, None
            while kept < len(drafts):
                right = self.advance(drafts[kept - 1], self.read(drafts[kept - 1], seen[kept - 1]))
                if not torch.equal(drafts[kept].ids, right.ids):
                    break
                kept += 1
            yield self.round(state, [logits, *seen], drafts, kept, right, session, rows + len(asked), network)
            rows = 0
            state = drafts[kept - 1]
            logits = seen[kept - 1] if kept <= len(asked) else logits

    def round(
        self, state: State, said: list[Tensor], drafts: list[State], kept: int, right: State | None, session: Session, rows: int,
        network: MaskPredictor,
    ) -> Step:  # fmt: skip
        """What the round made final, in the static decoder's order, and its ladder; `right` is what came instead of the next."""
        trail = [state, *drafts]
        fresh = [(after.ids != before.ids).nonzero()[:, 0] for before, after in zip(trail, drafts)]
        places = torch.cat(fresh[:kept])
        beliefs = torch.cat([logits[chosen] for logits, chosen in zip(said, fresh[:kept])])
        miss = []
        if kept < len(drafts):
            miss = (right.ids != drafts[kept].ids).nonzero()[:, 0].tolist()
        step = self.told(state, said[0], guesses(state, said[0], GREEDY, None), torch.zeros_like(state.ids), session, {
            "flops": rows * network.flops(len(state.ids)), "rows": rows, "kept": kept,
            "miss": [place - state.first for place in miss],
            "ladder": [(chosen - state.first).tolist() for chosen in fresh],
        })  # fmt: skip
        more = session.step(beliefs, drafts[kept - 1].ids[places].tolist(), at=(places - state.first).tolist())
        step.emitted, step.beliefs, step.at = more.emitted, more.beliefs, more.at
        step.notes["reasons"] = ["checked"] * len(more.emitted)
        step.notes["block"] = [place - state.first for place in drafts[0].block]
        return step
