"""Eta and epsilon sampling: a floor under the probability, lower where the model is unsure."""

from dataclasses import dataclass
from math import sqrt

from labkit.knobs import knob
from labkit.law import entropy
from labkit.methods import Transform

ETA, EPSILON = "eta", "epsilon"


@dataclass
class Eta(Transform):
    """Cut tokens less likely than min(epsilon, sqrt(epsilon) e^-H); the likeliest always stays (Hewitt et al. 2022).

    H is the entropy in nats of the law at this point of the stack: where it is high, the floor sinks. `rule` "epsilon" leaves the
    floor at epsilon everywhere (epsilon sampling, the same paper). Logits [..., V].
    """

    name, title = "eta", "Eta"
    epsilon: float = knob(0.0, 0.0, 0.1, step=0.0005, label="Eta", help="floor, lower where unsure; 0 is off", live=True)
    rule: str = knob(ETA, choices=(ETA, EPSILON), label="Eta rule", help="does the floor follow H?", live=True)

    def __call__(self, logits):
        if self.epsilon <= 0:
            return logits
        p = logits.softmax(-1)
        floor = self.epsilon
        if self.rule == ETA:
            floor = (sqrt(self.epsilon) * (-entropy(p)).exp()).clamp_(max=self.epsilon)[..., None]
        cut = (p < floor) & (p < p.max(-1, keepdim=True).values)
        return logits.masked_fill(cut, float("-inf"))
