"""Byte-pair encoding, trained step by step: weighted texts, and merges that go on across the spaces (superwords).

The `tokenizers` library trains faster, but it can neither weigh its texts nor go on with a list of merges under another way
of cutting words; `tokenizer_of` hands a finished list over to it, to encode with.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers import models as kinds

from labkit.models import byte_letters

Pair = tuple[bytes, bytes]  # two neighbours; joined, they spell the new token
Word = tuple[bytes, ...]  # what merges never cross the ends of, as symbols

WHITESPACE = r" ?\S+|\s"  # a word with the space before it; any other white space alone
LINE = r"[^\n]*\n|[^\n]+"


def base_bytes(text: str) -> Word:
    """A text as single bytes of its UTF-8."""
    return tuple(bytes([byte]) for byte in text.encode())


def base_characters(text: str, known: set[str]) -> Word:
    """A text as characters; one that is not `known` falls apart into its bytes, so that any text can be written."""
    return tuple(symbol for letter in text for symbol in ((letter.encode(),) if letter in known else base_bytes(letter)))


def words(texts: Iterable[str], pattern: str | None = WHITESPACE) -> Counter[str]:
    """How often each pre-token occurs; `pattern` None: each text is one."""
    if pattern is None:
        return Counter(texts)
    cut = re.compile(pattern).findall
    return Counter(word for text in texts for word in cut(text))


class Corpus:
    """Words with their weights, and how often two symbols stand side by side in them, kept true while pairs are merged.

    Weights are whole numbers, so that counts are exact and two equal ones are equal. A pair counts once for each place where it
    stands, so "aaa" has (a, a) twice, although one merge takes only the first.
    """

    def __init__(self, words: Mapping[Word, int]):
        self.words = list(words)
        self.weights = list(words.values())
        self.tokens = sum(weight * len(word) for word, weight in words.items())
        self.counts: dict[Pair, int] = defaultdict(int)
        self.places: dict[Pair, set[int]] = defaultdict(set)  # words that hold the pair, or held it once
        for number, (word, weight) in enumerate(zip(self.words, self.weights)):
            for pair in zip(word, word[1:]):
                self.counts[pair] += weight
                self.places[pair].add(number)

    def merge(self, pair: Pair) -> dict[Pair, int]:
        """Join the pair wherever it stands, from the left; returns by how much each count changed, zeros left out."""
        whole = pair[0] + pair[1]
        changes: dict[Pair, int] = defaultdict(int)
        for number in self.places.pop(pair, ()):
            word, weight = self.words[number], self.weights[number]
            merged = joined(word, pair, whole)
            if len(merged) == len(word):
                continue
            for old in zip(word, word[1:]):
                changes[old] -= weight
            for new in zip(merged, merged[1:]):
                changes[new] += weight
                if whole in new:
                    self.places[new].add(number)
            self.words[number] = merged
            self.tokens -= weight * (len(word) - len(merged))
        changes = {changed: by for changed, by in changes.items() if by}
        for changed, by in changes.items():
            self.counts[changed] += by
        return changes


def joined(word: Word, pair: Pair, whole: bytes) -> Word:
    """The word with every `pair` made one, from the left."""
    left, right = pair
    found, at, last = [], 0, len(word) - 1
    while at <= last:
        if at < last and word[at] == left and word[at + 1] == right:
            found.append(whole)
            at += 2
        else:
            found.append(word[at])
            at += 1
    return tuple(found)


def learn(corpus: Corpus, least: int = 2) -> Iterator[Pair]:
    """The merges, one at a time: always the pair that occurs most, as long as one occurs `least` times.

    A tie goes to the pair that comes first in the order of bytes. The corpus is merged along.
    """
    queue = [(-count, pair) for pair, count in corpus.counts.items()]
    heapq.heapify(queue)
    while queue:
        count, pair = heapq.heappop(queue)
        if corpus.counts[pair] != -count:
            continue  # it has changed since; its new count stands elsewhere in the queue
        if -count < least:
            return
        for changed in corpus.merge(pair):
            heapq.heappush(queue, (-corpus.counts[changed], changed))
        yield pair


def until(merges: Iterable[Pair], known: set[bytes], size: int) -> list[Pair]:
    """Merges until `known`, which grows along, has `size` spellings: two merges may spell the same token."""
    taken: list[Pair] = []
    if len(known) < size:
        for pair in merges:
            taken.append(pair)
            known.add(pair[0] + pair[1])
            if len(known) == size:
                break
    return taken


ALL_BYTES = frozenset(bytes([byte]) for byte in range(256))


def train(texts: Iterable[str], size: int, pattern: str | None = WHITESPACE, least: int = 2) -> list[Pair]:
    """The merges of a byte-level BPE with `size` entries, the 256 bytes among them; fewer when the text has no more pairs."""
    corpus = Corpus({base_bytes(word): count for word, count in words(texts, pattern).items()})
    return until(learn(corpus, least), set(ALL_BYTES), size)


def train_superwords(
    texts: list[str], size: int, transition: int, pattern: str = WHITESPACE, across: str | None = LINE, least: int = 2
) -> list[Pair]:
    """SuperBPE's two stages (P034): up to `transition` entries inside words, then up to `size` across them, inside `across`.

    The second stage reads the text by the merges so far alone, with no words before it, as the encoder will.
    """
    merges = train(texts, transition, pattern, least)
    corpus = Corpus({base_bytes(line): count for line, count in words(texts, across).items()})
    for pair in merges:
        corpus.merge(pair)
    known = ALL_BYTES | {left + right for left, right in merges}
    return merges + until(learn(corpus, least), set(known), size)


def tokenizer_of(merges: list[Pair], pattern: str | None = WHITESPACE) -> Tokenizer:
    """The library's byte-level BPE with these merges: ids 0 to 255 are the bytes, then tokens in the order learned."""
    letters = {byte: letter for letter, byte in byte_letters().items()}

    def written(piece: bytes) -> str:
        return "".join(letters[byte] for byte in piece)

    spelled = dict.fromkeys([*sorted(ALL_BYTES), *(left + right for left, right in merges)])
    vocabulary = {written(piece): number for number, piece in enumerate(spelled)}
    tokenizer = Tokenizer(kinds.BPE(vocab=vocabulary, merges=[(written(left), written(right)) for left, right in merges]))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
