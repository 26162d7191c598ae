"""The shipped model byte by byte: its laws are laws, go on as they began, and say what the page says they say."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
import torch

from labkit.errors import LabError, ModelError, PromptError
from labkit.law import Law
from labkit.lm import Session
from labkit.methods import build_law
from labkit.prompts import heldout
from labkit.run import run
from labkit.tokenization import byte_laws as laws
from labkit.tokenization.byte_laws import END, ExactBytes
from labkit.tokenization.byte_ngrams import trained
from labkit.tokenization.exact_bytes import EXACT, HEALING, NAIVE, Reader
from labkit.trace import Request, Setting, loads

METHOD = "exact-bytes"
NUM = "import numpy as np\nimport num"
RETU = "def mean(values):\n    retu"


def reading(pair, prompt: str | list[int]) -> Reader:
    ids = pair.vocabulary.encode(prompt) if isinstance(prompt, str) else prompt
    session = Session(pair.target, ids, Law())
    session.vocabulary, session.ends, session.memory = pair.vocabulary, pair.ends, pair.memory
    return Reader(session)


def test_along_held_out_text(shipped32):
    """200 places: the next bytes and the end add up to the text's own chance, and going on agrees with beginning anew."""
    places, anew = 0, 0
    for text in heldout(5):
        data = text.encode()
        reader = reading(shipped32, text[:9])
        exact = ExactBytes(reader.units, reader)
        law = exact.logprobs(reader.text)
        for byte in data[len(text[:9].encode()) :][:40]:
            mass, scale = exact.weights()
            assert np.log(mass.sum()) + scale == pytest.approx(exact.logprob, abs=1e-6)
            assert np.exp(law).sum() == pytest.approx(1, abs=1e-6) and np.isfinite(law[byte])
            before = reader.session.ledger.forwards
            law = exact.advance(byte)
            assert reader.session.ledger.forwards <= before + 1, "one call a byte"
            places += 1
            if places % 10 == 0:
                again = reading(shipped32, exact.text.decode())
                fresh = ExactBytes(again.units, again).logprobs(again.text)
                anew += len(again.head) == len(reader.head)
                if len(again.head) == len(reader.head):
                    assert np.exp(fresh) == pytest.approx(np.exp(law), abs=1e-5)
    assert places == 200 and anew >= 10


def test_behind_import_num(shipped32):
    """The aha: the naive law gives p next to nothing, the exact one nearly all; behind "retu" healing fails too."""
    reader = reading(shipped32, NUM)
    naive, healed = laws.naive(reader.units, reader, reader.text), laws.healed(reader.units, reader, reader.text)
    exact = np.exp(ExactBytes(reader.units, reader).logprobs(reader.text))
    assert naive[ord("p")] < 0.01 and healed[ord("p")] > 0.9 and exact[ord("p")] > 0.9
    reader = reading(shipped32, RETU)
    healed = laws.healed(reader.units, reader, reader.text)
    exact = np.exp(ExactBytes(reader.units, reader).logprobs(reader.text))
    assert healed[ord("r")] < 0.5 and exact[ord("r")] > 0.9


def test_one_forward_reads_the_prompt(shipped32):
    for prompt in (NUM, RETU, "x", "x = (1,\n     "):
        reader = reading(shipped32, prompt)
        exact = ExactBytes(reader.units, reader)
        exact.logprobs(reader.text)
        reader.notes(exact)
        assert reader.session.ledger.forwards == 1


def test_the_raw_laws_are_the_models(shipped64):
    """Whatever was asked before: a law of the reader is the softmax behind those tokens."""
    reader = reading(shipped64, RETU)
    exact = ExactBytes(reader.units, reader)
    exact.logprobs(reader.text)
    for byte in b"rn values":
        exact.advance(byte)
    for left, law in reader.known.items():
        logits = Session(shipped64.target, reader.head + reader.ids(left)).logits
        due = logits.softmax(-1)[reader.units.tokens].numpy()
        assert law[:-1] == pytest.approx(due, abs=1e-9)


def test_at_a_token_boundary_the_law_is_the_tokens(shipped64):
    """Where no token reaches over the prompt's end, the byte's chance is that of all the tokens that begin with it."""
    reader = reading(shipped64, "x = compute(value)\n")  # only spaces could go on with a line end
    exact = ExactBytes(reader.units, reader)
    law = np.exp(exact.logprobs(reader.text))
    cut = laws.by_byte(reader.units, exact.fronts[len(reader.text)].p, 0, len(reader.units.spelled), 0)
    assert law[ord("y")] > 0
    letters = [byte for byte in range(END) if chr(byte).isalpha() and byte < 128]
    own = cut[letters] / cut[letters].sum()
    assert law[letters] / law[letters].sum() == pytest.approx(own, abs=1e-9)


