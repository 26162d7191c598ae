"""The engine as a small server: one process holds the models, many notebooks share them, step by step.

An ordinary ASGI app with two addresses: a WebSocket that speaks `labkit.engine.frames`, and `GET /health`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from labkit.engine import classroom, door, frames
from labkit.engine.frames import (
    GOING_AWAY,
    PATH,
    REFUSED,
    TOO_LARGE,
    TRY_LATER,
    Ask,
    Cancel,
    Failed,
    Grant,
    Happened,
    Start,
)
from labkit.engine.limits import LARGEST_WINDOW, Limits
from labkit.engine.lines import Hall, Line
from labkit.engine.local import LocalEngine
from labkit.engine.turns import Share, Turns, sentence
from labkit.errors import EngineError, LabError

STRANGERS = 200  # connections beside those of visitors: not shaken hands yet, or asking for /health
PING_SECONDS, PONG_SECONDS = 20, 60  # patient: a notebook cell that computes for half a minute must not lose its run


class House:
    """What all visitors share: the engine, its limits, its token ("" lets everybody in), and who is here."""

    def __init__(self, engine: LocalEngine, limits: Limits, token: str = ""):
        self.engine, self.limits, self.token = engine, limits, token
        self.visitors: set[Visitor] = set()
        self.classroom = classroom.Classroom(os.environ.get("LABKIT_TEACHER", ""))
        self.trouble = ""  # why the default pair could not be loaded

    async def warm(self) -> None:
        """Load the default pair before anybody asks; a failure is told by `/health` and by the first request."""
        try:
            await self.engine.warm()
        except LabError as error:
            self.trouble = str(error)
            print(f"labkit engine: {error}", file=sys.stderr, flush=True)

    async def health(self, request: HttpRequest) -> Response:
        """`{ok, models, visitors}`, to strangers only `{ok}`: `models` is empty until the default pair is in memory."""
        state: dict[str, Any] = {"ok": not self.trouble}
        if not self.token or door.knows(request.headers, self.token):
            state |= {"models": self.engine.loaded(), "visitors": len(self.visitors)}
            if self.trouble:
                state["error"] = self.trouble
        return Response(msgspec.json.encode(state), media_type="application/json")

    async def visit(self, line: WebSocket) -> None:
        """One visitor from the handshake to the end; whatever ends it, its runs are freed."""
        stranger = self.token and not door.knows(line.headers, self.token)
        if stranger or not door.is_at_home(line.headers.get("origin")):
            await line.close()  # before `accept`: the handshake is answered with 403
            return
        visitor = Visitor(self, line)
        with contextlib.suppress(WebSocketDisconnect):  # it left while an answer was under way
            await line.accept()
            if (here := len(self.visitors)) >= self.limits.max_visitors:
                await line.close(TRY_LATER, f"The engine already has {here} visitors: try again in a minute.")
                return
            self.visitors.add(visitor)
            try:
                await visitor.serve()
            finally:
                self.visitors.discard(visitor)
                visitor.leave()


class Visitor:
    """One connection: its questions, answered one by one, and its runs, each a task that is paid in credit."""

    def __init__(self, house: House, line: WebSocket):
        self.house, self.line = house, line
        self.runs: dict[int, tuple[asyncio.Task, Turns]] = {}
        self.questions: set[asyncio.Task] = set()
        self.turn = asyncio.Lock()  # one question to the models at a time, so that a hundred of them hold nobody else up
        self.number, self.page = 0, ""  # once it has introduced itself
        self.since, self.last, self.steps = time.monotonic(), None, 0  # when it came, its last step, how many it had
        self.sending = asyncio.Lock()  # one frame at a time, so that a client that does not read holds one answer, not many
        self.share = Share()
        self.begun: list[Turns] = []  # runs whose caches may not be freed yet

    async def serve(self) -> None:
        """Take frames until the visitor leaves, sends rubbish, or has been silent for too long."""
        while True:
            try:
                async with asyncio.timeout(self.house.limits.idle_seconds):
                    message = await self.line.receive()
            except TimeoutError:
                if self.runs:  # each of them has its own patience
                    continue
                await self.line.close(GOING_AWAY, "Nothing was asked for too long: ask again, it reconnects by itself.")
                return
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes") or b""
            if len(data) > self.house.limits.max_frame_bytes:  # uvicorn refuses it unread; another server may let it through
                await self.line.close(TOO_LARGE)
                return
            try:
                await self.take(frames.from_visitor(data))
            except EngineError as broken:
                await self.line.close(REFUSED, str(broken).encode()[:123].decode(errors="ignore"))
                return
            await asyncio.sleep(0)  # thousands of frames may lie ready: others have their turn between them

    async def take(self, frame: frames.FromVisitor) -> None:
        """Act on one frame without waiting for the models. Raises `EngineError` on what no honest notebook sends."""
        if isinstance(frame, Cancel):
            if run := self.runs.pop(frame.id, None):
                run[0].cancel()
            await self.send(frames.Ended(frame.id))
        elif isinstance(frame, Grant):
            if run := self.runs.get(frame.id):  # else it ended while the grant was on its way
                if run[1].ahead + frame.credit > LARGEST_WINDOW:
                    raise EngineError(f"Run {frame.id} was granted more than {LARGEST_WINDOW} events ahead.")
                run[1].grant(frame.credit)
        elif isinstance(frame, Start):
            if frame.id in self.runs:
                raise EngineError(f"Run {frame.id} is there already: give every run a number of its own.")
            await self.begin(frame)
        else:
            if len(self.questions) >= self.house.limits.max_questions_per_visitor:
                waiting = f"{len(self.questions)} questions are waiting already: wait until one is answered."
                await self.say(Failed.of(frame.id, EngineError(waiting)))
                return
            task = asyncio.create_task(self.answer(frame))
            self.questions.add(task)
            task.add_done_callback(self.questions.discard)

    async def begin(self, frame: Start) -> None:
        """Begin a run, or say why not."""
        try:
            most = self.house.limits.max_runs_per_visitor
            if len(self.runs) >= most:
                raise EngineError(f"{len(self.runs)} runs are open here, no more are allowed: stop one of them first.")
            self.begun = [turns for turns in self.begun if not turns.freed]
            if len(self.begun) >= 2 * most:  # begun and stopped faster than the models can follow
                raise EngineError(f"{len(self.begun)} runs are not cleared away yet: try again in a moment.")
            turns = self.house.engine.start(frame.request, self.share)
        except LabError as error:
            await self.say(Failed.of(frame.id, error))
            return
        self.begun.append(turns)
        turns.grant(frame.credit)
        task = asyncio.create_task(self.run(frame.id, turns))
        task.add_done_callback(lambda _: turns.close())  # even when it is cancelled before it began
        self.runs[frame.id] = task, turns

    async def run(self, id: int, turns: Turns) -> None:
        """Send what the run computes until it ends, or until nobody has pulled for too long."""
        try:
            while True:
                async with asyncio.timeout(self.house.limits.idle_seconds):
                    event = await turns.next()
                if event is None:
                    break
                await self.send(Happened(id, event))
                self.last = time.monotonic()
                self.steps += 1
                self.house.classroom.steps += 1
            last = frames.Ended(id)
        except WebSocketDisconnect:
            return
        except TimeoutError:
            last = Failed.of(id, EngineError("The run was left alone for too long and let go: begin it anew."))
        except Exception as error:
            last = Failed.of(id, sentence(error, "a run"))
        self.runs.pop(id, None)
        await self.say(last)

    async def answer(self, ask: Ask) -> None:
        """Answer one question."""
        house = self.house
        try:
            if ask.verb == "status":
                pushed = house.classroom.shown.number if house.classroom.shown else 0
                here = {"visitors": len(house.visitors), "steps": house.classroom.steps, "pushed": pushed}
                value = msgspec.structs.replace(await house.engine.status(), **here)
            elif ask.verb == "look" and classroom.concerns(ask.question):
                value = classroom.answer(house, self, ask.question)
            elif ask.verb == "look":
                async with self.turn:
                    value = await house.engine.look(ask.question.pop("what", None), **ask.question)
            elif ask.verb in ("methods", "transforms", "models"):
                async with self.turn:
                    value = await getattr(house.engine, ask.verb)()
            else:
                verbs = "methods, transforms, models, status or look"
                raise EngineError(f"There is no verb {ask.verb!r:.60}: ask for {verbs}.")
            await self.send(frames.Answer(ask.id, msgspec.Raw(msgspec.msgpack.encode(value))))
        except WebSocketDisconnect:
            return
        except Exception as error:
            await self.say(Failed.of(ask.id, sentence(error, f"the question {ask.verb!r:.60}")))

    async def send(self, frame: frames.FromEngine) -> None:
        """Send one frame. Raises `EngineError` when it is too heavy, `WebSocketDisconnect` when nobody is there."""
        if self.line.application_state is not WebSocketState.CONNECTED:  # another task closed it or found it closed
            raise WebSocketDisconnect
        data = frames.pack(frame)
        if len(data) > self.house.limits.max_answer_bytes:
            raise EngineError(
                f"The answer has {len(data):,} bytes, more than the {self.house.limits.max_answer_bytes:,} allowed: "
                "use a shorter prompt or keep no laws."
            )
        async with self.sending:
            await self.line.send_bytes(data)

    async def say(self, last: frames.FromEngine) -> None:
        """Send a closing word; that the visitor has left meanwhile does not matter."""
        with contextlib.suppress(WebSocketDisconnect):
            await self.send(last)

    def leave(self) -> None:
        """Cancel everything that was under way; the engine frees each cache when its step ends."""
        for task in [*self.questions, *(task for task, _ in self.runs.values())]:
            task.cancel()


def app(engine: LocalEngine | None = None, limits: Limits | None = None, token: str | None = None) -> Starlette:
    """The ASGI app. Without `engine` it holds the models itself and loads the default pair in the background.

    Whoever comes in has to show `token`; None takes `LABKIT_ENGINE_TOKEN`, and "" lets everybody in.
    """
    limits = limits or Limits.from_environment()
    house = House(engine or LocalEngine(limits=limits), limits, door.token(token))

    @contextlib.asynccontextmanager
    async def life(_: Starlette):
        if engine:  # somebody else's: neither warmed nor closed here
            yield
            return
        warming = asyncio.create_task(house.warm())
        yield
        warming.cancel()
        await house.engine.close()

    routes = [WebSocketRoute(PATH, house.visit), Route("/health", house.health)]
    built = Starlette(routes=routes, lifespan=life)
    built.state.house = house
    return built


def config(application: Starlette, limits: Limits) -> uvicorn.Config:
    """How uvicorn runs the app: one process, msgpack uncompressed, frames and connections bounded."""
    return uvicorn.Config(
        application,
        http=Hall,
        ws=Line,
        limit_concurrency=limits.max_visitors + STRANGERS,
        ws_per_message_deflate=False,
        ws_max_size=limits.max_frame_bytes,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PONG_SECONDS,
        log_level=logging.ERROR,  # its warnings tell what strangers send, as often as they send it
        timeout_graceful_shutdown=2,
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `EngineError` when the port is taken or the host is not this machine's."""
    # The protocol is named because asyncio sets TCP_NODELAY only on sockets that name it; without it a second small
    # frame waits 40 ms for the first one's acknowledgement.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except (OSError, OverflowError) as taken:
        listening.close()
        reason = getattr(taken, "strerror", None) or taken
        raise EngineError(f"The engine cannot listen on {host}:{port} ({reason}): choose another port.") from None
    return listening


def main(
    host: str = "127.0.0.1",
    port: int = 8765,
    limits: Limits | None = None,
    token: str | None = None,
    open_to_all: bool = False,
) -> None:
    """Serve until Ctrl-C. Port 0 takes a free one; the address is printed.

    `token` as in `app`. Raises `EngineError` on a taken port, and beyond this machine on no token unless `open_to_all`.
    """
    limits, token = limits or Limits.from_environment(), door.token(token)
    door.check_guarded(host, token, open_to_all)
    with listen(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        print(f"labkit engine: ws://{shown}:{listening.getsockname()[1]}{PATH}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config(app(limits=limits, token=token), limits)).run(sockets=[listening])
