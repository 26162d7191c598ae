"""The sweep behind PEARL: when is it worth a second machine, by gamma and by how slow the target is?"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.knobs import knob
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.speculative.pearl import LONGEST, Pearl
from labkit.trace import Step

GAMMAS = (1, 2, 3, 4, 5, 6, 8, 10, 12, LONGEST)
WAYS = {"PEARL": {}, "ordinary": {"pre": False, "post": False}}


@dataclass
class PearlSweep(Study):
    """How long does a token take with PEARL, with ordinary speculation and plainly, by gamma and by c? (P182)

    Real runs of both on held-out prompts count tokens and rounds for each gamma, ordinary speculation being PEARL with both
    halves off. Neither count depends on c = target call / draft call, so the virtual clock turns them into time for every c at
    once: a round takes max(gamma/c, 1) target calls with PEARL, gamma/c + 1 without. The first call, which reads the prompt,
    counts as one like the others; a call over several tokens takes no longer than over one.
    """

    name, title, paper, drafts = "pearl-sweep", "PEARL against ordinary speculation", "P182", "model"
    charts = ("pearl_sweep",)
    prompts: int = knob(4, 1, 60, unit="prompts", help="held-out ones")
    tokens: int = knob(32, 16, 128, unit="tokens", help="each, in every way")
    ratio: float = knob(5.0, 1, 20, step=0.5, unit="draft calls", label="Target call (c)", help="in the left chart")

    def steps(self, session, rng):
        counts = {way: {"tokens": [0] * len(GAMMAS), "rounds": [0] * len(GAMMAS)} for way in WAYS}
        tries = [(place, way) for place in range(len(GAMMAS)) for way in WAYS]
        of, done = self.prompts * len(tries), 0
        for prompt in heldout(self.prompts):
            begin = session.open(session.vocabulary.encode(prompt)[: session.runner.context - self.tokens - LONGEST])
            for place, way in tries:
                sums, written = counts[way], 0
                for step in Pearl(gamma=GAMMAS[place], **WAYS[way]).steps(begin.fork()[0], rng):
                    written += len(step.emitted)
                    sums["rounds"][place] += 1
                    if written >= self.tokens:
                        break
                sums["tokens"][place] += written
                done += 1
                if done <= len(tries) or done % len(tries) == 0:  # later prompts count when they are whole: all gammas alike
                    known = {way: {name: list(sums) for name, sums in found.items()} for way, found in counts.items()}
                yield Step(emitted=[], notes={"done": done, "of": of, "gammas": list(GAMMAS), "c": self.ratio, "counts": known})
