"""P179: monitor-guided decoding. Behind a dot only names that static analysis knows can be written.

Agrawal et al., "Monitor-Guided Decoding of Code LMs with Static Analysis of Repository Context" (2023); the release is
microsoft/monitors4codegen (`dereferences_monitor.py`).
"""

from __future__ import annotations

import importlib
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Callable, Iterable, Iterator

import torch
from torch import Tensor

from labkit.knobs import knob
from labkit.law import draw
from labkit.lm import Session
from labkit.methods import Method
from labkit.sampling.members import shared
from labkit.trace import Step

_HEAD = re.compile(rb"[0-9A-Za-z_\x80-\xff]*")  # the bytes of an identifier; any other byte breaks it off
_MODULE = re.compile(r"(?:^|[^\w.])(\w+)\.\Z")
_IMPORTED = r"^\s*import (?:\w+, *)*{0}\b"
JEDI, TABLE, OFF = "jedi", "table of modules", "off"
MODULES = (
    "collections",
    "functools",
    "itertools",
    "json",
    "math",
    "operator",
    "os",
    "random",
    "re",
    "string",
    "sys",
    "time",
)
NOTED, LISTED = 12, 60  # tokens and names that travel with a step

Names = tuple[bytes, ...]
Analysis = Callable[[str], Iterable[str] | None]


class Heads:
    """A vocabulary by how its tokens begin: the prefix trie of the paper, laid flat into two tables.

    `spellings`: the bytes of every token [V], none for special ones; `ends`: tokens that end a text, and so an identifier.
    """

    def __init__(self, spellings: list[bytes], ends: Iterable[int]):
        self.spellings = spellings
        self.whole: dict[bytes, list[int]] = defaultdict(
            list
        )  # tokens that are a piece of an identifier and nothing else
        self.broken: dict[bytes, list[int]] = defaultdict(
            list
        )  # those that break one off, by what stands before the break
        for token, spelled in enumerate(spellings):
            head = _HEAD.match(spelled).group()
            if spelled:
                (self.whole if head == spelled else self.broken)[head].append(token)
        self.broken[b""] += [token for token in ends if not spellings[token]]

    def allowed(self, names: Names) -> list[int]:
        """Tokens that may follow when the rest of the identifier has to be one of `names`, in order.

        A piece of a name, or a whole name with a break at once behind it; where a name is whole already (b""), a break.
        """
        found = set()
        for name in names:
            found.update(self.broken.get(name, ()))
            for size in range(1, len(name) + 1):
                found.update(self.whole.get(name[:size], ()))
        return sorted(found)


class Monitor:
    """State S0 (`names` is None) lets everything pass; behind a dot the state is what may still follow of each legal name."""

    def __init__(self, heads: Heads, analysis: Analysis, text: bytes):
        self.heads, self.analysis, self.text = heads, analysis, text
        self.names: Names | None = None
        self.asked = 0  # questions put to the analysis
        self._look()

    def update(self, token: int) -> None:
        """`token` was written: go on in the names it begins, or back to S0 when it breaks the identifier off."""
        spelled = self.heads.spellings[token]
        self.text += spelled
        if not spelled or _HEAD.fullmatch(spelled) is None:
            self.names = None
            self._look()
        elif self.names is not None:
            self.names = tuple(name[len(spelled) :] for name in self.names if name.startswith(spelled))

    def _look(self) -> None:
        """Behind a dot, ask which names there are; when none are known, everything may pass."""
        if self.text.endswith(b"."):
            self.asked += 1
            found = self.analysis(self.text.decode(errors="replace"))
            self.names = tuple(name.encode() for name in found) if found else None


def from_table(text: str) -> list[str]:
    """The members of a standard module that `text` imports by its name; the baseline that knows nothing else."""
    found = _MODULE.search(text)
    if not found or found[1] not in MODULES or not re.search(_IMPORTED.format(found[1]), text, re.MULTILINE):
        return []
    return dir(importlib.import_module(found[1]))


ANALYSES: dict[str, Analysis] = {JEDI: lambda text: shared().ask(text), TABLE: from_table, OFF: lambda text: None}


def heads_of(session: Session) -> Heads:
    """The tables of the session's vocabulary, made once a model."""
    if "heads" not in session.memory:
        spelling = session.vocabulary.spelling
        session.memory["heads"] = Heads([spelling(token) for token in range(session.runner.vocabulary)], session.ends)
    return session.memory["heads"]


@dataclass
class Monitored(Method):
    """Behind a dot, only names that static analysis finds there can be written.

    After every token the monitor looks whether the text ends with a dot. If so it asks jedi which members there are, also with
    the missing brackets closed; from then on a token passes only when it goes on in one of these names, until the name is
    whole and broken off. With nothing known, everything passes. The law is cut before temperature and transforms. Jedi sees the
    prompt and what was written, not other files of a project, so a method defined further down is a name it does not know.
    One monitor of the paper's four (member names); it runs in a process of its own and is asked for three seconds at most, in
    which others on this engine wait. A dot inside a token ("a.b") is passed by.
    """

    name, title, paper, lossless = "monitored", "Monitor-guided", "P179", False
    charts = ("names",)
    analysis: str = knob(JEDI, choices=tuple(ANALYSES), label="Names known by", help="table: standard modules only")

    def steps(self, session, rng) -> Iterator[Step]:
        text = b"".join(heads_of(session).spellings[token] for token in session.ids)
        yield from self.under(Monitor(heads_of(session), ANALYSES[self.analysis], text), session, rng)

    def under(self, monitor: Monitor, session: Session, rng: torch.Generator) -> Iterator[Step]:
        """The same under any monitor."""
        while True:
            logits, names, began = session.logits, monitor.names, time.perf_counter()
            legal = logits if names is None else cut(logits, monitor.heads.allowed(names))
            token = int(legal.argmax()) if session.law.greedy else draw(session.law(legal), rng)
            notes = _notes(logits, legal, names, token)
            monitor.update(token)
            session.push(token)
            notes |= {"asked": monitor.asked, "seconds": time.perf_counter() - began}
            yield session.step(logits[None], [token], sources=["target"], notes=notes)


def cut(logits: Tensor, allowed: list[int]) -> Tensor:
    """`logits` [V] with everything else at -inf; unchanged when nothing is allowed, since a text has to go on."""
    if not allowed:
        return logits
    return torch.full_like(logits, -torch.inf).index_copy_(
        0, place := torch.tensor(allowed, device=logits.device), logits[place]
    )


def _notes(logits: Tensor, legal: Tensor, names: Names | None, token: int) -> dict:
    """What the model wanted, likeliest first, and what of it was struck out; the names that were left."""
    p = logits.softmax(-1)
    wanted = p.topk(min(NOTED, len(p))).indices
    passed = legal[wanted].isfinite().tolist()
    notes = {"tokens": [wanted.tolist(), [token]], "p": p[wanted].tolist(), "passed": passed, "written": token}
    notes["kept"] = float(p[legal.isfinite()].sum())  # mass of what may pass
    if names is not None:
        left = sorted((name.decode(errors="replace") for name in names), key=lambda name: (name.startswith("_"), name))
        notes |= {"names": left[:LISTED], "known": len(left)}
    return notes
