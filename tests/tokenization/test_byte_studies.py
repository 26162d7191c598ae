"""The studies of P045 on the shipped model: what they count is what separate runs give."""

from __future__ import annotations

from itertools import accumulate
from types import SimpleNamespace

import numpy as np
import pytest

from labkit.errors import ModelError
from labkit.law import Law
from labkit.lm import Session
from labkit.prompts import heldout
from labkit.tokenization import byte_laws as laws
from labkit.tokenization import fim_bytes
from labkit.tokenization.byte_laws import Ensemble, ExactBytes
from labkit.tokenization.byte_ngrams import trained
from labkit.tokenization.exact_bytes import EXACT, HEALING, NAIVE, behind
from labkit.tokenization.fim_bytes import FimBytes, gaps, line

RETU = "def mean(values):\n    retu"


def session_of(pair, text: str = "x") -> Session:
    session = Session(pair.target, pair.vocabulary.encode(text), Law())
    session.vocabulary, session.ends, session.memory = pair.vocabulary, pair.ends, pair.memory
    return session


def test_token_bias(shipped32, traced):
    trace = traced(shipped32, "token-bias", prompt=RETU, knobs={"places": 6}, seed=2)
    last = trace.steps[-1].notes
    assert trace.closing.reason == "done" and last["done"] == last["of"] == len(trace.steps)
    ends = set(accumulate(len(shipped32.vocabulary.spelling(token)) for token in shipped32.vocabulary.encode(RETU)))
    assert [row[1] for row in last["along"]] == [place + 1 in ends for place in range(len(RETU))]
    for place in (1, 9, len(RETU)):  # beginning anew gives what going on gave
        reader = behind(session_of(shipped32), RETU[:place].encode())
        exact = np.exp(ExactBytes(reader.units, reader).logprobs(reader.text))
        naive, healed = (law(reader.units, reader, reader.text) for law in (laws.naive, laws.healed))
        due = [laws.distance(naive, exact), laws.distance(healed, exact)]
        assert last["along"][place - 1][2:] == pytest.approx(due, abs=1e-4)
    assert last["goes_on"][EXACT].startswith("rn") and not last["goes_on"][NAIVE].startswith("r")
    inside, ends = last["means"]["inside tokens"], last["means"]["ends of tokens"]
    assert (inside["places"], ends["places"]) == (4, 2) and inside[NAIVE] > ends[NAIVE] and inside[NAIVE] > inside[HEALING]


def test_a_cursor_inside_a_character(shipped32, traced):
    trace = traced(shipped32, "token-bias", prompt="x = 'é'", knobs={"cut": 2, "places": 0})
    assert [row[0] for row in trace.steps[-1].notes["along"]][-1] == "\\xc3"
    notes = next(step.notes for step in trace.steps if len(step.notes["along"]) == 6)
    assert all(0x80 <= byte < 0xC0 or p == 0 for byte, p in zip(notes["bytes"], notes["laws"][EXACT]))


def test_gaps_begin_inside_tokens(shipped32):
    spelling, encode = shipped32.vocabulary.spelling, shipped32.vocabulary.encode
    for gap in gaps(lambda text: [spelling(token) for token in encode(text)], 12):
        ends = list(accumulate(len(spelling(token)) for token in encode(gap.prefix + gap.middle + gap.suffix)))
        assert len(gap.prefix) not in ends and "\n" not in gap.middle and gap.suffix.startswith("\n")


def test_gaps_are_filled_in_their_order(shipped32, traced, monkeypatch):
    """The suffix first, then the prefix; right is what equals the middle."""
    seen = []
    reader = fim_bytes.Reader

    def spy(session):
        seen.append(list(session.ids))
        return reader(session)

    monkeypatch.setattr(fim_bytes, "Reader", spy)
    trace = traced(shipped32, "fim-bytes", knobs={"gaps": 4}, prompt="x")
    last, encode = trace.steps[-1].notes, shipped32.vocabulary.encode
    found = gaps(shipped32.memory["token bytes"], 4)
    assert len(trace.steps) == len(seen) == 16 and last["gaps"] == 4
    assert seen[0] == [0, 3, 4, *encode(found[0].suffix), 5, *encode(found[0].prefix)]
    assert seen[3] == [0, *encode(found[0].prefix)], "the control does not see the suffix"
    whole = [step.notes["now"] for step in trace.steps if len(step.notes["now"]["said"]) == 4]
    assert last["right"] == {way: sum(now["said"][way] == now["middle"] for now in whole) for way in fim_bytes.WAYS}
    assert last["right"][EXACT] >= last["right"][NAIVE]


def test_a_line_ends():
    assert line(iter([b"ab", b"c\nd", b"e"]), 20) == "abc"
    assert line(iter([b"ab", b"", b"never"]), 20) == "ab"
    assert line(iter([b"abcdef"] * 9), 10) == "abcdef" * 2


def test_a_model_without_marks_is_refused():
    plain = SimpleNamespace(vocabulary=SimpleNamespace(encode=lambda text: list(text.encode())))
    with pytest.raises(ModelError, match="no fill-in-the-middle marks"):
        next(FimBytes().steps(plain, None))


def test_byte_ensemble(shipped32, traced):
    """Its ends are the two members, and the mean in between is the ensemble's."""
    trace = traced(shipped32, "byte-ensemble", knobs={"texts": 1, "length": 16}, prompt="x")
    last = trace.steps[-1].notes
    data = heldout(1)[0].encode()[:24]
    reader = behind(session_of(shipped32), data[:8])
    for share in (0.0, 0.5, 1.0):
        law = Ensemble([ExactBytes(reader.units, reader), trained()], [1 - share, share])
        logs, bits = law.logprobs(data[:8]), 0.0
        for byte in data[8:]:
            bits -= logs[byte] / np.log(2)
            logs = law.advance(byte)
        assert last["bits"][last["shares"].index(share)] == pytest.approx(bits / 16, abs=1e-4)
    assert last["bytes"] == 16 and last["done"] == last["of"]
