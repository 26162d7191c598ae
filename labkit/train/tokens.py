"""From documents to token arrays, kept in a cache folder: training text, needles, and both of their held-out parts."""

import hashlib
import json
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from labkit.train import corpus, needles
from labkit.train.tokenizer import END_OF_TEXT, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

RECIPE = 2  # raise it whenever this file, corpus.py or needles.py changes what they produce
FIM_SHARE = 0.3  # of documents
FIM_LENGTH = 3000  # characters of a fill-in-the-middle piece: all three parts meet in one window
NEEDLE_SHARE = 0.06  # of the training text's tokens
NEEDLE_TOKENS = 850  # on average, measured
LONG_NEEDLES = 5000  # needles kept apart for the batches of needles alone
FAR = 1000  # tokens: the least that a needle of those batches has
HELD_OUT_NEEDLES = 200


@dataclass(frozen=True)
class TokenSet:
    """The corpus as token ids. `train`, `needles`, `held_out`: uint16 [tokens], documents one after another."""

    train: np.ndarray  # code (30 % of documents in fill-in-the-middle form) and 6 % needles
    needles: np.ndarray  # more needles, nothing else
    asked: np.ndarray  # uint8 [tokens of needles]: 1 where a token is (part of) a value that is asked for
    held_out: np.ndarray  # held-out code, plain
    held_out_needles: list[needles.Needle]  # over held-out code
    manifest: dict  # what it was made of: sources with versions and licences, counts, fingerprint


def cache_folder() -> Path:
    """Where corpora and checkpoints go: `$LABKIT_CACHE/train`, or `labkit/train` in the user's cache folder."""
    if chosen := os.environ.get("LABKIT_CACHE"):
        return Path(chosen).expanduser() / "train"
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return Path(base).expanduser() / "labkit" / "train"


def load_tokens(tokenizer: Tokenizer, seed: int = 0, folder: Path | None = None) -> TokenSet:
    """The corpus of this environment in `tokenizer`'s ids, from the cache in `folder` when it was made before.

    The cache is found by a fingerprint of everything the corpus depends on: recipe, seed, tokenizer, and every
    source's version. Raises ValueError when the environment has too little text to hold anything out.
    """
    chosen = corpus.sources()
    print_of = {
        "recipe": RECIPE,
        "seed": seed,
        "tokenizer": hashlib.sha256(tokenizer.to_str().encode()).hexdigest(),
        "sources": {source.name: source.version for source in chosen},
    }
    fingerprint = hashlib.sha256(json.dumps(print_of, sort_keys=True).encode()).hexdigest()[:16]
    place = (folder or cache_folder()) / f"corpus-{fingerprint}"
    if not (place / "manifest.json").is_file():
        _build(place, chosen, tokenizer, seed, fingerprint)
    return _read(place)


def fill_in_the_middle(text: str, rng: random.Random) -> tuple[str, str, str]:
    """Cut `text` at two random places: (prefix, middle, suffix); the three joined are the text."""
    first, second = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
    return text[:first], text[first:second], text[second:]


def pieces(text: str, length: int) -> list[str]:
    """`text` cut at line ends into parts of at least `length` characters (the last one may be shorter)."""
    parts, start = [], 0
    while start < len(text):
        end = text.find("\n", start + length) + 1 or len(text)
        parts.append(text[start:end])
        start = end
    return parts


def encode_documents(
    tokenizer: Tokenizer, texts: Iterable[str], rng: random.Random, fim_share: float
) -> Iterator[np.ndarray]:
    """Token ids of every text, each opening with end-of-text; a share `fim_share` of them in fill-in-the-middle form.

    The form is `<|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|> middle`, piece by piece.
    """
    remaining = iter(texts)
    while chunk := list(islice(remaining, 256)):
        plan: list[tuple[int, str]] = []  # (the id that comes before, text)
        for text in chunk:
            if rng.random() >= fim_share:
                plan.append((END_OF_TEXT, text))
                continue
            for piece in pieces(text, FIM_LENGTH):
                prefix, middle, suffix = fill_in_the_middle(piece, rng)
                plan += [(END_OF_TEXT, ""), (FIM_PREFIX, prefix), (FIM_SUFFIX, suffix), (FIM_MIDDLE, middle)]
        encoded = tokenizer.encode_batch([text for _, text in plan], add_special_tokens=False)
        for (before, _), encoding in zip(plan, encoded, strict=True):
            yield np.array([before, *encoding.ids], dtype=np.uint16)


