"""P006: what ASSD writes has exactly the law of filling one place a call, for no more calls; each known mistake is caught."""

from __future__ import annotations

import math
from collections import defaultdict

import exact
import pytest
import torch
from any_subset import LETTERS, Remembering, joint, letters_pair, random_model, session_of
from scipy.stats import chisquare

from labkit.diffusion import assd
from labkit.diffusion.asarm import PART, hidden, sight, two_stream
from labkit.diffusion.assd import BIGRAM, NOBODY, RANDOM, RISING, SELF, Assd, Canvas, bigrams
from labkit.errors import ModelError, PromptError
from labkit.methods import build_law
from labkit.speculative import verify
from labkit.trace import Setting, loads

ONE = build_law(1.0, [])
SHARP = build_law(0.7, [Setting("top-p", {"p": 0.9})])


@pytest.fixture(scope="module")
def model():
    return Remembering(random_model())


# -- the masks ---------------------------------------------------------------------------------------------------------


def test_who_sees_whom():
    """Two given places, then ranks 1 to 3 at places 3, 1, 4: content sees its rank and below, a query what is below."""
    ranks = torch.tensor([0, 2, 0, 1, 3])
    whole = sight(ranks, ranks)
    for row in range(5):
        assert whole[row, :5].tolist() == [bool(r <= ranks[row]) for r in ranks]
        assert whole[5 + row, :5].tolist() == [bool(r < ranks[row]) for r in ranks]
        assert not whole[row, 5:].any() and whole[5 + row, 5:].nonzero().tolist() == [[row]]
    draft = sight(hidden(ranks, 1), hidden(ranks, 1))
    assert draft[6, :5].tolist() == draft[9, :5].tolist() == [True, False, True, True, False], "places not decided see the same"
    assert draft[[0, 2, 3]].equal(whole[[0, 2, 3]]), "and what is decided sees what it always saw"
    assert draft[6, :5].equal(whole[6, :5]), "as does the first place to be asked: p = q there"


