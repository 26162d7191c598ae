"""When to stop drafting: every way to stop on the same texts, by drafts thrown away and target calls (P013)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from labkit.knobs import knob
from labkit.law import entropy
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import heldout
from labkit.speculative.specdecpp import ENTROPY, FIXED, HEAD, ORACLE, SpecDecPlusPlus
from labkit.speculative.stopping import HEADS, judge, judgements, load_head, reliability
from labkit.trace import Step, Tree

LONGEST = 16  # drafted tokens a round, for every policy
LINES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
NATS = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0)


class Count(NamedTuple):
    """What decoding came to."""

    tokens: int = 0
    discarded: int = 0  # drafts
    calls: int = 0  # of the target


class Drafts(NamedTuple):
    """The longest chain behind every place of a greedy text, and what the policies would have read there."""

    agreeing: list[int]  # [places] drafted tokens before the first that the target refuses
    entropies: list[list[float]]  # [places][LONGEST] nats, of the law each was taken from
    judged: dict[str, list[list[float]]]  # by head: [places][LONGEST - 1] P(accepted)


def settings(head: str) -> list[tuple[str, float, SpecDecPlusPlus]]:
    """(curve, setting, method) of every point to be measured; the heads that never stop come first, for their reliability."""
    made = [("", 1.0, {"h": 1.0, "head": other}) for other in HEADS if other != head]
    made += [(HEAD, line, {"h": line, "head": head}) for line in reversed(LINES)]
    made += [(FIXED, length, {"policy": FIXED, "longest": length}) for length in range(1, LONGEST + 1)]
    made += [(ENTROPY, nats, {"policy": ENTROPY, "nats": nats}) for nats in NATS]
    made += [(ORACLE, 0.0, {"policy": ORACLE})]
    return [(curve, value, SpecDecPlusPlus(**{"longest": LONGEST, "shortest": 1, **knobs})) for curve, value, knobs in made]


def decode(method: SpecDecPlusPlus, session: Session, tokens: int, seed: int) -> tuple[Count, list[tuple[float, float]]]:
    """Write `tokens` tokens (the last round may write more); what it came to, and what the head said of the tested drafts."""
    count, said = Count(), []
    for step in method.steps(session, torch.Generator().manual_seed(seed)):
        discarded = len(step.tree.tokens) - len(step.tree.path)
        count = Count(count.tokens + len(step.emitted), count.discarded + discarded, count.calls + 1)
        said += judgements(step) if method.policy == HEAD else []
        if count.tokens >= tokens:
            return count, said


def drafts(session: Session, tokens: int) -> Drafts:
    """Decode greedily once, then draft behind each of the first `tokens` places of that text: one tree, a level a forward."""
    writer, text = SpecDecPlusPlus(policy=FIXED, longest=4), []
    for step in writer.steps(session.open(session.ids), torch.Generator()):
        text += step.emitted
        if len(text) >= tokens + LONGEST:
            break
    draft = session.draft
    heads = {kind: load_head(kind, draft.runner) for kind in HEADS}
    tree = Tree(text[: tokens - 1], list(range(-1, tokens - 2)))  # the trunk; the place t hangs under its token t - 1
    rows, under = torch.cat([draft.logits[None], draft.grow(tree).logits]), range(-1, tokens - 1)
    chosen, nats, judged = [], [], {kind: [] for kind in heads}
    for level in range(LONGEST):
        chosen.append(rows.argmax(-1).tolist())
        nats.append(entropy(rows.softmax(-1)).tolist())
        if level < LONGEST - 1:
            under, first = list(under), len(tree.tokens)
            tree.tokens += chosen[-1]
            tree.parents += under
            under = range(first, first + tokens)
            rows, trail = draft.grow(tree, list(under), hidden=True)
            for kind, head in heads.items():
                judged[kind].append(judge(trail[-1], head).softmax(-1)[:, 1].tolist())
    agreeing = []
    for place, chain in enumerate(zip(*chosen)):
        differs = [level for level, token in enumerate(chain) if token != text[place + level]]
        agreeing.append(differs[0] if differs else LONGEST)
    return Drafts(agreeing, list(zip(*nats)), {kind: list(zip(*levels)) for kind, levels in judged.items()})


def length(method: SpecDecPlusPlus, stop, found: Drafts, place: int) -> int:
    """How many tokens the policy `stop` of `method` drafts behind `place`."""
    if method.policy == ORACLE:
        return found.agreeing[place]
    values = (None, *found.judged[method.head][place]) if stop.wants_state else found.entropies[place]
    stop.begin()
    for count, value in enumerate(values[: method.longest], 1):
        if stop.passes(value) and count >= method.shortest:
            return count
    return method.longest


def replay(method: SpecDecPlusPlus, runner, found: Drafts) -> Count:
    """What `decode` would have counted at temperature 0, where the text and every draft behind it are known."""
    stop, at, discarded, calls = method.made(runner), 0, 0, 0
    while at < len(found.agreeing):
        drafted = length(method, stop, found, at)
        accepted = min(drafted, found.agreeing[at])
        at, discarded, calls = at + accepted + 1, discarded + drafted - accepted, calls + 1
    return Count(at, discarded, calls)


def said_of(found: Drafts, head: str) -> list[tuple[float, float]]:
    """(P(accepted) by the head, 0 or 1) of every drafted token that would be tested, whatever the place the round begins at."""
    pairs = []
    for agreeing, judged in zip(found.agreeing, found.judged[head]):
        pairs += [(said, float(level < agreeing)) for level, said in enumerate(judged[: agreeing + 1])]
    return pairs


@dataclass
class WhenToStop(Study):
    """What each way to stop drafting pays in discarded drafts for the target calls it saves, on held-out texts (P013).

    Fixed lengths 1 to 16, a line on the draft's entropy, the line h of the head, and an oracle that knows. At temperature 0
    each text is decoded once and drafted at every place, which gives what each policy would have done: exactly what running it
    gives, but for rounding at near ties. Above, every policy really runs, with the same seed. An end of text does not end a text.
    On 60 texts at temperature 0, at the target calls of fixed lengths 3 to 6, the head discards 8 to 20 % fewer drafts, as the
    paper says; but up to length 3 the draft's entropy, which nobody trained, discards fewer still.
    """

    name, title, paper, drafts = "when-to-stop", "When to stop drafting", "P013", "model"
    charts = ("stop_pareto", "stop_reliability")
    prompts: int = knob(12, 1, 120, unit="texts", help="held-out texts")
    tokens: int = knob(48, 16, 128, unit="tokens", label="Tokens a text", help="written behind each")
    head: str = knob(HEADS[0], choices=HEADS, label="Head", help="weighted: refusals count 6×")

    def steps(self, session, rng):
        points, said = settings(self.head), {kind: [] for kind in HEADS}
        counts, runner, greedy = [Count() for _ in points], session.draft.runner, session.law.greedy
        done, of = 0, self.prompts * (1 if greedy else len(points))

        def frame() -> Step:
            curves = {curve: [] for curve in (FIXED, ENTROPY, HEAD, ORACLE)}
            for (curve, value, _), count in zip(points, counts):
                if curve and count.tokens:
                    curves[curve].append([value, count.discarded / count.tokens, count.calls / count.tokens])
            bins = {kind: reliability(*torch.tensor(pairs, dtype=torch.float64).t()) for kind, pairs in said.items() if pairs}
            notes = {"done": done, "of": of, "temperature": session.law.temperature, "head": self.head}
            notes |= {"written": counts[0].tokens, "curves": curves, "reliability": bins}
            return Step(emitted=[], notes=notes)

        for text in heldout(self.prompts):
            ids = session.vocabulary.encode(text)
            seed = int(torch.randint(2**31, (), generator=rng))
            if greedy:
                found = drafts(session.open(ids), self.tokens)
                for kind in HEADS:
                    said[kind] += said_of(found, kind)
            for number, (_, _, method) in enumerate(points):
                if greedy:
                    more = replay(method, runner, found)
                else:
                    more, judged = decode(method, session.open(ids), self.tokens, seed)
                    if method.policy == HEAD and method.h == 1:
                        said[method.head] += judged
                counts[number] = Count(*map(sum, zip(counts[number], more)))
                if not greedy:
                    done += 1
                    yield frame()
            if greedy:
                done += 1
                yield frame()
