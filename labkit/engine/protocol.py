"""What an engine answers, in this process or across a socket: the same verbs, the same plain data."""

from __future__ import annotations

from typing import Any, AsyncIterator, Protocol

import msgspec

from labkit.knobs import Knob
from labkit.trace import Event, Request

NO_DRAFT = "none"  # the name that asks for no draft model


class MethodInfo(msgspec.Struct, omit_defaults=True):
    """A registered method, as the bench and the catalogue see it; the bench never imports methods."""

    name: str
    title: str
    theme: str
    summary: str
    knobs: list[Knob]
    paper: str = ""  # "P025"; empty for methods that are nobody's paper here
    lossless: bool = True
    drafts: str = ""  # "" = proposes no tokens, "model" = needs a draft model, "free" = drafts without one
    charts: tuple[str, ...] = ()  # the views that draw its own notes
    study: bool = False  # an experiment over many runs: its steps emit no text
    leaf: str = ""  # of its theme's taxonomy, where that has one: menus are in its order


class TransformInfo(msgspec.Struct, omit_defaults=True):
    """A registered transform of the next-token distribution (top-k, top-p, min-p, ...)."""

    name: str
    title: str
    summary: str
    knobs: list[Knob]
    paper: str = ""


class ModelInfo(msgspec.Struct, omit_defaults=True):
    """A model the operator allows."""

    name: str
    role: str = "target"  # "target" or "draft"
    layers: int = 0
    width: int = 0
    parameters: int = 0
    vocabulary: int = 0
    context: int = 0
    device: str = ""
    dtype: str = ""
    loaded: bool = False
    default: bool = False


class Status(msgspec.Struct, omit_defaults=True):
    """Where the engine lives and what it runs on."""

    where: str  # "this process" or "host:port"
    device: str = "cpu"
    target: str = ""
    draft: str = ""
    visitors: int = 0
    running: int = 0
    steps: int = 0  # of all runs so far, on a server
    pushed: int = 0  # the number of the trace that the teacher shows; 0 = none


class Engine(Protocol):
    """Four verbs. Every error is a `LabError` with one sentence for the page."""

    async def methods(self) -> list[MethodInfo]: ...
    async def transforms(self) -> list[TransformInfo]: ...
    async def models(self) -> list[ModelInfo]: ...
    async def status(self) -> Status: ...

    def run(self, request: Request, window: int = 4) -> AsyncIterator[Event]:
        """Opening, Step, Step, ... Closing, at most `window` events ahead of what was pulled; 1 = strictly on demand.

        Close it, or cancel the task that pulls, to stop.
        """
        ...

    async def look(self, what: str, **question: Any) -> dict[str, Any]:
        """A one-off question: "tokens" (text), "next" (ids, ...), "check" (a law drawn and enumerated)."""
        ...

    def introduce(self, who: str, page: str) -> None:
        """Say who asks (the same in all tabs of a browser) and from which page; a server's teacher sees it."""
        ...

    async def close(self) -> None: ...
