"""A small language model that knows nothing but bytes: n-grams, counted. The second voice of an ensemble (P045)."""

from __future__ import annotations

from functools import cache

import numpy as np

from labkit.tokenization.byte_laws import END, ByteDistribution, log
from labkit.train.corpus import training_library

ORDER = 6  # bytes of the longest context; with the next one a sequence fits into 64 bits
KILOBYTES, EVERY = 400, 36  # of training text, from one file in so many


class Counts:
    """How often each byte followed each context of 0 to ORDER bytes in `text`: sorted numbers, looked up by bisection."""

    def __init__(self, text: bytes):
        data = np.frombuffer(text, dtype=np.uint8).astype(np.uint64)
        keys, self.orders = data, []
        for order in range(ORDER + 1):
            self.orders.append(np.unique(keys, return_counts=True))
            if order < ORDER:
                keys = keys[:-1] << np.uint64(8) | data[order + 1 :]

    def after(self, context: bytes) -> np.ndarray:
        """Counts of the bytes that followed `context` (at most ORDER bytes), float64 [257]; the end is never counted."""
        keys, counts = self.orders[len(context)]
        first = int.from_bytes(context) << 8
        low, high = np.searchsorted(keys, np.array([first, first + 256], dtype=np.uint64))
        found = np.zeros(END + 1)
        found[(keys[low:high] & np.uint64(255)).astype(int)] = counts[low:high]
        return found


class ByteNGrams(ByteDistribution):
    """Byte n-grams, every order smoothed by the next shorter one (Witten-Bell), the shortest by even chances for all 257.

    It goes on counting in the text it reads, so it soon knows that text's own names.
    """

    def __init__(self, counts: Counts):
        self.counts = counts
        self.text = b""
        self.own: dict[bytes, np.ndarray] = {}  # counts of the text read so far, by context

    def logprobs(self, prefix):
        self.text, self.own = b"", {}
        for byte in prefix:
            self._read(byte)
        return self._law()

    def advance(self, byte):
        self._read(byte)
        return self._law()

    def _read(self, byte: int) -> None:
        for order in range(min(ORDER, len(self.text)) + 1):
            context = self.text[len(self.text) - order :]
            self.own.setdefault(context, np.zeros(END + 1))[byte] += 1
        self.text += bytes([byte])

    def _law(self) -> np.ndarray:
        law = np.full(END + 1, 1 / (END + 1))
        for order in range(min(ORDER, len(self.text)) + 1):
            context = self.text[len(self.text) - order :]
            seen = self.counts.after(context) + self.own.get(context, 0)
            if not seen.any():
                break
            kinds = np.count_nonzero(seen)
            law = (seen + kinds * law) / (seen.sum() + kinds)
        return log(law)


@cache
def _counted() -> Counts:
    """The counts of KILOBYTES of the standard library, which every install has: every so many of its files, none held out."""
    text = b""
    for more in training_library(EVERY):
        text += more.encode()
        if len(text) > 1000 * KILOBYTES:
            break
    return Counts(text[: 1000 * KILOBYTES])


def trained() -> ByteNGrams:
    """A fresh reader over the shared counts, which are made on first use (within a second or so)."""
    return ByteNGrams(_counted())
