"""Batch sizes, windows and variants of batched speculation compared (P050)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

from labkit.knobs import knob
from labkit.methods import Study
from labkit.speculative.batch import EQ, EX, VARIANTS, Batch, rounds
from labkit.speculative.batch_spec import alone, ends_of, judged, prompts_of
from labkit.trace import Step

VARIANT, SIZE, WINDOW = "variant", "batch size", "window"
SIZES, WINDOWS = (1, 2, 4, 8, 16), (1, 2, 3, 4, 6)


@dataclass
class BatchSweep(Study):
    """What do batch size and window change: rounds that need no realigning, where the time goes, and is the text right? (P050)

    The same prompts, sorted by length, through one setting after the other; a round is a step. Seconds are this machine's, and
    other work on it shows in them; grouping rates and verdicts do not depend on it.
    """

    name, title, paper, drafts = "batch-sweep", "Batches compared", "P050", "model"
    charts = ("batch_sweep",)
    over: str = knob(VARIANT, choices=(VARIANT, SIZE, WINDOW), label="Compare", help="what differs")
    size: int = knob(4, 1, 16, unit="rows", label="Batch (B)", help="fed in one call")
    drafted: int = knob(5, 1, 8, unit="tokens", label="Drafted tokens (K)", help="a round, every row")
    prompts: int = knob(32, 2, 64, unit="prompts", help="held-out ones")
    longest: int = knob(48, 8, 128, unit="tokens", label="Prompts cut at", help="so that groups form")
    tokens: int = knob(24, 8, 96, unit="tokens", help="behind each prompt")

    def settings(self) -> list[tuple[str, str, int, int]]:
        """(name, variant, batch size, window in batches) of all that is compared."""
        if self.over == WINDOW:
            return [(f"W = {window}B", EX, self.size, window) for window in WINDOWS]
        if self.over == SIZE:
            return [(f"{variant[:2]} {size}", variant, size, 3) for size in SIZES for variant in (EQ, EX)]
        return [(variant, variant, self.size, 3) for variant in VARIANTS]

    def steps(self, session, rng):
        prompts, ends = prompts_of(session, self.prompts, self.longest, self.tokens, True), ends_of(session)
        own = cache(lambda number: alone(session, prompts[number], self.tokens, ends))
        settings, results, done = self.settings(), [], 0
        for name, variant, size, window in settings:
            batch, kinds, verdicts = Batch(session, self.drafted, self.tokens, ends, variant), Counter(), Counter()
            results.append({"name": name})
            for now, verdict in judged(rounds(batch, prompts, size, window * size), own):
                kinds.update([now.kind] if now else [])
                verdicts.update([verdict[2]] if verdict else [])
                done += verdict is not None
                results[-1] |= {"kinds": dict(kinds), "verdicts": dict(verdicts), "seconds": dict(batch.seconds)}
                results[-1] |= {"calls": batch.calls, "tokens": batch.tokens}
                known = {"results": [dict(result) for result in results], "over": self.over}
                yield Step(emitted=[], notes={**known, "done": done, "of": len(settings) * len(prompts)})
