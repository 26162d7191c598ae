"""The search of PrefixKV at one prompt, one halving a step: a line slides over the layers' curves (P153)."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.attention.prefix_kv import PrefixKV
from labkit.errors import PromptError
from labkit.knobs import knob
from labkit.methods import Study
from labkit.trace import Step


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
        found = policy.fresh
        halvings = len(found.search)
        for done in range(1, halvings + 2):
            notes = found.notes(done if done <= halvings else None)
            yield Step(emitted=[], notes={"done": done, "of": halvings + 1, "prefix": notes})
