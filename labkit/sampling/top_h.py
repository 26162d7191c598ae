"""Top-H: as many of the likeliest tokens as keep the entropy below a share of what it was."""

from dataclasses import dataclass

import torch

from labkit.knobs import knob
from labkit.methods import Transform

PAPER, RELEASED = "paper", "released"


@dataclass
class TopH(Transform):
    """Keep the likeliest tokens while their entropy stays within this share of the law's (Top-H).

    Source: P148, Algorithm 1. p is the law at this point of the stack (the paper puts Top-H right after the temperature), S grows
    in sorted order, q is p renormalised on S: the last S with H(q) <= alpha H(p) stays, the likeliest token always. Of all sets
    that keep the bound one wants the one with most mass; this greedy one is not always it (the problem is NP-hard).
    Growing S always raises H(q), so the first token that breaks the bound ends it.

    `rule` "released" is what the authors' code and transformers do instead: they add up the terms -p ln p of S without
    renormalising, and look at the `cap` = 100 likeliest only. That is another sampler: of 100 equal tokens alpha 0.4 keeps 6
    by the paper's rule and 40 by the released one. `cap` works with both rules (p is renormalised on the candidates first).

    Logits [..., V]; entropies are ratios, so the base of the logarithm does not matter. alpha 1 without a cap changes nothing.
    """

    name, title, paper = "top-h", "Top-H", "P148"
    alpha: float = knob(1.0, 0.05, 1.0, step=0.01, label="Top-H", help="share of the entropy to keep; 1 is off", live=True)
    rule: str = knob(PAPER, choices=(PAPER, RELEASED), label="Top-H rule", help="renormalise, or not", live=True)
    cap: int = knob(0, 0, 4096, unit="tokens", label="Top-H candidates", help="the likeliest; 0 is all", live=True)

    def __call__(self, logits):
        size = logits.shape[-1]
        count = min(self.cap or size, size)
        if self.alpha >= 1 and count == size:
            return logits
        best, order = logits.topk(count) if count < size else logits.sort(dim=-1, descending=True, stable=True)
        logs = best.log_softmax(-1).clamp_(min=torch.finfo(best.dtype).min)  # 0 ln 0 = 0
        p = logs.exp()
        partial = (p * logs).cumsum(-1).neg_()  # sums of -p ln p, [..., count]
        bound = self.alpha * partial[..., -1:] if self.alpha < 1 else torch.inf  # alpha H(p)
        mass = p.cumsum(-1)
        spread = partial if self.rule == RELEASED else partial / mass + mass.log()  # H(q) of every sorted prefix
        too_much = spread > bound
        too_much[..., 0] = False
        late = too_much.cumsum(-1) > 0  # the first that breaks the bound ends it, whatever rounding says of those behind it
        cut = torch.ones_like(logits, dtype=torch.bool).scatter_(-1, order, late)
        return logits.masked_fill(cut, float("-inf"))
