"""A vocabulary seen as bytes (P045): its trie, the cuts of any bytes, and which token may follow which text.

A sequence of tokens is VALID when encoding its own text gives it back. With a pre-tokenizer that never looks ahead every
beginning of a valid sequence is valid too; everything here rests on that, and `check_closed` refuses a tokenizer without it.
A text may end inside a character: its odd bytes then count as signs, neither letters nor spaces, until the character is whole.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterable

import numpy as np

from labkit.errors import ModelError
from labkit.prompts import heldout

STRAY = 0xE000  # private letters stand in for the bytes of a character that is not whole yet
SPACES = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # \s of the library; Python's own has four more
KEPT, MASKS = 50_000, 5_000  # pieces and masks remembered
SHORT = 64  # bytes of a piece that is worth remembering
CHECKED, SNIPPET = 40, 120  # held-out texts, and their letters, that a tokenizer is tried on before it is believed
ODD = ("a\n\n  b \n\n\nc", "x  y   z    ", "it's we'll they're", "1234567 12a", "\t\tif x:\r\n")
ODD += ("naïve – “q” 漢字 🚨🚨", "a\u00a0b\u2003(\u2028)")


def letters(data: bytes) -> tuple[str, int]:
    """`data` as text with a private letter for each byte of an unfinished last character, and how many of these there are.

    Raises `UnicodeDecodeError` when no text begins so.
    """
    text, used = codecs.utf_8_decode(data, "strict", False)
    return text + "".join(chr(STRAY + byte) for byte in data[used:]), len(data) - used


class Units:
    """The tokens that spell something, in the order of their bytes: N rows. A token is known by its bytes or by its row.

    `spellings`: bytes by token id. `merges`: pairs in the order they were learned. `split` cuts a text into pre-tokens.
    """

    def __init__(self, spellings: dict[int, bytes], merges: list[tuple[bytes, bytes]], split: Callable[[str], list[str]]):
        pairs = sorted((spelled, token) for token, spelled in spellings.items() if spelled)
        self.spelled = [spelled for spelled, _ in pairs]
        self.tokens = [token for _, token in pairs]
        self.row = {spelled: row for row, spelled in enumerate(self.spelled)}
        self.longest = max(map(len, self.spelled))  # bytes
        self.columns = np.full((self.longest + 1, len(pairs)), -1, dtype=np.int16)  # byte of each token at each depth
        for row, spelled in enumerate(self.spelled):
            self.columns[: len(spelled), row] = list(spelled)
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._split = split
        self._bpe: dict[bytes, tuple[bytes, ...]] = {}
        self._masks: dict[bytes, np.ndarray] = {}
        self._pairs: dict[bytes, np.ndarray] = {}
        self._halves = self._undone()
        self._spines = self._left_spines()
        self._read_alone()

    # -- the trie: the tokens that begin alike stand side by side ------------------------------------------------------

    def narrow(self, low: int, high: int, depth: int, byte: int) -> tuple[int, int]:
        """Of the rows low to high, which share their first `depth` bytes, those that go on with `byte`."""
        column = self.columns[depth, low:high]
        return low + int(np.searchsorted(column, byte)), low + int(np.searchsorted(column, byte, "right"))

    def beginning(self, data: bytes) -> tuple[int, int]:
        """The rows of the tokens that begin with `data`."""
        low, high = 0, len(self.spelled)
        for depth, byte in enumerate(data):
            if depth > self.longest or low == high:
                return low, low
            low, high = self.narrow(low, high, depth, byte)
        return low, high

    def beyond(self, low: int, high: int, depth: int) -> int:
        """The first of the rows low to high, which share `depth` bytes, that is longer than those."""
        return low + (low < high and self.columns[depth, low] < 0)

    # -- cutting -------------------------------------------------------------------------------------------------------

    def pieces(self, data: bytes) -> list[bytes]:
        """The pre-tokens of `data`. Raises `UnicodeDecodeError` when no text begins so."""
        text, strays = letters(data)
        found, start = [], 0
        for part in self._split(text) if text else []:
            start += len(part)
            odd = min(max(start - (len(text) - strays), 0), len(part))
            found.append(part[: len(part) - odd].encode() + bytes(ord(one) - STRAY for one in part[len(part) - odd :]))
        return found

    def cut(self, data: bytes) -> tuple[bytes, ...]:
        """The tokens of `data`: what the tokenizer gives, also where `data` ends inside a character."""
        return tuple(token for piece in self.pieces(data) for token in self.bpe(piece))

    def bpe(self, piece: bytes) -> tuple[bytes, ...]:
        """Byte-pair encoding of one pre-token: the pair learned first is joined first, wherever it stands, from the left."""
        if piece in self._bpe:
            return self._bpe[piece]
        parts = [piece[i : i + 1] for i in range(len(piece))]
        while True:
            best = min(zip(parts, parts[1:]), key=lambda pair: self._ranks.get(pair, math.inf), default=None)
            if best not in self._ranks:
                break
            joined, place = [], 0
            while place < len(parts):
                size = 2 if tuple(parts[place : place + 2]) == best else 1
                joined.append(b"".join(parts[place : place + size]))
                place += size
            parts = joined
        if len(piece) <= SHORT:
            if len(self._bpe) >= KEPT:
                self._bpe.clear()
            self._bpe[piece] = tuple(parts)
        return tuple(parts)

    # -- which token may follow ----------------------------------------------------------------------------------------

    def valid(self, tail: bytes) -> np.ndarray:
        """Which tokens keep a valid text valid, bool [N]. `tail`: the text's last pre-token; nothing else matters.

        Remembered by `tail`. A token behind `tail` either opens a pre-token of its own, or goes on with it; then all hangs on
        the pair (last token, this one), see `follows`.
        """
        if tail not in self._masks:
            if len(self._masks) >= MASKS:
                self._masks.clear()
            self._masks[tail] = self._mask(tail)
        return self._masks[tail]

    def _mask(self, tail: bytes) -> np.ndarray:
        text, strays = letters(tail)
        if strays:  # the character must be finished, or at least go on
            return np.array([0x80 <= token[0] < 0xC0 and self.is_next(tail, token) for token in self.spelled])
        if not tail:
            return self._alone
        mask = np.zeros(len(self.spelled), dtype=bool)
        fits = self.follows(self.bpe(tail)[-1])
        for first, rows in self._by_first.items():
            if len(self._split(text + first)) > 1:
                mask[rows] = self._alone[rows]
            else:
                rows = rows[fits[rows]]
                mask[rows] = [len(self._split(text + self._letters[row])) == 1 for row in rows]
        return mask

    def is_next(self, text: bytes, token: bytes) -> bool:
        """May `token` follow the valid `text`? By cutting all anew: slow, and what `valid` must agree with."""
        try:
            return self.cut(text + token) == (*self.cut(text), token)
        except UnicodeDecodeError:
            return False

    def follows(self, last: bytes) -> np.ndarray:
        """Within one pre-token, which tokens may stand behind the token `last`? bool [N].

        They may not when some merge would have joined the two across: a pair (end of `last`, beginning of the other) learned
        before either half was itself joined to its other neighbour. Ties go to the left.
        """
        if last not in self._pairs:
            if len(self._pairs) >= MASKS:
                self._pairs.clear()
            never = np.zeros(len(self.spelled), dtype=bool)
            end, death = last, math.inf
            while end:
                ranks = self._right_of(end)
                for rows, deaths in self._spines:
                    joined = ranks[rows]
                    never |= (rows >= 0) & (joined < death) & (joined <= deaths)
                _, end, death = self._halves.get(end, (b"", b"", math.inf))
            self._pairs[last] = ~never
        return self._pairs[last]

    def _right_of(self, left: bytes) -> np.ndarray:
        """The rank of the merge (left, token), float [N + 1]; infinite where there is none."""
        ranks = np.full(len(self.spelled) + 1, math.inf)
        for right, rank in self._partners.get(left, ()):
            ranks[self.row[right]] = rank
        return ranks

    def _undone(self) -> dict[bytes, tuple[bytes, bytes, float]]:
        """The last merge of every token that has one: left, right, rank. And `_partners`: all merges by their left half."""
        halves: dict[bytes, tuple[bytes, bytes, float]] = {}
        self._partners: dict[bytes, list[tuple[bytes, int]]] = {}
        for (left, right), rank in self._ranks.items():
            if left + right not in self.row:
                continue
            self._partners.setdefault(left, []).append((right, rank))
            halves.setdefault(left + right, (left, right, rank))
        return halves

    def _left_spines(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Level by level, the left half of the left half of every token: its row (-1: none), and the rank that ends its life."""
        ends, deaths = list(self.spelled), np.full(len(self.spelled), math.inf)
        levels = []
        while any(ends):
            levels.append((np.array([self.row[end] if end else -1 for end in ends]), deaths))
            halves = [self._halves.get(end, (b"", b"", math.inf)) for end in ends]
            ends, deaths = [left for left, _, _ in halves], np.array([rank for _, _, rank in halves])
        return levels

    def _read_alone(self) -> None:
        """Which tokens are valid at a text's beginning; all tokens that open a character, by their first letter."""
        self._letters, by_first = [], {}
        self._alone = np.zeros(len(self.spelled), dtype=bool)
        for row, token in enumerate(self.spelled):
            try:
                text, _ = letters(token)
            except UnicodeDecodeError:
                text = ""
            self._letters.append(text)
            if text:
                by_first.setdefault(text[0], []).append(row)
                self._alone[row] = len(self._split(text)) == 1 and self.bpe(token) == (token,)
        self._by_first = {first: np.array(rows) for first, rows in by_first.items()}


