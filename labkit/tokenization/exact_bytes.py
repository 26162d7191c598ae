"""P045: a token model read byte by byte, exactly; a prompt may end in the middle of a token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from labkit.errors import LabError, ModelError, PromptError
from labkit.knobs import knob
from labkit.law import NOT_NUMBERS, draw
from labkit.lm import Session
from labkit.methods import Method
from labkit.tokenization import byte_laws as laws
from labkit.tokenization.byte_laws import END, Ensemble, ExactBytes, Left, by_byte, by_bytes, by_tokens, log
from labkit.tokenization.byte_ngrams import trained
from labkit.tokenization.byte_units import Units, units_of
from labkit.trace import Tree

NAIVE, HEALING, EXACT = "naive", "token healing", "exact"
SHOWN, BYTES = 10, 10  # sequences and bytes that a step notes
WORD = 600  # bytes of the longest last pre-token
REMEMBERED = 64  # next-token laws
LEAST = -69.0  # ln p that stands for none: a trace has no infinity


def kept_units(session: Session) -> Units:
    """The vocabulary of a session as bytes, made once a model. Raises `ModelError` when it cannot be exact."""
    if "byte units" not in session.memory:
        session.memory["byte units"] = units_of(session.vocabulary)
    return session.memory["byte units"]


class Reader:
    """The model of a session as `ExactBytes` asks it, and the text it stands behind.

    `head` are the tokens that stay as they are: those up to the last that spells nothing (an end of text, a fill-in-the-middle
    mark), and what lies further back than two of the longest tokens. Behind them `text` is cut anew. A prompt that hangs
    together as one token has nothing before it: then an end of text opens it, as it opened every text of the training.
    """

    def __init__(self, session: Session):
        self.units = kept_units(session)
        self.session = session
        self.ends = sorted(session.ends)
        if not self.ends:
            raise ModelError("This model names no token that ends a text, and a law of bytes needs one: choose lab-target.")
        spelled = [session.vocabulary.spelling(token) for token in session.ids]
        first = max((place for place, data in enumerate(spelled, 1) if not data), default=0)
        self.head, self.text = session.ids[:first], b"".join(spelled[first:])
        try:
            pieces = self.units.pieces(self.text)
        except UnicodeDecodeError:
            raise PromptError("The prompt holds tokens that together spell no text: write it as text.") from None
        if pieces and len(pieces[-1]) > WORD:
            raise PromptError(
                f"The prompt ends with {len(pieces[-1]):,} bytes in one run, and {WORD:,} are the most that can be cut in every "
                f"way: put a break into it."
            )
        while len(self.text) - len(pieces[0] if pieces else b"") > 2 * self.units.longest:
            self.head = self.head + self.ids(self.units.bpe(pieces[0]))
            self.text = self.text[len(pieces.pop(0)) :]
        lefts = laws.contexts(self.units, self.text)
        if not self.head and (not laws.shared(lefts) or len(self.units.cut(self.text)) < 2):
            self.head = self.ends[:1]
        self.size = session.runner.vocabulary
        self.single = self.ids(tuple(bytes([byte]) for byte in range(END)))
        self.rows = torch.tensor(self.units.tokens, device=session.runner.device)
        self.known: dict[Left, np.ndarray] = {}
        self._foresee(lefts)

    def _foresee(self, lefts: dict[int, Left]) -> None:
        """The raw laws behind all beginnings of `lefts` from one token before they part, in one forward over their tree."""
        root = laws.shared(lefts)
        if self.head or len(root) > 1:
            root = root[:-1]  # token healing asks for that one
        nodes = {left[:end] for left in lefts.values() for end in range(len(root) + 1, len(left) + 1)}
        order = sorted(nodes, key=len)
        places = {root: -1} | {left: place for place, left in enumerate(order)}
        self.session = self.session.open(self.head + self.ids(root))
        tree = Tree([self.ids(left[-1:])[0] for left in order], [places[left[:-1]] for left in order])
        rows = self.session.score(tree).logits
        for left, place in places.items():
            self.known[left] = self._raw(rows[place + 1])

    def _raw(self, logits: torch.Tensor) -> np.ndarray:
        """Every unit's chance, then the end's, in the softmax of `logits` [V]: float64 [N + 1]. Raises `LabError` on a NaN."""
        p = logits.double().softmax(-1)
        if p[0].isnan():
            raise LabError(NOT_NUMBERS)
        return np.append(p[self.rows].cpu().numpy(), p[self.ends].sum().item())

    def ids(self, tokens: Left) -> list[int]:
        """Token ids of tokens known by their bytes."""
        return [self.units.tokens[self.units.row[token]] for token in tokens]

    def __call__(self, left: Left) -> np.ndarray:
        """The raw law behind `head` and `left`, float64 [N + 1]: every unit, then the end. One forward, if it is not known."""
        if left not in self.known:
            ids = self.head + self.ids(left)
            same = next((place for place, (a, b) in enumerate(zip(ids, self.session.ids)) if a != b), None)
            same = min(len(ids), len(self.session.ids)) if same is None else same
            if same:
                self.session.rewind(same)
                self.session.push(*ids[same:])
            else:
                self.session = self.session.open(ids)
            while len(self.known) >= REMEMBERED:
                del self.known[next(iter(self.known))]
            self.known[left] = self._raw(self.session.logits)
        return self.known[left]

    def token(self, data: bytes, logs: np.ndarray) -> tuple[list[int], torch.Tensor]:
        """The id of the token `data` (b"" = the end), and `logs` [N + 1] as a row over the model's vocabulary, [1, V]."""
        row = torch.full((1, self.size), LEAST, dtype=torch.float64)
        row[0, self.units.tokens] = torch.from_numpy(logs[:-1]).clamp(min=LEAST)
        row[0, self.ends[0]] = max(logs[-1], LEAST)
        return (self.ids((data,)) if data else self.ends[:1]), row

    def bytes_of(self, data: bytes, logs: np.ndarray) -> tuple[list[int], torch.Tensor]:
        """The tokens of the single bytes of `data`, and rows [n, V]: `logs` [257] for the first, certainty for the others."""
        ids = [self.single[byte] for byte in data] or self.ends[:1]
        rows = torch.full((len(ids), self.size), LEAST, dtype=torch.float64)
        rows[range(1, len(ids)), ids[1:]] = 0.0
        rows[0, self.single] = torch.from_numpy(logs[:END]).clamp(min=LEAST)
        rows[0, self.ends[0]] = max(logs[END], LEAST)
        return ids, rows

    def notes(self, exact: ExactBytes) -> dict:
        """What is known behind the text that `exact` stands behind: its cover, and the three laws of the next byte."""
        cover, text = exact.cover(), exact.text
        total = sum(chance for _, chance in cover)
        certain = laws.shared({cut: front.left for cut, front in exact.fronts.items()})[:-1]  # one is kept, to be seen
        skipped = max(len(certain) - len(exact.given), 0)
        before = exact.given[len(certain) :]
        best = [(self.ids(before + tokens[skipped:]), chance / total) for tokens, chance in cover[:SHOWN]]
        naive, healed = laws.naive(self.units, self, text), laws.healed(self.units, self, text)
        return {
            "open": text[len(b"".join(certain)) :].decode("utf-8", "backslashreplace"),
            "cover": [[ids, share] for ids, share in best],
            "tokens": [ids for ids, _ in best],
            "sequences": len(cover),
            "contexts": len(exact.fronts),
            **chosen({NAIVE: naive, HEALING: healed, EXACT: np.exp(exact.law())}),
        }


