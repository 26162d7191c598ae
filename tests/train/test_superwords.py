"""The trainer of the superword tokenizer: its file encodes as the segmenter will read it, its figures are measured."""

from __future__ import annotations

import json

import pytest

from labkit.tokenization.backend import load
from labkit.tokenization.languages import to_learn
from labkit.tokenization.texts import domain
from labkit.train import superwords
from labkit.train.superwords import train_superword_tokenizer


def test_it_writes_a_tokenizer_and_its_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(superwords, "KILOBYTES", {"css": 10})
    monkeypatch.setattr(superwords, "locales", lambda: ("vi",))
    file = train_superword_tokenizer(500, 400, tmp_path, report=lambda said: None)
    tokenizer = load(str(file))
    assert tokenizer.get_vocab_size() == 500
    crossed = [name for name, token in tokenizer.get_vocab().items() if token >= 400 and "Ġ" in name.strip("Ġ")]
    assert crossed and all("Ġ" not in name.strip("Ġ") for name, token in tokenizer.get_vocab().items() if 256 <= token < 400)
    figures = json.loads((tmp_path / "superwords.figures.json").read_text())
    held_out = "".join(domain("css", 100, held_out=True))
    rate = len(held_out.encode()) / len(tokenizer.encode(held_out).ids)
    assert figures["bytes a token, held out"] == {"css": round(rate, 3)}
    assert figures["bytes of phrases"] == sum(len(phrase.encode()) + 1 for phrase in to_learn("vi"))


@pytest.mark.parametrize(("size", "transition"), [(500, 256), (500, 500), (400, 500)])
def test_sizes_must_fit(size, transition, tmp_path):
    with pytest.raises(ValueError, match="256 < transition < size"):
        train_superword_tokenizer(size, transition, tmp_path)
