"""A visitor without a screen: everything that a dashboard's page does except painting.

It opens a dashboard over HTTP, talks to the page's kernel through the same socket and in the same words as
`host/jupyter/voila/templates/labkit/static/page.js` and `ui/js`, asks for the charts that the page would draw, comes back
after a broken line, and says goodbye. Forty of them are one process: only what is needed of a message is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import html
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from labkit.errors import LabError

PROTOCOL = "v1.kernel.websocket.jupyter.org"
VIEW = "application/vnd.jupyter.widget-view+json"
CONFIG = re.compile(r'<script[^>]*id="jupyter-config-data"[^>]*>(.*?)</script>', re.DOTALL)
OUTPUT = re.compile(r'<script[^>]*type="application/vnd\.voila\.cell-output\+json"[^>]*>(.*?)</script>', re.DOTALL)
CHARTED = {"acceptance": ("acceptance",)}  # charts that a page brings besides those of its method
PATIENCE = 60.0  # seconds that a visitor waits for anything before it is an error
AGAIN = 1.0  # seconds between two attempts to come back, as in page.js
CALM, YIELD = 0.15, 3  # seconds, and answers' lengths, without another step before a chart follows, as in chart.js
GUESTS_WAIT = 3.0  # seconds that further benches of a page wait for what the engine offers, as in bench.js
BUSY = ("running", "loading")
encode = msgspec.json.encode


class VisitorError(LabError):
    """What a visitor came for did not happen; the text is what its page would have shown."""


class _Shape(msgspec.Struct):
    page: str = ""
    under: bool = False
    alone: bool = False


class _Widget(msgspec.Struct):
    state: _Shape
    model_module: str = ""


class _Custom(msgspec.Struct):
    kind: str = ""
    packed: bool = False
    id: str = ""


class _Data(msgspec.Struct):
    method: str = ""
    content: _Custom | None = None
    states: dict[str, _Widget] = {}


class _Message(msgspec.Struct):
    comm_id: str
    data: _Data


class _Opening(msgspec.Struct):
    charts: list[str] | None = None


class _News(msgspec.Struct):
    """What is read of a lane; its steps are only counted."""

    lane: int = 0
    state: str = ""
    error: dict[str, str] | None = None
    request: dict[str, Any] | None = None
    opening: _Opening | None = None
    first: int = 0
    steps: list[msgspec.Raw] = []
    closing: msgspec.Raw = msgspec.Raw()


class _Snapshot(msgspec.Struct):
    lanes: list[_News]
    view: str | None = None


class _Method(msgspec.Struct):
    name: str
    charts: list[str] = []


class _Offer(msgspec.Struct):
    key: str
    methods: list[_Method] = []


class _Words(msgspec.Struct):
    text: str = ""
    error: str = ""


_message, _news, _snapshot, _offer, _words = (
    msgspec.json.Decoder(kind).decode for kind in (_Message, _News, _Snapshot, _Offer, _Words)
)


class Lane:
    """A lane as the page knows it: the request behind it, how many steps are here, and how it goes."""

    def __init__(self, runs: int = 0):
        self.state, self.error, self.request = "empty", None, {}
        self.steps, self.ended, self.runs = 0, False, runs
        self.charts: list[str] | None = None

    def follow(self, news: _News) -> bool:
        """Put news in; False when some steps before them are missing."""
        self.request = self.request if news.request is None else news.request
        if news.opening:
            self.steps, self.ended, self.runs, self.charts = 0, False, self.runs + 1, news.opening.charts
        if news.steps and news.first != self.steps:
            return False
        self.steps += len(news.steps)
        self.ended = self.ended or bool(bytes(news.closing))
        self.state, self.error = news.state, news.error
        return True


class Seat:
    """One bench of the page. Times are seconds from a click until the message that shows its effect is here."""

    def __init__(self, visitor: Visitor, comm: str, shape: _Shape):
        self.visitor, self.comm = visitor, comm
        self.page, self.guest, self.alone = shape.page, shape.under, shape.alone
        self.view = uuid4().hex
        self.lanes = [Lane()]
        self.health = ""  # why the engine does not answer, as the page shows it
        self.ready = self.stepping = False
        self._answers: dict[str, asyncio.Future] = {}
        self._drawn: dict[str, tuple[int, int]] = {}  # what each chart shows: of which run, up to which step
        self._drawing: dict[str, asyncio.Task] = {}
        self._spent: dict[str, float] = {}  # seconds until its last figure came

    @property
    def lane(self) -> Lane:
        """The first lane."""
        return self.lanes[0]

    @property
    def busy(self) -> bool:
        """Does a lane run?"""
        return any(lane.state in BUSY for lane in self.lanes)

    def send(self, message: dict[str, Any]) -> None:
        """Say something to the kernel's side of the bench."""
        self.visitor.tell("comm_msg", {"comm_id": self.comm, "data": {"method": "custom", "content": message}})

    async def ask(self, message: dict[str, Any], patience: float = PATIENCE) -> tuple[dict[str, Any], list[bytes]]:
        """A question's answer and its buffers. Raises `VisitorError` with the sentence that the page would show."""
        id = uuid4().hex
        answer = self._answers[id] = asyncio.get_running_loop().create_future()
        try:
            self.send({**message, "id": id})
            async with asyncio.timeout(patience):
                fields, buffers = await answer
        except TimeoutError:
            raise VisitorError(f"The kernel did not answer {message['ask']!r} within {patience:g} seconds.") from None
        finally:
            del self._answers[id]
        if "error" in fields:
            raise VisitorError(fields["error"])
        return fields, buffers

    async def open(self) -> None:
        """Ask for what there is, as a fresh page does, and wait until it is here."""
        knows = self.visitor.offers
        if self.guest and not self.alone:
            with contextlib.suppress(VisitorError):
                await self.visitor.until(lambda: self.visitor.offers, "what the engine offers", GUESTS_WAIT)
        self.hello(knows)
        await self.visitor.until(lambda: self.ready, "the bench to stand")

    def hello(self, knows: str = "") -> None:
        """Ask for everything; `knows` is the key of what the engine offers, where the page has it."""
        who, page = self.visitor.kernel[:8], self.visitor.notebook.removesuffix(".ipynb")
        self.send({"do": "open", "view": self.view, "knows": knows, "who": who, "from": page})

    def post(self, verb: str, **change: Any) -> None:
        """A click that carries the lane's request, with what was changed of it."""
        self.stepping = verb == "step"
        self.send({"do": verb, "lane": 0, "request": {**self.lane.request, **change}})

    async def step(self) -> float | None:
        """Click Step; a step more is here. None when the text ended instead. Raises `VisitorError`."""
        await self.quiet()
        before, runs = self.lane.steps, self.lane.runs
        start = self.visitor.clock()
        self.post("step")

        def there() -> bool:
            self.check()
            return self.lane.steps > before or self.lane.runs > runs or self.lane.ended

        await self.visitor.until(there, "a step")
        return self.visitor.heard - start if self.lane.steps > before or self.lane.runs > runs else None

    async def run(self, steps: int = 4) -> bool:
        """Click Run and watch `steps` more come; False when the text ended meanwhile."""
        before = self.lane.steps
        self.post("run")
        return await self.watch(before + steps)

    async def watch(self, steps: int) -> bool:
        """Wait until there are so many steps; False when nothing runs any more."""

        def there() -> bool:
            self.check()
            return self.lane.ended or self.lane.steps >= steps

        await self.visitor.until(there, "steps of a run")
        return self.busy

    async def change(self, verb: str = "again", **change: Any) -> None:
        """Other settings (`again`) or another prompt (`prompt`): the bench begins anew, and the first step of that is here."""
        runs = self.lane.runs
        self.post(verb, **change)

        def there() -> bool:
            self.check()
            return self.lane.runs > runs and (self.lane.steps > 0 or self.lane.ended)

        await self.visitor.until(there, "the first step with other settings")

    async def stop(self) -> float | None:
        """Click Stop; nothing runs any more. None when nothing ran."""
        if not self.busy:
            return None
        start = self.visitor.clock()
        self.send({"do": "stop"})
        await self.visitor.until(lambda: not self.busy, "Stop")
        return self.visitor.heard - start

    async def quiet(self) -> None:
        """Wait until nothing runs."""
        await self.visitor.until(lambda: not self.busy, "the run to end")

    async def trace(self) -> bytes:
        """The trace as the page gives it away."""
        _, buffers = await self.ask({"ask": "save", "lane": 0})
        return buffers[0]

    def check(self) -> None:
        """Raise `VisitorError` with the sentence of the lane's error, if it has one."""
        if self.lane.error:
            raise VisitorError(self.lane.error["text"])

    def hear(self, custom: _Custom, buffers: list[bytes]) -> None:
        """What the kernel's side says."""
        data = gzip.decompress(buffers[0]) if custom.packed else buffers[0]
        if custom.kind == "answer":
            if waiting := self._answers.get(custom.id):
                waiting.set_result((msgspec.json.decode(data), buffers[1:]))
        elif custom.kind == "lane":
            news = _news(data)
            while len(self.lanes) <= news.lane:
                self.lanes.append(Lane())
            if not self.lanes[news.lane].follow(news):
                self.hello()
            if news.error:
                self.visitor.trouble.append(news.error["text"])
        elif custom.kind == "snapshot":
            whole = _snapshot(data)
            if whole.view in (None, self.view):
                runs = self.lane.runs + 1
                self.lanes = [Lane(runs) for _ in whole.lanes]
                for lane, news in zip(self.lanes, whole.lanes):
                    lane.follow(news)
                self.ready = True
        elif custom.kind == "close":
            del self.lanes[1:]
        elif custom.kind == "engine":
            offer = _offer(data)
            self.visitor.offers = offer.key
            self.visitor.charts |= {method.name: method.charts for method in offer.methods}
        elif custom.kind == "health":
            self.health = _words(data).error
            if self.health:
                self.visitor.trouble.append(self.health)
        elif custom.kind == "error":
            self.visitor.trouble.append(_words(data).text)
        self._draw()

    def _charts(self) -> list[str]:
        """The charts that stand on the page now."""
        if self.page == "entropy" and not self.guest:
            return []
        method = self.lane.request.get("method", "")
        own = self.lane.charts if self.lane.charts is not None else self.visitor.charts.get(method, [])
        return [*CHARTED.get(self.page, ()), *(own if method != "plain" or self.page == "entropy" else ())]

    def _draw(self) -> None:
        """Let every chart on the page follow."""
        for name in self._charts():
            if self._behind(name) and (name not in self._drawing or self._drawing[name].done()):
                self._drawing[name] = self.visitor.spawn(self._follow(name))

    def _behind(self, name: str) -> bool:
        """Does a chart of the page not show the last step yet?"""
        return name in self._charts() and self.lane.steps > 0 and self._drawn.get(name) != (self.lane.runs, self.lane.steps)

    async def _follow(self, name: str) -> None:
        """Ask for a chart until it shows the last step, one question at a time."""
        while self._behind(name):
            calm = max(CALM, YIELD * self._spent.get(name, 0.0))
            now = self.lane.runs, self.lane.steps
            if self.stepping or not self.busy:
                await asyncio.sleep(calm)
                if now != (self.lane.runs, self.lane.steps):
                    continue
            await self.visitor.plotly()
            args = {"lane": 0, "upto": now[1], "theme": "light"}
            start = self.visitor.clock()
            with contextlib.suppress(VisitorError):  # the chart's panel says why there is none
                await self.ask({"ask": "figure", "name": name, "args": args})
            self._drawn[name], self._spent[name] = now, self.visitor.clock() - start
            if self.busy:
                await asyncio.sleep(calm)


