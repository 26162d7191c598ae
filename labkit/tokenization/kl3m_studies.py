"""KL3M's two questions (P075): what a domain's own tokenizer saves, and how far one wrong letter spreads."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from labkit.knobs import knob
from labkit.methods import Study
from labkit.tokenization.kl3m import CAPS, CUSTOM, SIZES, CharBpe, DomainBpe
from labkit.tokenization.metrics import bytes_per_token
from labkit.tokenization.ocr import Column, changed, corrupt, survival
from labkit.tokenization.segmenter import Segmenter
from labkit.tokenization.texts import DOMAINS, domain
from labkit.tokenization.zoo import Bpe
from labkit.trace import Step

KILOBYTES = 100  # of held-out text of each domain
LONGEST_TEXT = 320  # characters of the person's text that are drawn


def held_out(name: str, kilobytes: int = KILOBYTES) -> str:
    """Text of a domain that no tokenizer learned from."""
    whole = "\n".join(domain(name, kilobytes, held_out=True)).encode()
    return whole[: 1000 * kilobytes].decode(errors="ignore")


@dataclass
class Domains(Study):
    """What does a tokenizer of a domain's own save, beside one that learned from everything (P075)?

    Bytes per token of each on each. Vocabularies of the same size, trained on 480 kB of each domain; measured on 100 kB of files
    they never saw. Licences repeat each other, so held-out ones are no surprise to a tokenizer that read others. The paper
    reports 9 to 17 % fewer tokens than GPT-4o's and Llama 3's tokenizers on its domains.
    """

    name, title, paper = "domains", "A tokenizer for one domain", "P075"
    charts = ("domain_matrix", "domain_custom")
    size: str = knob("4096", choices=SIZES, help="tokens in every vocabulary")
    custom: bool = knob(True, label="Custom tokens", help="curated phrases are tokens of their own")

    def steps(self, session, rng):
        own = session.vocabulary.decode(session.ids)
        texts = {name: held_out(name) for name in DOMAINS}
        rows = {}
        for name in CUSTOM:
            both = {flag: DomainBpe(name, flag, self.size) for flag in (True, False)}
            chosen = both[self.custom]
            row = {of: bytes_per_token(text, chosen.cut(text)) for of, text in texts.items()}
            row["your text"] = bytes_per_token(own, chosen.cut(own))
            text = texts.get(name) or "\n".join(texts.values())
            counted = {str(flag): len(segmenter.cut(text)) for flag, segmenter in both.items()}
            rows[name] = {"bytes_per_token": row, "with_custom": counted["True"], "without": counted["False"]}
            rows[name]["custom"] = len(CUSTOM[name])
            yield Step(emitted=[], notes={"done": len(rows), "of": len(CUSTOM), "tokenizers": rows.copy()})


@dataclass
class OcrNoise(Study):
    """How far does one wrong letter spread, if no token is longer than 1 to 8 characters (P075)?

    A text and its bad scan are cut alike, with one limit a step, and at last without. The curves come from held-out text of a
    domain. All tokenizers have about as many types, but for the first, whose tokens are the 256 bytes. Agreement counts only
    places outside the errors.
    """

    name, title, paper = "ocr-noise", "One wrong letter, and how far it spreads", "P075"
    charts = ("ocr_lines", "ocr_caps")
    noise: float = knob(0.1, 0.0, 0.1, step=0.005, help="chance of an error where one fits")
    max_chars: int = knob(8, CAPS[0], CAPS[-1], unit="characters", help="limits from 1 to this one are tried")
    text: str = knob("legal", choices=DOMAINS, help="for the curves: whose held-out text")
    kilobytes: int = knob(15, 5, 100, unit="kB", help="for the curves: how much of it")

    def steps(self, session, rng):
        seed = int(torch.randint(2**31, (), generator=rng))
        own = session.vocabulary.decode(session.ids)[:LONGEST_TEXT]
        lines, columns = (corrupt(t, self.noise, random.Random(seed).random) for t in (own, held_out(self.text, self.kilobytes)))
        segmenters = {**{str(cap): CharBpe(cap) for cap in CAPS[: self.max_chars]}, "any": Bpe(4096)}
        rows = []
        for cap, segmenter in segmenters.items():
            clean, noisy = both_starts(columns, segmenter)
            letters = sum(len(before.encode()) for before, _ in columns)
            figures = survival(columns, clean, noisy)._asdict()
            rows.append({"cap": cap, **figures, "bytes_per_token": letters / len(clean) if clean else 0.0})
            starts = both_starts(lines, segmenter)
            notes = {"done": len(rows), "of": len(segmenters), "caps": rows.copy(), "cap": cap, "starts": starts}
            notes |= {"columns": [list(column) for column in lines], "own": survival(lines, *starts)._asdict()}
            yield Step(emitted=[], notes=notes | {"changed": sorted(changed(lines, *starts))})


def both_starts(columns: list[Column], segmenter: Segmenter) -> list[list[int]]:
    """Where tokens begin in the clean text and in the scanned one, in bytes."""
    sides = ["".join(column[side] for column in columns) for side in (0, 1)]
    return [segmenter.starts(text) for text in sides]
