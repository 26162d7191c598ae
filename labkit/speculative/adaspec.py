"""P008 AdaSPEC: distil a small draft from the tokens that a draft of its size can learn, and leave the others out."""

from __future__ import annotations

import dataclasses
import json
from typing import Iterator

import torch
from torch import Tensor

from labkit import prompts
from labkit.errors import ModelError
from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.models import Vocabulary, vocabulary_of
from labkit.parts import fingerprint
from labkit.paths import DATA
from labkit.speculative.contest import Contest, alpha
from labkit.speculative.distil import FORWARD, REVERSE, VARIATION, choose, divergence, fresh
from labkit.speculative.narrow import narrowed
from labkit.trace import Step
from labkit.train import corpus

WINDOW, BATCH = 96, 4  # tokens of a window; windows of a gradient step
HELD_OUT = 12  # windows that alpha is measured on
RATE = 2e-3
EVERY_FILE = 10  # one file in ten of the standard library is text enough
LOOKS = 10  # times that alpha is measured in each phase
EDGES = tuple(range(-8, 9))  # of the margins' bins, in logits; the outermost are open
LONG_RUN = DATA / "models" / "adaspec.json"  # written by `labkit train adaspec`


def training_windows(vocabulary: Vocabulary, rng: torch.Generator) -> Iterator[list[int]]:
    """Windows of the standard library's training files, in an order drawn from `rng`, for ever."""
    texts = list(corpus.training_library(EVERY_FILE))
    while True:
        for place in torch.randperm(len(texts), generator=rng).tolist():
            ids = vocabulary.encode(texts[place])
            yield from (ids[at : at + WINDOW] for at in range(0, min(len(ids) - WINDOW, 8 * WINDOW), WINDOW))


def teach(session: Session, windows: list[list[int]]) -> Tensor:
    """The target's log-probs [B * S, V] at every place of `windows`."""
    return torch.cat([session.open(window).prompt_logits() for window in windows]).log_softmax(-1)


def long_run(target: str, draft: str) -> dict | None:
    """The curves of `labkit train adaspec`, when they were made with these two models."""
    if not LONG_RUN.is_file():
        return None
    known = json.loads(LONG_RUN.read_text(encoding="utf-8"))
    try:
        ours = {"target": fingerprint(target), "draft": fingerprint(draft)}
    except ModelError:
        return None
    return known if known["models"] == ours else None


