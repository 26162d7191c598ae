"""Long traces are kept packed: nothing is lost, what is looked at is opened, and a hostile file cannot fill the memory."""

from __future__ import annotations

import gzip
import json
import random

import pytest
from made_traces import long_trace, plain_trace, tree_trace
from test_trace import BROKEN, whole

from labkit import packed
from labkit import trace as traces
from labkit.errors import TraceError
from labkit.trace import Belief, Step, load, loads
from labkit.views import read
from labkit.views.strip import MOST, rows, strip
from labkit.views.text import escaped

KINDS = ("plain", "tree", "any")


def lines(data: bytes) -> list:
    """A packed file as anybody can read it: gunzip, then one JSON value a line."""
    return [json.loads(line) for line in gzip.decompress(data).splitlines()]


def pressed(*values) -> bytes:
    """A packed file, one value a line and member."""
    return b"".join(packed.press(json.dumps(value).encode() + b"\n") for value in values)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_trace_stays_packed_and_loses_nothing(kind, tmp_path):
    made = long_trace(12_000, kind)
    if kind == "tree":
        made.steps *= 1 + traces.LONG_RUN // len(made.steps)
    made.save(tmp_path / "long.json")
    made.save(tmp_path / "long.json.gz")
    assert (tmp_path / "long.json.gz").stat().st_size < (tmp_path / "long.json").stat().st_size / 2
    for name in ("long.json", "long.json.gz"):
        again = load(tmp_path / name)
        assert again.is_packed and len(again.steps.blocks) > 4
        assert again.opening == made.opening and again.closing == made.closing
        assert again.steps == made.steps and again.ids == made.ids and again.pieces == made.pieces
        assert again.dumps() == made.dumps()
        assert loads(again.pack()).steps == made.steps


def test_a_short_trace_is_as_it_always_was(tmp_path):
    for made in (whole(), plain_trace(), tree_trace()):
        made.save(tmp_path / "run.json.gz")
        made.save(tmp_path / "run.json")
        assert (tmp_path / "run.json").read_bytes() == made.dumps()
        for name in ("run.json.gz", "run.json"):
            again = load(tmp_path / name)
            assert again == made and isinstance(again.steps, list)


def test_the_packed_form_is_gzipped_lines_of_json():
    made = tree_trace(40)
    head, *steps = lines(made.pack())
    assert head["steps"] == [] and head["schema"] == traces.SCHEMA
    assert [step for batch in steps for step in batch] == json.loads(made.dumps())["steps"]
    assert made.pack() == made.pack()


def test_a_packed_list_is_a_list():
    """Places, slices and what is added, as a list has them; whichever block was open before."""
    made = long_trace(8000).steps
    held = packed.Packed(Step)
    for first in range(0, 8000, 100):
        held.take(b"[" + b",".join(map(traces.msgspec.json.encode, made[first : first + 100])) + b"]\n")
    chance = random.Random(1)
    for place in (0, 99, 100, 7999, -1, -8000, *(chance.randrange(8000) for _ in range(200))):
        assert held[place] == made[place]
    for place in (8000, -8001):
        with pytest.raises(IndexError):
            held[place]
    assert held[50:250][100] == made[150] and held[50:250][-1] == made[249] and len(held[7990:9000]) == 10
    assert held[10:400:7] == made[10:400:7] and held[50:250][10:20] == made[60:70]
    assert list(held) == made and held == made and held != made[:-1]
    held.append(made[0])
    assert len(held) == 8001 and held[-1] is made[0] and held[7999] == made[7999] and held.tail == [made[0]]
    assert held.index(made[300]) == made.index(made[300])


def test_views_read_packed_steps():
    made = long_trace(6000)
    again = loads(made.pack())
    assert again.is_packed
    assert read.tokens(again, 5000)[-1] == read.tokens(made, 5000)[-1]
    assert read.step_at(again, 4321) == read.step_at(made, 4321) and read.cost(again, 200) == read.cost(made, 200)


def test_blocks_are_kept_in_our_own_spelling():
    """Fields nobody knows, blanks and repeated names do not come through to a page."""
    step = {"type": "step", "emitted": [1], "pieces": {"1": "x"}, "whole": True, "__proto__": {"a": 1}}
    head = json.loads(whole().dumps()) | {"steps": []}
    found = loads(pressed(head, [step] * (traces.LONG_RUN + 1)))
    assert found.is_packed
    texts = [packed.zlib.decompress(block, wbits=31) for block in found.steps.blocks]
    assert not any(b"whole" in text or b"proto" in text or b" " in text for text in texts)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_as_json_is_broken_when_packed(name):
    try:
        data = json.loads(BROKEN[name])
        head, steps = {**data, "steps": []}, data["steps"]
        file = pressed(head, steps)
    except (ValueError, KeyError, TypeError, RecursionError):
        text = BROKEN[name]
        file = packed.press(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    with pytest.raises(TraceError) as caught:
        loads(file)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_damaged_files_give_one_sentence():
    good = tree_trace(400).pack()
    chance = random.Random(3)
    for cut in (2, 20, len(good) // 2, len(good) - 1):
        with pytest.raises(TraceError, match="This is no whole trace"):
            loads(good[:cut])
    for _ in range(100):
        bad = bytearray(good)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        try:
            loads(bytes(bad))  # a flag of gzip's own may change and mean nothing
        except TraceError as refused:
            assert str(refused).endswith(".")
    with pytest.raises(TraceError, match="This is no whole trace"):
        loads(good + b"and more")
    with pytest.raises(TraceError, match="has version 9"):
        loads(pressed({"schema": 9}))


def test_a_bomb_is_refused_before_it_is_whole(monkeypatch):
    """A few kilobytes that open to gigabytes: neither one line nor all of them may."""
    head = json.loads(whole().dumps()) | {"steps": []}
    zeros = packed.press(b"[" + b" " * (packed.LARGEST_LINE + 1) + b"]")
    assert len(zeros) < 100_000
    with pytest.raises(TraceError, match="a line of it has more than"):
        loads(pressed(head) + zeros)
    monkeypatch.setattr(packed, "LARGEST_WHOLE", 50_000)
    with pytest.raises(TraceError, match="more than 50,000 bytes unpacked"):
        loads(pressed(head) + packed.press(b"[" + b" " * 20_000 + b"]") * 9)


def test_a_damage_far_behind_is_named():
    made = long_trace(6000)
    made.steps[5500] = Step([1], beliefs=[Belief(1, 0.5, -0.1, 0, [1, 2], [-0.1])])
    with pytest.raises(TraceError, match="Step 5501 has a belief"):
        loads(made.dumps())
    with pytest.raises(TraceError, match="Step 5501 has a belief"):
        loads(made.pack())


def test_the_picture_of_a_long_strip_is_its_end():
    made = loads(long_trace(6000).pack())
    drawn = strip(made, 5000)
    assert len(drawn.layout.annotations) == MOST and "the last 3,000 of 5,006" in drawn.layout.title.text
    assert drawn.layout.annotations[-1].text == escaped(read.tokens(made, 5000)[-1].text)
    assert len(rows(made, 5000)) == 5006
