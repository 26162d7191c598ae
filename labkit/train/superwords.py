"""The superword tokenizer (P034): SuperBPE's two stages over code, style sheets, licences, headers and 74 languages."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from labkit.tokenization.backend import FOLDER
from labkit.tokenization.bpe import LINE, tokenizer_of, train_superwords
from labkit.tokenization.languages import locales, to_learn
from labkit.tokenization.superwords import FILE, SIZE, TRANSITION
from labkit.tokenization.texts import domain
from labkit.train.tokenizers import compact

KILOBYTES = {"python": 500, "css": 150, "c++": 200, "legal": 300}


def train_superword_tokenizer(
    size: int = SIZE, transition: int = TRANSITION, folder: Path = FOLDER, report: Callable[[str], None] = print
) -> Path:
    """Learn and write the tokenizer, with its figures beside it; returns its file. Some minutes.

    Raises ValueError unless 256 < `transition` < `size`.
    """
    if not 256 < transition < size:
        raise ValueError(f"size {size} and transition {transition} do not fit: give 256 < transition < size")
    texts = [text for name, room in KILOBYTES.items() for text in domain(name, room)]
    code = sum(len(text.encode()) for text in texts)
    texts += [phrase + "\n" for locale in locales() for phrase in to_learn(locale)]
    read = sum(len(text.encode()) for text in texts)
    report(f"learning {size:,} entries from {read / 1e6:.1f} MB, across the spaces from {transition:,} on")
    merges = train_superwords(texts, size, transition)
    tokenizer = tokenizer_of(merges, LINE)
    held_out = {name: "".join(domain(name, 100, held_out=True)) for name in KILOBYTES}
    rates = {name: round(len(text.encode()) / len(tokenizer.encode(text).ids), 3) for name, text in held_out.items()}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    file.write_bytes(gzip.compress(compact(tokenizer).encode(), mtime=0))
    figures = {"size": size, "transition": transition, "bytes of code and prose": code, "bytes of phrases": read - code}
    figures |= {"languages": len(locales()), "bytes a token, held out": rates}
    (folder / "superwords.figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    report(f"bytes a token on held-out text: {rates}")
    return file
