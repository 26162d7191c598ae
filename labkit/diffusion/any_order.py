"""Three ways to write the same places: one by one, drafted and checked, in any order; what comes when, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Iterator

import torch

from labkit.diffusion.ground import predictor_of
from labkit.diffusion.masked import MaskedDiffusion
from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Method, Study
from labkit.prompts import heldout
from labkit.sampling.plain import Plain
from labkit.speculative.chain import Chain
from labkit.trace import Step


def causal_flops(runner, tokens: int, context: int) -> int:
    """Multiplications and additions of `tokens` fed to a causal model, as `MaskPredictor.flops` counts them.

    Every token is charged the LM head and attention to all of `context`: of a long feed, such as a prompt, that is too much.
    """
    width = runner.embed(torch.zeros(1, dtype=torch.long, device=runner.device)).shape[-1]
    return 2 * tokens * runner.parameters + 4 * runner.depth * tokens * context * width


class Lane:
    """One method at work on one text: `filled` has the places of each forward, `drafted` how many of them a draft proposed."""

    def __init__(self, name: str, method: Method, session: Session, room: int, end: int, rng: torch.Generator):
        self.name, self.session, self.room, self.end = name, session, room, end
        self.session.room = room
        self.diffuses = isinstance(method, MaskedDiffusion)
        self.steps = method.steps(session, rng)
        self.filled: list[list[int]] = []
        self.drafted: list[int] = []
        self.text: dict[int, int] = {}  # token by place
        self.forwards = self.drafts = self.flops = 0
        self.seconds, self.over = 0.0, False

    @property
    def ends(self) -> int:
        """The place of the first end of text; without one, the number of places."""
        return min((place for place, token in self.text.items() if token == self.end), default=self.room)

    def spent(self) -> list[int]:
        """Forwards and tokens so far, of the target (or the diffusion model) and of the draft."""
        ledgers = self.session.ledger, self.session.draft.ledger
        return [number for ledger in ledgers for number in (ledger.forwards, ledger.tokens)]

    def advance(self) -> None:
        """One forward more, unless the text is whole."""
        if self.over:
            return
        before, started = self.spent(), time.perf_counter()
        step = next(self.steps)
        self.seconds += time.perf_counter() - started
        forwards, tokens, drafts, drafted = (now - then for now, then in zip(self.spent(), before))
        self.forwards, self.drafts = self.forwards + forwards, self.drafts + drafts
        places = step.at or list(range(len(self.text), len(self.text) + len(step.emitted)))
        fresh = {place: token for place, token in zip(places, step.emitted) if place < self.room}
        if self.diffuses:
            self.flops += step.notes["flops"]
        else:
            fresh = dict(list(fresh.items())[: step.emitted.index(self.end) + 1]) if self.end in step.emitted else fresh
            length = len(self.session.ids)
            self.flops += causal_flops(self.session.runner, tokens, length)
            self.flops += causal_flops(self.session.draft.runner, drafted, length)
        self.text |= fresh
        self.over = all(place in self.text for place in range(self.ends))
        self.filled.append(list(fresh))
        self.drafted.append(step.sources[: len(fresh)].count("draft"))

    def cost(self) -> dict:
        """Tokens up to the first end of text, and what they cost: forwards, the draft's beside them, FLOPs and seconds."""
        tokens = sum(place <= self.ends for place in self.text)
        spent = {"forwards": self.forwards, "drafts": self.drafts, "flops": self.flops, "seconds": self.seconds}
        return {"tokens": tokens, **spent}


@dataclass
class AnyOrder(Study):
    """The same held-out prompts, written left to right, drafted and checked, and in any order: which place comes when?

    A step is one forward of every method, so that they can be watched side by side: plain decoding and a chain of drafts
    checked by the same causal model, and `mdm-py` with one place, four places, and all sure places a forward. The texts differ;
    here only the order and the cost are compared (`unmask-race` looks at what is written).

    Few forwards are not few seconds. A causal forward feeds the new tokens only, a bidirectional one the whole text, and the
    chain's draft has forwards of its own. So three costs stand side by side: forwards, FLOPs (counted from what was fed), and
    the seconds that passed here. Reading the prompt counts for all. Released caches for masked diffusion are left out.

    What shows with the shipped models (6 texts, 32 places, a CPU): one place a forward costs 33 times the FLOPs of plain decoding
    and about five times its seconds; four places a forward need a quarter of the forwards, and still 8 times the FLOPs.
    """

    name, title, drafts = "any-order", "Any order against left to right", "model"
    charts = ("any_order", "three_costs")
    room: int = knob(32, 8, 96, unit="places", label="Places (G)", help="behind each prompt")
    tau: float = knob(0.9, 0.3, 1.0, step=0.01, help="threshold: least confidence")
    scale: str = knob("value", choices=("value", "quantile"), help="a confidence, or its rank")
    block: int = knob(32, 4, 96, unit="places", help="the span that is filled before the next one")
    drafted: int = knob(4, 1, 8, unit="tokens", label="Drafted tokens", help="of the chain, a forward")
    texts: int = knob(3, 1, 24, unit="texts", help="held-out prompts")

    def writers(self) -> dict[str, Method]:
        """The methods by the names that the charts show."""
        masked = {"block": self.block, "tau": self.tau, "scale": self.scale}
        return {
            "left to right": Plain(),
            "drafted, checked": Chain(length=self.drafted),
            "any order, 1": MaskedDiffusion(rule="static", tokens=1, block=self.block),
            "any order, 4": MaskedDiffusion(rule="static", tokens=4, block=self.block),
            "any order, sure": MaskedDiffusion(rule="threshold", **masked),
        }

    def steps(self, session: Session, rng: torch.Generator) -> Iterator[Step]:
        network = predictor_of(session)
        longest = min(network.context, session.runner.context) - self.room
        costs: dict[str, list] = {name: [] for name in self.writers()}
        for number, text in enumerate(heldout(self.texts)):
            ids = session.vocabulary.encode(text)[-longest:]
            lanes = [
                Lane(name, method, session.open(ids), self.room, network.end, rng) for name, method in self.writers().items()
            ]
            forwards = 0
            while not all(lane.over for lane in lanes):
                for lane in lanes:
                    lane.advance()
                forwards += 1
                if all(lane.over for lane in lanes):
                    for lane in lanes:
                        costs[lane.name].append(lane.cost())
                yield self.frame(lanes, costs, number, min(forwards, self.room))

    def frame(self, lanes: list[Lane], costs: dict[str, list], number: int, forwards: int) -> Step:
        """What is known: of this text which places each forward filled, and what every text has cost."""
        shown = [
            {
                "name": lane.name,
                "diffuses": lane.diffuses,
                "filled": [list(places) for places in lane.filled],
                "drafted": list(lane.drafted),
                "costs": [dict(cost) for cost in costs[lane.name]] or [lane.cost()],
            }
            for lane in lanes
        ]
        tokens = [[lane.text[place] for places in lane.filled for place in places] for lane in lanes]
        progress = {"done": number * self.room + forwards, "of": self.texts * self.room}
        about = {"text": number + 1, "texts": self.texts, "room": self.room, "whole": bool(costs[lanes[0].name])}
        return Step(emitted=[], notes={**progress, **about, "lanes": shown, "tokens": tokens})
