"""Drafts from nothing: what the methods without a draft model bring, on text like the corpus and on text unlike it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import torch

from labkit.knobs import knob
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.speculative.aded import EMPTY, Aded
from labkit.speculative.lookup import Lookup
from labkit.speculative.token_recycling import TokenRecycling
from labkit.trace import Step

LEARNS, FIXED = "ADED", "ADED, table fixed"
CONTENDERS = {
    "prompt lookup": (Lookup, {}),
    "Token Recycling": (TokenRecycling, {"learn_prompt": False}),  # as released; ADED learns from checked trees alone, too
    FIXED: (Aded, {"rate": 0.0}),
    LEARNS: (Aded, {}),
    "ADED, empty start": (Aded, {"start_from": EMPTY}),
}
CODE, ODD = "held-out code", "invented rules"


def odd_text(seed: int) -> str:
    """Ten rules over six invented words, such as `vobipo: ponute <- pufida * 2;`."""
    chance = random.Random(seed)
    words = ["".join(chance.choice("bdfgklmnprstvz") + chance.choice("aeiou") for _ in range(3)) for _ in range(6)]
    rules = ([*chance.choices(words, k=3), chance.randint(2, 9)] for _ in range(10))
    return "".join("{}: {} <- {} * {};\n".format(*rule) for rule in rules)


@dataclass
class FreeDrafts(Study):
    """How many tokens does a target call bring when nobody trained a draft model, and does learning on the way help? (P113)

    Prompt lookup, Token Recycling and ADED (corpus start, the same with a fixed table, empty start) write on behind the same
    prompts. Only lookup reads the prompt; the others learn from the trees that were checked. Half of the texts are held-out
    code, half are rules over invented words, for which the counted table is no help. Counted per prompt: tokens a target call,
    and the share of steps whose tree held the very next token. Each step is one run of one method.
    """

    name, title, paper = "free-drafts", "Drafts from nothing", "P113"
    charts = ("free_drafts",)
    prompts: int = knob(8, 2, 60, unit="prompts", label="Prompts", help="of each kind of text")
    length: int = knob(48, 16, 64, unit="tokens", label="New tokens", help="behind every prompt")

    def steps(self, session, rng):
        seed, encode = int(torch.randint(2**31, (), generator=rng)), session.vocabulary.encode
        texts = {CODE: heldout(self.prompts), ODD: [odd_text(seed + number) for number in range(self.prompts)]}
        results = {(name, kind): {"name": name, "text": kind, "runs": []} for kind in texts for name in CONTENDERS}
        done = 0
        for number in range(self.prompts):
            for kind, written in texts.items():
                ids = encode(written[number])[: session.runner.context // 2]
                for name, (method, knobs) in CONTENDERS.items():
                    results[name, kind]["runs"].append(self.write(session, ids, method(**knobs), seed + number))
                    done += 1
                    notes = {"done": done, "of": 2 * self.prompts * len(CONTENDERS), "temperature": session.law.temperature}
                    notes["results"] = [{**one, "runs": list(one["runs"])} for one in results.values()]
                    yield Step(emitted=[], notes=notes | {"compare": [FIXED, LEARNS]})

    def write(self, session, ids: list[int], method, seed: int) -> list[float]:
        """One run: [tokens, target calls, steps, steps whose tree held the next token, drafted nodes, seconds]."""
        opened, end = session.open(ids), session.vocabulary.tokenizer.eos_token_id
        tokens, steps, hits, nodes = 0, 0, 0, 0
        calls, started = opened.ledger.forwards, time.perf_counter()
        for step in method.steps(opened, torch.Generator().manual_seed(seed)):
            tokens, steps, nodes = tokens + len(step.emitted), steps + 1, nodes + len(step.tree.tokens)
            hits += bool(step.tree.path)
            if tokens >= self.length or end in step.emitted:
                break
        return [tokens, opened.ledger.forwards - calls, steps, hits, nodes, round(time.perf_counter() - started, 4)]
