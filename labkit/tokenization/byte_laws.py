"""The law of the next byte, from a model that speaks in tokens (P045): exact, naive, and with token healing.

`ByteDistribution` is all that an ensemble needs. `ExactBytes` keeps the cover of the text: all valid token sequences that
spell it and end at its end or beyond it. Natural logarithms everywhere; float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

import numpy as np

from labkit.tokenization.byte_units import Units

END = 256  # the place of the text's end in a law of 257
Left = tuple[bytes, ...]  # valid tokens, by their bytes
Model = Callable[[Left], np.ndarray]  # float64 [N + 1]: the chance of every unit behind these tokens, the end's last; raw


class ByteDistribution:
    """A law over texts, read byte by byte."""

    def logprobs(self, prefix: bytes) -> np.ndarray:
        """Begin anew behind `prefix`: ln p of each of the 256 bytes that may come next and of the end, float64 [257]."""
        raise NotImplementedError

    def advance(self, byte: int) -> np.ndarray:
        """Go on behind one more byte: the same for the next."""
        raise NotImplementedError


class Ensemble(ByteDistribution):
    """The weighted mean of several byte laws, whatever the vocabularies behind them. `weights` default to 1/m each."""

    def __init__(self, members: Sequence[ByteDistribution], weights: Sequence[float] = ()):
        self.members = members
        weights = np.array(weights or [1.0] * len(members), dtype=float)
        self.weights = (weights / weights.sum())[:, None]

    def logprobs(self, prefix):
        return self._mean([member.logprobs(prefix) for member in self.members])

    def advance(self, byte):
        return self._mean([member.advance(byte) for member in self.members])

    def _mean(self, laws: list[np.ndarray]) -> np.ndarray:
        return log((self.weights * np.exp(laws)).sum(0))


def log(law: np.ndarray) -> np.ndarray:
    """ln, where ln 0 is -inf and no matter."""
    with np.errstate(divide="ignore"):
        return np.log(law)


def by_byte(units: Units, p: np.ndarray, low: int, high: int, depth: int) -> np.ndarray:
    """The mass of the rows low to high by their byte at `depth`, [257]; tokens that end there have none, the end is 0."""
    low = units.beyond(low, high, depth)
    return np.bincount(units.columns[depth, low:high], p[low:high], END + 1) if low < high else np.zeros(END + 1)


@dataclass
class Front:
    """The cover's sequences whose last token begins at one cut: `left` is what stands before it, of chance e**log.

    `p` [N + 1]: the masked law behind `left`. The last token is one of the rows `low` to `high`: those that spell the `depth`
    bytes between the cut and the text's end, and maybe more.
    """

    left: Left
    log: float
    p: np.ndarray
    low: int
    high: int
    depth: int = 0

    def narrowed(self, units: Units, byte: int) -> bool:
        """Go on by one byte; does a token still reach beyond?"""
        self.low, self.high = units.narrow(self.low, self.high, self.depth, byte)
        self.depth += 1
        return units.beyond(self.low, self.high, self.depth) < self.high


class ExactBytes(ByteDistribution):
    """The exact law of the next byte (P045): one call of the model for a byte.

    The chance of a text is the sum over its cover. A valid sequence that covers it has a cut i, the valid tokens before the cut
    (there is one way to write them), and one token that spells the rest and maybe more. So only the cuts from which some token
    reaches beyond the end are kept. Invalid tokens get no mass: with `per_token` each next-token law is masked and normalised
    before it is used, which makes the process exact. Without, they are only struck out and the byte law is normalised at the
    end, as the released code does: then the bytes' chances no longer add up to their prefix's.

    Tokens that all sequences of the cover share are taken as given: `given`. What is known of them has no effect on what comes.
    """

    def __init__(self, units: Units, model: Model, per_token: bool = True):
        self.units, self.model, self.per_token = units, model, per_token
        self.fronts: dict[int, Front] = {}  # by cut, in bytes

    def logprobs(self, prefix):
        lefts = contexts(self.units, prefix)
        return self.read(prefix, lefts, shared(lefts))

    def read(self, text: bytes, lefts: dict[int, Left], given: Left = ()) -> np.ndarray:
        """As `logprobs`, with the contexts of `text` at hand (see `contexts`) and any beginning of theirs taken as given."""
        self.text, self.given, self.fronts = text, given, {}
        before = {}
        for left in lefts.values():
            ends = accumulate(map(len, left), initial=0)
            before |= {end: left[:count] for count, end in enumerate(ends) if count >= len(given)}
        for cut, left in sorted(before.items()):
            self._open(cut, left)
        for cut in [cut for cut in self.fronts if cut not in lefts]:
            del self.fronts[cut]
        for cut, front in self.fronts.items():
            front.low, front.high = self.units.beginning(text[cut:])
            front.depth = len(text) - cut
        return self.law()

    def advance(self, byte):
        text = self.text + bytes([byte])
        left = self.units.cut(text)
        chance = self._chance(len(text), left)
        self.fronts = {cut: front for cut, front in self.fronts.items() if front.narrowed(self.units, byte)}
        self.text = text
        self._open(len(text), left, chance)
        return self.law()

    def _chance(self, end: int, left: Left) -> float:
        """ln P(left | given): its last token, behind the front where that begins; -inf where nothing valid leads there."""
        if len(left) <= len(self.given):
            return 0.0 if left == self.given else -np.inf
        front = self.fronts.get(end - len(left[-1]))
        return -np.inf if front is None else front.log + float(log(front.p[self.units.row[left[-1]]]))

    def _open(self, cut: int, left: Left, chance: float | None = None) -> None:
        """A front at `cut`, where the model says what may follow; none where `left` has no chance."""
        chance = self._chance(cut, left) if chance is None else chance
        if chance > -np.inf:
            self.fronts[cut] = Front(left, chance, self.masked(left), 0, len(self.units.spelled))

    def masked(self, left: Left) -> np.ndarray:
        """The next-token law behind valid tokens, [N + 1], without the tokens that would make them invalid."""
        tail = self.units.pieces(b"".join(left))[-1] if left else b""
        p = self.model(left) * np.append(self.units.valid(tail), whole(tail))
        return p / p.sum() if self.per_token and p.any() else p

    def weights(self) -> tuple[np.ndarray, float]:
        """The cover's mass by the next byte [257], scaled, and the logarithm of the scale."""
        scale = max((front.log for front in self.fronts.values()), default=0.0)
        mass = np.zeros(END + 1)
        for cut, front in self.fronts.items():
            mass += np.exp(front.log - scale) * by_byte(self.units, front.p, front.low, front.high, front.depth)
            if cut == len(self.text):
                mass[END] = np.exp(front.log - scale) * front.p[-1]
        return mass, scale

    def law(self) -> np.ndarray:
        """ln p of the next byte, [257]. Raises nothing: where no valid text goes on, the end is certain."""
        mass, _ = self.weights()
        return log(mass / mass.sum()) if mass.any() else log(np.eye(END + 1)[END])

    @property
    def logprob(self) -> float:
        """ln P(text | given): the logarithm of the cover's sum."""
        return float(log(np.array(sum(chance for _, chance in self.cover()))))

    def cover(self) -> list[tuple[Left, float]]:
        """The sequences behind `given` that spell the text, the last token reaching its end or beyond, with P( . | given)."""
        found = []
        for cut, front in self.fronts.items():
            behind = front.left[len(self.given) :]
            if cut == len(self.text):
                found.append((behind, float(np.exp(front.log))))
            else:
                for row in range(self.units.beyond(front.low, front.high, front.depth), front.high):
                    if front.p[row] > 0:
                        found.append(((*behind, self.units.spelled[row]), float(np.exp(front.log) * front.p[row])))
        return sorted(found, key=lambda one: -one[1])


