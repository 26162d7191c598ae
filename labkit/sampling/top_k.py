"""Top-k: only the k likeliest tokens stay."""

from dataclasses import dataclass

from labkit.knobs import knob
from labkit.methods import Transform


@dataclass
class TopK(Transform):
    """Keep the k likeliest tokens (Fan et al. 2018); tokens tied with the k-th stay."""

    name, title = "top-k", "Top-k"
    k: int = knob(0, 0, 4096, unit="tokens", label="Top-k", help="keep the k likeliest; 0 is off", live=True)

    def __call__(self, logits):
        if not 0 < self.k < logits.shape[-1]:
            return logits
        last = logits.topk(self.k).values[..., -1:]
        return logits.masked_fill(logits < last, float("-inf"))