class Visitor:
    """A page of the dashboards at `url` (http://host:port/): `await arrive()`, use its `seats`, `await leave()`.

    `trouble` keeps every sentence that the page showed in alarm. `over` is true once the kernel is gone.
    """

    def __init__(self, url: str, notebook: str):
        self.url, self.notebook = url, notebook
        self.seats: list[Seat] = []
        self.trouble: list[str] = []
        self.offers, self.charts = "", {}  # the key of what the engine offers, and each method's charts
        self.kernel = ""
        self.over = self._gone = False
        self.lost = 0  # how often the line broke
        self.heard = 0.0  # when the last message came, by `clock()`
        self.weight = 0  # bytes that came
        self._session = uuid4().hex
        self._line: ClientConnection | None = None
        self._waiting: list[bytes] = []  # to be sent as soon as the line stands
        self._stirred = asyncio.Event()
        self._tasks: set[asyncio.Task] = set()
        self._library: asyncio.Future | None = None
        self._client = AsyncHTTPClient(force_instance=True, defaults={"request_timeout": PATIENCE, "connect_timeout": PATIENCE})

    def clock(self) -> float:
        """Seconds, of the loop's clock."""
        return asyncio.get_running_loop().time()

    def spawn(self, work: Any) -> asyncio.Task:
        """Start a task that ends with the visit."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def arrive(self) -> Visitor:
        """Open the dashboard: every bench of it stands. Raises `VisitorError` in the words that the person would read."""
        try:
            page = (await self._client.fetch(f"{self.url}voila/render/{self.notebook}")).body.decode()
        except (HTTPClientError, OSError) as refused:
            raise VisitorError(_said(refused)) from None
        found = CONFIG.search(page)
        if found is None:
            raise VisitorError(f"The page {self.notebook!r} came without a kernel.")
        config = msgspec.json.decode(found[1])
        self.kernel, self.base = config["kernelId"], config["baseUrl"]
        outputs = [msgspec.json.decode(text).get("data", {}) for text in OUTPUT.findall(page)]
        places = [output[VIEW]["model_id"] for output in outputs if VIEW in output]
        control, states = uuid4().hex, asyncio.get_running_loop().create_future()
        self._control = control, states
        # that comm speaks a version of its own
        self.tell("comm_open", {"comm_id": control, "target_name": "jupyter.widget.control", "data": {}}, b'{"version":"1.0.0"}')
        self.tell("comm_msg", {"comm_id": control, "data": {"method": "request_states"}})
        self.spawn(self._live())
        await self.until(states.done, "the state of the page's widgets")
        found = states.result()
        self.seats = [Seat(self, id, found[id].state) for id in places if id in found and found[id].state.page]
        if not self.seats:
            raise VisitorError(f"There is no bench on the page {self.notebook!r}.")
        await asyncio.gather(*(seat.open() for seat in self.seats))
        return self

    async def leave(self) -> None:
        """Close the tab, once: the page's beacon, then its socket."""
        if self._gone:
            return
        with contextlib.suppress(HTTPClientError, OSError):
            if self.kernel:
                await self._client.fetch(self._place(f"voila/api/shutdown/{self.kernel}"), method="POST", body=b"")
        await self.vanish()

    async def vanish(self) -> None:
        """Be gone without a word."""
        self._gone = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._line:
            await self._line.close()
        self._client.close()

    async def until(self, holds: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
        """Wait until `holds()`, looked at after every message.

        Raises `VisitorError` after `patience` seconds, or when the kernel is gone.
        """
        try:
            async with asyncio.timeout(patience):
                while not holds():
                    if self.over:
                        raise VisitorError("This page's session has ended.")
                    self._stirred.clear()
                    await self._stirred.wait()
        except TimeoutError:
            raise VisitorError(f"Waited {patience:g} seconds for {what}.") from None

    async def plotly(self) -> None:
        """The chart library, fetched once a page."""
        self._library = self._library or self._client.fetch(self._place("voila/plotly.js"), decompress_response=False)
        with contextlib.suppress(HTTPClientError, OSError):
            await asyncio.shield(self._library)

    def tell(self, kind: str, content: dict[str, Any], metadata: bytes = b"{}") -> None:
        """Send a message to the kernel, as soon as the line stands."""
        header = {"msg_id": uuid4().hex, "msg_type": kind, "session": self._session, "username": "", "version": "5.3"}
        header["date"] = datetime.now(UTC).isoformat()
        parts = [b"shell", encode(header), b"{}", metadata, encode(content)]
        places = list(accumulate(map(len, parts), initial=8 * (len(parts) + 2)))
        self._waiting.append(struct.pack(f"<{len(places) + 1}Q", len(places), *places) + b"".join(parts))
        self._flush()

    # ------------------------------------------------------------------ the line

    def _place(self, path: str) -> str:
        return f"{self.url.rstrip('/')}{self.base}{path}"

    def _flush(self) -> None:
        if self._line and self._waiting:
            self.spawn(self._send(self._line))

    async def _send(self, line: ClientConnection) -> None:
        while self._waiting and line is self._line:
            frame = self._waiting.pop(0)
            try:
                await line.send(frame)
            except ConnectionClosed:
                self._waiting.insert(0, frame)
                return

    async def _live(self) -> None:
        """Hold the line; come back when it broke; end with the kernel."""
        where = urlsplit(self._place(f"api/kernels/{self.kernel}/channels"))._replace(scheme="ws").geturl()
        while not self.over:
            with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, ConnectionClosed):
                async with connect(
                    f"{where}?session_id={self._session}",
                    subprotocols=[PROTOCOL],
                    origin=self.url.rstrip("/"),
                    compression=None,
                    proxy=None,
                    max_size=None,
                    max_queue=None,
                    ping_interval=None,  # a browser sends none
                    open_timeout=PATIENCE,
                ) as self._line:
                    self._flush()
                    if self.lost:  # what was said while nobody listened may be lost
                        for seat in self.seats:
                            seat.hello(self.offers)
                    async for frame in self._line:
                        self._take(frame)
                        if self.over:
                            break
            self._line = None
            self.lost += 1
            if not self.over and not await self._is_there():
                self._end()
            await asyncio.sleep(0 if self.over else AGAIN)

    async def _is_there(self) -> bool:
        """False only when the server says that the kernel is gone; that it says nothing may be the network."""
        try:
            await self._client.fetch(self._place(f"api/kernels/{self.kernel}"))
        except HTTPClientError as refused:
            return refused.code != 404
        except OSError:
            pass
        return True

    def _end(self) -> None:
        self.over = True
        self._stirred.set()

    def _take(self, frame: bytes) -> None:
        """Read of one frame what the page needs: channel, header, parent, metadata, content, buffers, each at its place."""
        self.heard = self.clock()
        self.weight += len(frame)
        (many,) = struct.unpack_from("<Q", frame)
        places = struct.unpack_from(f"<{many}Q", frame, 8)
        header, content = frame[places[1] : places[2]], frame[places[4] : places[5]]
        if b'"comm_msg"' in header:
            buffers = [frame[start:end] for start, end in zip(places[5:], places[6:])]
            self._hear(content, buffers)
        elif b'"status"' in header and (b'"restarting"' in content or b'"dead"' in content):
            self._end()
        self._stirred.set()

    def _hear(self, content: bytes, buffers: list[bytes]) -> None:
        message = _message(content)
        data = message.data
        if message.comm_id == self._control[0]:
            if data.method == "update_states" and not self._control[1].done():
                self._control[1].set_result(data.states)
        elif data.method == "custom" and data.content and buffers:
            for seat in self.seats:
                if seat.comm == message.comm_id:
                    seat.hear(data.content, buffers)


def _said(refused: Exception) -> str:
    """What a person reads when a page does not come: the server's own words where there are some."""
    response = getattr(refused, "response", None)
    body = response.body.decode(errors="replace") if response and response.body else ""
    if one := re.search(r"<p>(.*?)</p>", body, re.DOTALL):  # the lab's own sentence
        return html.unescape(one[1])
    text = re.sub(r"<[^>]*>|\s+", " ", body).strip()
    return f"The page did not come ({refused}). {text}"[:400].strip()