def test_what_stands_before(shipped32):
    """Marks stay as they are; a prompt that is one token gets an end of text before it; the far past is not cut anew."""
    assert reading(shipped32, "x").head == [0]
    assert reading(shipped32, NUM).head == []
    marked = reading(shipped32, [0, 3, 4, *shipped32.vocabulary.encode("\nend"), 5, *shipped32.vocabulary.encode("retu")])
    assert marked.head[-1] == 5 and marked.text == b"retu"
    assert reading(shipped32, [0, 5]).text == b""
    text = "value = value + 1\n" * 40
    far = reading(shipped32, text)
    assert far.ids(far.units.cut(text.encode())) == far.head + far.ids(far.units.cut(far.text))
    assert 2 * far.units.longest < len(far.text) < 2.5 * far.units.longest
    single = [reading(shipped32, "x").single[byte] for byte in "é".encode()]
    assert reading(shipped32, [0, *single]).text == "é".encode(), "any tokens, read by their bytes"
    with pytest.raises(PromptError, match="spell no text"):
        reading(shipped32, [0, single[1], single[1]])


def test_long_runs(shipped32):
    """A run of signs is cut in many ways, quickly; one that is too long is refused."""
    reader = reading(shipped32, "#" + "=" * 300)
    exact = ExactBytes(reader.units, reader)
    assert np.exp(exact.logprobs(reader.text)).sum() == pytest.approx(1)
    with pytest.raises(PromptError, match="ends with 1,001 bytes in one run, and 600 are the most"):
        reading(shipped32, "#" + "=" * 1000)


# -- the method --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [EXACT, HEALING, NAIVE])
def test_what_a_trace_holds(mode, shipped32, traced):
    ask = {"prompt": NUM, "max_new_tokens": 12, "temperature": 0.9, "knobs": {"mode": mode}}
    ask["transforms"] = [Setting("top-p", {"p": 0.95})]
    trace = traced(shipped32, METHOD, seed=1, **ask)
    assert loads(trace.dumps()).ids == trace.ids
    assert trace.closing.text == shipped32.vocabulary.decode(trace.ids)
    for step in trace.steps:
        assert step.emitted and len(step.beliefs) == len(step.sources) == len(step.emitted)
        assert [belief.token for belief in step.beliefs] == step.emitted
    assert [s.emitted for s in traced(shipped32, METHOD, seed=1, **ask).steps] == [s.emitted for s in trace.steps]
    assert traced(shipped32, METHOD, seed=5, **ask).ids != trace.ids
    assert trace.closing.text.startswith("p") == (mode != NAIVE)
    if mode == EXACT:
        assert trace.cost.target_forwards <= len(trace.steps)
    else:
        assert "laws" in trace.steps[0].notes and not trace.steps[-1].notes


def test_greedy_bytes_are_the_likeliest(shipped32, traced):
    trace = traced(shipped32, METHOD, prompt=RETU, max_new_tokens=20)
    text = RETU.encode()
    for step in trace.steps[::4]:
        reader = reading(shipped32, text.decode())
        law = ExactBytes(reader.units, reader).logprobs(reader.text)
        byte = int(law.argmax())
        place = trace.steps.index(step)
        said = b"".join(shipped32.vocabulary.spelling(one.emitted[0]) for one in trace.steps[place : place + 4])
        assert said[0] == byte
        assert step.beliefs[0].logprob == pytest.approx(law[byte], abs=1e-3) and step.beliefs[0].rank == 0
        assert step.notes["laws"][EXACT] == sorted(step.notes["laws"][EXACT], reverse=True) or step.notes["tv"][NAIVE] > 0
        text += said
    assert trace.closing.text.startswith("rn")


def test_temperature_acts_on_bytes(shipped32):
    """The law that a byte is drawn from is that of the bytes, to the power 1 / T."""
    reader = reading(shipped32, NUM)
    logs = ExactBytes(reader.units, reader).logprobs(reader.text)
    hot = build_law(2.0, [])(torch.from_numpy(logs)).numpy()
    due = np.exp(logs / 2)
    assert hot == pytest.approx(due / due.sum(), abs=1e-12)


def test_the_masks_knob_matters(shipped32, traced):
    found = [
        traced(shipped32, METHOD, prompt="x = fo", max_new_tokens=1, knobs={"mask": mask}).steps[0].notes["laws"][EXACT]
        for mask in (True, False)
    ]
    assert found[0] != found[1]


def test_a_second_voice(shipped32, traced):
    """With all the weight on the n-grams, the n-grams write; in between, the mean."""
    knobs = {"share": 1.0}
    trace = traced(shipped32, METHOD, prompt=NUM, max_new_tokens=1, knobs=knobs)
    law = trained().logprobs(NUM.encode())
    assert trace.steps[0].beliefs[0].logprob == pytest.approx(law.max(), abs=1e-6)


def test_the_end_of_a_text(shipped32, traced):
    trace = traced(shipped32, METHOD, prompt="import os\n", max_new_tokens=60, temperature=2.0, seed=4)
    assert trace.closing.reason in ("length", "end of text")
    reader = reading(shipped32, "x = 1\n")
    ids, rows = reader.bytes_of(b"", np.log(np.full(END + 1, 1 / (END + 1))))
    assert ids == [0] and rows.shape == (1, 4096)


def test_models_gone_bad(shipped32):
    reader = reading(shipped32, NUM)
    with pytest.raises(LabError, match="not numbers"):
        reader._raw(torch.full((4096,), float("nan")))


def test_a_vocabulary_without_bytes_is_refused():
    pair = tiny_models.letters_pair("llama, grouped, tied")
    with pytest.raises(ModelError, match="need a byte-level BPE"):
        list(run(pair, Request(method=METHOD, ids=[1], max_new_tokens=2)))
