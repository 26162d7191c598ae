"""StochasTok (P099): split tokens at random while training, so that a model sees what its tokens are made of.

A tokenizer's own cut is one of many ways to write a text with the same vocabulary. StochasTok takes the cut and splits some of
its tokens in two, again and again, wherever both halves are tokens. BPE-dropout leaves out merges instead, and so needs the
merges; splitting into single bytes is the far end of both. All three leave the text as it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from labkit.errors import ModelError
from labkit.knobs import knob
from labkit.methods import Study
from labkit.models import byte_letters
from labkit.paths import DATA
from labkit.tokenization.shipped import Shipped
from labkit.trace import Step

ARMS = ("plain", "dropout", "stochastok")  # the ways the shipped parts `letters-ARM` read their text
WAYS = ("StochasTok", "BPE-dropout", "single bytes")
ROWS = 7  # cuts that are kept whole, the newest ones

Table = dict[int, list[tuple[int, int]]]


def expansions(vocabulary: dict[bytes, int]) -> Table:
    """Of every token all pairs of tokens whose bytes joined are its own; tokens without a pair are left out.

    Any cut counts, not only the one of the merge that made the token. The release caches this table as JSON, which turns its
    keys into strings: from the second run on no token is found in it, and nothing is ever split. Ours is not stored.
    """
    found: Table = {}
    for piece, token in vocabulary.items():
        halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        pairs = [(vocabulary[left], vocabulary[right]) for left, right in halves if left in vocabulary and right in vocabulary]
        if pairs:
            found[token] = pairs
    return found


def below(number: int, rng: torch.Generator) -> int:
    """A whole number from 0 to `number` - 1, all alike."""
    return int(torch.randint(number, (), generator=rng))


def stochastok(ids: Sequence[int], table: Table, p: float, rng: torch.Generator, most: int | None = None) -> list[int]:
    """Another way to write the same text: int(len(ids) * p) times a place is drawn, and its token split if that can be done.

    Places are drawn from the sequence as it is by then, so a half may be split again; of a token's pairs all are equally likely.
    A token without a pair (a single byte, a special token) costs the attempt. `most` ends it after so many splits; None = none.
    """
    ids, first = list(ids), len(ids)
    for _ in range(int(len(ids) * p)):
        if most is not None and len(ids) - first >= most:
            break
        place = below(len(ids), rng)
        if pairs := table.get(ids[place]):
            ids[place : place + 1] = pairs[below(len(pairs), rng)]
    return ids


def merged(word: bytes, ranks: dict[tuple[bytes, bytes], int], p: float, rng: torch.Generator) -> list[bytes]:
    """BPE-dropout (Provilkov et al. 2020) of one pre-token: before every merge each that could be done is left out with chance p.

    Ends when none is left in. p = 0 is plain BPE, p = 1 leaves single bytes. Written out here because the `tokenizers` library
    draws from a source that has no seed, and looks at left-out merges more often than the paper: it leaves out fewer (measured).
    """
    parts = [word[at : at + 1] for at in range(len(word))]
    while len(parts) > 1:
        ready = [(rank, at) for at, pair in enumerate(zip(parts, parts[1:])) if (rank := ranks.get(pair)) is not None]
        if p:
            coins = torch.rand(len(ready), generator=rng).tolist()
            ready = [one for one, coin in zip(ready, coins) if coin >= p]
        if not ready:
            break
        at = min(ready)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def dropper(segmenter: Shipped) -> Callable[[str, float, torch.Generator], list[int]]:
    """BPE-dropout for a byte-level BPE: text, chance and randomness in, tokens out. Raises `ModelError` for another kind."""
    backend = getattr(segmenter.source.tokenizer, "backend_tokenizer", None)
    letters, ids, pairs = byte_letters(), segmenter.vocabulary, segmenter.merges
    if backend is None or backend.pre_tokenizer is None or not pairs or any(bytes([byte]) not in ids for byte in range(256)):
        raise ModelError("This model's tokenizer is no byte-level BPE, so no merge can be left out: choose StochasTok.")
    ranks = {pair: rank for rank, pair in enumerate(pairs)}

    def cut(text: str, p: float, rng: torch.Generator) -> list[int]:
        named = (name for name, _ in backend.pre_tokenizer.pre_tokenize_str(text))
        words = (bytes(letters[letter] for letter in name) for name in named)
        return [ids[piece] for word in words for piece in merged(word, ranks, p, rng)]

    return cut


def trained(*names: str) -> list[dict]:
    """These figures of the shipped arms, as `labkit train letters` wrote them; none for an arm that is not there."""
    files = [DATA / "models" / "parts" / f"letters-{arm}.json" for arm in ARMS]
    known = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    return [{name: one[name] for name in names} for one in known]


@dataclass
class StochasTok(Study):
    """The same text, cut into tokens again and again: where the new cuts fall, and what the model thinks of each.

    Every step cuts the prompt anew and lets the model read the result behind an end of text: ln p of the whole segmentation, and
    how far the law of the next token moves (total variation; 0 = not at all, 1 = another law). Training on such cuts is the
    paper's method; `labkit train letters` does it for the shipped draft. Left out: training while you watch.
    """

    name, title, paper = "stochastok", "StochasTok: split tokens", "P099"
    charts = ("segmentations", "cut_places", "segmentation_scores")
    p: float = knob(0.1, 0.0, 1.0, step=0.05, label="Rate p", help="share of tokens tried")
    way: str = knob(WAYS[0], choices=WAYS, help="what cuts the text")
    draws: int = knob(40, 1, 200, unit="cuts", label="Cuts", help="one a step")
    most: int = knob(0, 0, 200, unit="splits", label="At most", help="0 is no limit")

    def steps(self, session, rng):
        if not session.ends:
            raise ModelError("This model has no end-of-text token, behind which a text could begin: choose another model.")
        segmenter, lead = Shipped(session.vocabulary), min(session.ends)
        plain = [token for token in session.ids if segmenter.spelling(token)]
        draw = self._drawing(segmenter, plain)
        text = segmenter.decode(plain)
        at_first, law = self._read(session, lead, plain)
        starts = _starts(segmenter, plain)
        counts, scores, rows = Counter(), [], []
        draws = 1 if self.way == WAYS[2] else self.draws  # there is one way to write single bytes
        for done in range(1, draws + 1):
            ids = draw(rng)
            nats, after = self._read(session, lead, ids)
            moved = (after - law).abs().sum().item() / 2
            counts.update(_starts(segmenter, ids))
            scores.append([len(ids), nats, moved])
            rows = [{"ids": ids, "sizes": _sizes(segmenter, ids), "nats": nats, "moved": moved}, *rows][:ROWS]
            yield Step(
                emitted=[],
                notes={
                    "done": done,
                    "of": draws,
                    "way": self.way,
                    "plain": {"ids": plain, "sizes": _sizes(segmenter, plain), "nats": at_first, "starts": starts},
                    "bound": len(plain) + int(len(plain) * self.p) if self.way == WAYS[0] else 0,
                    "letters": [chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in text],
                    "begins": [counts[place] for place in range(len(text))],
                    "rows": rows,
                    "scores": scores[:],
                    "tokens": [row["ids"] for row in rows] + [plain],
                },
            )

    def _drawing(self, segmenter: Shipped, plain: list[int]) -> Callable[[torch.Generator], list[int]]:
        """What cuts the text anew, as the knobs say."""
        if self.way == WAYS[0]:
            table = expansions(segmenter.vocabulary)
            return lambda rng: stochastok(plain, table, self.p, rng, self.most or None)
        cut, text = dropper(segmenter), segmenter.decode(plain).decode(errors="ignore")
        return lambda rng: cut(text, self.p if self.way == WAYS[1] else 1.0, rng)

    def _read(self, session, lead: int, ids: list[int]) -> tuple[float, torch.Tensor]:
        """ln p of these tokens behind an end of text, and the raw law of the next token [V]."""
        rows = session.open([lead, *ids]).prompt_logits().log_softmax(-1)
        wanted = torch.tensor(ids, device=rows.device)[:, None]
        return rows[:-1].gather(1, wanted).sum().item(), rows[-1].exp()


def _sizes(segmenter: Shipped, ids: Sequence[int]) -> list[int]:
    """Bytes in each token."""
    return [len(segmenter.spelling(token)) for token in ids]


def _starts(segmenter: Shipped, ids: Sequence[int]) -> list[int]:
    """Where the tokens begin, in bytes."""
    return [0, *accumulate(_sizes(segmenter, ids))][:-1]
