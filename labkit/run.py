"""From a request to its events: Opening, Step, Step, ..., Closing. The one place where text, limits and costs meet a method."""

from __future__ import annotations

import time
from typing import Iterator

import torch

import labkit
from labkit.errors import KnobError, ModelError, PromptError
from labkit.lm import Session, beliefs
from labkit.methods import Method, build_law, build_method, check_seed
from labkit.models import Pair
from labkit.trace import Closing, Cost, Event, Opening, Request, Step

KEEP = {"laws", "prompt", "tests"}


def prompt_ids(pair: Pair, request: Request) -> list[int]:
    """The prompt as tokens. Raises `PromptError` when it is empty, does not fit, or holds ids outside the vocabulary."""
    ids = pair.vocabulary.encode(request.prompt) if request.ids is None else request.ids
    if not ids:
        raise PromptError("The prompt is empty: write at least one token.")
    if wrong := [token for token in ids if not 0 <= token < pair.target.vocabulary]:
        raise PromptError(f"Token {wrong[0]} is outside the vocabulary: choose ids from 0 to {pair.target.vocabulary - 1:,}.")
    room = pair.target.context - len(ids)
    if room < request.max_new_tokens:
        raise PromptError(
            f"The prompt has {len(ids):,} tokens and {request.max_new_tokens:,} new ones are asked for, but the model holds "
            f"{pair.target.context:,}: shorten the prompt or ask for {max(room, 0):,} new tokens."
        )
    return ids


def open_session(pair: Pair, request: Request, ids: list[int], with_draft: bool) -> Session:
    """A session over the pair with the request's law. Raises `KnobError` on a bad temperature or transform."""
    law = build_law(request.temperature, request.transforms)
    draft = Session(pair.draft, ids, law) if with_draft else None
    session = Session(pair.target, ids, law, draft, pair.memory)
    session.keep, session.vocabulary = frozenset(request.keep), pair.vocabulary
    session.room, session.ends = request.max_new_tokens, pair.ends
    return session


def run(pair: Pair, request: Request, method: Method | None = None) -> Iterator[Event]:
    """Run a request, lazily: the next step is computed when it is asked for. Raises `LabError` on bad input.

    `method`, where given, runs in place of the one that the request names: a bench has some that are not for users.
    """
    method = method or build_method(request.method, request.knobs)
    if method.drafts == "model" and pair.draft is None:
        raise ModelError(f"{method.title} needs a draft model and {pair.target_name!r} has none: choose a draft.")
    if request.max_new_tokens < 1:
        raise KnobError(f"{request.max_new_tokens} new tokens are asked for: choose at least 1.")
    if unknown := set(request.keep) - KEEP:
        raise KnobError(f"There is nothing called {min(unknown)!r:.60} to keep: choose from {', '.join(sorted(KEEP))}.")
    check_seed(request.seed)
    ids = prompt_ids(pair, request)
    started = time.perf_counter()
    session = open_session(pair, request, ids, method.drafts == "model")
    rng = torch.Generator().manual_seed(request.seed)

    spent = Cost()
    known = set(ids)
    opening = Opening(
        request=request,
        prompt_ids=ids,
        pieces=pair.vocabulary.pieces(known),
        target=pair.target_name,
        draft=pair.draft_name if session.draft else "",
        device=str(pair.target.device),
        dtype=str(pair.target.dtype).removeprefix("torch."),
        vocabulary=pair.target.vocabulary,
        lossless=method.lossless,
        paper=method.paper,
        labkit=labkit.__version__,
        charts=list(method.charts),
    )
    if "prompt" in session.keep and len(ids) > 1:
        rows = session.prompt_logits()
        opening.prompt_beliefs = beliefs(rows[:-1], ids[1:])
        fresh = {token for belief in opening.prompt_beliefs for token in belief.top} - known
        known |= fresh
        opening.pieces |= pair.vocabulary.pieces(fresh)
    before = time.perf_counter() - started  # reading the prompt counts into the first step, as its forward does
    yield opening

    written: dict[int, int] = {}  # token by place behind the prompt
    masks = False  # does the method fill a text of masks?
    steps = method.steps(session, rng)
    try:
        while True:
            started = time.perf_counter() - before - session.seconds_aside
            before = 0.0
            with torch.inference_mode():
                step = next(steps, None)
            if step is None:  # a study has shown what it had to show, or a text with masks has none left
                new, ended = _text(written, pair.ends)
                yield Closing(("end of text" if ended else "length") if masks else "done", pair.vocabulary.decode(new))
                return
            masks = step.at is not None
            reason = "" if masks else _trim(step, request.max_new_tokens - len(written), pair.ends)
            written |= zip(step.at or range(len(written), len(written) + len(step.emitted)), step.emitted)
            fresh = _mentioned(step) - known
            known |= fresh
            step.pieces = pair.vocabulary.pieces(fresh)
            total = session.cost()
            step.cost = _difference(total, spent, time.perf_counter() - started - session.seconds_aside)
            spent = total
            yield step
            if reason:
                yield Closing(reason, pair.vocabulary.decode(_text(written, pair.ends)[0]))
                return
    finally:
        steps.close()


def _text(written: dict[int, int], ends: frozenset[int]) -> tuple[list[int], bool]:
    """The new tokens in their order, up to an end of text; is there one?"""
    new = [written[place] for place in sorted(written)]
    first = next((place for place, token in enumerate(new) if token in ends), None)
    return (new, False) if first is None else (new[: first + 1], True)


def _trim(step: Step, room: int, ends: frozenset[int]) -> str:
    """Cut what a step emitted behind an end of text or the length asked for; why the run ends here, or ""."""
    reason, cut = "", len(step.emitted)
    if cut >= room:
        reason, cut = "length", room
    for place, token in enumerate(step.emitted[:cut]):
        if token in ends:
            reason, cut = "end of text", place + 1
            break
    for part in (step.emitted, step.beliefs, step.sources):
        del part[cut:]
    return reason


def _mentioned(step: Step) -> set[int]:
    mentioned = set(step.emitted)
    for belief in step.beliefs:
        mentioned.update(belief.top)
    if step.tree:
        mentioned.update(step.tree.tokens)
        if step.tree.added is not None:
            mentioned.add(step.tree.added)
    for test in step.tests:
        mentioned.update(test.tokens)
    for row in step.notes.get("tokens", []):
        mentioned.update(row)
    return mentioned


def _difference(now: Cost, before: Cost, seconds: float) -> Cost:
    fields = {name: getattr(now, name) - getattr(before, name) for name in now.__struct_fields__}
    return Cost(**{**fields, "seconds": seconds, "cache_bytes": now.cache_bytes})
