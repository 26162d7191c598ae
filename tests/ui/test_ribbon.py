"""The ribbon's end of the line: what it begins with, what it asks of the engine, and one sentence when something is wrong."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from labkit.engine.local import LocalEngine
from labkit.errors import KnobError
from labkit.ui import Ribbon


def asked(*questions, **settings):
    """The answers to the page's questions, in order, and the ribbon."""

    async def talk():
        engine = LocalEngine()
        ribbon = Ribbon(engine=engine, **settings)
        answers = {}
        ribbon.send = lambda content, buffers: answers.update({content["id"]: msgspec.json.decode(buffers[0])})
        for number, question in enumerate(questions):
            ribbon._hear(ribbon, {**question, "id": number}, [])
        while len(answers) < len(questions):
            await asyncio.sleep(0.01)
        await engine.close()
        return [answers[number] for number in range(len(questions))], ribbon

    return asyncio.run(talk())


def test_it_begins_with_what_it_was_given():
    (start,), _ = asked({"ask": "start"}, text="abc", rows=["bytes", ("model", {})], reference="characters")
    assert start == {
        "text": "abc",
        "rows": [{"name": "bytes", "knobs": {}}, {"name": "model", "knobs": {}}],
        "reference": "characters",
    }


def test_cuts_are_kept_by_row():
    text = "a é"
    rows = [{"name": "bytes", "knobs": {}}, {"name": "characters", "knobs": {}}, {"name": "nobody"}]
    (told, kinds), ribbon = asked({"ask": "cuts", "text": text, "rows": rows}, {"ask": "segmenters"})
    cut, other, wrong = told["cuts"]
    assert "There is no segmenter 'nobody'" in wrong["error"]  # the other rows are there all the same
    assert cut["starts"] == [0, 1, 2, 3] and other["starts"] == [0, 1, 2] and other["ids"] == ["97", "32", "233"]
    assert (other["bytes"], other["types"], other["size"]) == (4, 3, 0)
    assert ribbon.cuts == {"bytes": [0, 1, 2, 3], "characters": [0, 1, 2]}
    told = {one["name"]: one for one in kinds["segmenters"]}
    assert told["bytes"]["title"] == "Bytes" and told["bytes"]["summary"].startswith("Every byte")


def test_merges_undone():
    (told, leaf), _ = asked(
        {"ask": "undo", "piece": b" in".hex(), "name": "model", "knobs": {}},
        {"ask": "undo", "piece": "ff", "name": "model", "knobs": {}},
    )
    assert told["split"]["text"] == " in" and "".join(half["text"] for half in told["split"]["halves"]) == " in"
    assert leaf["split"] == {"text": "\\xff", "rank": -1, "halves": []}


@pytest.mark.parametrize(
    "question, sentence",
    [
        ({"ask": "cuts", "text": "a", "rows": [{"name": "nobody"}]}, "There is no segmenter 'nobody'"),
        ({"ask": "cuts", "text": "a" * 20_001, "rows": [{"name": "bytes"}]}, "the ribbon shows 20,000: shorten it."),
        ({"ask": "cuts", "text": "a", "rows": [{"name": "bytes", "knobs": {"size": 3}}]}, "There is no knob 'size'"),
        ({"ask": "undo", "piece": "zz", "name": "model"}, "merges are shown for tokens of 1 to 256"),
        ({"ask": "undo", "piece": "61" * 300, "name": "model"}, "The token has 300 bytes"),
        ({"ask": "look"}, "which the lab does not know"),
    ],
)
def test_one_sentence_when_something_is_wrong(question, sentence):
    (answer,), ribbon = asked(question)
    answer = answer.get("cuts", [answer])[0]
    assert sentence in answer["error"] and "Traceback" not in answer["error"]
    assert ribbon.cuts == {}


def test_what_the_engine_refuses_is_told():
    class Engine:
        async def look(self, what, **question):
            raise KnobError("broken")

    async def talk():
        ribbon, heard = Ribbon(engine=Engine()), []
        ribbon.send = lambda content, buffers: heard.append(msgspec.json.decode(buffers[0]))
        await ribbon._answer({"ask": "undo", "piece": "61", "name": "bytes", "id": 1}, [])
        return heard

    assert asyncio.run(talk()) == [{"error": "broken"}]
