import random

import numpy as np
import pytest

from labkit.train import tokens
from labkit.train.needles import make_needle
from labkit.train.tokenizer import END_OF_TEXT, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

CODE = "import os\n\n\ndef size(path):\n    return os.stat(path).st_size\n" * 120


def test_fill_in_the_middle_goes_back_to_the_text(tokenizer):
    (*parts,) = tokens.encode_documents(tokenizer, [CODE], random.Random(1), fim_share=1.0)
    ids = np.concatenate(parts).tolist()
    restored = ""
    for piece in _split(ids, END_OF_TEXT):
        if not piece:
            continue
        assert piece[0] == FIM_PREFIX
        suffix, middle = piece.index(FIM_SUFFIX), piece.index(FIM_MIDDLE)
        prefix_text, suffix_text, middle_text = (
            tokenizer.decode(part) for part in (piece[1:suffix], piece[suffix + 1 : middle], piece[middle + 1 :])
        )
        restored += prefix_text + middle_text + suffix_text
    assert restored == CODE


def test_without_it_documents_are_their_own_text(tokenizer):
    first, second = tokens.encode_documents(tokenizer, [CODE, "x = 1\n"], random.Random(1), fim_share=0.0)
    assert first[0] == second[0] == END_OF_TEXT
    assert tokenizer.decode(first[1:].tolist()) == CODE
    assert tokenizer.decode(second[1:].tolist()) == "x = 1\n"


def test_pieces_end_at_lines_and_join_to_the_text():
    parts = tokens.pieces(CODE, 500)
    assert "".join(parts) == CODE
    assert all(part.endswith("\n") and len(part) >= 500 for part in parts[:-1])
    assert tokens.pieces("no line end", 3) == ["no line end"]


@pytest.mark.parametrize("seed", range(40))
def test_a_needle_asks_for_what_it_assigned(seed):
    needle = make_needle(random.Random(seed), [CODE])
    assert len(needle.cases) >= 1
    for case in needle.cases:
        value = needle.text[case.start : case.end]
        line = needle.text[case.assigned : needle.text.index("\n", case.assigned)]
        assert line.rstrip(",").endswith(value)
        name = line.split('"')[0] if '"' in line else line.split(" =")[0]
        question = needle.text[case.asked : case.end]
        assert question.startswith("assert ")
        assert name in question
        assert case.assigned < case.asked < case.start < case.end
        assert needle.text[case.end] == "\n"


def test_windows_come_once_each_and_depend_on_the_number_alone():
    data = np.arange(1000, dtype=np.uint16)
    windows = tokens.Windows(data, 32, seed=5)
    one_round = windows.batch(0, windows.count)
    assert one_round.shape == (windows.count, 33)
    assert len({row[0] for row in one_round.tolist()}) == windows.count
    assert (np.diff(one_round, axis=1) == 1).all()
    again = tokens.Windows(data, 32, seed=5)
    assert (again.batch(windows.count + 3, 2) == windows.batch(windows.count + 3, 2)).all()
    assert (again.batch(7, 1)[0] == one_round[7]).all()
    assert (tokens.Windows(data, 32, seed=6).batch(0, 5) != one_round[:5]).any()


def test_whole_needles_open_with_a_needle_and_know_what_it_asks_for(tokenizer):
    rng = random.Random(4)
    made = [make_needle(rng, [CODE * 3]) for _ in range(40)]
    ids = np.concatenate(list(tokens.encode_documents(tokenizer, [one.text for one in made], rng, 0.0)))
    asked = np.concatenate([tokens._asked(tokenizer, one) for one in made])
    windows = tokens.WholeNeedles(ids, asked, 2048, seed=5)
    rows, marks = windows.batch(0, len(windows.starts))
    assert rows.shape == marks.shape == (len(windows.starts), 2049)
    by_text = {one.text: one for one in made}
    for row, mark in zip(rows, marks, strict=True):
        end = [*np.flatnonzero(row == END_OF_TEXT), len(row)][1]
        assert end > tokens.FAR
        needle = by_text[tokenizer.decode(row[1:end].tolist())]
        values = [needle.text[case.start : case.end] for case in needle.cases]
        groups = np.split(np.arange(1, end), np.flatnonzero(np.diff(mark[1:end])) + 1)
        told = [tokenizer.decode(row[group].tolist()).strip() for group in groups if mark[group[0]]]
        assert told == values
    again = tokens.WholeNeedles(ids, asked, 2048, seed=5)
    assert (again.batch(len(rows) + 2, 1)[0] == windows.batch(len(rows) + 2, 1)[0]).all()
    assert sorted(row.tobytes() for row in windows.batch(len(rows), len(rows))[0]) == sorted(row.tobytes() for row in rows)
    with pytest.raises(ValueError, match="no needle has 1000 to 1024 tokens"):
        tokens.WholeNeedles(ids[:500], asked[:500], 1024, seed=5)


def test_too_little_text_is_an_error():
    with pytest.raises(ValueError, match="100 tokens can't fill windows of 64"):
        tokens.Windows(np.zeros(100, dtype=np.uint16), 64, seed=0)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    assert tokens.cache_folder() == tmp_path / "train"
    monkeypatch.delenv("LABKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tokens.cache_folder() == tmp_path / "labkit" / "train"


def _split(ids: list[int], at: int) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    for token in ids:
        if token == at:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
