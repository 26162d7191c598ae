"""Answers to the page's questions, and what a person takes away: the trace as a file, the code that makes it again."""

from __future__ import annotations

from typing import Any

from labkit import plotlyjs
from labkit.errors import LabError
from labkit.trace import Request
from labkit.ui import assets
from labkit.ui.drive import Drive

LOOKS = ("tokens", "next", "check")  # questions that go on to the engine as they are


async def answer(drive: Drive, page: str, message: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """The answer to `{ask: what, ...}` as plain data and buffers. Raises `LabError` when there is none."""
    what = message["ask"]
    question = {name: value for name, value in message.items() if name not in ("ask", "id")}
    if what in LOOKS:
        found = await drive.engine.look(what, **question)
        law = found.pop("law", None)  # bytes do not fit into JSON
        return found, [law] if law else []
    if what == "module":
        return {}, [assets.module("bench").encode()]
    if what == "plotly":
        return {}, [plotlyjs.packed(bool(question.get("whole")))]
    lane = drive.lanes[min(int(question.get("lane", 0)), len(drive.lanes) - 1)]
    if what == "save":
        if lane.trace is None:
            raise LabError("There is nothing to save yet: press Step or Run first.")
        return {}, [lane.trace.pack() if lane.trace.is_packed else lane.trace.dumps()]
    if what == "blocks":
        return lane.blocks(int(question.get("first", -1)))
    if what == "code":
        return {"code": code(page, lane.answered or lane.request, len(lane.trace.steps) if lane.trace else 0)}, []
    if what == "figure":
        from labkit import views  # plotly loads when the first chart is asked for, not before

        figure = views.figure(str(question["name"]), [lane.trace for lane in drive.lanes], **question.get("args", {}))
        return {"figure": figure}, []
    raise LabError(f"The page asked for {what!r}, which the lab does not know: reload the page.")


def prepare_charts() -> None:
    """Load what the first chart of a page will need."""
    from labkit import views  # noqa: F401


def code(page: str, request: Request, steps: int) -> str:
    """A notebook cell that shows again what is on the screen."""
    cuts = {one.name: one.knobs for one in request.transforms}
    arguments: dict[str, Any] = {
        "prompt": request.prompt if request.ids is None else request.ids,
        "method": request.method,
        "knobs": request.knobs,
        "temperature": request.temperature,
        **{name.replace("-", "_"): told if len(told) > 1 else next(iter(told.values()), None) for name, told in cuts.items()},
        "max_new_tokens": request.max_new_tokens,
        "seed": request.seed,
        "target": request.target,
        "draft": request.draft,
        "autorun": steps,
    }
    needed = ("prompt", "method", "max_new_tokens", "seed")
    lines = [f"    {name}={value!r}," for name, value in arguments.items() if value or name in needed]
    return "\n".join(["from labkit.ui import Bench", "", f"bench = Bench.{page}(", *lines, ")", "bench", ""])
