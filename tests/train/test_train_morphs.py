"""What `labkit train morphs` writes: names by use, and a BPE of the rests that never joins two of them."""

from __future__ import annotations

import ast

import pytest

from labkit.tokenization.backend import FOLDER, spelled
from labkit.tokenization.endings import library_names
from labkit.train import morphs
from labkit.train.corpus import Document

SOURCE = "def often(a_b):\n    return a_b.used_only\n\n" * 9 + "class Often:\n    rare = often(often)\n"


def test_names_are_those_defined_and_used_often(monkeypatch):
    monkeypatch.setattr(morphs, "documents", lambda _: [Document("python/x.py", "python", SOURCE, "1"), *others()])
    monkeypatch.setattr(morphs, "is_held_out", lambda digest: digest == "2")
    assert ast.parse(SOURCE) and morphs.standard_names() == ["a_b", "often"]


def others():
    """Held out, a test, and what does not parse."""
    yield Document("python/y.py", "python", "kept_away = 1\n" * 20, "2")
    yield Document("python/test/z.py", "python", "tested = 1\n" * 20, "3")
    yield Document("python/old.py", "python", "print 'x'\n", "4")


def test_rests_are_what_morphemes_leave():
    found = morphs.rests("turkish", ["evler evx Evx\n(12) blog"])
    assert found == {"": 1, "x": 2, "(12)": 1, "blog": 1}


def test_the_pieces_join_within_a_rest_only():
    tokenizer = morphs.fallback(morphs.rests("turkish", ["blog blog() blog"]))
    names = [spelled(name) for name in tokenizer.get_vocab()]
    assert b"blog" in names and b"()" in names and b"blog()" not in names and len(names) <= morphs.FALLBACK


@pytest.mark.parametrize("language", morphs.LANGUAGES)
def test_the_shipped_files(language):
    from tokenizers import Tokenizer

    assert Tokenizer.from_file(str(FOLDER / f"morphs_{language}.json")).get_vocab_size() == morphs.FALLBACK
    names = library_names()
    assert names[0] == "self" and len(names) == len(set(names)) > 3000 and all(map(str.isidentifier, names))
    assert (
        sum(file.stat().st_size for file in FOLDER.glob("*morphs*")) + (FOLDER / "python_names.txt").stat().st_size
        < 500_000
    )
