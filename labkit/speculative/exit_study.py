"""P157: is choosing exit and length anew every round worth it? DEL against every fixed pair, on held-out texts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from labkit.early import exits
from labkit.knobs import knob
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.speculative.del_ import DEL
from labkit.trace import Step


def replay(right: list[bool], layer: int, length: int, layers: int) -> int:
    """Layers that drafting `length` tokens from layer `layer` of `layers` loads to write a text, at temperature 0.

    `right[t]`: is that layer's token the text's own at place t? What it drafts behind the right text is known by that, so the
    count is exact: it is the one that a real run comes to.
    """
    place = loaded = 0
    while place < len(right):
        run = right[place : place + length]
        place += (run.index(False) if False in run else len(run)) + 1
        loaded += length * layer + layers
    return loaded


@dataclass
class Exits(Study):
    """Does DEL, which chooses exit and draft length every round, load fewer layers than any fixed pair of them? (P157)

    DEL really writes every text, at temperature 0; the shadow tokens of that run tell what every layer would have drafted
    at every place, so the cost of every fixed pair (l, d) on that text is counted exactly, without running it. Cost is layers
    loaded: d times l to draft and L to verify, each round. Plain decoding loads L a token. The replay is greedy, so the
    request's temperature is left aside.
    """

    name, title, paper = "exits", "Fixed exits against DEL", "P157"
    charts = ("exit_pairs",)
    texts: int = knob(24, 2, 120, unit="texts", help="held-out texts, one a step")
    tokens: int = knob(64, 16, 256, unit="tokens", label="Tokens a text", help="written by DEL")
    longest: int = knob(8, 1, 16, unit="tokens", label="Longest draft", help="of DEL and of the fixed pairs")
    discount: float = knob(0.95, 0.5, 1.0, step=0.01, label="Discount a round", help="of DEL; 1: no round is forgotten")
    stop_early: bool = knob(True, label="Stop when in doubt", help="of DEL")

    def steps(self, session, rng):
        layers, known = exits(session.runner), []
        room = session.runner.context - self.tokens - self.longest
        for done, text in enumerate(heldout(self.texts), 1):
            other = session.open(session.vocabulary.encode(text)[:room])
            other.law = replace(session.law, temperature=0)
            known.append(self.measure(other, layers, rng))
            notes = {"done": done, "of": self.texts, "layers": layers, "texts": list(known)}
            yield Step(emitted=[], notes=notes)

    def measure(self, session, layers: int, rng) -> dict:
        """One text: its tokens, DEL's rounds and loaded layers, those of the pairs (l, d) from (1, 1), [L - 1, longest]."""
        method = DEL(longest=self.longest, discount=self.discount, stop_early=self.stop_early)
        written, shadow, loaded, rounds = [], [[] for _ in range(layers)], 0, 0
        for step in method.steps(session, rng):
            written += step.emitted
            for layer, row in zip(shadow, step.notes["tokens"]):
                layer += row
            loaded, rounds = loaded + step.notes["layers loaded"], rounds + 1
            if len(written) >= self.tokens:
                break
        right = [[a == b for a, b in zip(row, written[: self.tokens])] for row in shadow[:-1]]
        pairs = [[replay(row, layer, d, layers) for d in range(1, self.longest + 1)] for layer, row in enumerate(right, 1)]
        return {"tokens": self.tokens, "rounds": rounds, "DEL": loaded, "fixed": pairs}
