"""How much draft and target agree, by temperature: the chance that one drafted token survives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from labkit.knobs import knob
from labkit.law import entropy
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.trace import Step

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0)
EDGES = (0.1, 0.4, 0.8, 1.2, 2.0, 3.0)  # nats; between them lie the classes that the strip is coloured by


@dataclass
class Agreement(Study):
    """At which temperature does the draft agree best with the target, and where in the text?

    alpha = sum of min(p, q) is the chance that a drafted token is accepted (Leviathan et al. 2023). It is computed, not drawn,
    at every place of held-out texts; one forward of each model gives it for all temperatures, since both laws are warped alike.
    At temperature 0 it is the share of places where both have the same favourite.
    """

    name, title, drafts = "agreement", "Agreement of draft and target", "model"
    charts = ("agreement",)
    texts: int = knob(24, 2, 120, unit="texts", help="held-out texts, one a step")

    def steps(self, session, rng):
        sums = torch.zeros(len(TEMPERATURES), dtype=torch.float64)
        binned, counts = torch.zeros(2, len(EDGES) + 1, dtype=torch.float64)
        law, places = session.law, 0
        encode = session.vocabulary.encode
        for done, text in enumerate(heldout(self.texts), 1):
            other = session.open(encode(text)[: session.runner.context])
            p_logits, q_logits = other.prompt_logits(), other.draft.prompt_logits()
            for row, temperature in enumerate(TEMPERATURES):
                warped = replace(law, temperature=temperature)
                shared = torch.minimum(warped(p_logits), warped(q_logits)).sum(-1)
                sums[row] += shared.sum().double().cpu()
            level = torch.bucketize(entropy(p_logits.softmax(-1)).cpu(), torch.tensor(EDGES), right=True)
            shared = torch.minimum(law(p_logits), law(q_logits)).sum(-1).double().cpu()
            binned.index_add_(0, level, shared)
            counts.index_add_(0, level, torch.ones_like(shared))
            places += len(other.ids)
            notes = {"done": done, "of": self.texts, "places": places, "temperatures": list(TEMPERATURES)}
            notes["temperature"] = law.temperature
            notes["alpha"] = (sums / places).tolist()
            notes["by_entropy"] = (binned / counts.clamp(min=1)).tolist()
            notes["share"], notes["edges"] = (counts / places).tolist(), list(EDGES)
            yield Step(emitted=[], notes=notes)