def _build(place: Path, chosen: list[corpus.Source], tokenizer: Tokenizer, seed: int, fingerprint: str) -> None:
    rng = random.Random(seed)
    kept, held = [], []
    for document in corpus.documents(chosen):
        (held if corpus.is_held_out(document.digest) else kept).append(document)
    if len(held) < 2 or len(kept) < 100:
        raise ValueError(f"the corpus has {len(kept)} files to train on and {len(held)} held out: install the packages")
    rng.shuffle(kept)
    rng.shuffle(held)
    texts = [document.text for document in kept]
    code = list(encode_documents(tokenizer, texts, rng, FIM_SHARE))
    code_tokens = sum(map(len, code))
    mixed_in = round(code_tokens * NEEDLE_SHARE / (1 - NEEDLE_SHARE) / NEEDLE_TOKENS)
    made = [needles.make_needle(rng, texts) for _ in range(mixed_in + LONG_NEEDLES)]
    drawn = list(encode_documents(tokenizer, (needle.text for needle in made), rng, 0.0))
    mixture = _documents_of(code) + drawn[:mixed_in]
    rng.shuffle(mixture)
    held_texts = [document.text for document in held]
    held_needles = [needles.make_needle(rng, held_texts) for _ in range(HELD_OUT_NEEDLES)]
    arrays = {
        "train": np.concatenate(mixture),
        "needles": np.concatenate(drawn[mixed_in:]),
        "asked": np.concatenate([_asked(tokenizer, needle) for needle in made[mixed_in:]]),
        "held_out": np.concatenate(list(encode_documents(tokenizer, held_texts, rng, 0.0))),
    }
    place.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(place / f"{name}.npy", array, allow_pickle=False)
    packed = [{"text": needle.text, "cases": [vars(case) for case in needle.cases]} for needle in held_needles]
    (place / "held_out_needles.json").write_text(json.dumps(packed), encoding="utf-8")
    manifest = {
        "fingerprint": fingerprint,
        "seed": seed,
        "sources": {s.name: {"version": s.version, "licence": s.licence} for s in chosen},
        "files": {"train": len(kept), "held_out": len(held)},
        "characters": {"train": sum(map(len, texts)), "held_out": sum(map(len, held_texts))},
        "bytes": {"held_out": sum(len(text.encode()) for text in held_texts)},
        "tokens": {name: len(array) for name, array in arrays.items()},
        "held_out_files": [document.source for document in held],
    }
    # Written last: a cache without it counts as unfinished.
    (place / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _documents_of(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Join what belongs together, so that a shuffle keeps prefix, suffix and middle of one piece in their order."""
    starts = [i for i, part in enumerate(parts) if part[0] == END_OF_TEXT]
    return [np.concatenate(parts[a:b]) for a, b in zip(starts, [*starts[1:], len(parts)], strict=True)]


def _asked(tokenizer: Tokenizer, needle: needles.Needle) -> np.ndarray:  # uint8 [tokens]
    """Which tokens of a needle, end-of-text before it included, belong to a value that is asked for."""
    offsets = [(0, 0), *tokenizer.encode(needle.text, add_special_tokens=False).offsets]
    starts, ends = np.array(offsets).T
    inside = np.zeros(len(offsets), dtype=np.uint8)
    for case in needle.cases:
        inside[(ends > case.start) & (starts < case.end)] = 1
    return inside


def _read(place: Path) -> TokenSet:
    def array(name: str) -> np.ndarray:
        return np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    packed = json.loads((place / "held_out_needles.json").read_text(encoding="utf-8"))
    found = [needles.Needle(n["text"], tuple(needles.Case(**case) for case in n["cases"])) for n in packed]
    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    return TokenSet(array("train"), array("needles"), array("asked"), array("held_out"), found, manifest)


class Windows:
    """An endless, seeded sequence of windows over a token array: every window once, then all again in another order.

    Window number i is a function of (seed, i) alone, so a position is enough to continue exactly.
    """

    def __init__(self, tokens: np.ndarray, length: int, seed: int):
        """`length`: tokens a window, without the one more that its last target needs."""
        if len(tokens) < 2 * length + 1:
            raise ValueError(f"{len(tokens)} tokens can't fill windows of {length}: give more text or shorter windows")
        self.tokens, self.length, self.seed = tokens, length, seed
        self.count = (len(tokens) - 1) // length - 1  # one less, so that each round may start at its own offset
        self._round, self._starts = -1, np.empty(0, dtype=np.int64)

    def batch(self, first: int, rows: int) -> np.ndarray:  # int64 [rows, length + 1]
        """Windows number `first` to `first + rows - 1`."""
        return np.stack([self._window(i) for i in range(first, first + rows)])

    def _window(self, number: int) -> np.ndarray:
        around, place = divmod(number, self.count)
        if around != self._round:
            rng = np.random.default_rng((self.seed, self.length, around))
            self._round = around
            self._starts = rng.integers(self.length) + rng.permutation(self.count) * self.length
        start = self._starts[place]
        return self.tokens[start : start + self.length + 1].astype(np.int64)


class WholeNeedles:
    """An endless, seeded sequence of windows that open with one long needle each, whole: its values are asked for far away.

    What is left of a window holds the beginning of the needles after it. As in `Windows`, the number is enough.
    """

    def __init__(self, tokens: np.ndarray, asked: np.ndarray, length: int, seed: int):
        """`tokens`, `asked`: as in `TokenSet`; `length`: tokens a window. Raises ValueError when no needle is long enough."""
        starts = np.flatnonzero(tokens == END_OF_TEXT)
        sizes = np.diff(starts, append=len(tokens))
        self.starts = starts[(sizes >= FAR) & (sizes <= length) & (starts + length < len(tokens))]
        if not len(self.starts):
            raise ValueError(f"no needle has {FAR} to {length} tokens: give more text, or longer files")
        self.tokens, self.asked, self.length, self.seed = tokens, asked, length, seed
        self._round, self._order = -1, np.empty(0, dtype=np.int64)

    def batch(self, first: int, rows: int) -> tuple[np.ndarray, np.ndarray]:  # both int64 [rows, length + 1]
        """Windows number `first` to `first + rows - 1`, and which of their tokens are asked for (1) or not (0)."""
        places = [slice(start, start + self.length + 1) for start in map(self._start, range(first, first + rows))]
        return tuple(np.stack([array[place].astype(np.int64) for place in places]) for array in (self.tokens, self.asked))

    def _start(self, number: int) -> int:
        around, place = divmod(number, len(self.starts))
        if around != self._round:
            self._round = around
            self._order = np.random.default_rng((self.seed, self.length, around)).permutation(self.starts)
        return self._order[place]