def whole(tail: bytes) -> bool:
    """Does this pre-token end with a whole character? Only then may the text end."""
    try:
        tail.decode()
    except UnicodeDecodeError:
        return False
    return True


def contexts(units: Units, text: bytes) -> dict[int, Left]:
    """The cuts of `text` from which some token reaches beyond its end (the end itself is one), and the tokens before each."""
    found = {}
    for cut in range(max(0, len(text) - units.longest + 1), len(text) + 1):
        low, high = units.beginning(text[cut:])
        if units.beyond(low, high, len(text) - cut) < high:
            found[cut] = units.cut(text[:cut])
    return found


def shared(lefts: dict[int, Left]) -> Left:
    """The tokens that all these contexts begin with."""
    together = takewhile(lambda row: len(set(row)) == 1, zip(*lefts.values()))
    return tuple(row[0] for row in together)


def naive(units: Units, model: Model, text: bytes) -> np.ndarray:
    """The law of the next byte if the next token began right at the text's end: p [257]."""
    raw = model(units.cut(text))
    law = by_byte(units, raw, 0, len(units.spelled), 0)
    law[END] = raw[-1]
    return law / law.sum()


def healed(units: Units, model: Model, text: bytes) -> np.ndarray:
    """The same with token healing: the last token is taken back, and the next must begin with its bytes; p [257]."""
    tokens = units.cut(text)
    if not tokens:
        return naive(units, model, text)
    raw, last = model(tokens[:-1]), tokens[-1]
    law = by_byte(units, raw, *units.beginning(last), len(last)) + raw[units.row[last]] * naive(units, model, text)
    return law / law.sum()


def by_tokens(
    units: Units, model: Model, text: bytes, choose: Callable[[np.ndarray], int], heal: bool
) -> Iterator[tuple[bytes, np.ndarray, bytes]]:
    """Write token by token behind `text`: the new bytes, the logarithms [N + 1] that `choose` picked the token from, and how
    it had to begin.

    `heal`: the text's last token is taken back first, and the first new one must begin with its bytes. New bytes b"" are the
    end, and the last.
    """
    left, owed = units.cut(text), b""
    if heal and left:
        left, owed = left[:-1], left[-1]
    while True:
        logs = log(model(left))
        if owed:
            low, high = units.beginning(owed)
            logs[:low] = logs[high:] = -np.inf
        row = choose(logs)
        token = units.spelled[row] if row < len(units.spelled) else b""
        if not token or token != owed:
            yield token[len(owed) :], logs, owed
        if not token:
            return
        left, owed = (*left, token), b""


def by_bytes(law: ByteDistribution, text: bytes, choose: Callable[[np.ndarray], int]) -> Iterator[tuple[bytes, np.ndarray]]:
    """Write byte by byte behind `text`; beside each the logarithms [257] that `choose` picked it from. b"" is the end."""
    logs = law.logprobs(text)
    while True:
        byte = choose(logs)
        yield (bytes([byte]) if byte < END else b""), logs
        if byte == END:
            return
        logs = law.advance(byte)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The total variation distance of two laws, 0 to 1."""
    return float(np.abs(one - other).sum()) / 2
