"""What a class asks of the engine server besides decoding: who is here, how busy it is, and one trace shown to everybody.

Each question is a struct whose fields are the question and whose `answer` is the reply, given in the server's loop without
waiting for the models. They come in as looks; an engine in a kernel's own process does not know them.
"""

from __future__ import annotations

import hmac
import itertools
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import psutil

from labkit.errors import EngineError
from labkit.trace import loads

if TYPE_CHECKING:
    from labkit.engine.server import House, Visitor

REMEMBERED = 1000  # people whose numbers are kept; later ones take the places of the first
Word = Annotated[str, msgspec.Meta(max_length=80)]


class Shown(msgspec.Struct):
    """A trace that the teacher shows to everybody."""

    number: int  # counts up with each, so that a page knows a new one
    name: str
    trace: bytes
    at_once: bool  # open it without asking


class Classroom:
    """What the server keeps for the class; `key` is the teacher's, "" = whoever reaches the engine is trusted."""

    def __init__(self, key: str = ""):
        self.key = key
        self.shown: Shown | None = None
        self.pushes = 0
        self.steps = 0  # served to everybody since the start
        self.began = time.monotonic()
        self.numbers: dict[str, int] = {}
        self._next = itertools.count(1)

    def number(self, who: str) -> int:
        """The visitor's number, in the order of arrival; tabs of one browser share it."""
        if who not in self.numbers:
            if len(self.numbers) >= REMEMBERED:
                del self.numbers[next(iter(self.numbers))]
            self.numbers[who] = next(self._next)
        return self.numbers[who]

    def check(self, key: str) -> None:
        """Raise `EngineError` unless `key` is the teacher's."""
        if self.key and not hmac.compare_digest(key.encode(), self.key.encode()):
            raise EngineError("This key is not the teacher's: use the address that was printed when the lab started.")


class Hello(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody opened a page: `who` is the same in all tabs of a browser, `page` is the dashboard's name."""

    who: Word
    page: Word

    def answer(self, house: House, visitor: Visitor) -> dict[str, Any]:
        visitor.number, visitor.page = house.classroom.number(self.who), self.page
        return {"number": visitor.number}


class Present(msgspec.Struct, forbid_unknown_fields=True):
    """Who is here and how busy the engine is. Needs the teacher's key.

    `visitors`, in the order of their numbers: number, page, `minutes` since they came, `quiet` seconds since their last step
    (None before the first), runs, steps. `waiting` runs have a step due and wait for their turn; `resident` bytes of memory;
    `steps` served in `seconds`.
    """

    key: str = ""

    def answer(self, house: House, visitor: Visitor) -> dict[str, Any]:
        room = house.classroom
        room.check(self.key)
        now = time.monotonic()
        here = [other for other in house.visitors if other.page and other is not visitor]
        return {
            "visitors": [
                {
                    "number": other.number,
                    "page": other.page,
                    "minutes": (now - other.since) / 60,
                    "quiet": None if other.last is None else now - other.last,
                    "runs": len(other.runs),
                    "steps": other.steps,
                }
                for other in sorted(here, key=lambda other: (other.number, other.since))
            ],
            "connections": len(house.visitors),
            "most": house.limits.max_visitors,
            "runs": house.engine.running,
            "waiting": house.engine.waiting,
            "resident": psutil.Process().memory_info().rss,
            "steps": room.steps,
            "seconds": now - room.began,
            "shown": room.shown.name if room.shown else "",
        }


class Push(msgspec.Struct, forbid_unknown_fields=True):
    """Show `trace` (a saved trace's bytes, empty = nothing any more) as `name` on everybody's bench. Needs the teacher's key."""

    name: Word = ""
    trace: bytes = b""
    at_once: bool = False
    key: str = ""

    def answer(self, house: House, visitor: Visitor) -> dict[str, Any]:
        room = house.classroom
        room.check(self.key)
        if self.trace:
            loads(self.trace)  # what is broken is refused here, not on forty pages
        room.pushes += 1
        room.shown = Shown(room.pushes, self.name or "a trace", self.trace, self.at_once) if self.trace else None
        return {"number": room.pushes}


class Pushed(msgspec.Struct, forbid_unknown_fields=True):
    """What the teacher shows: `number` (0 = nothing), `name`, `trace` (bytes), `at_once`."""

    def answer(self, house: House, visitor: Visitor) -> dict[str, Any]:
        shown = house.classroom.shown
        return msgspec.structs.asdict(shown) if shown else {"number": 0, "name": "", "trace": b"", "at_once": False}


QUESTIONS: dict[str, type] = {"hello": Hello, "present": Present, "push": Push, "pushed": Pushed}


def concerns(question: dict[str, Any]) -> bool:
    """Is this look one of ours?"""
    return question.get("what") in tuple(QUESTIONS)  # a tuple, since what comes from outside may not be hashable


def answer(house: House, visitor: Visitor, question: dict[str, Any]) -> dict[str, Any]:
    """The reply to a look that `concerns` us. Raises `LabError`."""
    words = dict(question)
    kind = QUESTIONS[words.pop("what")]
    try:
        asked = msgspec.convert(words, kind)
    except msgspec.ValidationError as wrong:
        raise EngineError(f"The question is malformed ({wrong}): correct that field and ask again.") from None
    return asked.answer(house, visitor)
