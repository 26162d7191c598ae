"""A text is edited while its cache is held: full recompute, PIE, and old keys left where they were, side by side."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Iterator

import torch
from torch import Tensor

from labkit.attention.ground import against, runs
from labkit.attention.pie import Change, edit, rotations
from labkit.errors import PromptError
from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.trace import Step

NAMES = ("full", "PIE", "no rotation")
PREFIX, NEW, SUFFIX = "before the edit", "new", "behind the edit"
FEWEST, LONGEST = 8, 64  # tokens of a text that can be edited, of a line that is inserted
SHOWN, NEAR = 6, 9  # tokens whose bars are shown; tokens shown before and behind an edit


@dataclass
class EditCache(Study):
    """What does an edit do to a cache? Full recompute, PIE (P032) and old keys that are not moved, on one text.

    The prompt is the text. Each step is one edit, or one typed token of it, at `where` and at even distances behind. What is
    inserted comes from held-out code. KL(full || other) is that of the next token behind the text, at temperature 1; errors of
    keys and values are ||other - full|| / ||full|| over the tokens that stood behind the first edit. Then the same edits, at
    once, in held-out texts. Without rotation, new and re-run tokens get the positions they stand at (inferred).
    """

    name, title, paper = "edit-cache", "Editing a cached text", "P032"
    charts = ("edit_ruler", "edit_laws", "edit_errors", "edit_cost")
    what: str = knob("insert", choices=("insert", "delete", "replace"), help="what every edit does")
    where: float = knob(0.4, 0.05, 0.9, help="first edit, share of the text", step=0.05)
    length: int = knob(0, 0, 64, unit="tokens", help="0 = one line")
    edits: int = knob(1, 1, 8, help="places edited")
    refresh: int = knob(0, 0, 64, help="last tokens read again")
    typed: bool = knob(True, help="one token a step")
    texts: int = knob(16, 0, 64, help="held-out texts, edited after")

    def steps(self, session, rng):
        rotations(session.runner)
        changes = self.plan(session, session.ids, rng)
        typing = list(typed(changes) if self.typed else one_by_one(changes))
        kl: list[list[float]] = []
        notes: dict[str, Any] = {"of": len(typing) + self.texts, "refresh": self.refresh}
        _ = session.logits
        bare = session.fork()[0]
        stands = [(place, PREFIX if place < changes[0].place else SUFFIX) for place in range(len(session.ids))]
        for done, change in enumerate(typing, 1):
            stands = restood(stands, change, self.refresh)
            full, costs = self.compare(session, bare, [change])
            rows = [full.logits, session.logits, bare.logits]
            kl.append([against(rows[0], row)["kl"] for row in rows[1:]])
            stale = [place for place, (_, kind) in enumerate(stands) if kind == SUFFIX]
            notes |= {"done": done, "costs": costs, "laws": laws(rows), "kl": kl[-1], "ruler": ruler(stands)}
            notes |= {"errors": {name: errors(full, one, stale) for name, one in zip(NAMES[1:], (session, bare))}}
            notes |= {"edit": [change.place, change.removed, list(change.new)], "around": around(session.ids, stands, change)}
            notes["tokens"] = [notes["laws"]["tokens"], *notes["around"]]
            yield Step(emitted=[], notes={**notes, "trail": list(kl), "texts": []})
        texts: list[list[float]] = []
        for text in heldout(self.texts) if self.texts else ():
            ids = session.vocabulary.encode(text)
            one = session.open(ids)
            _ = one.logits
            other = one.fork()[0]
            full, _ = self.compare(one, other, self.plan(one, ids, rng))
            texts.append([against(full.logits, row.logits)["kl"] for row in (one, other)])
            yield Step(emitted=[], notes={**notes, "done": len(typing) + len(texts), "trail": kl, "texts": list(texts)})

    def compare(self, pie: Session, bare: Session, changes: list[Change]) -> tuple[Session, dict[str, list[float]]]:
        """Edit both and read the new text from its beginning, too; that session, and by name [tokens computed, seconds]."""
        ids, ledger, costs = list(pie.ids), pie.ledger, {}
        for change in reversed(changes):
            ids[change.place : change.stop] = change.new
        full = pie.open(ids)
        for name, one in zip(NAMES, (full, pie, bare)):
            before, started = ledger.tokens, time.perf_counter()
            if one is not full:
                edit(one, changes, one is pie, self.refresh)
            _ = one.logits
            costs[name] = [ledger.tokens - before, time.perf_counter() - started]
        return full, costs

    def plan(self, session: Session, ids: list[int], rng: torch.Generator) -> list[Change]:
        """The edits of one text, in its old places; none reaches the next one's. Raises `PromptError` for a text too short."""
        fewest = FEWEST + self.edits
        if len(ids) < fewest:
            raise PromptError(f"The text has {len(ids)} tokens: write at least {fewest}, so that text stands around the edits.")
        breaks = [place for place, token in enumerate(ids) if place and session.vocabulary.piece(token).startswith("\n")]
        last = len(ids) - 2
        first = min(max(1, round(self.where * len(ids))), last - self.edits)
        marks = [first + number * (last - first) // self.edits for number in range(self.edits + 1)]
        changes: list[Change] = []
        for place, following in zip(marks, marks[1:]):
            if not self.length:  # a line begins with the break before it
                place = max([before for before in breaks if before <= place] or [place])
            place = max(place, changes[-1].stop if changes else 1)
            end = place + self.length if self.length else min([after for after in breaks if after > place] or [following])
            removed = 0 if self.what == "insert" else min(end, place + LONGEST, following) - place
            changes.append(Change(place, removed, () if self.what == "delete" else self.written(session, rng)))
        return changes

    def written(self, session: Session, rng: torch.Generator) -> tuple[int, ...]:
        """What an edit brings: one line, or `length` tokens, of a held-out text drawn by chance."""

        def draw(below: int) -> int:
            return int(torch.randint(below, (), generator=rng))

        pool = heldout(120)
        text = pool[draw(len(pool))]
        encode = session.vocabulary.encode
        if not self.length:
            whole = text.splitlines()[1:-1]  # the first and the last may be cut
            lines = [line for line in whole if len(line.split()) > 1] or [text]
            return tuple(encode("\n" + lines[draw(len(lines))])[:LONGEST])
        ids = encode("\n\n".join((text, *pool[:2])))
        start = draw(len(ids) - self.length + 1)
        return tuple(ids[start : start + self.length])


def one_by_one(changes: list[Change]) -> Iterator[Change]:
    """The same changes for one call each: every place moved by the sum of the deltas before it."""
    shift = 0
    for change in changes:
        yield change._replace(place=change.place + shift)
        shift += change.delta


def typed(changes: list[Change]) -> Iterator[Change]:
    """The same, with every new token a change of its own; what is removed goes with the first."""
    for place, removed, new in one_by_one(changes):
        yield Change(place, removed, new[:1])
        for offset, token in enumerate(new[1:], 1):
            yield Change(place + offset, 0, (token,))


def restood(stands: list[tuple[int, str]], change: Change, refresh: int) -> list[tuple[int, str]]:
    """(position, kind) of every token of a cache that is not rotated, behind a change: new and re-run tokens stand right."""
    fresh = [(place, NEW) for place in range(change.place, change.place + len(change.new))]
    behind = stands[change.stop :]
    length = change.place + len(fresh) + len(behind)
    again = min(max(refresh, 1), len(behind))
    kept, rerun = behind[: len(behind) - again], behind[len(behind) - again :]
    rerun = [(length - again + number, kind) for number, (_, kind) in enumerate(rerun)]
    return stands[: change.place] + fresh + kept + rerun


def around(ids: list[int], stands: list[tuple[int, str]], change: Change) -> list[list[int]]:
    """The text at the latest change: some tokens before it, what was typed there so far, some tokens behind."""
    start, stop = change.place, change.place + len(change.new)
    while start and stands[start - 1][1] == NEW:
        start -= 1
    return [ids[max(0, start - NEAR) : start], ids[start:stop], ids[stop : stop + NEAR]]


def ruler(stands: list[tuple[int, str]]) -> dict[str, Any]:
    """Runs as [first token, its position, tokens, kind]; positions that several tokens share, and those of none, see `runs`."""
    found: list[list] = []
    for token, (position, kind) in enumerate(stands):
        if found and found[-1][3] == kind and found[-1][1] + found[-1][2] == position:
            found[-1][2] += 1
        else:
            found.append([token, position, 1, kind])
    taken = Counter(position for position, _ in stands)
    shared = sorted(position for position, count in taken.items() if count > 1)
    missing = [place for place in range(max(taken)) if place not in taken]
    return {"runs": found, "collisions": runs(shared), "gaps": runs(missing)}


def laws(rows: list[Tensor]) -> dict[str, list]:
    """The likeliest tokens of a full recompute and each other's favourite, with their probabilities in each of `rows` [V]."""
    probabilities = torch.stack(rows).softmax(-1)
    names = probabilities[0].topk(SHOWN).indices.tolist()
    names += [token for token in dict.fromkeys(probabilities[1:].argmax(-1).tolist()) if token not in names]
    return {"tokens": names, **dict(zip(NAMES, probabilities[:, names].tolist()))}


def errors(full: Session, other: Session, places: list[int]) -> dict[str, list[float]]:
    """By layer, ||other - full|| / ||full|| of the keys and of the values at `places`."""
    true, held = (one.cache.part(0, 0, len(full.ids))[:, :, :, places].flatten(2) for one in (full, other))
    found = ((held - true).norm(dim=-1) / true.norm(dim=-1)).tolist()  # [layers, 2]
    return {"keys": [row[0] for row in found], "values": [row[1] for row in found]}
