"""Cache policies against each other at the same budget: what they forget, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labkit.attention.double_sparsity import DoubleSparsity
from labkit.attention.ground import Policy, Witness, against, dense_bytes, lost
from labkit.attention.h2o import H2O
from labkit.attention.prefix_kv import PrefixKV
from labkit.attention.token_select import TokenSelect
from labkit.attention.windows import Random, Sinks, Window
from labkit.errors import KnobError
from labkit.knobs import knob
from labkit.methods import Study
from labkit.prompts import needles
from labkit.trace import Step

CLASSES = {"100-300": (100, 300), "400-600": (400, 600), "900-1,700": (900, 1700), "all": (0, 10**9)}


@dataclass
class Race(Study):
    """Several policies read the same held-out texts, in which a value is assigned early and asked for late.

    A subclass names them: `contenders`. A step is one policy on one needle; its notes hold every run so far.
    """

    distance: str = knob("400-600", choices=tuple(CLASSES), help="tokens between saying and asking")
    count: int = knob(8, 1, 48, unit="needles", label="Needles", help="questions for each policy")

    def contenders(self, tokens: int) -> dict[str, Policy]:
        """The policies by name, fresh, for a text of that many tokens."""
        raise NotImplementedError

    def steps(self, session, rng):
        low, high = CLASSES[self.distance]
        asked = [one for one in needles() if low <= one["distance"] < high][: self.count]
        encode = session.vocabulary.encode
        cases = [(encode(one["text"]), encode(one["text"] + " " + one["answer"])) for one in asked]
        cases = [(text, whole[len(text) :]) for text, whole in cases if whole[: len(text)] == text]
        if any(len(text) + len(answer) > session.runner.context for text, answer in cases):
            raise KnobError(f"Needles {self.distance} tokens away do not fit this model's context: choose a shorter distance.")
        table = {name: {"name": name, "runs": []} for name in ("dense", *self.contenders(100))}
        done, of = 0, len(cases) * len(table)
        for text, answer in cases:
            witness = Witness()
            truth = forced(session, witness, text, answer)
            unit = (len(text) + len(answer)) * dense_bytes(witness.spec)
            gave = [row for row, _ in truth]
            for name, policy in {"dense": Witness(), **self.contenders(len(text))}.items():
                rows = forced(session, policy, text, answer) if name != "dense" else truth
                found = [against(dense, row) for dense, (row, _) in zip(gave, rows)]
                run = {
                    "right": all(int(row.argmax()) == token for (row, _), token in zip(rows, answer)),
                    "kl": sum(one["kl"] for one in found) / len(found),
                    "agrees": sum(one["agrees"] for one in found) / len(found),
                    "lost": 0.0 if name == "dense" else sum(lost(witness, policy)) / len(policy.slots),
                    "held": (witness if name == "dense" else policy).bytes / unit,
                    "read": (witness if name == "dense" else policy).taken / unit,
                }
                table[name]["runs"].append(run)
                done += 1
                results = [{**result, "runs": list(result["runs"])} for result in table.values()]
                yield Step(emitted=[], notes={"done": done, "of": of, "results": results})


@dataclass
class CacheRace(Race):
    """Which policy still finds what was said long ago? A value is assigned early and asked for late, in held-out code.

    Every policy reads the same prompt and then, token by token, the right answer; it has found the needle when each token of the
    answer is its favourite. Beside that: KL(dense || policy), how often both favour the same token, the attention lost,
    and the bytes held and read a step, dense attention being 1. Policies that evict hold `budget` of the prompt; those that
    select hold everything and read as much. A step is one policy on one needle; needles that dense attention misses count too.
    """

    name, title, paper = "cache-race", "Cache policies at one budget", "P083"
    charts = ("race_needles", "race_bytes")
    budget: float = knob(0.2, 0.05, 0.9, unit="of the tokens", help="held, or read", step=0.05)

    def contenders(self, tokens):
        """One policy of each kind that holds, or reads, `budget` of the text."""
        select = max(8, round(self.budget * tokens) - 4 - 16)
        half = self.budget / 2
        return {
            "window": Window(budget=self.budget),
            "sinks": Sinks(budget=self.budget),
            "random": Random(budget=self.budget),
            "H2O": H2O(heavy=half, recent=half),
            "H2O, normalised": H2O(heavy=half, recent=half, score="normalised"),
            "PrefixKV": PrefixKV(budget=self.budget),
            "PrefixKV, uniform": PrefixKV(budget=self.budget, allocation="uniform"),
            "TokenSelect": TokenSelect(count=select, local=16, threshold=1.0),
            "Double Sparsity": DoubleSparsity(share=self.budget),
        }


@torch.inference_mode()
def forced(session, policy: Policy, text: list[int], answer: list[int]) -> list[tuple[torch.Tensor, int]]:
    """Read `text`, then `answer` token by token; the logits [V] before each token of the answer, and the bytes read for them."""
    policy.prepare(session)
    other = session.open(text)
    policy.prepare(other)
    other.carry(session.runner.policy_cache(policy))
    rows = []
    for token in answer:
        rows.append((other.logits, policy.taken))
        other.push(token)
    return rows
