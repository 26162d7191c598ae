"""Top-p, or nucleus sampling: the smallest set of tokens that holds the mass p."""

from dataclasses import dataclass

from labkit.knobs import knob
from labkit.methods import Transform


@dataclass
class TopP(Transform):
    """Keep the fewest likeliest tokens whose mass reaches p (Holtzman et al. 2020); at least one stays."""

    name, title = "top-p", "Top-p"
    p: float = knob(1.0, 0.01, 1.0, step=0.01, label="Top-p", help="smallest set that holds this mass; 1 is off", live=True)

    def __call__(self, logits):
        if self.p >= 1:
            return logits
        order = logits.argsort(dim=-1, descending=True, stable=True)
        mass = logits.gather(-1, order).softmax(-1)
        before = mass.cumsum(-1) - mass  # mass of the likelier ones: a token is cut when they already reach p
        cut = (before >= self.p).scatter(-1, order, before >= self.p)
        return logits.masked_fill(cut, float("-inf"))