def units_of(vocabulary) -> Units:
    """The vocabulary of a model (`labkit.models.Vocabulary`) as bytes. Raises `ModelError` when it cannot be exact."""
    backend = getattr(getattr(vocabulary, "tokenizer", None), "backend_tokenizer", None)
    if backend is None or backend.normalizer is not None or '"ByteLevel"' not in backend.to_str() or not vocabulary.merges:
        raise ModelError(
            "Exact byte probabilities need a byte-level BPE tokenizer that changes no letter, and this model's is not: "
            "choose lab-target."
        )

    check_closed(lambda texts: [one.ids for one in backend.encode_batch(texts, add_special_tokens=False)], vocabulary.spelling)
    units = Units({token: vocabulary.spelling(token) for token in range(vocabulary.size)}, vocabulary.merges, splitter(backend))
    if missing := [byte for byte in range(256) if bytes([byte]) not in units.row]:
        raise ModelError(f"This model's tokenizer has no token for byte {missing[0]} alone: choose lab-target.")
    for text in [*heldout(4), *ODD]:
        tokens = backend.encode(text, add_special_tokens=False).ids
        if tuple(map(vocabulary.spelling, tokens)) != units.cut(text.encode()):
            raise ModelError(f"This model's tokenizer cuts {text[:20]!r} in a way of its own: choose a model such as lab-target.")
    return units


