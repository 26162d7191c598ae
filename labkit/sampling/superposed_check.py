"""P171, measured: what superposed drafts cost, how likely they are to the model alone, and whether the mix stays a mix inside."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from labkit.knobs import knob
from labkit.law import Law, draw
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.sampling.ngrams import counted
from labkit.sampling.superposed import Superposed, Superposition, tree_of
from labkit.sampling.top_p import TopP
from labkit.trace import Step

WITH, WITHOUT, APART = "superposed, n-grams", "superposed, no n-grams", "separate runs"
NUCLEUS = Law(1.0, (TopP(0.9),))  # of the separate runs: the paper's rival


class Moment(NamedTuple):
    """The drafts before one superposed forward, their shares, and the states that the forward had, [L+1, d]."""

    paths: list[list[int]]
    weights: Tensor  # [drafts]
    states: Tensor


class Likeness(NamedTuple):
    """Cosines with the mix of the drafts' own states, [L+1, moments]: of the superposed states, and of the first draft's."""

    superposed: Tensor
    first_alone: Tensor


@dataclass
class SuperposedCheck(Study):
    """What do superposed drafts cost, and how good are they beside k separate runs (P171)?

    Every held-out prompt is continued three times: superposed with n-grams, without them, and by k separate runs of nucleus
    sampling (temperature 1, top-p 0.9). Forwards are counted, reading the drafts afterwards apart. How likely each token was is
    what an ordinary forward over the draft says. The nucleus runs draw, the superposed ones look for likely text: at equal
    quality theirs would be the lower perplexity.

    Linearity, for the run with n-grams: at every layer the cosine between the state of the superposed forward and the mix, with
    the same weights, of the states that every draft has when it is fed alone. Beside it the cosine of the first draft's own
    state with that mix: where the two are as high, one draft weighed nearly everything and nothing was tested.
    """

    name, title, paper, lossless = "superposed-check", "What superposing costs", "P171", False
    charts = ("superposed_perplexity", "linearity")
    texts: int = knob(24, 1, 120, unit="texts", label="Prompts", help="held-out, one a step")
    count: int = knob(3, 1, 10, label="Drafts k", help="written at once")
    share: float = knob(0.54, 0.02, 1.0, step=0.02, label="N-gram share a", help="of the run with n-grams")
    length: int = knob(10, 2, 24, unit="tokens", label="New tokens", help="of every draft")
    prefix: int = knob(15, 1, 60, unit="tokens", label="Prefix", help="of a held-out text")

    def steps(self, session, rng):
        knobs = Superposed(count=self.count, share=self.share, length=self.length)
        table = counted(session)
        losses = {name: [] for name in (WITH, WITHOUT, APART)}  # of every draft, [length]
        forwards = dict.fromkeys(losses, 0)
        best = {name: [] for name in losses}  # nats a token of every prompt's best draft
        cosines: list[Likeness] = []
        shares: list[Tensor] = []  # the first draft's, [length - 1]
        for done, text in enumerate(heldout(self.texts), 1):
            ids = session.vocabulary.encode(text)[: self.prefix]
            for name in losses:
                here = session.open(ids)
                before, alone = here.ledger.forwards, here.fork()[0]
                if name == APART:
                    drafts, moments = separate(here, self, rng), []
                else:
                    own = knobs if name == WITH else dataclasses.replace(knobs, share=0.0)
                    drafts, moments = superposed(here, own, table)
                forwards[name] += here.ledger.forwards - before
                found, likeness = judged(alone, drafts, moments)
                losses[name] += found
                best[name].append(min(sum(nats) for nats in found) / self.length)
                if name == WITH:
                    cosines.append(likeness)
                    shares.append(torch.stack([moment.weights[0] for moment in moments]))
            notes = {"done": done, "of": self.texts, "count": self.count, "runs": []}
            for name, found in losses.items():
                by_step = torch.tensor(found).mean(0).tolist()
                own = {"name": name, "loss": by_step, "best": sum(best[name]) / done, "forwards": forwards[name] / done}
                notes["runs"].append(own | {"drafts": len(found) / done})
            notes["likeness"] = [torch.stack(parts).mean(0).tolist() for parts in zip(*cosines)]
            notes["first"] = torch.stack(shares).mean(0).tolist()
            yield Step(emitted=[], notes=notes)


def superposed(session: Session, knobs: Superposed, table) -> tuple[list[list[int]], list[Moment]]:
    """The drafts behind a session's context, and what every superposed forward met and made."""
    drafting, moments = Superposition(session, knobs, table), []
    for step in range(knobs.length):
        paths, weights = drafting.paths, drafting.weights
        drafting.step(hidden=True)
        if step:
            moments.append(Moment(paths, weights, drafting.seen.hidden[:, 0]))
    return drafting.paths, moments


def separate(session: Session, knobs: SuperposedCheck, rng: torch.Generator) -> list[list[int]]:
    """`count` drafts by `count` runs that share the prompt's forward."""
    _ = session.logits
    drafts = []
    for run in session.fork(knobs.count):
        for _ in range(knobs.length):
            run.push(draw(NUCLEUS(run.logits), rng))
        drafts.append(run.ids[len(session.ids) :])
    return drafts


def judged(session: Session, drafts: list[list[int]], moments: list[Moment]) -> tuple[list[list[float]], Likeness | None]:
    """Nats of every token of every draft, and the likeness of the moments' states; by one ordinary forward over all of them."""
    paths = drafts + [path for moment in moments for path in moment.paths]
    tree, lines = tree_of(paths)
    said = session.score(tree, hidden=bool(moments))
    logs = said.logits.log_softmax(-1)  # [N + 1, V]
    rows, tokens = (torch.tensor(nodes, device=logs.device) for nodes in (tree.parents, tree.tokens))
    nats = (-logs[rows + 1, tokens]).tolist()
    losses = [[nats[node] for node in line] for line in lines[: len(drafts)]]
    if not moments:
        return losses, None
    ends = iter(line[-1] + 1 for line in lines[len(drafts) :])
    superposed, first_alone = [], []
    for moment in moments:
        own = said.hidden[:, [next(ends) for _ in moment.paths]]  # [L + 1, drafts, d]
        mix = (moment.weights.to(own.dtype)[:, None] * own).sum(1)
        superposed.append(cosine_similarity(moment.states, mix, dim=-1))
        first_alone.append(cosine_similarity(own[:, 0], mix, dim=-1))
    return losses, Likeness(torch.stack(superposed, 1), torch.stack(first_alone, 1))
