"""P045's ensembles: two models without a common vocabulary agree on bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labkit.knobs import knob
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.tokenization.byte_laws import ExactBytes
from labkit.tokenization.byte_ngrams import trained
from labkit.tokenization.exact_bytes import behind
from labkit.trace import Step

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
FIRST, AT_ONCE = 8, 8  # bytes of a text that are given; bytes a step
BITS = np.log(2)


@dataclass
class ByteEnsemble(Study):
    """Is the mean of two models better than the better one, when only one speaks in tokens (P045)?

    The model's exact law of the next byte and that of byte n-grams, mixed with shares from 0 to 1, over held-out texts. The
    n-grams know 0.4 MB of the standard library, and count in the text they read: a different kind of model, and much weaker.
    The paper mixes large models of equal standing and reports up to 3.7 % on benchmarks. With this second voice no share helps:
    0.943 bits a byte alone, 0.955 with a share of 0.05, 1.228 with the paper's 1/m each (720 bytes of 6 texts).
    """

    name, title, paper = "byte-ensemble", "Two models, one law of bytes", "P045"
    charts = ("byte_ensemble",)
    texts: int = knob(4, 1, 60, unit="texts", label="Texts", help="held-out ones")
    length: int = knob(96, 16, 400, unit="bytes", label="Bytes a text", help="from its beginning")

    def steps(self, session, rng):
        shares = np.array(SHARES)
        bits, count, better = np.zeros(len(shares)), 0, 0
        for number, text in enumerate(heldout(self.texts)):
            data = text.encode()[: FIRST + self.length]
            reader = behind(session, data[:FIRST])
            exact, other = ExactBytes(reader.units, reader), trained()
            one, two = exact.logprobs(reader.text), other.logprobs(data[:FIRST])
            for place in range(FIRST, len(data)):
                byte = data[place]
                p, q = np.exp(one[byte]), np.exp(two[byte])
                bits -= np.log((1 - shares) * p + shares * q) / BITS
                count, better = count + 1, better + int(q > p)
                one, two = exact.advance(byte), other.advance(byte)
                if count % AT_ONCE == 0 or place == len(data) - 1:
                    done = number * self.length + place - FIRST + 1
                    notes = {"done": done, "of": self.texts * self.length, "bytes": count, "better": better / count}
                    yield Step([], notes={**notes, "shares": list(SHARES), "bits": (bits / count).tolist()})
