"""Pause and look ahead (P003), or write several and choose (P033): what each brings on held-out code, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import torch

from labkit.knobs import knob
from labkit.law import entropy
from labkit.lm import Session
from labkit.methods import Method, Study
from labkit.prompts import heldout
from labkit.sampling.adadec import BY_HAND, AdaDec, calibration
from labkit.sampling.cntp import CNTP
from labkit.trace import Step

TAUS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)  # nats
RUN = (0.5, 1.0, 2.0, 3.0, inf)  # of them, those that really decode; at inf it is greedy
TRIALS = (1, 2, 5, 10, 20)


@dataclass
class Tally:
    """What decoding came to, over texts."""

    tokens: int = 0
    forwards: int = 0
    nats: float = 0.0  # sum of -ln p of the tokens, under the raw law

    def add(self, method: Method, session: Session, tokens: int, rng: torch.Generator) -> None:
        """Let `method` write at least `tokens` tokens behind `session`'s context."""
        before, goal = session.ledger.forwards, self.tokens + tokens
        for step in method.steps(session, rng):
            self.tokens += len(step.emitted)
            self.nats -= sum(belief.logprob for belief in step.beliefs)
            if self.tokens >= goal:
                break
        self.forwards += session.ledger.forwards - before


@dataclass
class Places:
    """Places of held-out texts: the entropy before each, and what AdaDec would do at some of them."""

    nats: list[float] = field(default_factory=list)
    looked: list[tuple[float, bool, bool, bool]] = field(default_factory=list)
    # of the places looked at: entropy; is the true token the likeliest, the one kept, among the first tokens tried?

    def by_tau(self) -> list[dict]:
        """For every threshold: the share of places where it pauses, and what is right at those that were looked at."""
        found = []
        for tau in TAUS:
            paused = [row[1:] for row in self.looked if row[0] >= tau]
            greedy, kept, tried = map(sum, zip(*paused)) if paused else (0, 0, 0)
            row = {"tau": tau, "paused": sum(h >= tau for h in self.nats) / len(self.nats), "looked": len(paused)}
            row |= {"greedy": greedy, "kept": kept, "tried": tried}
            found.append(row | {"won": sum(b and not a for a, b, _ in paused), "lost": sum(a and not b for a, b, _ in paused)})
        return found


@dataclass
class PauseOrTry(Study):
    """Does looking ahead find the right token where the model is unsure, and what do pauses and trials cost? (P003, P033)

    Over held-out texts. First teacher-forced: the share of places at or above tau, and at places drawn from those with the
    lowest tau and more, how often the text's own token is the likeliest one, the one that AdaDec keeps, one of the B it tries.
    Then decoding behind the same texts: AdaDec by tau, CNTP by Nmax, under the request's temperature and cuts (CNTP alone
    heeds them); forwards are counted (reading the prompt is one of them), and the text's mean -ln p is that of the raw law.
    A likelier text is no better one: both methods choose by the model's own likelihood. An end of text does not end a text.

    The paper's gain does not show on the shipped target: of 600 places of 60 texts at or above 0.5 nats greedy is right at 257
    and one of three first tokens at 375, but AdaDec at 241, 240, 229, 218 with L = 1, 2, 5, 10. The further it looks, the more
    it prefers what is easy to continue. Both methods do write likelier text than greedy or plain sampling.
    """

    name, title, paper = "pause-or-try", "Pause, or try several", "P003"
    charts = ("pause_accuracy", "pause_cost")
    texts: int = knob(8, 1, 120, unit="texts", help="held-out texts")
    places: int = knob(12, 1, 40, unit="places", label="Places a text", help="looked ahead from, drawn at random")
    tokens: int = knob(24, 8, 96, unit="tokens", label="Tokens a text", help="written by each setting")
    branches: int = knob(3, 1, 8, unit="tokens", label="Branches B", help="of AdaDec")
    lookahead: int = knob(5, 0, 20, unit="tokens", label="Look-ahead L", help="of AdaDec")

    def steps(self, session, rng):
        runs = [("AdaDec", tau, self.adadec(tau), Tally()) for tau in RUN]
        runs += [("CNTP", most, CNTP(most=most), Tally()) for most in TRIALS]
        found, done, learned = Places(), 0, calibration(session.runner)

        def frame() -> Step:
            notes = {"done": done, "of": self.texts * (1 + len(runs)), "by_tau": found.by_tau(), "places": len(found.nats)}
            notes |= {"tau": learned and learned["tau"], "temperature": session.law.temperature, "branches": self.branches}
            notes["runs"] = [  # the setting None is a tau that is never reached: greedy decoding
                [name, None if value == inf else value, tally.tokens, tally.forwards, tally.nats]
                for name, value, _, tally in runs
                if tally.tokens
            ]
            return Step(emitted=[], notes=notes)

        room = session.runner.context - self.tokens - max(self.lookahead, 48)
        for text in heldout(self.texts):
            ids = session.vocabulary.encode(text)[:room]
            self.look(session.open(ids), found, rng)
            done += 1
            yield frame()
            for _, _, method, tally in runs:
                tally.add(method, session.open(ids), self.tokens, rng)
                done += 1
                yield frame()

    def adadec(self, tau: float) -> AdaDec:
        """AdaDec as it is studied here."""
        return AdaDec(threshold=BY_HAND, tau=tau, branches=self.branches, lookahead=self.lookahead)

    def look(self, session: Session, found: Places, rng: torch.Generator) -> None:
        """Look ahead from some places of the text that `session` stands behind; the last first, so that the cache serves all."""
        ids, logs = list(session.ids), session.prompt_logits()[:-1].log_softmax(-1)  # [S - 1, V]
        nats = entropy(logs.exp()).tolist()
        found.nats += nats
        unsure = [place for place, h in enumerate(nats) if h >= TAUS[0]]
        chosen = sorted(torch.randperm(len(unsure), generator=rng)[: self.places].tolist(), reverse=True)
        for place in (unsure[number] for number in chosen):
            session.rewind(place + 1)
            tries, kept = self.adadec(0.0).pause(session, logs[place])
            first, true = [way.tokens[0] for way in tries], ids[place + 1]
            found.looked.append((nats[place], first[0] == true, first[kept] == true, true in first))
