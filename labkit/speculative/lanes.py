"""Two timelines on the virtual clock: what draft and target do in PEARL, and in ordinary speculation over the same text."""

from __future__ import annotations

from labkit.speculative.clock import Clock


class Lanes:
    """The two lanes of a run of PEARL. Times are in target calls; blocks of drafted tokens are numbered from 0.

    `notes` gives what the round just closed added: "drafts" [block, begin, end, tokens], "verify" [begin, end, tested, kept],
    "decided" [block, tokens verified, tokens wasted], "segments" (accepted tokens between two of the target's own), "now".
    """

    def __init__(self, clock: Clock):
        self.clock, self.now, self.blocks, self.segment = clock, 0.0, 0, 0
        self.pending = 0, 0  # block and tokens that the next call of the target checks
        self._open()

    def _open(self) -> None:
        self.drafts, self.decided, self.segments = [], [], []

    def _draft(self, tokens: int) -> float:
        """The draft writes a block from now on; when it is done."""
        end = self.now + tokens * self.clock.draft
        if tokens:
            self.drafts.append([self.blocks, self.now, end, tokens])
            self.blocks += 1
        return end

    def alone(self, tokens: int) -> None:
        """The draft writes `tokens` that the target will check; the target waits."""
        self.pending = self.blocks, tokens
        self.now = self._draft(tokens)

    def together(self, fresh: int, kept: int, passed: bool) -> None:
        """The target checks what is pending and the first of `fresh` tokens that the draft writes meanwhile.

        `kept` of them survived; `passed`: all did, and the target added nothing.
        """
        block, waiting = self.pending
        end = self.now + self.clock.target(waiting + 1)
        self.verify = [self.now, end, waiting + min(fresh, 1), kept]
        self.now = max(end, self._draft(fresh))
        if waiting:
            self.decided.append([block, min(kept, waiting), max(waiting - kept, 0)])
        if fresh:
            self.decided.append([self.blocks - 1, 1, 0] if passed else [self.blocks - 1, 0, fresh])
        self.pending = (self.blocks - 1, fresh - 1) if passed else (0, 0)
        self.segment += kept
        if not passed:
            self.segments.append(self.segment)
            self.segment = 0

    def notes(self) -> dict:
        closed = {name: getattr(self, name) for name in ("drafts", "verify", "decided", "segments", "now")}
        self._open()
        return closed


class Ordinary:
    """Ordinary speculation over a text whose drafts' verdicts are known: gamma drafts, then one target call, in turn.

    A round that begins at some token keeps the drafts up to the first refused one, at most gamma, and the token behind them is
    the target's. At temperature 0 this is what a run of its own does; above it the rounds have the law of such a run.
    """

    def __init__(self, clock: Clock, gamma: int):
        self.gamma, self.write, self.check = gamma, gamma * clock.draft, clock.target(gamma + 1)
        self.verdicts: list[bool] = []
        self.at, self.now = 0, 0.0  # where the next round begins: tokens, target calls

    def follow(self, verdicts: list[bool]) -> dict:
        """`verdicts` of the tokens that were written since: was a draft accepted there? Gives the rounds that are whole now.

        Each is [begin, end of drafting, end, drafts kept]; "tokens" are those written up to `now`.
        """
        self.verdicts += verdicts
        rounds = []
        while True:
            ahead = self.verdicts[self.at : self.at + self.gamma]
            kept = ahead.index(False) if False in ahead else len(ahead)
            if self.at + kept >= len(self.verdicts):  # the token behind them is not written yet
                return {"rounds": rounds, "now": self.now, "tokens": self.at}
            drafted = self.now + self.write
            rounds.append([self.now, drafted, drafted + self.check, kept])
            self.at, self.now = self.at + kept + 1, drafted + self.check