def behind(session: Session, text: bytes) -> Reader:
    """A reader behind an end of text and `text`, which may end inside a character."""
    units = kept_units(session)
    return Reader(session.open([min(session.ends), *(units.tokens[units.row[bytes([byte])]] for byte in text)]))


def chosen(three: dict[str, np.ndarray]) -> dict:
    """The likeliest bytes of three laws [257] as plain data, best of all three first, and how far each is from the exact."""
    best = np.argsort(-np.max(list(three.values()), axis=0), kind="stable")[:BYTES].tolist()
    found = {name: law[best].tolist() for name, law in three.items()}
    return {"bytes": best, "laws": found, "tv": {name: laws.distance(law, three[EXACT]) for name, law in three.items()}}


def written(reader: Reader, mode: str) -> Iterator[bytes]:
    """What is written greedily behind the reader's text, bit by bit: bytes in the exact mode, else tokens; b"" is the end."""

    def best(logs) -> int:
        return int(logs.argmax())

    if mode == EXACT:
        return (row[0] for row in by_bytes(ExactBytes(reader.units, reader), reader.text, best))
    return (row[0] for row in by_tokens(reader.units, reader, reader.text, best, mode == HEALING))


@dataclass
class ExactBytesMethod(Method):
    """Write byte by byte with the exact law; the prompt may end inside a token (P045).

    The model's law over tokens gives a law over texts, and that one gives the next byte: the sum over every valid way to cut
    what stands there. Temperature and cuts act on the law of bytes, so greedy bytes need not be the bytes of greedy tokens; at
    temperature 1 they have the law of token sampling. `naive` goes on with a new token, `token healing` takes the last token
    back first; both then write tokens. In the exact mode the law may be the mean with that of a byte n-gram model: an ensemble
    whose members share no vocabulary. Inferred: tokens that spell nothing (fill-in-the-middle marks) are left out of all laws.
    The notes' other laws hardly cost: they use forwards that the exact law needs too.
    """

    name, title, paper, lossless = "exact-bytes", "Exact bytes", "P045", False
    charts = ("byte_cover", "byte_laws")
    mode: str = knob(EXACT, choices=(EXACT, HEALING, NAIVE), label="How", help="goes on behind the prompt")
    mask: bool = knob(True, label="Mask every law", help="off: byte law only, as the released code")
    share: float = knob(0.0, 0.0, 1.0, step=0.05, label="Share of n-grams", help="in an ensemble of two byte laws")

    def steps(self, session, rng):
        reader = Reader(session)

        def choose(logs: np.ndarray) -> int:
            law = session.law(torch.from_numpy(logs))
            return int(law.argmax()) if session.law.greedy else draw(law, rng)

        exact = ExactBytes(reader.units, reader, self.mask)
        if self.mode != EXACT:
            exact.logprobs(reader.text)
            notes = reader.notes(exact)
            for data, logs, owed in by_tokens(reader.units, reader, reader.text, choose, self.mode == HEALING):
                ids, rows = reader.bytes_of(data, self.rest(reader.units, logs, owed)) if owed else reader.token(data, logs)
                yield session.step(rows, ids, sources=["target"] * len(ids), notes=notes)
                notes = {}  # the other laws behind what follows would cost forwards of their own
            return
        law = Ensemble([exact, trained()], [1 - self.share, self.share]) if self.share else exact
        for data, logs in by_bytes(law, reader.text, choose):
            ids, rows = reader.bytes_of(data, logs)
            yield session.step(rows, ids, sources=["target"], notes=reader.notes(exact))

    @staticmethod
    def rest(units: Units, logs: np.ndarray, owed: bytes) -> np.ndarray:
        """ln p of the byte behind `owed` [257], if the token that begins so goes on behind it."""
        law = by_byte(units, np.exp(logs), *units.beginning(owed), len(owed))
        return log(law / law.sum())
