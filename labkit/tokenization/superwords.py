"""P034's superwords (SuperBPE) for the ribbon."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.knobs import knob
from labkit.tokenization.backend import FOLDER, Backend, shortened

FILE = "superwords.json.gz"
SIZE, TRANSITION = 12_000, 7_000  # entries; from the transition on, merges may cross the spaces


@dataclass
class Superwords(Backend):
    """Byte-pair encoding whose later merges cross the spaces, so that "of the" may be one token (P034; SuperBPE).

    The first entries are learned inside words, the others inside lines; the text was code, licences and 74 languages' phrases.
    """

    name, title, paper = "superwords", "Superwords", "P034"
    size: int = knob(SIZE, 256, SIZE, step=8, unit="entries", label="Entries", help=f"from {TRANSITION:,} on across spaces")

    @property
    def tokenizer(self):
        return shortened(str(FOLDER / FILE), self.size - 256)
