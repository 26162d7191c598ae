"""Prompt lookup: the text so far is its own draft."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.knobs import knob
from labkit.speculative.ground import MATCH, Proposal, Speculative, room
from labkit.trace import Tree


@dataclass
class Lookup(Speculative):
    """Find where the last few tokens stood before and propose what followed them then; no draft model.

    Saxena 2023 (prompt lookup decoding). The longest match wins, among equals the most recent one.
    """

    name, title, drafts = "lookup", "Prompt lookup", "free"
    verifier = MATCH
    length: int = knob(10, 1, 24, unit="tokens", label="Copied tokens", help="proposed after a match")
    longest: int = knob(3, 1, 6, unit="tokens", label="Longest match", help="of the last tokens")

    def start(self, session):
        self.seen = [{} for _ in range(self.longest)]  # per n: n-gram -> where what follows it begins, latest wins
        self.indexed = 0

    def propose(self, session, rng):
        ids = session.ids
        for end in range(self.indexed + 1, len(ids)):  # n-grams that something follows
            for n in range(1, min(self.longest, end) + 1):
                self.seen[n - 1][tuple(ids[end - n : end])] = end
        self.indexed = max(self.indexed, len(ids) - 1)
        tokens: list[int] = []
        for n in range(min(self.longest, len(ids)), 0, -1):
            at = self.seen[n - 1].get(tuple(ids[-n:]))
            if at is not None:
                tokens = ids[at : at + min(self.length, room(session))]
                break
        return Proposal(Tree(tokens, list(range(-1, len(tokens) - 1)), source="lookup"))
