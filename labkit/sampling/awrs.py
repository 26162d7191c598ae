"""P048 AWRS with SMC: text under a constraint that is only asked about the tokens the model would choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, log
from typing import Iterator

import torch

from labkit.errors import LabError
from labkit.knobs import knob
from labkit.law import draw, draws
from labkit.lm import Session, beliefs
from labkit.methods import Method
from labkit.sampling.constraints import Judge
from labkit.sampling.ground import CONSTRAINTS, curve_of, judge_of, law_of, tests_of
from labkit.sampling.rejection import Walk, best, geometric, recursive
from labkit.trace import Belief, Step

PAPER, GEOMETRIC, RECURSIVE = "as the paper", "geometric", "recursive"
SURE = 2 / 3  # from this probability of the favourite on the official code walks geometrically


@dataclass
class Particle:
    """One text in the making, `ids` behind the prompt, with the log of its weight; -inf = nothing was allowed."""

    session: Session
    text: bytes
    ids: list[int] = field(default_factory=list)
    beliefs: list[Belief] = field(default_factory=list)
    logw: float = 0.0
    ended: bool = False

    @property
    def runs(self) -> bool:
        return not self.ended and self.logw > -inf

    def twin(self) -> Particle:
        """A copy that goes its own way."""
        return Particle(self.session.fork()[0], self.text, [*self.ids], [*self.beliefs], self.logw, self.ended)


@dataclass
class AWRS(Method):
    """Keep to a constraint while asking it about a few tokens a step, and weigh what that costs (AWRS with SMC, P048).

    Every particle draws its next token among the allowed ones by rejection that never tests a token twice, and multiplies its
    weight by an unbiased estimate of the allowed mass: a text that walked into a corner weighs little. When few particles hold
    most of the weight, all are drawn anew by weight (multinomially: inferred, as are the defaults of particles and threshold).
    Tokens are emitted as soon as all particles agree on them, the rest at the end, when one particle is drawn by weight. At
    the last token that was asked for the end is forced: its weight is that of the end, 0 when the text is not complete.

    At temperature 0 there is nothing to weigh: one particle takes the likeliest allowed token. Each particle's forward is its
    own call; the paper's run as a batch. Raises `LabError` when no particle can go on.
    """

    name, title, paper, lossless = "awrs", "AWRS with SMC", "P048", False
    charts = ("walk", "strands")
    constraint: str = knob("JSON", choices=CONSTRAINTS, help="what the new text must be")
    count: int = knob(10, 1, 64, label="Particles (N)", help="texts written side by side")
    threshold: float = knob(0.5, 0.0, 1.0, step=0.05, label="Resample below", help="effective share of N; 0: never")
    form: str = knob(PAPER, choices=(PAPER, GEOMETRIC, RECURSIVE), label="Weights", help="how the mass is estimated")
    accepts: int = knob(2, 2, 8, label="Accepts (L)", help="geometric: tests to pass")
    max_rejects: int = knob(0, 0, 4096, label="Give up after", unit="refusals", help="in one walk; 0: never")

    def steps(self, session, rng) -> Iterator[Step]:
        yield from self.under(judge_of(self.constraint, session), session, rng)

    def under(self, judge: Judge | None, session: Session, rng: torch.Generator) -> Iterator[Step]:
        """The same under any judge; None allows everything."""
        written = asked = moves = 0
        _ = session.logits  # the prompt is read once, for all
        count = 1 if session.law.greedy else self.count
        particles = [Particle(twin, judge.start if judge else b"") for twin in session.fork(count)]
        while True:
            moved = {slot: self.move(one, judge, rng) for slot, one in enumerate(particles) if one.runs}
            moves, asked = moves + len(moved), asked + sum(len(walk.tests) for walk, _ in moved.values())
            logw = torch.tensor([one.logw for one in particles], dtype=torch.float64)
            notes = self.noted(particles, moved, logw) | {"asked": asked, "moves": moves, "size": session.runner.vocabulary}
            alive = [one for one in particles if one.logw > -inf]
            if not alive:
                yield Step([], notes=notes)
                raise LabError(self.dead(particles, session, judge))
            if notes["ess"] < self.threshold * count:
                notes["parents"] = draws(logw.softmax(0)[None], [0] * count, rng)
                particles = alive = [particles[parent].twin() for parent in notes["parents"]]
                for one in particles:
                    one.logw = notes["logz"]  # all weigh the mean: their sum stays
            done = all(one.ended for one in alive)
            if done:
                notes["picked"] = draw(torch.tensor([one.logw for one in particles]).softmax(0), rng)
                alive = [particles[notes["picked"]]]
            until = agreed([one.ids for one in alive])
            new = slice(written, until)
            yield Step(alive[0].ids[new], sources=["target"] * (until - written), beliefs=alive[0].beliefs[new], notes=notes)
            written = until
            if done:
                return

    def move(self, particle: Particle, judge: Judge | None, rng: torch.Generator) -> tuple[Walk, torch.Tensor]:
        """One token more for `particle`, and its weight; the walk it took, and the law [V] it walked on."""
        p, text = law_of(particle.session), particle.text
        if judge and len(particle.ids) + 1 == particle.session.room:
            walk = forced_end(p, judge, text, rng)
        else:
            walk = self.walk(p, lambda token: judge is None or judge.allows(text, token), rng, particle.session.law.greedy)
        particle.logw += log(walk.weight) if walk.weight > 0 else -inf
        if walk.token is not None:
            ends = judge.ends if judge else particle.session.ends
            particle.ended = walk.token in ends
            particle.ids.append(walk.token)
            particle.beliefs += beliefs(particle.session.logits[None], [walk.token], "laws" in particle.session.keep)
            particle.text += judge.spellings[walk.token] if judge else b""
            particle.session.push(walk.token)
        return walk, p

    def walk(self, p, allows, rng, greedy: bool = False) -> Walk:
        """One token and its weight in the form asked for; the paper's code walks recursively only where p [V] is spread."""
        limit = self.max_rejects or inf
        if greedy:
            return best(p, allows)
        spread = self.accepts == 2 and p.max() < SURE
        if self.form == RECURSIVE or (self.form == PAPER and spread):
            return recursive(p, allows, rng, limit)
        return geometric(p, allows, rng, self.accepts, limit)

    def noted(self, particles: list[Particle], moved: dict[int, tuple], logw: torch.Tensor) -> dict:
        """What the charts draw: every particle's token, tests, estimate and weight; the law under the longest walk."""
        walks = [tests_of(moved[slot][1], moved[slot][0].tests) if slot in moved else [] for slot in range(len(particles))]
        chosen = [moved[slot][0].token if slot in moved else None for slot in range(len(particles))]
        longest = max(moved, key=lambda slot: len(moved[slot][0].tests))
        tested = {token for row in walks for token, *_ in row} | {token for token in chosen if token is not None}
        shares = logw.softmax(0)  # NaN when all are dead
        return {
            "constraint": self.constraint,
            "tokens": [sorted(tested)],
            "chosen": chosen,
            "walks": walks,
            "tested": [len(moved[slot][0].tests) if slot in moved else 0 for slot in range(len(particles))],
            "z": [moved[slot][0].weight if slot in moved else None for slot in range(len(particles))],
            "logw": [one.logw if one.logw > -inf else None for one in particles],
            "ended": [one.ended for one in particles],
            "ess": 1 / (shares**2).sum().item() if any(one.logw > -inf for one in particles) else 0.0,
            "logz": (logw.logsumexp(0).item() - log(len(particles))) if any(one.logw > -inf for one in particles) else None,
            "shown": longest,
            "curve": curve_of(moved[longest][1]),
        }

    def dead(self, particles: list[Particle], session: Session, judge: Judge | None) -> str:
        """Why no particle can go on, and what to do."""
        if session.room and max(len(one.ids) for one in particles) + 1 >= session.room:
            return (
                f"No particle of {len(particles)} was complete at token {session.room}, the last one asked for: "
                f"ask for more new tokens, or more particles."
            )
        tail = particles[-1].text.decode(errors="replace")[-24:]
        words = f"Nothing that may be drawn behind {tail!r} is allowed ({self.constraint})"
        return f"{words}: take off cuts of the law, or choose more particles."


def forced_end(p: torch.Tensor, judge: Judge, text: bytes, rng: torch.Generator) -> Walk:
    """The end of `text` now: drawn among the tokens that end it and weighing what they weigh; nothing when it is not complete."""
    ends = torch.zeros_like(p).index_fill_(0, torch.tensor(sorted(judge.ends)), 1.0) * p
    weight = ends.sum().item() if judge.complete(text) else 0.0
    token = draw(ends, rng) if weight > 0 else None
    return Walk(token, weight, [(int(ends.argmax()) if token is None else token, weight > 0)])


def agreed(texts: list[list[int]]) -> int:
    """How many first tokens all of `texts` share."""
    end = 0
    for column in zip(*texts):
        if len(set(column)) > 1:
            break
        end += 1
    return end