@dataclasses.dataclass
class AdaSPEC(Study):
    """Which tokens should a small draft learn from: all of them, or those that a draft of its size can learn? (P008)

    Phase one: a reference learns from every token by plain distillation. Phase two, again from the start: on every batch the
    share of the tokens is kept where the draft lags most behind the reference, by the laws of the moment; the rest has no
    gradient. Beside it learn drafts that keep 20 % and 100 % (plain distillation), and the reference itself goes on, which is
    the fair rival: AdaSPEC has paid for both phases. One step is one gradient step of each on 384 tokens of the standard
    library; alpha is measured on held-out prompts.
    The start is our own: the shipped draft made narrow (see `narrowed`), so that its capacity binds. The paper begins from a
    pretrained model and fine-tunes the target on the task first; both are left out. The study's own prompt is not used.
    """

    name, title, paper, drafts = "adaspec", "Learn what can be learned (AdaSPEC)", "P008", "model"
    charts = ("adaspec_alpha", "adaspec_tokens", "adaspec_margins")
    share: float = knob(
        0.4, 0.1, 1.0, step=0.1, label="Tokens kept", help="share; 0.4 in the paper, 1: plain distillation"
    )
    gradient_steps: int = knob(60, 10, 1000, label="Gradient steps", help="of each of the two phases")
    width: int = knob(48, 32, 128, step=16, label="Draft width", help="128: as the shipped draft")
    loss: str = knob(
        FORWARD, choices=(FORWARD, REVERSE, VARIATION), label="Divergence", help="between target and draft"
    )

    def steps(self, session, rng):
        vocabulary = vocabulary_of(session.runner)
        exam = [ids[:WINDOW] for ids in map(vocabulary.encode, prompts.heldout(60)) if len(ids) >= WINDOW][:HELD_OUT]
        ids, log_p = torch.tensor(exam, device=session.runner.device), teach(session, exam)
        start = narrowed(fresh(session.draft.runner), self.width, exam)
        contest = Contest(start, sorted({0.2, self.share, 1.0}), self.gradient_steps, RATE, self.loss)
        notes = {
            "done": 0,
            "of": 2 * self.gradient_steps,
            "phase": "reference",
            "share": self.share,
            "edges": list(EDGES),
        }
        notes["curves"] = {name: [[0], [alpha(pupil, ids, log_p.exp())]] for name, pupil in contest.pupils.items()}
        notes["long run"] = long_run(session.runner.name, session.draft.runner.name)
        yield Step([], notes=notes)
        windows = training_windows(vocabulary, rng)
        while not contest.over:
            batch = [next(windows) for _ in range(BATCH)]
            contest.step(torch.tensor(batch, device=ids.device), teach(session, batch))
            notes = {**notes, "done": contest.done}
            if contest.done % max(1, self.gradient_steps // LOOKS) == 0:
                notes |= self.look(contest, notes, ids, log_p, vocabulary)
            yield Step([], notes=notes)

    def look(self, contest: Contest, notes: dict, ids: Tensor, log_p: Tensor, vocabulary: Vocabulary) -> dict:
        """What is known now: alpha of everybody, and in phase two the listing and the margins too."""
        curves = {name: [list(axis) for axis in curve] for name, curve in notes["curves"].items()}
        begun = curves["reference"]
        for name, pupil in contest.pupils.items():
            if name not in curves:  # it begins where the reference began, or where it ended
                curves[name] = [[begun[0][-1]], [begun[1][-1]]] if name == "longer" else [[0], [begun[1][0]]]
            taken = contest.done if name in ("reference", "longer") else contest.done - contest.steps
            curves[name][0].append(taken)
            curves[name][1].append(alpha(pupil, ids, log_p.exp()))
        found = {"curves": curves}
        if contest.longer:
            found |= {"phase": "drafts", "listing": self.listing(contest, ids, log_p, vocabulary)}
            shown = {f"share {share:g}": contest.drafts[share] for share in (self.share, 1.0)}
            found["margins"] = {name: margins(pupil.log_q(ids), log_p) for name, pupil in shown.items()}
        return found

    def listing(self, contest: Contest, ids: Tensor, log_p: Tensor, vocabulary: Vocabulary) -> dict:
        """The first held-out text: how far the draft lags behind the reference at every token, and which would be kept."""
        draft, reference = (
            divergence(log_p[: WINDOW - 1], pupil.log_q(ids[:1])[: WINDOW - 1], self.loss)
            for pupil in (contest.drafts[self.share], contest.reference)
        )
        return {
            "pieces": [vocabulary.piece(token) for token in ids[0].tolist()],
            "lag": [round(value, 3) for value in (draft - reference).tolist()],  # of token i + 1
            "kept": choose(draft, reference, self.share).tolist(),
        }


def margins(log_q: Tensor, log_p: Tensor) -> list[int]:
    """How many places fall into each bin of `EDGES` by the draft's logit of the target's favourite minus its best other one.

    Below 0 the draft would have written another token. (The paper plots such a margin; this definition is inferred.)
    """
    favourite = log_p.argmax(-1, keepdim=True)
    others = log_q.scatter(-1, favourite, -torch.inf).max(-1).values
    margin = log_q.gather(-1, favourite)[:, 0] - others
    inner = torch.tensor(EDGES[1:-1], dtype=margin.dtype, device=margin.device)
    return torch.bincount(torch.bucketize(margin, inner, right=True), minlength=len(EDGES) - 1).tolist()
