"""CNTP: how many trials, where they end, which one is kept; one trial is plain sampling."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import pytest
import tiny_models
import torch
from scipy.stats import chisquare

from labkit.errors import KnobError
from labkit.law import entropy
from labkit.lm import Session
from labkit.methods import build_law
from labkit.run import run
from labkit.sampling.cntp import CNTP, CODE, CONSTANT, LINES, PAPER, REVERSED
from labkit.trace import Request, Setting, Step

HOT = {"temperature": 0.8, "transforms": [Setting("top-p", {"p": 0.95})]}


def decoded(pair, ids, tokens=48, seed=0, law=HOT, **knobs) -> list[Step]:
    events = run(pair, Request(method="cntp", ids=ids, max_new_tokens=tokens, seed=seed, **law), CNTP(**knobs))
    return [event for event in events if isinstance(event, Step)]


def text(steps: list[Step]) -> list[int]:
    return [token for step in steps for token in step.emitted]


# -- how many ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "counts"),
    [  # at x = 0 (and below), .05, .19, .5, .999, 1 (and above), with Nmax 10: floor(10 x), floor(1 + 9 x), floor(1 + 9 (1 - x))
        (PAPER, [1, 1, 1, 1, 5, 9, 10, 10]),
        (CODE, [1, 1, 1, 2, 5, 9, 10, 10]),
        (REVERSED, [10, 10, 9, 8, 5, 1, 1, 1]),
        (CONSTANT, [10] * 8),
    ],
)
def test_how_many_trials(mapping, counts):
    method = CNTP(mapping=mapping, lowest=0.5, highest=1.5)
    assert [method.trials(0.5 + x) for x in (-0.5, 0.0, 0.05, 0.19, 0.5, 0.999, 1.0, 3.0)] == counts


@pytest.mark.parametrize("most", [1, 2, 7, 20])
def test_more_trials_where_it_is_less_sure(most):
    nats = [number / 50 for number in range(200)]
    for mapping, direction in ((PAPER, 1), (CODE, 1), (REVERSED, -1), (CONSTANT, 1)):
        counts = [CNTP(mapping=mapping, most=most).trials(one) for one in nats]
        assert counts == sorted(counts, reverse=direction < 0)
        assert {min(counts), max(counts)} == {1 if mapping != CONSTANT else most, most}


def test_the_count_follows_the_law_that_is_drawn_from(quick64, prompts):
    """H is that of the law after temperature and cuts, which is not the raw law's."""
    law, context = build_law(HOT["temperature"], HOT["transforms"]), list(prompts[0])
    for step in decoded(quick64, prompts[0]):
        p = law(Session(quick64.target, context).logits)
        spread = -(p[p > 0] * p[p > 0].log()).sum().item()
        assert step.notes["entropy"] == pytest.approx(spread, abs=1e-9)
        assert step.notes["count"] == max(1, min(10, math.floor(10 * (spread - 0.01) / 1.49)))
        assert len(step.notes.get("trials", [0])) == step.notes["count"]
        context += step.emitted


# -- one trial is plain sampling ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [HOT, {"temperature": 1.3}, {"temperature": 0.0}], ids=str)
def test_one_trial_is_plain_sampling_coin_by_coin(law, quick64, prompts, traced):
    for seed, prompt in enumerate(prompts[:6]):
        plain = traced(quick64, "plain", ids=prompt, max_new_tokens=48, seed=seed, **law)
        assert text(decoded(quick64, prompt, 48, seed, law, most=1)) == plain.ids


def test_at_temperature_0_it_is_greedy(quick64, prompts, greedy_text):
    written = [text(decoded(quick64, prompt, 64, law={"temperature": 0.0})) for prompt in prompts[:6]]
    assert written == greedy_text(quick64, prompts[:6])


def letters_law(pair, ids, length, law):
    """P of every text of `length` letters behind `ids`, by enumeration."""
    found = {}
    for way in product(range(pair.target.vocabulary), repeat=length):
        chance, context = 1.0, list(ids)
        for token in way:
            chance *= law(Session(pair.target, context).logits)[token].item()
            context.append(token)
        found[way] = chance
    return found


def test_one_trial_has_the_samplers_law():
    pair = tiny_models.letters_pair("llama, grouped, tied", vocabulary=4, spread=0.1)
    law = build_law(1.0, [])
    expected = letters_law(pair, [1, 2], 2, law)
    drawn = Counter(
        tuple(text(decoded(pair, [1, 2], 2, seed, {"temperature": 1.0}, most=1))) for seed in range(3000)
    )
    observed = [drawn[way] for way in expected]
    assert chisquare(observed, [3000 * chance for chance in expected.values()]).pvalue > 1e-3


def test_trials_are_independent_samples_of_the_law():
    """What the trials of one place write, all of them together, follows the model's law; what is kept does not."""
    pair = tiny_models.letters_pair("llama, grouped, tied", vocabulary=4, spread=0.1)
    method = CNTP(mapping=CONSTANT, most=20, longest=2)
    expected = letters_law(pair, [1, 2], 2, build_law(1.0, []))
    written, kept, runs = Counter(), Counter(), 250
    for seed in range(runs):
        session = Session(pair.target, [1, 2], build_law(1.0, []))
        session.vocabulary = pair.vocabulary
        step = next(method.steps(session, torch.Generator().manual_seed(seed)))
        written.update(tuple(trial["tokens"]) for trial in step.notes["trials"])
        kept[tuple(step.emitted)] += 1
    chances = list(expected.values())
    assert chisquare([written[way] for way in expected], [runs * 20 * chance for chance in chances]).pvalue > 1e-3
    assert chisquare([kept[way] for way in expected], [runs * chance for chance in chances]).pvalue < 1e-6


