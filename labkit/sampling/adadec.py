"""AdaDec (P003): pause where the model is unsure, look ahead, rerank."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from labkit import parts
from labkit.errors import KnobError, ModelError
from labkit.knobs import knob
from labkit.law import entropy
from labkit.lm import Session
from labkit.methods import Method
from labkit.sampling.branches import Branch, commit, feed, room
from labkit.trace import Tree

PART = "adadec"
LEARNED, BY_HAND = "learned", "by hand"


def calibration(runner) -> dict | None:
    """What `labkit train adadec` learned for this model, as plain data; None where nothing was.

    P(the likeliest token is right | H) = sigmoid(intercept + slope * H); "tau" in nats; "bins" as rows (mean H, share of
    places where it is right, mean rank of the right token counted from 1, places), of held-out text.
    """
    try:
        part = parts.load(PART, runner)
    except ModelError:
        return None
    slope, intercept = part["line"].tolist()
    return {"slope": slope, "intercept": intercept, "tau": part["tau"].item(), "bins": part["bins"].tolist()}


@dataclass
class AdaDec(Method):
    """Greedy while it is sure; at high entropy it looks ahead from several first tokens and keeps the best one (P003).

    Entropy H in nats, of the raw law: it decodes greedily whatever the temperature and the cuts. Where H reaches tau it pauses:
    the B likeliest tokens are each continued greedily by up to L tokens, the branch with the highest mean log-probability gives
    its first token, and the rest of all branches is dropped. The branches share the context's cache and are read side by side,
    so a pause costs L forwards. tau is the one that `labkit train adadec` learned, or set by hand. The paper's seven code models
    learn 0.62 to 1.32 nats; the shipped target's tau lies higher.

    A branch ends early at an end of text and where the function ends (inferred: at a token that begins a line at column 0).
    The paper's beam variant is left out.
    Raises `KnobError` where no tau was learned for the model.
    """

    name, title, paper, lossless = "adadec", "AdaDec", "P003", False
    charts = ("pause", "calibration")
    threshold: str = knob(LEARNED, choices=(LEARNED, BY_HAND), label="Threshold", help="pause where H reaches tau")
    tau: float = knob(1.0, 0.0, 4.0, step=0.05, unit="nats", label="tau", help="if set by hand")
    branches: int = knob(3, 1, 8, unit="tokens", label="Branches B", help="first tokens tried at a pause")
    lookahead: int = knob(5, 0, 20, unit="tokens", label="Look-ahead L", help="greedy tokens behind each")
    normalise: bool = knob(True, label="Mean, not sum", help="off: a short branch wins")

    def steps(self, session, rng):
        learned = calibration(session.runner)
        tau = self.tau if self.threshold == BY_HAND else _tau(learned, session)
        while True:
            logits = session.logits  # [V]
            logs = logits.log_softmax(-1)
            notes = {"tau": tau, "calibration": learned}
            if entropy(logs.exp()).item() < tau:
                token = int(logits.argmax())
                session.push(token)
            else:
                tries, kept = self.pause(session, logs)
                token = tries[kept].tokens[0]
                commit(session, tries[kept], 1)
                rows = [{"tokens": way.tokens, "logprobs": way.logprobs, "score": self.score(way)} for way in tries]
                notes |= {"branches": rows, "kept": kept, "tokens": [way.tokens for way in tries]}
            yield session.step(logits[None], [token], sources=["target"], notes=notes)
            learned = None  # the first step tells it

    def pause(self, session: Session, logs: Tensor) -> tuple[list[Branch], int]:
        """The branches behind the context, likeliest first token first, and which one is best; `logs` is ln p there, [V]."""
        best, first = logs.topk(min(self.branches, len(logs)))
        tries, tree = [Branch([token], [log]) for token, log in zip(first.tolist(), best.tolist())], Tree([], [])
        for _ in range(min(self.lookahead, room(session))):
            going = [way for way in tries if not self.over(session, way)]
            if not going:
                break
            best, token = feed(session, tree, going).log_softmax(-1).max(-1)  # [len(going)]
            for way, *more in zip(going, token.tolist(), best.tolist()):
                way.add(*more)
        scores = [self.score(way) for way in tries]
        return tries, scores.index(max(scores))

    def over(self, session: Session, way: Branch) -> bool:
        """Has a branch come to the end of the text, or out of the function?"""
        before, last = [session.ids[-1], *way.tokens][-2:]
        piece = session.vocabulary.piece
        return last in session.ends or (piece(before).endswith("\n") and not piece(last).startswith("\n"))

    def score(self, way: Branch) -> float:
        """Mean (or summed) ln p of a branch, its first token counted."""
        return sum(way.logprobs) / (len(way.logprobs) if self.normalise else 1)


def _tau(learned: dict | None, session: Session) -> float:
    if learned is None:
        model = getattr(session.runner, "name", "this model")
        raise KnobError(f"No threshold was learned for {model!r}: set the threshold by hand, or choose lab-target.")
    return learned["tau"]
