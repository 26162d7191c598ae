"""P050 Batch speculative decoding done right: EQSPEC, EXSPEC, and two ways to get it wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Callable, Iterator, NamedTuple

import torch

from labkit.errors import PromptError
from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.speculative.batch import EQ, VARIANTS, Batch, Round, Row, rounds
from labkit.trace import Step

SHORTEST = 3  # tokens of a prompt
TIE = 1e-4  # two logits closer than this may change places by rounding


class Own(NamedTuple):
    """What a row writes by itself: greedy tokens, and how far the second best logit was behind each."""

    tokens: list[int]
    leads: list[float]


@torch.inference_mode()
def alone(session: Session, prompt: list[int], budget: int, ends: frozenset[int]) -> Own:
    """The row's own greedy decoding, one token a call."""
    own, reader = Own([], []), session.open(prompt)
    while len(own.tokens) < budget and not (own.tokens and own.tokens[-1] in ends):
        best = reader.logits.topk(2)
        own.tokens.append(int(best.indices[0]))
        own.leads.append((best.values[0] - best.values[1]).item())
        reader.push(own.tokens[-1])
    return own


def compare(row: Row, own: Own) -> tuple[int, str]:
    """How many tokens of a row are its own greedy ones before the first that is not; and "equal", "tie" or "different"."""
    same = next((place for place, (one, other) in enumerate(zip(row.new, own.tokens)) if one != other), len(own.tokens))
    if row.new == own.tokens:
        return same, "equal"
    return same, "tie" if same < len(own.leads) and own.leads[same] < TIE else "different"


def judged(going: Iterator[Round], own: Callable[[int], Own]) -> Iterator[tuple[Round | None, tuple | None]]:
    """The rounds, each with a verdict (number, tokens, word) on one row that is done; then the verdicts that are still due."""
    unchecked: list[Row] = []
    while (now := next(going, None)) or unchecked:
        unchecked += now.finished if now else []
        row = unchecked.pop(0) if unchecked else None
        yield now, (row.number, *compare(row, own(row.number))) if row else None


def ends_of(session: Session) -> frozenset[int]:
    """The token that ends a text."""
    return frozenset([session.vocabulary.tokenizer.eos_token_id])


def prompts_of(session: Session, count: int, longest: int, budget: int, ordered: bool) -> list[list[int]]:
    """Held-out prompts, cut to `longest` tokens and so that `budget` more fit, by length when `ordered`. Raises `PromptError`."""
    room = min(session.runner.context, session.draft.runner.context) - budget
    if room < SHORTEST:
        raise PromptError(f"The models hold {room + budget} tokens and {budget} new ones are asked for: ask for fewer.")
    found = [session.vocabulary.encode(text)[: min(longest, room)] for text in heldout(count)]
    return sorted(found, key=len) if ordered else found


@dataclass
class BatchSpec(Study):
    """Several sequences speculate in one batch though each gains another number of tokens a round: how to stay in step? (P050)

    EQSPEC: unpad every row, append what it gained, pad again on the left to the new common length, and move its keys and values
    along. EXSPEC: from a window of more sequences take rows of EQUAL length, which need no padding; only when there are not
    enough of any length, realign as EQSPEC does. Two wrong variants show what the care is for: positions that count the padding,
    and a cache that keeps the refused drafts. A round is a step. At the end every row is laid beside its own greedy decoding.

    Always greedy. Unlike in the release, lengths are kept, not found by looking for the padding token; the draft has a cache,
    moved like the target's; rows that are done leave the rectangle; and where no row would move, none is moved.
    """

    name, title, paper, drafts = "batch-spec", "Speculation in a batch", "P050", "model"
    charts = ("batch_grid", "batch_time", "batch_equal")
    variant: str = knob(EQ, choices=VARIANTS, label="Variant", help="two are wrong on purpose")
    size: int = knob(8, 1, 16, unit="rows", label="Batch (B)", help="fed in one call")
    window: int = knob(3, 1, 6, unit="batches", label="Window (W)", help="EXSPEC picks from it")
    drafted: int = knob(5, 1, 8, unit="tokens", label="Drafted tokens (K)", help="a round, every row")
    ordered: bool = knob(True, label="Sort prompts", help="by their length")
    prompts: int = knob(16, 2, 64, unit="prompts", help="held-out ones")
    longest: int = knob(48, 8, 128, unit="tokens", label="Prompts cut at", help="so that groups form")
    tokens: int = knob(32, 8, 96, unit="tokens", help="behind each prompt")

    def steps(self, session, rng):
        prompts, ends = prompts_of(session, self.prompts, self.longest, self.tokens, self.ordered), ends_of(session)
        own = cache(lambda number: alone(session, prompts[number], self.tokens, ends))
        batch = Batch(session, self.drafted, self.tokens, ends, self.variant)
        kinds, checked, spent, written = Counter(), [], Counter(), [0] * len(prompts)
        notes = {"variant": self.variant, "budget": self.tokens, "width": self.longest + self.tokens + self.drafted}
        for now, verdict in judged(rounds(batch, prompts, self.size, self.window * self.size), own):
            if now:
                kinds[now.kind] += 1
                for row in now.rows:
                    written[row.number] = len(row.new)
                notes |= {"kind": now.kind, "rows": now.cells, "waiting": [(row.number, len(row.ids)) for row in now.waiting]}
            checked += [verdict] if verdict else []
            notes |= {"kinds": dict(kinds), "calls": batch.calls, "written": list(written), "checked": list(checked)}
            notes |= {"seconds": dict(batch.seconds - spent), "total": dict(batch.seconds)}
            spent = Counter(batch.seconds)
            yield Step(emitted=[], notes={**notes, "done": len(checked), "of": len(prompts)})
