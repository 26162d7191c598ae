"""The welcome page: what the lab is, the way to the dashboards, who answers, and the catalogue of papers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anywidget
import msgspec

from labkit import catalog
from labkit import engine as engines
from labkit.ui import assets
from labkit.ui.desk import Desk
from labkit.ui.lane import sentence


class Welcome(anywidget.AnyWidget):
    """One screen: cards, engine, catalogue. Nothing is connected before the page's first message."""

    _esm = assets.module("welcome")

    def __init__(self, engine: Any = None):
        super().__init__()
        self._engine, self._desk = engine, Desk()
        self.on_msg(self._hear)

    def _hear(self, _widget: Any, message: Any, _buffers: list[Any]) -> None:
        if isinstance(message, dict) and message.get("do") == "open":
            self._desk.call(self._tell())

    async def _tell(self) -> None:
        """The catalogue at once, from the file; then who answers and what works, from the engine."""
        try:
            self._publish("papers", {"papers": list(catalog.papers().values())})
            self._engine = self._engine or engines.shared()
            methods, transforms = await self._engine.methods(), await self._engine.transforms()
            models, status = await self._engine.models(), await self._engine.status()
            names = {thing.name: thing.title for thing in [*methods, *transforms]}
            working = {
                paper: [names[name] for name in found]
                for paper, found in catalog.working([*methods, *transforms]).items()
            }
            counts = {"methods": 0, "studies": 0} | Counter("studies" if one.study else "methods" for one in methods)
            counts["transforms"] = len(transforms)
            fields = {"models": models, "status": status, "working": working, "counts": counts}
            self._publish("engine", fields)
        except Exception as error:  # the page shows one sentence, whatever it was
            self._publish("error", {"text": sentence(error)})

    def _publish(self, kind: str, fields: dict[str, Any]) -> None:
        self.send({"kind": kind}, [msgspec.json.encode(fields)])
