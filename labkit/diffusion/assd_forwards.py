"""How many calls ASSD (P006) needs for a token, by who drafts and how far ahead; and whether the text stays as likely."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labkit.diffusion.asarm import WINDOW, arm
from labkit.diffusion.assd import BIGRAM, NOBODY, SELF, Assd, Canvas
from labkit.knobs import knob
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.trace import Step

AHEAD = (2, 4, 8, 16)


@dataclass
class AssdForwards(Study):
    """Does guessing ahead save calls? The same held-out texts are filled in by every drafter, a share of their places masked.

    Calls a token is 1 for one place a call; nats a token are those of what was written, under the model's own law, so they must
    agree within the noise: the law is the same, whoever drafts. A step is one text filled in by one drafter. Masked places are
    scattered at random, as in the paper (0.95 of them), or are the end of the text.
    """

    name, title, paper = "assd-forwards", "Calls a token of ASSD", "P006"
    charts = ("assd_forwards",)
    texts: int = knob(8, 1, 60, unit="texts", help="held-out beginnings of files")
    masked: float = knob(0.95, 0.5, 0.99, step=0.01, label="Share masked", help="of a text's places")
    scattered: bool = knob(True, label="Scattered", help="off: the text's end is masked")
    places: int = knob(48, 16, WINDOW, step=16, label="Places", help="of each text")

    def steps(self, session, rng):
        model, encode = arm(session), session.vocabulary.encode
        runs = [(NOBODY, 1), *((drafter, k) for drafter in (SELF, BIGRAM) for k in AHEAD)]
        table = {run: {"drafter": run[0], "k": run[1], "calls": [], "tokens": [], "nats": []} for run in runs}
        texts, done = heldout(self.texts), 0
        for text in texts:
            ids = encode(text)[: self.places]
            count = min(len(ids), max(1, round(self.masked * len(ids))))
            open_places = sorted(torch.randperm(len(ids), generator=rng)[:count].tolist())
            if not self.scattered:
                open_places = list(range(len(ids) - count, len(ids)))
            for (drafter, k), found in table.items():
                canvas, before = Canvas(session, model, ids, open_places), session.ledger.forwards
                filled = list(Assd(k=max(2, k), drafter=drafter).fill(canvas, rng))
                found["calls"].append(session.ledger.forwards - before)
                found["tokens"].append(count)
                found["nats"].append(round(-sum(belief.logprob for step in filled for belief in step.beliefs), 3))
                done += 1
                results = [{key: list(of) if isinstance(of, list) else of for key, of in row.items()} for row in table.values()]
                yield Step(emitted=[], notes={"done": done, "of": len(texts) * len(runs), "results": results})
