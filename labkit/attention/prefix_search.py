"""The search of PrefixKV at one prompt, one halving a step: a line slides over the layers' curves (P153)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labkit.attention.prefix_kv import Division, PrefixKV
from labkit.errors import PromptError
from labkit.knobs import knob
from labkit.methods import Study
from labkit.trace import Step

POINTS = 24  # of a drawn curve, evenly spread, and as many towards its beginning


@dataclass
class PrefixSearch(Study):
    """How many tokens should each layer keep? A line is lowered and raised over the layers' curves until the sum is the budget.

    The prompt is read once. Then each step halves the range in which the line p may lie: layer l keeps the fewest tokens that
    hold the share p of its attention. The last step rescales what the layers drop, so that the sum is exact.
    """

    name, title, paper = "prefix-search", "The search for a line", "P153"
    charts = ("prefix_curves",)
    budget: float = knob(0.4, 0.05, 0.95, unit="of the prompt", help="kept, in the mean over layers", step=0.05)
    protected: int = knob(1, 0, 8, unit="tokens", label="Protected start", help="first tokens that always stay")

    def steps(self, session, rng):
        if len(session.ids) < 2:
            raise PromptError("The prompt has one token, which leaves nothing to divide: write at least two.")
        policy = PrefixKV(budget=self.budget, protected=self.protected)
        reading = session.open(session.ids)
        reading.carry(session.runner.policy_cache(policy))
        _ = reading.logits
        found = policy.division
        halvings = len(found.search)
        for done in range(1, halvings + 2):
            notes = notes_of(found, done if done <= halvings else None)
            yield Step(emitted=[], notes={"done": done, "of": halvings + 1, **notes})


def notes_of(found: Division, steps: int | None = None) -> dict[str, Any]:
    """Curves at some ranks, the first `steps` lines (None = all, and the rescaling), and what each layer keeps by the last.

    "lines" are pairs of p and the tokens that all layers keep by it; "counts" those by which each layer reaches the last.
    """
    layers, tokens = found.curves.shape
    even = {round(1 + (tokens - 1) * place / POINTS) for place in range(POINTS + 1)}
    ranks = sorted(even | {round(tokens ** (place / POINTS)) for place in range(POINTS)})  # the beginnings are steep
    heights = found.curves[:, [rank - 1 for rank in ranks]].tolist()
    search, kept = found.search[:steps], dict(found.kept)
    if steps is not None:
        kept["PrefixKV"] = [tokens - dropped for dropped in search[-1].dropped]
    return {
        "target": sum(found.kept["uniform"]),
        "ranks": ranks,
        "curves": [[round(height, 5) for height in row] for row in heights],
        "lines": [[step.p, layers * tokens - sum(step.dropped)] for step in search],
        "counts": search[-1].counts,
        "kept": kept,
        "final": steps is None,
    }
