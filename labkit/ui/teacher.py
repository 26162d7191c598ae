"""The teacher's page: who is connected, how busy the engine is, and a trace shown on everybody's bench."""

from __future__ import annotations

from typing import Any

from labkit.errors import LabError
from labkit.ui import assets
from labkit.ui.asked import Asked

LARGEST = 3 * 2**20  # bytes of a trace that is shown to everybody; the engine takes frames of 4 MB


class Teacher(Asked):
    """One screen for the person in front. The page brings the teacher's key in its address, or asks for it."""

    _esm = assets.module("teacher_page")

    async def _told(self, message: dict[str, Any], buffers: list[bytes]) -> dict[str, Any]:
        what, key = message["ask"], str(message.get("key", ""))
        if what == "present":
            return await self.engine.look("present", key=key)
        if what != "push":
            raise LabError(f"The page asked for {what!r}, which the lab does not know: reload the page.")
        trace = buffers[0] if buffers else b""
        if len(trace) > LARGEST:
            raise LabError(f"The trace has {len(trace):,} bytes, at most {LARGEST:,} can be shown to all: save a shorter run.")
        name, at_once = str(message.get("name", ""))[:80], bool(message.get("at_once"))
        return await self.engine.look("push", key=key, name=name, at_once=at_once, trace=trace)
