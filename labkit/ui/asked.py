"""A widget whose page asks questions: each gets an answer, or one sentence that says why there is none."""

from __future__ import annotations

from typing import Any

import anywidget
import msgspec

from labkit import engine as engines
from labkit.ui.desk import Desk
from labkit.ui.lane import sentence


class Asked(anywidget.AnyWidget):
    """The subclass answers in `_told(message, buffers)`. Nothing is connected before the page's first question."""

    def __init__(self, engine: Any = None):
        super().__init__()
        self._engine, self._desk = engine, Desk()
        self.on_msg(self._hear)

    @property
    def engine(self) -> Any:
        """The engine that was given, else the kernel's own."""
        self._engine = self._engine or engines.shared()
        return self._engine

    def _hear(self, _widget: Any, message: Any, buffers: list[Any]) -> None:
        """Callbacks never work: they leave the question to a task."""
        if isinstance(message, dict) and "ask" in message:
            self._desk.call(self._answer(message, [bytes(one) for one in buffers or ()]))

    async def _answer(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        try:
            told = await self._told(message, buffers)
        except Exception as error:  # the page shows one sentence, whatever it was
            told = {"error": sentence(error)}
        self.send({"kind": "answer", "id": message.get("id")}, [msgspec.json.encode(told)])

    async def _told(self, message: dict[str, Any], buffers: list[bytes]) -> dict[str, Any]:
        raise NotImplementedError