def test_leaving_out_what_nobody_sees_changes_nothing(model):
    """A canvas feeds only the rows that matter; the logits are those of the whole doubled sequence."""
    model, ids, places = model.model, [1, 3, 0, 2, 4, 2, 1], [2, 4, 5]
    canvas = Canvas(session_of(ONE), model, ids, places)
    rows = torch.arange(7)[None]
    for ranks, asked in ((canvas.ranks, canvas.check([0, 4, 2])), (hidden(canvas.ranks, 0), canvas.draft(3))):
        whole = model(canvas.ids[None], rows, ranks[None], rows, ranks[None])[0]
        torch.testing.assert_close(asked, whole[places], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(canvas.check([0, 4, 2]), two_stream(model, canvas.ids[None], canvas.places[None])[0])


def test_a_draft_knows_neither_ranks_nor_tokens_of_open_places(model, monkeypatch):
    def drafted(places, junk):
        canvas = Canvas(session_of(ONE), model, [1, 3, junk, 2, junk, junk, 1], places)
        rows = canvas.draft(3)
        return torch.stack([rows[places.index(place)] for place in (2, 4, 5)])

    first = drafted([2, 4, 5], 0)
    for other in (drafted([2, 5, 4], 0), drafted([5, 4, 2], 0), drafted([2, 4, 5], 3)):
        torch.testing.assert_close(other, first, atol=1e-12, rtol=1e-12)
    monkeypatch.setattr(assd, "hidden", lambda ranks, known: ranks)  # the mistake: drafts see each other's places
    assert not torch.allclose(drafted([5, 4, 2], 0), drafted([2, 4, 5], 0), atol=1e-3)
    assert not torch.allclose(drafted([2, 4, 5], 3), drafted([2, 4, 5], 0), atol=1e-3)


# -- the law -----------------------------------------------------------------------------------------------------------


def law_of_filling(monkeypatch, method, model, law, given, places) -> dict:
    """The exact law of what `method` fills in: every fall of every coin of every round, through the real code."""

    def played(done: tuple[int, ...]) -> dict:
        def play():
            canvas = Canvas(session_of(law), model, given, places)
            canvas.keep(list(done))
            return tuple(next(method.fill(canvas, torch.Generator())).emitted)

        return exact.law_of(monkeypatch, play, drawing=(assd,))

    whole, waiting = defaultdict(float), {(): 1.0}
    while waiting:
        done = min(waiting, key=len)
        chance = waiting.pop(done)
        if len(done) == len(places):
            whole[done] += chance
            continue
        for emitted, weight in played(done).items():
            behind = done + emitted
            waiting[behind] = waiting.get(behind, 0.0) + chance * weight
    return whole


def distance(found: dict, wanted: dict) -> float:
    """The largest difference of two laws, over all outcomes of either."""
    return max(abs(found.get(key, 0.0) - wanted.get(key, 0.0)) for key in found.keys() | wanted.keys())


@pytest.mark.parametrize(
    ("knobs", "law", "places"),
    [({"k": 2}, ONE, 4), ({"k": 3}, SHARP, 4), ({"k": 10}, ONE, 3), ({"drafter": NOBODY}, ONE, 3)],
    ids=["in pairs", "sharpened", "all at once", "one by one"],
)
def test_every_filling_has_the_models_law(knobs, law, places, model, monkeypatch):
    """All 625 fillings of four places, or 125 of three: stronger than any sample of them."""
    given, places = [0] * 4, [0, 1, 2, 3][-places:]
    wanted = joint(model.model, given, places, law)
    found = law_of_filling(monkeypatch, Assd(**knobs), model, law, given, places)
    assert len(wanted) == LETTERS ** len(places) and sum(wanted.values()) == pytest.approx(1)
    assert distance(found, wanted) < 1e-9


SCATTERED = ([1, 0, 2, 2, 0, 2, 0], [1, 4, 6])  # three places in a text, so that bigrams have something to count


@pytest.mark.parametrize("knobs", [{"k": 3}, {"k": 3, "drafter": BIGRAM}, {"k": 2, "drafter": BIGRAM}], ids=str)
@pytest.mark.parametrize("places", [[1, 4, 6], [6, 1, 4]], ids=["rising", "another order"])
def test_places_in_a_text(knobs, places, model, monkeypatch):
    wanted = joint(model.model, SCATTERED[0], places, ONE)
    assert distance(law_of_filling(monkeypatch, Assd(**knobs), model, ONE, SCATTERED[0], places), wanted) < 1e-9


def no_residual(tree, p, q, rng, draws=None):
    """The mistake: what was refused is drawn anew from p."""
    outcome = verify.Outcome()
    for node, token in enumerate(tree.tokens):
        coin = verify.torch.rand((), generator=rng).item()  # as `exact` plays it
        if not coin < min(1.0, (p[node, token] / q[node, token]).item()):
            outcome.added = assd.draw(p[node], rng)
            return outcome
        outcome.path.append(node)
    return outcome


class Bonus(Assd):
    """The mistake: a round in which all was kept ends with one more token, which no pass has checked."""

    def round(self, canvas, count, rng):
        unchecked = canvas.draft(count + 1)
        emitted, sources, rows, gap, more = super().round(canvas, count, rng)
        if len(emitted) == count and len(unchecked) > count:
            emitted, sources = [*emitted, assd.draw(ONE(unchecked[count]), rng)], [*sources, "target"]
            rows = torch.cat([rows, unchecked[count:]])
        return emitted, sources, rows, gap, more


class Stale(Assd):
    """The mistake: q is the law of the counts before the drafts were written into the text."""

    def by_bigrams(self, canvas, count, law, rng):
        tokens, q = super().by_bigrams(canvas, count, law, rng)
        return tokens, q[:1].expand(len(q), -1)


def test_known_mistakes_bend_the_law(model, monkeypatch):
    def off(method, places, given):
        return distance(law_of_filling(monkeypatch, method, model, ONE, given, places), joint(model.model, given, places, ONE))

    assert off(Bonus(k=2), [0, 1, 2, 3], [0] * 4) > 1e-3
    assert off(Stale(k=3, drafter=BIGRAM), [2, 3, 4], [1, 3, 0, 0, 0, 1, 3]) > 1e-3
    monkeypatch.setattr(verify, "residual_chain", no_residual)
    assert off(Assd(k=3), [0, 1, 2, 3], [0] * 4) > 1e-3


@pytest.mark.parametrize("drafter", [SELF, BIGRAM, NOBODY])
def test_drawn_with_real_coins(drafter, model, traced):
    pair = letters_pair(model)
    wanted = joint(model.model, [1, 2, 0, 0], [2, 3], ONE)
    counts = dict.fromkeys(wanted, 0)
    for seed in range(800):
        ask = {"ids": [1, 2], "temperature": 1.0, "max_new_tokens": 2, "seed": seed}
        counts[tuple(traced(pair, "assd", knobs={"drafter": drafter, "k": 2}, **ask).ids)] += 1
    expected = [800 * chance for chance in wanted.values()]
    assert chisquare(list(counts.values()), expected).pvalue > 1e-3


# -- what a run promises -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 16])
@pytest.mark.parametrize("drafter", [SELF, BIGRAM])
def test_calls_never_outnumber_tokens(k, drafter, model, traced):
    pair = letters_pair(model)
    fewer = 0
    for seed in range(12):
        for tokens in (1, 8):
            knobs = {"k": k, "drafter": drafter, "order": RISING if seed % 3 else RANDOM}
            trace = traced(pair, "assd", ids=[1, 2, 4], temperature=1.0, max_new_tokens=tokens, seed=seed, knobs=knobs)
            calls = trace.cost.target_forwards
            assert len(trace.ids) == tokens and calls <= tokens
            fewer += calls < tokens
            for step in trace.steps:
                assert step.cost.target_forwards == (2 if step.tree and drafter == SELF else 1)
                if step.tree and drafter == SELF:
                    assert step.tree.verdicts[0] == "accepted" and len(step.emitted) >= 2
                    assert step.notes["gap"] < 1e-5, "the first place has the same law in both passes"
    assert bool(fewer) == (k > 2 or drafter == BIGRAM), "two calls for two places gain nothing"


def test_one_place_a_call_costs_a_call_a_place(model, traced):
    trace = traced(letters_pair(model), "assd", ids=[1], temperature=1.0, max_new_tokens=7, knobs={"drafter": NOBODY})
    assert trace.cost.target_forwards == len(trace.ids) == len(trace.steps) == 7
    # one more place decided each time, and the query
    assert [step.cost.target_tokens for step in trace.steps] == [2, 3, 4, 5, 6, 7, 8]


def test_a_greedy_text_is_the_same_whoever_drafts(model, traced):
    texts = [
        traced(letters_pair(model), "assd", ids=[3, 0, 1], max_new_tokens=12, knobs=knobs).ids
        for knobs in ({"drafter": NOBODY}, {"k": 2}, {"k": 16}, {"drafter": BIGRAM}, {"drafter": BIGRAM, "k": 3})
    ]
    assert all(text == texts[0] for text in texts)


def test_a_trace_of_the_shipped_model(shipped32, traced, monkeypatch):
    """Places, sources, beliefs, laws and costs; more places than are filled at once; the same again with the same seed."""
    monkeypatch.setattr(assd, "SPAN", 8)
    ask = {"prompt": "def area(width, height):\n    return width", "temperature": 1.0, "max_new_tokens": 12, "seed": 4}
    ask["keep"] = ["tests"]
    for knobs in ({}, {"order": RANDOM, "k": 4}):
        trace, again = (traced(shipped32, "assd", knobs=knobs, **ask) for _ in range(2))
        assert trace.ids == again.ids and len(trace.ids) == 12 and trace.opening.paper == "P006" and not trace.opening.lossless
        assert loads(trace.dumps()) == trace
        assert sorted(place for step in trace.steps for place in step.at) == list(range(12))
        assert trace.cost.target_forwards <= 12 and not trace.cost.draft_forwards
        rising = [place for step in trace.steps for place in step.at]
        assert (rising == sorted(rising)) == (knobs == {})
        for step in trace.steps:
            assert len(step.at) == len(step.emitted) == len(step.beliefs) == len(step.sources)
            assert [belief.token for belief in step.beliefs] == step.emitted
            if tree := step.tree:
                kept = [tree.tokens[node] for node in tree.path]
                assert step.emitted == kept + ([] if tree.added is None else [tree.added])
                assert step.sources == ["draft"] * len(kept) + ["target"] * (tree.added is not None)
                assert (tree.added is None) == (len(kept) == len(tree.tokens)), "no bonus token"
                assert tree.added is None or tree.added_from == "residual"
                assert step.notes["gap"] < 1e-5 and step.tests
                for node in tree.path:
                    ratio = math.exp(tree.target_logprobs[node] - tree.draft_logprobs[node])
                    assert tree.thresholds[node] == pytest.approx(min(1, ratio), rel=1e-4)
        assert not any(token in shipped32.ends for token in trace.ids), "all places are filled"


GAPS = "class Stack:\n    def __init__(self):\n        self.<|mask|><|mask|> = []\n\n    def push(<|mask|>, item):\n        self."


def filled(trace) -> list[int]:
    """The whole text of a trace, its gaps filled in."""
    text = trace.opening.prompt_ids + [-1] * trace.opening.request.max_new_tokens
    for step in trace.steps:
        for place, token in zip(step.at, step.emitted):
            text[len(trace.opening.prompt_ids) + place] = token
    return text


def test_gaps_in_a_prompt_are_filled_with_the_end_and_read_what_is_behind_them(shipped32, traced, monkeypatch):
    """Every place once, nothing else touched; what was written has the density of one pass that sees the text on both sides."""
    monkeypatch.setattr(assd, "SPAN", 5)  # the end takes two canvases, the gaps stand in the first
    mask, model = shipped32.vocabulary.encode("<|mask|>")[0], assd.arm(session_over(shipped32))
    for knobs in ({}, {"drafter": BIGRAM}, {"drafter": NOBODY}, {"order": RANDOM}):
        trace = traced(shipped32, "assd", prompt=GAPS, temperature=1.0, max_new_tokens=8, seed=3, knobs=knobs)
        prompt = trace.opening.prompt_ids
        gaps = [place - len(prompt) for place, token in enumerate(prompt) if token == mask]
        assert len(gaps) == 3
        places = [place for step in trace.steps for place in step.at]
        assert sorted(places) == gaps + list(range(8)) and (places == sorted(places)) == (knobs.get("order") != RANDOM)
        assert trace.cost.target_forwards <= len(places) and loads(trace.dumps()) == trace
        text = filled(trace)
        assert all(one == two for one, two in zip(text, prompt) if two != mask) and mask not in text
        logprobs = {place: belief.logprob for step in trace.steps for place, belief in zip(step.at, step.beliefs)}
        for mine, ended in ((places[:8], 5), (places[8:], 8)):  # the two canvases
            where = [place + len(prompt) for place in mine]
            rows = two_stream(model, torch.tensor([text[: len(prompt) + ended]]), torch.tensor([where]))[0]
            rows[:, sorted(shipped32.ends)] = float("-inf")
            found = [law[text[place]].item() for place, law in zip(where, rows.log_softmax(-1))]
            assert found == pytest.approx([logprobs[place] for place in mine], abs=2e-3)


def session_over(pair):
    return assd.Session(pair.target, [1], ONE, memory=pair.memory)


def test_greedy_gaps_are_the_same_whoever_drafts(shipped64, traced):
    texts = [
        filled(traced(shipped64, "assd", prompt=GAPS, max_new_tokens=4, knobs=knobs))
        for knobs in ({"drafter": NOBODY}, {"k": 2}, {"k": 16}, {"drafter": BIGRAM})
    ]
    assert all(text == texts[0] for text in texts)


def test_a_gap_that_the_model_cannot_see_is_refused(shipped32, traced):
    with pytest.raises(PromptError, match="A gap stands 200 tokens before the end of the prompt, and the model sees 124 of it"):
        traced(shipped32, "assd", prompt="<|mask|>" + " a" * 199, max_new_tokens=4)


def test_a_model_of_another_tokenizer_is_refused(traced):
    pair = letters_pair(None)
    pair.memory.pop(PART)
    with pytest.raises(ModelError, match="belongs to lab-target"):
        traced(pair, "assd", ids=[1], max_new_tokens=2)


def test_bigrams_are_counted_in_what_is_decided():
    behind = bigrams([1, 2, None, 2, 1, 2, 3], torch.zeros(5))
    assert behind(1).tolist() == [0, 0, 1, 0, 0]
    assert behind(2).tolist() == [0, 0.5, 0, 0.5, 0]
    assert behind(4).tolist() == behind(None).tolist() == pytest.approx([0, 2 / 6, 3 / 6, 1 / 6, 0])
    assert bigrams([None, None], torch.zeros(5))(3).tolist() == pytest.approx([0.2] * 5)
