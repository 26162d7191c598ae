"""P038 Online Speculative Decoding: a draft that learns from what the target says while it serves."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from labkit.knobs import knob
from labkit.lm import Session
from labkit.speculative.chain import Chain
from labkit.speculative.distil import FORWARD, MIXED, REVERSE, Learner, Lesson

WRONG, EVERY = "wrong only", "every place"


def rate_knob():
    """3e-4 suits the shipped draft of 0.9 M parameters; the paper takes 1e-4 for 160 M."""
    return knob(3e-4, 0.0, 3e-3, step=1e-4, label="Learning rate", help="of AdamW; 0: nothing is learned")


def loss_knob():
    return knob(FORWARD, choices=(FORWARD, REVERSE, MIXED), label="Divergence", help="between target and draft")


def places_knob():
    return knob(WRONG, choices=(WRONG, EVERY), label="Learn from", help="wrong: where it was refused")


def gradient_knob():
    return knob(1, 1, 8, label="Gradient steps", help="in every update")


@dataclass
class Watched(Chain):
    """A chain that keeps what the target said at every place it looked at, and the chance of acceptance there."""

    def start(self, session):
        self.lessons: list[Lesson] = []
        self.agreements: list[float] = []  # alpha at every tested place: the sum of min(p, q); 1 or 0 at temperature 0

    def propose(self, session, rng):
        proposal = super().propose(session, rng)
        self.laws = proposal.laws
        return proposal

    def observe(self, session, tree, scores):
        """One lesson for every token of the round.

        Row r of the scores is the law of the round's token r, so it belongs to the place BEFORE that token. (The release marks
        the corrected token's own place, and so trains on the prediction of the token after it.)
        """
        rows = len(tree.path) + 1
        root = len(session.ids) - rows - 1  # the place the chain hung on
        refused = len(tree.path) < len(tree.tokens)
        for row in range(rows):
            last = (
                row == rows - 1
            )  # the target's own token: a correction, or one more behind a chain that was all accepted
            self.lessons.append(Lesson(root + row, scores.logits[row], refused and last, refused or not last))
        if session.law.greedy:
            self.agreements += [1.0] * len(tree.path) + [0.0] * refused
        elif tested := len(tree.path) + refused:
            p = session.law(scores.logits[:tested])
            self.agreements += torch.minimum(p, self.laws[:tested]).sum(-1).tolist()
        return {}


def worth_learning(lessons: list[Lesson], places: str) -> list[Lesson]:
    """The lessons that `places` ("wrong only" or "every place") lets through."""
    return [lesson for lesson in lessons if lesson.wrong or places == EVERY]


@dataclass
class OnlineSD(Watched):
    """The draft takes gradient steps between rounds, on the target's laws at the places where it was wrong (P038).

    A private copy of the draft learns within this one request, so every run begins with the draft as it was trained; the study
    "online-stream" lets it learn from request to request, as in the paper. Drafting: the chain, 5 tokens a round. Every `every`
    rounds: AdamW steps on the divergence between target and draft at the round's wrong places, whose target laws verification
    has computed already. The update comes between two rounds, so every token is tested against the q that drew it: the draft
    can change the speed and nothing else. The new draft reads the whole text again; that forward is counted, and so is the
    time of the update (note "update seconds", within the step's seconds).
    """

    name, title, paper = "online-sd", "Online speculative decoding", "P038"
    charts = ("running_alpha",)
    length: int = knob(5, 1, 16, unit="tokens", label="Drafted tokens", help="before the target looks")
    every: int = knob(8, 1, 32, unit="rounds", label="Update every", help="then what was kept is forgotten")
    rate: float = rate_knob()
    gradient_steps: int = gradient_knob()
    loss: str = loss_knob()
    learn_from: str = places_knob()

    def start(self, session):
        super().start(session)
        self.shared = session.draft.runner
        self.learner = Learner(self.shared, self.rate)
        session.draft = self.learner.session(session.draft, session.ids)
        self.rounds = self.updates = 0

    def observe(self, session, tree, scores):
        before = len(self.agreements)
        super().observe(session, tree, scores)
        self.rounds += 1
        notes = {"agreements": self.agreements[before:], "updates": self.updates}
        if self.rounds % self.every == 0 and len(session.ids) <= self.shared.context:
            notes |= self.update(session)
        return notes

    def update(self, session) -> dict:
        """Learn from the lessons since the last update, and go on with the new draft; what came of it, for the notes."""
        frozen = self.frozen_alpha(session)
        lessons, self.lessons = worth_learning(self.lessons, self.learn_from), []
        if not lessons:
            return {"frozen alpha": frozen}
        began = time.perf_counter()
        loss = self.learner.learn([session.ids], [lessons], self.loss, self.gradient_steps)
        session.draft = self.learner.session(session.draft, session.ids)
        self.updates += 1
        seconds = time.perf_counter() - began
        learned = {"updates": self.updates, "places": len(lessons), "loss": loss, "update seconds": seconds}
        return {"frozen alpha": frozen, **learned}

    def frozen_alpha(self, session) -> float | None:
        """Mean alpha that the draft would have had, had it not learned, at the places tested since the last update.

        For the picture only: its one forward is not among the counted ones.
        """
        tested = [lesson for lesson in self.lessons if lesson.tested]
        if not tested:
            return None
        rows = Session(self.shared, session.ids).prompt_logits()[[lesson.place for lesson in tested]]
        q, p = session.law(rows), session.law(torch.stack([lesson.logits for lesson in tested]))
        return torch.minimum(p, q).sum(-1).mean().item()
