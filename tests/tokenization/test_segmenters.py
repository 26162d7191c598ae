"""Every segmenter, whatever its kind: any text survives it byte for byte, and its pieces lie end to end."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from labkit.errors import KnobError, ModelError, PromptError
from labkit.knobs import schema
from labkit.models import Vocabulary, folder_of
from labkit.tokenization.segmenter import Split, all_segmenters, build_segmenter
from labkit.tokenization.shipped import Shipped

TEXTS = (
    "",
    "a",
    "def f(x):\n\treturn x  # don't, 1234567\r\n",
    "👨‍👩‍👧 🇫🇮 ❤️‍🔥",
    "e\u0301 é Z̷a̷l̷g̷o ﬁ İstanbul ß Ǆ",
    "الأطفال يلعبون 3 مرات\u200f!",
    "שלום and سلام",
    "서울 孩子们 ကလေး ბავშვები",
    "a\0b\0\0",
    "\ufeff\u2028\u00a0\x7f\x85",
    "   \n\n\n  \t ",
    "HTTPServer getHTTPResponseCode XMLHttp",
    "\U0010ffff\ue000",
)


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(folder_of("lab-target"), True)


def settings_of(cls):
    """The defaults, and each knob once at either end."""
    found = [{}]
    for knob in schema(cls):
        ends = knob.choices or ((True, False) if knob.kind == "bool" else (knob.low, knob.high))
        found += [{knob.name: knob.check(end)} for end in ends if end != knob.default]
    return found


CASES = [pytest.param(name, knobs, id=f"{name} {knobs}") for name, cls in all_segmenters().items() for knobs in settings_of(cls)]


def survives(segmenter, text):
    pieces, whole = segmenter.encode(text), text.encode()
    assert [piece.start for piece in pieces] == [0, *(piece.end for piece in pieces[:-1])][: len(pieces)]
    assert (pieces[-1].end if pieces else 0) == len(whole)
    assert segmenter.decode([piece.id for piece in pieces]) == whole


@pytest.mark.parametrize("name, knobs", CASES)
def test_texts_survive(name, knobs, vocabulary):
    segmenter = build_segmenter(name, knobs, vocabulary)
    for text in TEXTS:
        survives(segmenter, text)


@pytest.mark.parametrize("name", all_segmenters())
def test_any_text_survives(name, vocabulary):
    segmenter = build_segmenter(name, {}, vocabulary)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
    def holds(text):
        survives(segmenter, text)

    holds()


@pytest.mark.parametrize("name", all_segmenters())
def test_a_line_of_a_quarter_megabyte(name, vocabulary):
    segmenter = build_segmenter(name, {}, vocabulary)
    began = time.perf_counter()
    survives(segmenter, "a" * 2**17 + "x = 12; " * 2**14)
    assert time.perf_counter() - began < 30  # minutes or hours where something is quadratic


@pytest.mark.parametrize("name", all_segmenters())
def test_half_a_character_is_refused(name, vocabulary):
    with pytest.raises(PromptError, match=r"Character 3 of the text is half a character: take it out\."):
        build_segmenter(name, {}, vocabulary).encode("ab\ud83d")


@pytest.mark.parametrize("name", all_segmenters())
def test_boundaries_are_the_starts(name, vocabulary):
    segmenter, text = build_segmenter(name, {}, vocabulary), "x = שלום 👨‍👩‍👧"
    begins = segmenter.boundaries(text)
    assert len(begins) == len(text.encode()) and begins[0]
    assert [place for place, yes in enumerate(begins) if yes] == sorted(set(segmenter.starts(text)))


def test_a_name_that_is_not_there():
    with pytest.raises(KnobError, match="no segmenter 'bqe': choose one of"):
        build_segmenter("bqe", {})


def test_validity(vocabulary):
    model = build_segmenter("model", {}, vocabulary)
    word, letters = model.cut(" return"), [vocabulary.encode(letter)[0] for letter in " return"]
    assert model.is_valid(word) and not model.is_valid(letters)
    assert model.decode(letters) == b" return"
    assert not model.is_valid([vocabulary.encode("é")[0]])  # the first of its two bytes


def test_merges_are_undone_in_the_order_in_which_they_were_made(vocabulary):
    model = build_segmenter("model", {}, vocabulary)
    whole = model.undo(b" return")

    def check(split: Split):
        if split.halves:
            left, right = split.halves
            assert left.piece + right.piece == split.piece
            assert model.merges[split.rank] == (left.piece, right.piece)
            assert split.rank > max(left.rank, right.rank)
            return check(left) + check(right)
        assert len(split.piece) == 1
        return 1

    assert whole.piece == b" return" and check(whole) == 7
    assert build_segmenter("words", {}).undo(b"word") == Split(b"word")


class Lowering(Vocabulary):
    """A tokenizer that writes everything small."""

    size = 128

    def __init__(self):
        pass

    def encode(self, text):
        return [ord(letter) for letter in text.lower()]

    def spelling(self, token):
        return chr(token).encode()


def test_a_tokenizer_that_changes_the_text_is_refused():
    segmenter = Shipped(source=Lowering())
    assert segmenter.cut("small") == [ord(letter) for letter in "small"]
    with pytest.raises(ModelError, match="changes the text before it cuts it"):
        segmenter.cut("Large")


def test_a_tokenizer_that_writes_a_space_before_every_text(tmp_path):
    """SentencePiece's habit: the boundaries are those of the text that was given."""
    learned = Tokenizer(models.Unigram([("<unk>", 0.0), *((letter, -3.0) for letter in "▁abcé"), ("▁ab", -1.0), ("▁c", -1.0)], 0))
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    PreTrainedTokenizerFast(tokenizer_object=learned, unk_token="<unk>").save_pretrained(tmp_path)
    segmenter = Shipped(source=Vocabulary(tmp_path, True))
    assert [(start, end) for start, end, _ in segmenter.encode("ab cé")] == [(0, 2), (2, 4), (4, 6)]
    assert [(start, end) for start, end, _ in segmenter.encode("b")] == [(0, 1)]
    assert segmenter.encode("") == []
