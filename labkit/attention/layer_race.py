"""Ways to divide one budget among the layers, against each other: the same bytes, the same scores, other widths."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.attention.cache_race import Race
from labkit.attention.h2o import H2O
from labkit.attention.prefix_kv import PrefixKV
from labkit.knobs import knob


@dataclass
class LayerRace(Race):
    """Which layers should keep more? One budget divided by PrefixKV, evenly, or as a pyramid, on the same needles.

    All keep the tokens with the highest scores of their layer; only how many differs. Beside them H2O, whose heads choose for
    themselves and whose budget is half recent tokens. Else as the race of cache policies. A step is one way on one needle.
    """

    name, title, paper = "layer-race", "One budget, divided among layers", "P153"
    charts = ("race_needles", "race_bytes")
    budget: float = knob(0.8, 0.05, 0.9, unit="of the tokens", help="held, in the mean over layers", step=0.05)

    def contenders(self, tokens):
        """PrefixKV by this text and by ten others, its rivals, and H2O at the same budget."""
        return {
            "uniform": PrefixKV(budget=self.budget, allocation="uniform"),
            "PrefixKV": PrefixKV(budget=self.budget),
            "PrefixKV, averaged": PrefixKV(budget=self.budget, searched="averaged"),
            "pyramid": PrefixKV(budget=self.budget, allocation="pyramid"),
            "H2O": H2O(heavy=self.budget / 2, recent=self.budget / 2),
        }
