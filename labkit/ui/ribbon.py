"""The boundary ribbon: one text, cut by many segmenters, line under line; click a token to undo its merges."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from labkit.errors import LabError
from labkit.ui import assets
from labkit.ui.asked import Asked

TEXT = """def to_fahrenheit(celsius): return celsius * 9 / 5 + 32  # don't round 1234567
Seoul is 서울, peace is שלום and سلام, a family 👨‍👩‍👧 costs €9.50"""
ROWS = ("characters", ("bpe", {"size": 512}), ("bpe", {"size": 4096}), "wordpiece", "unigram", "superwords", "lib", "model")
ASKED = ("segmenters", "cuts", "undo")  # questions for the engine


class Ribbon(Asked):
    """One row a segmenter. `rows` are names, or pairs of a name and its knobs; `reference` is the row that F1 is measured by.

    `ribbon.cuts` holds, by row, where the tokens of the text last shown begin (in bytes), once a page has asked for them.
    """

    _esm = assets.module("ribbon")

    def __init__(self, text: str = TEXT, rows: Any = ROWS, *, reference: str = "words", engine: Any = None):
        super().__init__(engine)
        self._start = {
            "text": text,
            "rows": [{"name": row, "knobs": {}} if isinstance(row, str) else {"name": row[0], "knobs": row[1]} for row in rows],
            "reference": reference,
        }
        self.cuts: dict[str, list[int]] = {}

    async def _told(self, message: dict[str, Any], buffers: list[bytes]) -> dict[str, Any]:
        what = message["ask"]
        if what == "start":
            return self._start
        if what not in ASKED:
            raise LabError(f"The page asked for {what!r}, which the lab does not know: reload the page.")
        question = {name: value for name, value in message.items() if name not in ("ask", "id")}
        if what == "cuts":  # of all rows at once
            rows = question["rows"]
            return {"cuts": await asyncio.gather(*(self._cut({"text": question["text"], **row}) for row in rows))}
        told = await self.engine.look(what, **question)
        if what == "segmenters":
            told["models"] = msgspec.to_builtins(await self.engine.models(), str_keys=True)
        return told

    async def _cut(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            told = await self.engine.look("cut", **question)
        except LabError as error:
            return {"error": str(error)}
        row = [question.get("target") or question["name"], *question.get("knobs", {}).values()]
        self.cuts[" ".join(map(str, row))] = told["starts"]
        return told
