"""What travels between a notebook and the engine server: msgpack frames over one WebSocket.

A visitor sends `Ask`, `Start`, `Grant`, `Cancel`; the server sends `Answer`, `Happened`, `Ended`, `Failed`. A run is
paid for in credit: one event, one credit. The visitor grants a window ahead and one more for each event it has dealt
with, so that a slow page never has more than a window of stale steps behind it, and a page that stops pulling stops the
work.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from labkit import errors
from labkit.engine.limits import LARGEST_WINDOW
from labkit.errors import EngineError, LabError
from labkit.trace import Event

PATH = "/engine/1"  # the number is raised when frames change, so that an old notebook is told so
DEFAULT_ADDRESS = "127.0.0.1:8765"
LONGEST_SENTENCE = 2000  # characters; a library's words may quote whatever a visitor sent

# Close codes of RFC 6455 and its registry; the reason, at most 123 bytes, is shown to the person.
GOING_AWAY, REFUSED, TOO_LARGE, TRY_LATER = 1001, 1008, 1009, 1013

Credit = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_WINDOW)]


class Ask(msgspec.Struct, tag="ask", omit_defaults=True):
    """One question, one `Answer`: "methods", "transforms", "models", "status", or "look" with its words."""

    id: int
    verb: str
    question: dict[str, Any] = {}


class Start(msgspec.Struct, tag="start"):
    """Begin a run. `request` stays packed here, so that a wrong field is an error of the run, not of the connection."""

    id: int
    request: msgspec.Raw
    credit: Credit


class Grant(msgspec.Struct, tag="grant"):
    """The visitor has dealt with an event and takes `credit` more."""

    id: int
    credit: Credit


class Cancel(msgspec.Struct, tag="cancel"):
    """Stop a run; answered by `Ended` at once."""

    id: int


class Answer(msgspec.Struct, tag="answer"):
    """What was asked for; its type follows from the question."""

    id: int
    value: msgspec.Raw


class Happened(msgspec.Struct, tag="happened"):
    """One event of a run."""

    id: int
    event: Event


class Ended(msgspec.Struct, tag="ended"):
    """A run is over or cancelled; nothing more comes of it."""

    id: int


class Failed(msgspec.Struct, tag="failed"):
    """A question or run came to nothing: the class of the `LabError` and its one sentence."""

    id: int
    kind: str
    text: str

    @classmethod
    def of(cls, id: int, error: LabError) -> Failed:
        """The frame that carries `error`."""
        return cls(id, type(error).__name__, str(error)[:LONGEST_SENTENCE])

    def error(self) -> LabError:
        """The error as it was raised over there."""
        kind = getattr(errors, self.kind, None)
        known = isinstance(kind, type) and issubclass(kind, LabError)
        return (kind if known else EngineError)(self.text)


FromVisitor = Ask | Start | Grant | Cancel
FromEngine = Answer | Happened | Ended | Failed

_pack = msgspec.msgpack.Encoder().encode
_from_visitor = msgspec.msgpack.Decoder(FromVisitor)
_from_engine = msgspec.msgpack.Decoder(FromEngine)

BROKEN = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError, MemoryError)


def pack(frame: FromVisitor | FromEngine) -> bytes:
    """The frame as bytes. Raises `TypeError` or `OverflowError` when it holds something that is not plain data."""
    return _pack(frame)


def from_visitor(data: bytes) -> FromVisitor:
    """Read what a visitor sent. Raises `EngineError` on anything but a whole frame."""
    try:
        return _from_visitor.decode(data)
    except BROKEN as broken:
        raise EngineError(f"This is no frame of the lab ({broken}): use a notebook of the same version.") from None


def from_engine(data: bytes) -> FromEngine:
    """Read what the engine sent. Raises `EngineError` on anything but a whole frame."""
    try:
        return _from_engine.decode(data)
    except BROKEN as broken:
        raise EngineError(f"The engine sent what this lab cannot read ({broken}): run both in one version.") from None
