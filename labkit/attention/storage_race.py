"""Ways to store a cache in less room, against each other: real bytes, and what they spoil."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.attention.cache_race import Race
from labkit.attention.mustafar import Mustafar
from labkit.attention.zipcache import ZipCache
from labkit.knobs import knob


@dataclass
class StorageRace(Race):
    """What do zeros and few bits cost? Keys pruned, values pruned, or all of it in fewer bits, on the same needles.

    Every way reads the same prompt and then, token by token, the right answer. Beside needles found: KL(dense || policy) and the
    bytes really held, a dense cache of the model's own numbers being 1. `sparsity` is the share of zeros of all but one of the
    pruned ones; rivals prune by lot, or whole channels. A step is one way on one needle.
    """

    name, title, paper = "storage-race", "Zeros or fewer bits", "P143"
    charts = ("race_needles", "race_storage")
    sparsity: float = knob(0.7, 0.1, 0.95, help="share of numbers set to zero", step=0.05)

    def contenders(self, tokens):
        """Pruned ways have the mark of P143, those with two numbers of bits (salient, others) that of P049."""
        share = {"keys": self.sparsity, "values": self.sparsity}
        return {
            "keys pruned": Mustafar(keys=self.sparsity, values=0.0),
            "values pruned": Mustafar(keys=0.0, values=self.sparsity),
            "both pruned": Mustafar(**share),
            "both, half of it": Mustafar(keys=self.sparsity / 2, values=self.sparsity / 2),
            "both, by lot": Mustafar(**share, rule="random"),
            "whole channels": Mustafar(**share, direction="whole channels"),
            "8 and 4 bits": ZipCache(high="8", low="4"),
            "4 and 2 bits": ZipCache(),
            "2 bits": ZipCache(high="2"),
        }
