"""Locally typical sampling: the tokens that surprise about as much as expected."""

from dataclasses import dataclass

from labkit.knobs import knob
from labkit.law import entropy
from labkit.methods import Transform


@dataclass
class Typical(Transform):
    """Keep the tokens whose surprise is nearest to the entropy, until they hold this mass (Meister et al. 2023).

    Surprise is -ln p; tokens are taken by |surprise - H(p)|, the smallest first, so that the likeliest may be cut. As many stay
    as are needed to reach `mass`, and those that are as near as the last one. Logits [..., V].
    """

    name, title = "typical", "Typical"
    mass: float = knob(1.0, 0.05, 1.0, step=0.01, label="Typical", help="mass of the least odd tokens; 1 is off", live=True)

    def __call__(self, logits):
        if self.mass >= 1:
            return logits
        logs = logits.log_softmax(-1)
        p = logs.exp()
        away = (logs + entropy(p)[..., None]).abs_()  # |-ln p - H|
        near, order = away.sort(dim=-1)
        needed = (p.gather(-1, order).cumsum(-1) < self.mass).sum(-1, keepdim=True)
        limit = near.gather(-1, needed.clamp_(max=logits.shape[-1] - 1))
        return logits.masked_fill(away > limit, float("-inf"))