# -- which one is kept -------------------------------------------------------------------------------------------------


def test_the_kept_trial_has_the_lowest_perplexity(quick64, prompts):
    """Every trial, measured again by one teacher-forced forward with no tree."""
    law, context, fans = build_law(HOT["temperature"], HOT["transforms"]), list(prompts[3]), 0
    for step in decoded(quick64, prompts[3]):
        if "trials" in step.notes:
            again = []
            for trial in step.notes["trials"]:
                way = trial["tokens"]
                rows = Session(quick64.target, context + way).prompt_logits()[len(context) - 1 : -1]
                p = law(rows).gather(1, torch.tensor(way)[:, None])
                again.append(p.log().mean().neg().exp().item())
            assert [trial["perplexity"] for trial in step.notes["trials"]] == pytest.approx(again, rel=1e-5)
            assert again[step.notes["kept"]] == pytest.approx(min(again), rel=1e-9)  # two trials may be the same text
            best = step.notes["trials"][step.notes["kept"]]["tokens"]
            assert step.emitted == best[: len(step.emitted)] and step.notes["tokens"][step.notes["kept"]] == best
            fans += 1
        context += step.emitted
    assert fans > 3


def test_the_run_goes_on_from_the_kept_cache(quick64, prompts):
    """Beliefs behind a fan are those of a fresh forward: the kept rows stand where they belong, the others are gone."""
    context = list(prompts[4])
    for step in decoded(quick64, prompts[4], 40):
        rows = Session(quick64.target, context + step.emitted).prompt_logits()[len(context) - 1 : -1]
        for belief, row in zip(step.beliefs, rows):
            assert belief.entropy == pytest.approx(entropy(row.softmax(-1)).item(), abs=1e-9)
        context += step.emitted


def test_first_of_equals(quick64, prompts):
    """Trials of one law that leaves a single token are all alike; the first one wins."""
    law = {"temperature": 1.0, "transforms": [Setting("top-k", {"k": 1})]}
    for step in decoded(quick64, prompts[0], 12, law=law, mapping=CONSTANT, most=4):
        assert step.notes["kept"] == 0
        assert len({tuple(trial["tokens"]) for trial in step.notes["trials"]}) == 1


# -- where a trial ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stops", "ends"), [("punctuation", ".,\n?!:;)]}"), (LINES, "\n")])
def test_trials_end_at_punctuation(stops, ends, shipped32, prompts):
    """Merged tokens too, and line ends with their indent; nothing else ends a trial but its length."""
    last, merged = set(), 0
    for prompt in prompts[:4]:
        for step in decoded(shipped32, prompt, mapping=CONSTANT, stops=stops, most=6, longest=16):
            for trial in step.notes["trials"]:
                pieces = [shipped32.vocabulary.piece(token) for token in trial["tokens"]]
                assert not any(piece.strip(" ") and piece.rstrip(" ")[-1] in ends for piece in pieces[:-1])
                over = pieces[-1].strip(" ") and pieces[-1].rstrip(" ")[-1] in ends
                assert over or len(pieces) == 16 or trial["tokens"][-1] in shipped32.ends
                last.update(pieces[-1].rstrip(" ")[-1:] if over else "")
                merged += bool(over) and len(pieces[-1]) > 1
    assert last >= (set("\n") if stops == LINES else set("\n.():,") - {"("}) and merged


def test_a_trial_ends_with_the_text():
    pair = tiny_models.letters_pair("llama, grouped, tied", ends=(4,))
    ended = 0
    for seed in range(6):
        for step in decoded(pair, [1, 2], 12, seed, {"temperature": 1.0}, mapping=CONSTANT, most=5, longest=8):
            for trial in step.notes["trials"]:
                assert 4 not in trial["tokens"][:-1] and (len(trial["tokens"]) == 8 or trial["tokens"][-1] == 4)
                ended += trial["tokens"][-1] == 4
    assert ended


def test_at_the_end_of_the_context():
    pair = tiny_models.letters_pair("llama, grouped, tied", context=16)
    steps = decoded(pair, [1, 2, 3], 13, law={"temperature": 1.0}, mapping=CONSTANT, most=3)
    assert len(text(steps)) == 13


# -- what it costs and gives -------------------------------------------------------------------------------------------


def test_a_fan_costs_a_forward_a_level(quick64, prompts):
    steps = decoded(quick64, prompts[0], 40, mapping=CONSTANT, most=5)
    for number, step in enumerate(steps[:-1]):
        trials = [trial["tokens"] for trial in step.notes["trials"]]
        fed = sum(len(way) - 1 for way in trials)  # nobody reads what ends a trial, but the next step reads the kept one
        root = len(prompts[0]) if number == 0 else 1
        assert step.cost.target_forwards == max(map(len, trials)) - 1 + 1
        assert step.cost.target_tokens == fed + root


def test_more_trials_write_likelier_text(shipped32, prompts):
    """Mean ln p a token, under the law that is drawn from, rises with Nmax: the selection at work."""
    means = []
    law = build_law(HOT["temperature"], HOT["transforms"])
    for most in (1, 4, 16):
        total, count = 0.0, 0
        for seed, prompt in enumerate(prompts[:6]):
            written = text(decoded(shipped32, prompt, 32, seed, most=most))
            rows = Session(shipped32.target, prompt + written).prompt_logits()[len(prompt) - 1 : -1]
            total += law(rows).gather(1, torch.tensor(written)[:, None]).log().sum().item()
            count += len(written)
        means.append(total / count)
    assert means == sorted(means) and means[-1] - means[0] > 0.1


def test_bounds_that_cross_are_told(shipped32):
    with pytest.raises(KnobError, match="H min is 2 and H max is 1.5: choose an H min below H max"):
        decoded(shipped32, [70], lowest=2.0)
