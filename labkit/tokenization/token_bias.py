"""P045, seen: what a cursor inside a token does to the law of the next byte."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, islice

import numpy as np
import torch

from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.tokenization import byte_laws as laws
from labkit.tokenization.byte_laws import ExactBytes
from labkit.tokenization.exact_bytes import EXACT, HEALING, NAIVE, Reader, behind, written
from labkit.trace import Step

ALONG = 90  # bytes of the text that are walked, the last ones
WRITTEN = 16  # bytes of each continuation
ENDS, INSIDE = "ends of tokens", "inside tokens"
SHARE = 3  # of held-out places, one in so many stands at a token's end
TEXTS = 120  # held-out ones


@dataclass
class TokenBias(Study):
    """Which byte comes next where the text ends inside a token (P045)?

    A cursor goes through the prompt, byte by byte, and stops where the knob says. At each place: the cover, and the three laws
    of the next byte; at the last, what greedy writing makes of each. Then the same laws at random places of held-out texts,
    two of three inside tokens. An end of text is put before each text. Greedy bytes are compared with greedy tokens: two ways
    of writing, not only two laws. Inside tokens (200 places) the shipped model's naive law is 0.83 away from the exact one, the
    healed law 0.18; at ends of tokens (100 places) 0.04 and 0.01, since a longer token may have been meant there too.
    """

    name, title, paper = "token-bias", "Token bias: inside a token", "P045"
    charts = ("byte_cover", "byte_laws", "byte_bias")
    cut: int = knob(0, 0, 80, unit="bytes", label="Cursor", help="stops so far before the prompt's end")
    places: int = knob(60, 0, 400, label="Held-out places", help="for the means on the right")

    def steps(self, session, rng):
        whole = session.vocabulary.decode(session.ids).encode()
        text = whole[: max(1, len(whole) - self.cut)]
        last, first = behind(session, text), max(0, len(text) - ALONG)
        reader = behind(session, text[:first])
        ends = set(accumulate(map(len, reader.units.cut(whole))))
        exact = ExactBytes(reader.units, reader)
        exact.logprobs(reader.text)
        known = {"along": [], "means": {}, "goes_on": {}, "done": 0, "of": len(text) - first + 3 + self.places}

        def told(**more) -> Step:
            known.update(more, done=known["done"] + 1)
            return Step([], notes=dict(known))

        for place in range(first, len(text)):
            exact.advance(text[place])
            letter = chr(text[place]) if text[place] < 0x80 else f"\\x{text[place]:02x}"
            row = [letter, place + 1 in ends, *distances(reader, exact)]
            yield told(along=[*known["along"], row], **reader.notes(exact))
        for mode in (NAIVE, HEALING, EXACT):
            yield told(goes_on=known["goes_on"] | {mode: goes_on(last, mode)})
        found, texts = {ENDS: [], INSIDE: []}, heldout(TEXTS)
        for place in range(self.places):
            kind = ENDS if place % SHARE == 0 else INSIDE
            found[kind].append(self.held_out(session, texts, kind, rng))
            yield told(means={kind: means(rows) for kind, rows in found.items() if rows})

    def held_out(self, session: Session, texts: list[str], kind: str, rng: torch.Generator) -> list[float]:
        """Both distances at a random place of a random text: the end of a token, or inside one."""

        def pick(count: int) -> int:
            return int(torch.randint(count, (), generator=rng))

        while True:
            tokens = session.vocabulary.encode(texts[pick(len(texts))])
            place = 1 + pick(len(tokens) - 1)
            spelled = [session.vocabulary.spelling(token) for token in tokens[: place + 1]]
            more = 0 if kind == ENDS else 1 + pick(max(1, len(spelled[-1]) - 1))
            if more < len(spelled[-1]):
                break
        reader = behind(session, b"".join(spelled[:-1]) + spelled[-1][:more])
        exact = ExactBytes(reader.units, reader)
        exact.logprobs(reader.text)
        return distances(reader, exact)


def distances(reader: Reader, exact: ExactBytes) -> list[float]:
    """Of the naive and the healed law from the exact one, where `exact` stands."""
    law = np.exp(exact.law())
    return [laws.distance(other(reader.units, reader, exact.text), law) for other in (laws.naive, laws.healed)]


def means(rows: list[list[float]]) -> dict:
    """Of both distances, and how many places they come from."""
    naive, healed = np.mean(rows, axis=0).tolist()
    return {NAIVE: naive, HEALING: healed, "places": len(rows)}


def goes_on(reader: Reader, mode: str) -> str:
    """What greedy writing makes of the text, the first WRITTEN bytes: by bytes in the exact mode, else by tokens."""
    return b"".join(islice(written(reader, mode), WRITTEN))[:WRITTEN].decode("utf-8", "backslashreplace")
