"""The bench: one widget that draws a whole page (transport, strip, knobs, views) and keeps the traces in the kernel."""

from __future__ import annotations

import gzip
from typing import Any, ClassVar

import anywidget
import msgspec
import traitlets

from labkit import engine as engines
from labkit.errors import LabError
from labkit.trace import Request, Setting, Trace
from labkit.ui import assets, takeaway
from labkit.ui.drive import Drive
from labkit.ui.lane import sentence

KEEP = {"entropy": ["laws", "prompt"], "draft_trees": [], "acceptance": ["tests"], "decode": [], "study": []}
METHOD = {"entropy": "plain", "draft_trees": "token-recycling", "acceptance": "chain", "decode": "chain"}
PACKED = 4096  # bytes; what the engine offers is compressed when it is longer
Cut = int | float | dict[str, Any] | None
PROMPT = '''class Queue:
    def __init__(self):
        self.items = []

    def put(self, item):'''


class Bench(anywidget.AnyWidget):
    """A page of the lab: `page` is "entropy", "draft_trees", "acceptance", "decode" or "study".

    `prompt` is text or token ids; `knobs` are the method's; `top_h`, `top_k`, `top_p`, `min_p`, `eta`, `typical` cut the
    next-token distribution in this order (None = off; a dict turns more than the first knob) after `temperature` (0 = greedy).
    `autorun` steps run as soon as the page is seen. `engine` defaults to the kernel's own, `labkit.engine.shared()`; it is
    connected when the page first speaks, never before. `trace` shows a saved run.

    `bench.trace` and `bench.compare` hold what was computed. Raises `LabError` on an unknown page.
    """

    _esm = assets.module("bench")
    page = traitlets.Unicode("entropy").tag(sync=True)
    under = traitlets.Bool(False).tag(sync=True)  # does it stand under another bench of the same page?
    there: ClassVar[bool] = False  # whether this process has made one

    def __init__(
        self,
        page: str = "entropy",
        prompt: str | list[int] = PROMPT,
        *,
        method: str = "",
        knobs: dict[str, Any] | None = None,
        temperature: float = 0.0,
        top_h: Cut = None,
        top_k: Cut = None,
        top_p: Cut = None,
        min_p: Cut = None,
        eta: Cut = None,
        typical: Cut = None,
        max_new_tokens: int = 64,
        seed: int = 0,
        target: str = "",
        draft: str = "",
        autorun: int = 0,
        engine: Any = None,
        trace: Trace | None = None,
    ):
        if page not in KEEP:
            raise LabError(f"There is no page {page!r}: choose one of {', '.join(KEEP)}.")
        if page == "study" and not method:
            raise LabError("A study has no name: give one that `labkit studies` lists.")
        super().__init__(page=page)
        Bench.there = True
        cuts = {"top-h": ("alpha", top_h), "top-k": ("k", top_k), "top-p": ("p", top_p), "min-p": ("p", min_p)}
        cuts |= {"eta": ("epsilon", eta), "typical": ("mass", typical)}
        request = Request(
            method=method or METHOD.get(page, ""),
            prompt=prompt if isinstance(prompt, str) else "",
            ids=None if isinstance(prompt, str) else list(prompt),
            knobs=dict(knobs or {}),
            temperature=temperature,
            transforms=[
                Setting(name, value if isinstance(value, dict) else {knob: value})
                for name, (knob, value) in cuts.items()
                if value is not None
            ],
            max_new_tokens=max_new_tokens,
            seed=seed,
            target=target,
            draft=draft,
            keep=KEEP[page],
        )
        connect = engines.shared if engine is None else lambda: engine
        request = trace.opening.request if trace else request
        measure = page in ("draft_trees", "decode")
        audience = not self.under  # a second bench of a page leaves what the teacher shows to the first
        self._drive = Drive(
            request, connect, self._publish, autorun=autorun, trace=trace, measure=measure, audience=audience
        )
        if page in ("acceptance", "decode"):
            takeaway.prepare_charts()  # in a warm kernel this is done long before a visitor comes
        self._parts: dict[str, list[bytes]] = {}  # a trace on its way up, part by part
        self.on_msg(self._hear)

    @classmethod
    def entropy(cls, prompt: str | list[int] = PROMPT, *, under: bool = False, **settings: Any) -> Bench:
        """Where is the model sure, where not? One token a step, coloured by entropy, with the law behind each.

        `under` another bench of the page: without a head, and with the method's own charts in place of the entropies.
        """
        return (Guest if under else cls)("entropy", prompt, **settings)

    @classmethod
    def draft_trees(cls, prompt: str | list[int] = PROMPT, **settings: Any) -> Bench:
        """A tree is proposed, checked in one forward, one path survives."""
        return cls("draft_trees", prompt, **settings)

    @classmethod
    def acceptance(cls, prompt: str | list[int] = PROMPT, **settings: Any) -> Bench:
        """One verify step with its numbers, and the check that the law is kept."""
        return cls("acceptance", prompt, **settings)

    @classmethod
    def decode(cls, prompt: str | list[int] = PROMPT, *, under: bool = False, **settings: Any) -> Bench:
        """Any method with the charts it brings along, and what it costs; `under` another bench of the page: without a head."""
        return (Guest if under else cls)("decode", prompt, **settings)

    @classmethod
    def study(cls, method: str, prompt: str | list[int] = PROMPT, *, under: bool = True, **settings: Any) -> Bench:
        """An experiment over many runs: its knobs, and its charts as they grow. `method` is its name in `labkit studies`.

        `under` another bench of the page: without a head; False for the first bench of a page.
        """
        return (Guest if under else cls)("study", prompt, method=method, **settings)

    @property
    def trace(self) -> Trace | None:
        """The first lane's run so far; None before the first step."""
        return self._drive.lanes[0].trace

    @property
    def compare(self) -> Trace | None:
        """The second lane's run, when two are compared or a branch was taken."""
        return self._drive.lanes[1].trace if len(self._drive.lanes) > 1 else None

    def _publish(self, kind: str, fields: dict[str, Any], laws: list[bytes]) -> None:
        # The JSON travels as a buffer: encoded once, and a token's infinite log-probability becomes null instead of broken JSON.
        data = msgspec.json.encode(fields)
        packed = kind == "engine" and len(data) > PACKED
        self.send({"kind": kind, "packed": packed}, [gzip.compress(data, 6) if packed else data, *laws])

    def _hear(self, _widget: Any, message: Any, buffers: list[Any]) -> None:
        """Callbacks never work: they leave the message to the one task."""
        data = bytes(buffers[0]) if buffers else None
        if not isinstance(message, dict):
            return
        if message.get("do") == "load":
            data = self._collect(message, data)
            if data is None:
                return
        if "ask" in message:
            self._drive.call(self._answer(message))
        elif message.get("do") in self._drive.verbs:
            self._drive.post(message, data)

    def _collect(self, message: dict[str, Any], data: bytes | None) -> bytes | None:
        """Put an uploaded file together; a server refuses messages over some megabytes, so it comes in parts."""
        key, part, of = str(message.get("file")), int(message.get("part", 0)), int(message.get("of", 1))
        if part == 0:
            self._parts = {key: []}
        parts = self._parts.setdefault(key, [])
        parts.append(data or b"")
        return b"".join(self._parts.pop(key)) if part == of - 1 else None

    async def _answer(self, message: dict[str, Any]) -> None:
        """Questions that change nothing; they are answered beside a run, not after it."""
        fields, buffers = {}, []
        try:
            fields, buffers = await takeaway.answer(self._drive, self.page, message)
        except Exception as error:  # the page shows one sentence, whatever it was
            fields = {"error": sentence(error)}
        self.send({"kind": "answer", "id": message.get("id")}, [msgspec.json.encode(fields), *buffers])


class Guest(Bench):
    """A bench that stands under another one: it brings no script of its own, and its page no head."""

    _esm = assets.GUEST
    under = traitlets.Bool(True).tag(sync=True)
    alone = traitlets.Bool().tag(sync=True)  # no other bench was there before it

    def __init__(self, *arguments: Any, **settings: Any):
        alone = not Bench.there
        super().__init__(*arguments, **settings)
        self.alone = alone
