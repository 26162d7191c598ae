"""All policies of masked diffusion on the same held-out prompts: how many tokens a forward, and how good is the text?"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Iterator

import torch

from labkit.diffusion.adablock import AdaBlock
from labkit.diffusion.ccd import Ccd
from labkit.diffusion.credit import Credit
from labkit.diffusion.ground import Unmask, predictor_of
from labkit.diffusion.local_leap import LocalLeap
from labkit.diffusion.masked import MaskedDiffusion
from labkit.diffusion.prophet import Prophet
from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.sampling.shipped_constraints import Python
from labkit.trace import Step

LEAP = 0.15  # how much less an anchor's neighbours need: the paper's 0.9 and 0.75
ONE, RULE = "1 a round", "threshold"  # the text that all are compared with, and the rule that all want to beat


def variety(tokens: list[int]) -> float:
    """The entropy in nats of the tokens of a text as a bag: ln of their number when all differ, 0 when all are the same."""
    return sum(count / len(tokens) * math.log(len(tokens) / count) for count in Counter(tokens).values())


def surprise(session: Session, prompt: list[int], text: list[int]) -> float:
    """The causal target's mean -ln p in nats of the tokens of `text` behind `prompt`."""
    rows = session.open([*prompt, *text]).prompt_logits()[len(prompt) - 1 : -1].log_softmax(-1)
    return -float(rows.gather(-1, torch.tensor(text, device=rows.device)[:, None]).mean())


@dataclass
class UnmaskRace(Study):
    """Which policy fills most places a forward, and what becomes of the text? Held-out prompts, one policy on one prompt a step.

    Sources: P112, P119, P125, P146, P185 and Fast-dLLM, all over the same `mdm-py`. Speed is tokens a forward up to the first end
    of text, and once more with the padding behind it, as it is often reported. The text is judged four times: the share of
    places that are as in the text written one place a round; the causal target's nats a token, and beside them the entropy of the
    text's tokens, for a text that repeats itself pleases the judge; and whether its whole lines can still become a Python program
    (CPython's parser, nothing is run; only where the prompt itself can). Greedy. FreeDave is left out: its text is the one of
    "1 a round". Infilling is too: here all fill what comes behind a prompt (`labkit bench diffusion` has both).

    What shows with the shipped models (8 texts, 32 places, tau 0.9): so small a model is seldom sure, and the threshold rule
    brings 1.02 tokens a forward. LocalLeap (1.05) alone is quicker with the very same texts; factor and Prophet (1.08) change 1
    and 3% of the places. CCD's released rule brings 1.56, but only half of its texts still parse, where all of the threshold
    rule's do: speed is paid for in text. Eight texts say which way it goes, not how far.
    """

    name, title = "unmask-race", "Unmasking policies compared"
    charts = ("unmask_race",)
    texts: int = knob(4, 1, 60, unit="texts", help="held-out prompts")
    room: int = knob(24, 8, 96, unit="places", label="Places (G)", help="behind each prompt")
    tau: float = knob(0.9, 0.5, 0.99, step=0.01, help="the least confidence, for all that have one")
    scale: str = knob("value", choices=("value", "quantile"), help="a confidence, or its rank")
    block: int = knob(32, 4, 96, unit="places", help="the span that is filled before the next one")

    def policies(self) -> dict[str, Unmask]:
        """The policies by the names that the chart shows."""
        bar, block = {"tau": self.tau, "scale": self.scale}, {"block": self.block}
        statics = {f"{tokens} a round": MaskedDiffusion(rule="static", tokens=tokens, **block) for tokens in (1, 2, 4)}
        return {
            **statics,
            RULE: MaskedDiffusion(**bar, **block),
            "factor": MaskedDiffusion(rule="factor", **block),
            "LocalLeap": LocalLeap(relaxed=self.tau - LEAP, **bar, **block),
            "Credit": Credit(**bar, **block),
            "CCD": Ccd(**block),
            "CCD, code": Ccd(form="code", **block),
            "Prophet": Prophet(**block),
            "AdaBlock": AdaBlock(**bar),
        }

    def steps(self, session: Session, rng: torch.Generator) -> Iterator[Step]:
        network, parser, words = predictor_of(session), Python(), session.vocabulary
        longest = min(network.context, session.runner.context) - self.room
        table: dict[str, list] = {name: [] for name in self.policies()}
        done, of = 0, self.texts * len(table)
        for prompt in heldout(self.texts):
            ids = words.encode(prompt)[-longest:]
            begins = parser.may_become(words.decode(ids))
            reference: list[int] = []
            for name, policy in self.policies().items():
                twin = session.open(ids)
                twin.room, forwards, filled = self.room, session.ledger.forwards, {}
                for step in policy.steps(twin, rng):
                    filled |= zip(step.at, step.emitted)
                forwards = session.ledger.forwards - forwards
                whole = [filled.get(place, network.end) for place in range(self.room)]
                length = whole.index(network.end) if network.end in whole else self.room
                text = whole[:length]
                whole = [*text, *[network.end] * (self.room - length)]  # nothing comes behind the end
                reference = reference or whole
                compared = max(one.index(network.end) + 1 if network.end in one else self.room for one in (whole, reference))
                lines = words.decode([*ids, *text])
                table[name].append({
                    "forwards": forwards, "tokens": min(length + 1, self.room), "places": self.room,
                    "same": sum(a == b for a, b in zip(whole[:compared], reference)) / compared,
                    "nll": surprise(session, ids, text) if text else None, "entropy": variety(text) if text else None,
                    "parses": parser.may_become(lines[: lines.rfind("\n") + 1]) if begins else None,
                })  # fmt: skip
                done += 1
                results = [{"name": name, "runs": list(runs)} for name, runs in table.items() if runs]
                yield Step(emitted=[], notes={"done": done, "of": of, "one": ONE, "rule": RULE, "results": results})
