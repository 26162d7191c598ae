"""Min-p: a floor that follows the likeliest token."""

from dataclasses import dataclass
from math import log

from labkit.knobs import knob
from labkit.methods import Transform


@dataclass
class MinP(Transform):
    """Cut tokens less likely than this share of the likeliest (Nguyen et al. 2024)."""

    name, title = "min-p", "Min-p"
    p: float = knob(0.0, 0.0, 1.0, step=0.01, label="Min-p", help="cut below this share of the best; 0 is off", live=True)

    def __call__(self, logits):
        if self.p <= 0:
            return logits
        return logits.masked_fill(logits < logits.max(-1, keepdim=True).values + log(self.p), float("-inf"))