def splitter(backend) -> Callable[[str], list[str]]:
    """What cuts a text into the pre-tokens of this tokenizer of the `tokenizers` library.

    A plain regular expression runs in Python, many times faster when thousands of short texts are asked about; anything else
    is left to the library.
    """
    rules = json.loads(backend.to_str())["pre_tokenizer"] or {}
    first, *others = rules.get("pretokenizers", [rules])
    pattern = first.get("pattern", {}).get("Regex", "") if first["type"] == "Split" and first["behavior"] == "Isolated" else ""
    plain = not first.get("invert") and "(?" not in pattern and set(re.findall(r"\\(.)", pattern)) <= set("snrt")
    if pattern and plain and [(one["type"], one.get("use_regex")) for one in others] == [("ByteLevel", False)]:
        inside = lambda found: found[0].replace(r"\s", SPACES) if found[0][0] == "[" else f"[{SPACES}]"  # noqa: E731
        return re.compile(re.sub(r"\[(?:\\.|[^\]])*\]|\\s", inside, pattern)).findall
    whole = backend.pre_tokenizer.pre_tokenize_str
    return lambda text: [text[start:end] for _, (start, end) in whole(text)]


def check_closed(
    encode: Callable[[list[str]], list[list[int]]], spelling: Callable[[int], bytes], texts: Iterable[str] = ()
) -> int:
    """Is every beginning of a valid sequence valid? How many beginnings were tried (of `texts`, or of held-out ones).

    Raises `ModelError` with the first that is not.
    """
    tried = 0
    for text in texts or [*ODD, *(text[:SNIPPET] for text in heldout(CHECKED))]:
        (tokens,) = encode([text])
        said = [b"".join(spelling(token) for token in tokens[:end]) for end in range(1, len(tokens) + 1)]
        whole = [end for end, data in enumerate(said, 1) if _whole(data)]
        for end, again in zip(whole, encode([said[end - 1].decode() for end in whole])):
            tried += 1
            if again != tokens[:end]:
                raise ModelError(
                    f"This model's tokenizer looks ahead: it cuts {said[end - 1].decode()[-12:]!r} in another way when more "
                    f"text follows, so byte probabilities would not be exact: choose a model such as lab-target."
                )
    return tried


def _whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
