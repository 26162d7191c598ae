"""Every policy of masked diffusion at its "off" setting is the baseline, commit for commit; and what each promises beyond."""

from __future__ import annotations

import math

import pytest
import tiny_models
import torch
from torch import Tensor
from transformers import LlamaConfig

from labkit.diffusion.adablock import NEVER, AdaBlock, holding
from labkit.diffusion.ccd import Ccd
from labkit.diffusion.credit import Credit
from labkit.diffusion.freedave import FreeDave
from labkit.diffusion.ground import State, above
from labkit.diffusion.local_leap import LocalLeap
from labkit.diffusion.masked import MaskedDiffusion, by_factor, shares
from labkit.diffusion.predictor import MaskPredictor, open_llama
from labkit.diffusion.prophet import Prophet
from labkit.errors import KnobError, PromptError
from labkit.law import Law
from labkit.ledger import Ledger
from labkit.lm import Session
from labkit.methods import all_methods
from labkit.run import run
from labkit.trace import Request, Trace

V, MASK, END = 40, 38, 39
PROMPT = [3, 1, 4, 1, 5]
ROOM = 24
NAMES = ("mdm", "local-leap", "credit", "ccd", "prophet", "adablock", "freedave")


def network(seed: int = 0, spread: float = 0.5, shift: bool = False) -> MaskPredictor:
    """A tiny float64 predictor whose confidences reach from 0.05 to 1."""
    shape = dict(
        vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
        max_position_embeddings=64, initializer_range=spread, tie_word_embeddings=True, bos_token_id=END, eos_token_id=END,
        pad_token_id=END,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MaskPredictor(open_llama(LlamaConfig(**shape), torch.float64), MASK, END, shift, 64)


@pytest.fixture(scope="module", params=range(3))
def pair(request):
    """A pair whose tokens the tiny predictor shares."""
    return pair_of(request.param)


def pair_of(seed: int):
    made = tiny_models.letters_pair("llama, grouped, tied", vocabulary=V)
    made.memory |= {"mdm": network(seed), "delimiters": {"\n": torch.arange(V) % 5 == 0}}
    return made


def decode(pair, method, room: int = ROOM, temperature: float = 0.0, seed: int = 0, prompt: list[int] = PROMPT) -> Trace:
    request = Request(method=method.name, ids=prompt, max_new_tokens=room, temperature=temperature, seed=seed)
    opening, *events = run(pair, request, method)
    trace = Trace(opening)
    for event in events:
        trace.add(event)
    return trace


def commits(trace: Trace) -> list[tuple[list[int], list[int]]]:
    """Of every round the places and tokens that became final."""
    return [(step.at, step.emitted) for step in trace.steps]


def one_by_one(trace: Trace) -> list[tuple[int, int]]:
    return [pair for step in trace.steps for pair in zip(step.at, step.emitted)]


# -- the network ---------------------------------------------------------------------------------------------------------


def test_a_place_sees_what_comes_behind_it():
    """Bidirectional: a change of the last token reaches the first place's law. A causal mask left on would not."""
    ids = torch.tensor([[5, MASK, 7, 8], [5, MASK, 7, 9]])
    rows = network()(ids, Ledger())
    assert not torch.allclose(rows[0, 1], rows[1, 1])


def test_the_mask_is_never_predicted_and_shifted_rows_speak_of_their_own_place():
    ids = torch.tensor([[5, 6, MASK, 8]])
    plain, shifted = network(), network(shift=True)
    assert (plain(ids, Ledger())[..., MASK] == -math.inf).all()
    raw = shifted.module(torch.tensor([[END, 5, 6, MASK]])).logits
    raw[..., MASK] = -math.inf
    assert torch.equal(shifted(ids, Ledger()), raw)  # row i was read at the place before i


def test_a_text_too_long_is_one_sentence(pair):
    with pytest.raises(PromptError, match="the model holds 64"):
        decode(pair, MaskedDiffusion(), room=60)


def test_work_is_counted(pair):
    trace = decode(pair, MaskedDiffusion(rule="static"))
    assert trace.cost.target_forwards == len(trace.steps) and trace.cost.target_tokens == len(trace.steps) * (ROOM + len(PROMPT))
    config = pair.memory["mdm"].module.config
    per_place = sum(w.numel() for w in pair.memory["mdm"].module.parameters() if w.ndim == 2)  # tied: the head is the embedding
    attention = 4 * config.num_hidden_layers * 29 * 29 * config.hidden_size
    assert trace.steps[0].notes["flops"] == 2 * 29 * per_place + attention


# -- the baseline --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_place_is_filled_once(pair, name):
    """No mask stays, no place is filled twice, blocks go from left to right; the text is what was committed."""
    trace = decode(pair, all_methods()[name](block=8))
    places = [place for place, _ in one_by_one(trace)]
    assert len(places) == len(set(places))
    text = dict(one_by_one(trace))
    ends = [place for place, token in text.items() if token == END]
    assert set(range(min(ends, default=ROOM))) <= set(places) <= set(range(ROOM))
    assert MASK not in text.values()
    assert trace.closing.reason == ("end of text" if ends else "length")
    assert all(step.notes["reasons"] and len(step.notes["reasons"]) == len(step.emitted) for step in trace.steps)


def test_static_rounds_share_a_block_evenly(pair):
    assert shares(8, 3) == [3, 3, 2] and shares(32, 5) == [5, 5, 5, 5, 4, 4, 4] and shares(4, 9) == [4]
    trace = decode(pair, MaskedDiffusion(rule="static", tokens=3, block=8))
    if trace.closing.reason == "length":
        assert [len(step.emitted) for step in trace.steps] == [3, 3, 2] * 3


def test_the_surest_goes_first_and_ties_go_to_the_left():
    state = State([1], 4, MASK, END, torch.device("cpu"))
    state.block = (1, 5)
    even = torch.full((5,), 0.5)
    assert above(state, even, 0.9).tolist() == [0, 2, 0, 0, 0]
    assert above(state, torch.tensor([1.0, 0.2, 0.95, 0.5, 0.9]), 0.9).tolist() == [0, 0, 1, 0, 1]


def test_the_factor_rule_is_its_formula():
    confidence = torch.tensor([0.99, 0.95, 0.9, 0.5])
    assert by_factor(confidence, [0, 1, 2, 3], 1.0) == 3  # 4 x 0.1 < 1, 5 x 0.5 > 1
    assert by_factor(confidence, [0, 1, 2, 3], 0.1) == 1
    assert by_factor(confidence, [3], 0.1) == 1  # at least one


@pytest.mark.parametrize("n", range(2, 8))
def test_fast_dllms_theorem_holds_and_its_bound_is_tight(n):
    """Marginals above 1 - eps with eps <= 1 / (n + 1) give the joint's argmax; replace-random stands just outside."""
    rng = torch.Generator().manual_seed(n)
    for _ in range(20):
        joint = torch.rand((2,) * n, generator=rng, dtype=torch.float64) ** 8
        joint[(0,) * n] += 2 * joint.sum() * n
        joint /= joint.sum()
        marginals = [joint.sum(tuple(axis for axis in range(n) if axis != place))[0] for place in range(n)]
        if min(marginals) > 1 - 1 / (n + 1):
            assert joint.argmax() == 0
    outside = torch.zeros((2,) * n, dtype=torch.float64)  # exactly one place is changed: the unchanged text never happens
    for place in range(n):
        outside[tuple(int(place == axis) for axis in range(n))] = 1 / n
    assert outside[(0,) * n] == 0 and outside.sum((*range(1, n),))[0] == pytest.approx(1 - 1 / n)


def test_a_place_drawn_at_a_temperature_follows_its_law(pair):
    """The first place of a static run, 3,000 times: chi-square against the law; argmax would fail."""
    method, draws, temperature = MaskedDiffusion(rule="static"), 3000, 1.3
    ids = torch.tensor([[*PROMPT, MASK]])
    law = Law(temperature)(pair.memory["mdm"](ids, Ledger())[0, -1])
    rng, counts = torch.Generator().manual_seed(0), torch.zeros(V, dtype=torch.float64)
    state = State(PROMPT, 1, MASK, END, torch.device("cpu"))
    logits = pair.memory["mdm"](ids, Ledger())[0]
    for _ in range(draws):
        tokens, _ = method.score(state, logits, Law(temperature), rng)
        counts[tokens[-1]] += 1
    many = law * draws > 5
    expected = torch.cat([law[many] * draws, law[~many].sum()[None] * draws])
    seen = torch.cat([counts[many], counts[~many].sum()[None]])
    chi = float(((seen - expected) ** 2 / expected.clamp(min=1e-9)).sum())
    assert chi < len(seen) + 5 * math.sqrt(2 * len(seen))


# -- the papers, switched off -------------------------------------------------------------------------------------------

OFF = {
    "local-leap, relaxed = tau": (LocalLeap(tau=0.6, relaxed=0.6), MaskedDiffusion(tau=0.6)),
    "local-leap, width 0": (LocalLeap(tau=0.6, relaxed=0.2, width=0), MaskedDiffusion(tau=0.6)),
    "credit, alpha 0": (Credit(alpha=0.0, tau=0.6), MaskedDiffusion(tau=0.6)),
    "ccd, one round": (Ccd(mode="fixed", rounds=1), MaskedDiffusion(rule="static", measure="entropy")),
    "ccd, one round, two places": (
        Ccd(mode="fixed", rounds=1, budget=2, block=8),
        MaskedDiffusion(rule="static", measure="entropy", tokens=2, block=8),
    ),
    "ccd code, all warm-up": (Ccd(form="code", warmup=10, block=8), MaskedDiffusion(rule="static", measure="entropy", block=8)),
    "prophet, never": (Prophet(early=20, middle=20, late=20), MaskedDiffusion(rule="static")),
    "adablock, never": (AdaBlock(sure_end=NEVER, block=8, tau=0.6), MaskedDiffusion(tau=0.6, block=8)),
    "freedave, static": (FreeDave(block=8), MaskedDiffusion(rule="static", block=8)),
}


@pytest.mark.parametrize("name", OFF)
def test_off_is_the_baseline_commit_for_commit(pair, name):
    method, baseline = OFF[name]
    mine, theirs = (decode(pair, one, room=10 if "warm-up" in name else ROOM) for one in (method, baseline))
    assert one_by_one(mine) == one_by_one(theirs)
    if "freedave" not in name:
        assert commits(mine) == commits(theirs)


ON = {
    "local-leap": (LocalLeap(tau=0.6, relaxed=0.2), MaskedDiffusion(tau=0.6)),
    "credit": (Credit(alpha=2.0, tau=0.6), MaskedDiffusion(tau=0.6)),
    "ccd": (Ccd(doubt=1.5), MaskedDiffusion(rule="static", measure="entropy")),
    "prophet": (Prophet(early=2, middle=1, late=1), MaskedDiffusion(rule="static")),
    "adablock": (AdaBlock(sure_end=0.0, block=8, tau=0.6), MaskedDiffusion(tau=0.6, block=8)),
}


@pytest.mark.parametrize("name", ON)
def test_on_is_not_the_baseline(name):
    """Else the identities above would say nothing: on some of the tiny models each policy does something else."""
    method, baseline = ON[name]
    assert any(commits(decode(one, method)) != commits(decode(one, baseline)) for one in map(pair_of, range(3)))


# -- P119 LocalLeap -----------------------------------------------------------------------------------------------------


def halved(seed: int) -> tuple[State, Tensor]:
    """A state with a block of twelve places under way, and confidences."""
    rng = torch.Generator().manual_seed(seed)
    state = State([1, 2], 16, MASK, END, torch.device("cpu"))
    state.block = (2, 14)
    state.ids[[3, 7]] = 5
    return state, torch.rand(18, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(8))
def test_a_leap_holds_what_the_threshold_holds_and_nothing_outside_the_halos(seed):
    state, confidence = halved(seed)
    method = LocalLeap(tau=0.9, relaxed=0.5, width=2)
    why = method.select(state, state.ids, confidence)
    plain = above(state, confidence, 0.9)
    assert (why[plain > 0] > 0).all()
    anchors = [place for place in range(18) if state.active[place] and confidence[place] >= 0.9]
    for place in range(18):
        halo = any(abs(place - anchor) <= 2 for anchor in anchors)
        wanted = bool(state.active[place]) and (confidence[place] >= 0.9 or halo and confidence[place] >= 0.5)
        assert bool(why[place]) == (wanted or (not anchors and int(plain.argmax()) == place))


def test_an_anchor_that_reaches_everywhere_is_the_lower_threshold():
    state, confidence = halved(1)
    confidence[5] = 0.95
    wide = LocalLeap(tau=0.9, relaxed=0.5, width=16).select(state, state.ids, confidence)
    assert torch.equal(wide > 0, above(state, confidence, 0.5) > 0)


def test_what_an_anchor_brought_in_is_no_anchor():
    state, confidence = halved(0)
    confidence[:] = 0.1
    confidence[[4, 6, 8]] = torch.tensor([0.95, 0.6, 0.6], dtype=torch.float64)
    why = LocalLeap(tau=0.9, relaxed=0.5, width=2).select(state, state.ids, confidence)
    assert why[6] == 3 and why[8] == 0  # 8 is near 6, which came in by 4


# -- P125 CreditDecoding ------------------------------------------------------------------------------------------------


def test_credit_grows_to_its_limit_and_begins_anew_with_a_block():
    """Always the same favourite at p ~ 1: C -> 1 / (1 - beta) = 5 and a bonus of 0.7 ln 6 = 1.25 nats."""
    method, state = Credit(), State([1], 8, MASK, END, torch.device("cpu"))
    state.block = (1, 5)
    method.begin(state, None)
    logits = torch.full((9, V), -30.0, dtype=torch.float64)
    logits[:, 7] = 0.0
    for turn in range(60):
        state.rounds = turn
        fused = method.fuse(state, logits)
        assert method.credit.max() <= 1 / (1 - method.beta) + 1e-9
        if turn == 0:
            assert torch.equal(fused.argmax(-1), logits.argmax(-1))
            assert (fused.softmax(-1).max(-1).values >= logits.softmax(-1).max(-1).values).all()
    assert float(method.credit[2, 7]) == pytest.approx(5, rel=1e-4)
    assert float((fused - logits)[2, 7]) == pytest.approx(0.7 * math.log(6), rel=1e-4)
    assert not method.credit[5:].any()  # places outside the block earn nothing
    state.rounds, state.block = 0, (5, 9)
    method.fuse(state, logits)
    assert float(method.credit[6, 7]) == pytest.approx(1) and not method.credit[1:5].any()


def test_without_memory_the_bonus_is_this_rounds():
    method, state = Credit(beta=0.0), State([1], 4, MASK, END, torch.device("cpu"))
    state.block = (1, 5)
    method.begin(state, None)
    rng = torch.Generator().manual_seed(0)
    one, two = (torch.randn(5, V, generator=rng, dtype=torch.float64) for _ in range(2))
    method.fuse(state, one)
    state.rounds = 1
    after = method.fuse(state, two)
    state.rounds = 0
    assert torch.allclose(after, method.fuse(state, two))


def test_a_place_that_changes_its_mind_keeps_fading_credit_for_the_old_token():
    method, state = Credit(), State([1], 2, MASK, END, torch.device("cpu"))
    state.block = (1, 3)
    method.begin(state, None)
    for turn, favourite in enumerate((7, 7, 9)):
        state.rounds = turn
        logits = torch.full((3, V), -30.0, dtype=torch.float64)
        logits[:, favourite] = 0.0
        method.fuse(state, logits)
    assert float(method.credit[1, 7]) == pytest.approx(0.8 * 1.8) and float(method.credit[1, 9]) == pytest.approx(1)


# -- P146 CCD -----------------------------------------------------------------------------------------------------------


def test_the_mean_laws_entropy_is_doubt_plus_unrest(pair):
    """H(mean) = mean H + JSD, against divergences computed one by one."""
    method = Ccd(rounds=3, mode="fixed")
    state = State(PROMPT, 6, MASK, END, torch.device("cpu"))
    state.block = (5, 11)
    method.begin(state, None)
    rng = torch.Generator().manual_seed(0)
    laws = []
    for _ in range(3):
        logits = torch.randn(11, V, generator=rng, dtype=torch.float64) * 2
        laws.append(logits.softmax(-1))
        _, confidence = method.score(state, logits, Law(0), None)
    mean = sum(laws) / 3
    jsd = sum((law * (law / mean).log()).sum(-1) for law in laws) / 3
    own = sum(-(law * law.log()).sum(-1) for law in laws) / 3
    assert torch.allclose(-confidence, own + jsd, atol=1e-9)
    assert method.parts["unrest"] == pytest.approx(jsd[5:].tolist(), abs=1e-4)


def test_the_released_rule_commits_only_what_stood_in_both_buffers(pair):
    trace = decode(pair, Ccd(form="code", warmup=2, pool=4))
    buffer: dict[int, int] = {}
    for step in trace.steps:
        told = dict(zip(step.notes["places"], step.notes["tokens"][0]))
        if len(step.emitted) > 1:
            assert all(buffer.get(place) == told[place] for place in step.at)
        assert len(step.emitted) >= 1
        buffer = told


def test_a_fixed_budget_needs_as_many_rounds_as_it_says(pair):
    trace = decode(pair, Ccd(mode="fixed", budget=2, block=24))
    if trace.closing.reason == "length":
        assert trace.cost.target_forwards == ROOM // 2


# -- P185 Prophet -------------------------------------------------------------------------------------------------------


def test_nothing_asked_exits_after_one_forward(pair):
    trace = decode(pair, Prophet(early=0, middle=0, late=0))
    assert trace.cost.target_forwards == 1 and len(trace.ids) == ROOM
    assert set(trace.steps[0].notes["reasons"]) == {"settled"}


def test_the_exit_comes_no_earlier_when_a_bound_rises(pair):
    never = {"early": 20, "middle": 20, "late": 20}
    exits = [[len(decode(pair, Prophet(**never | {phase: bound})).steps) for bound in (0.5, 1, 2, 4)] for phase in never]
    assert all(run_of == sorted(run_of) for run_of in exits)
    assert any(len(set(run_of)) > 1 for run_of in exits)


# -- P112 AdaBlock ------------------------------------------------------------------------------------------------------


def test_adaptive_blocks_end_at_a_predicted_delimiter_and_fill_the_text(pair):
    """Lengths add up to the text; no forward is spent on sizing; a sized block's last token was predicted a delimiter."""
    session = Session(pair.target, PROMPT, Law(0), memory={"mdm": pair.memory["mdm"]})

    class Pieces:
        def piece(self, token: int) -> str:
            return "\n" if token % 5 == 0 else "x"

    session.vocabulary = Pieces()
    assert holding(session, "\n", V).tolist() == [token % 5 == 0 for token in range(V)]
    session.room = ROOM
    method = AdaBlock(sure_end=0.05, block=8, tau=0.6, window=0.5)
    steps = list(method.steps(session, torch.Generator()))
    assert session.ledger.forwards == len(steps)
    blocks = [step.notes for step in steps if step.notes["opened"]]
    assert any(notes["ended"] == "delimiter" for notes in blocks)
    reached = 0
    for notes in blocks:
        start, end = notes["block"]
        assert start == reached and 1 <= end - start <= 12
        reached = end
        if notes["ended"] == "delimiter":
            guess = notes["tokens"][0][notes["places"].index(end - 1)]
            assert guess % 5 == 0
    ended = any(END in step.emitted for step in steps)
    assert ended or reached == ROOM


@pytest.mark.parametrize("method", [Ccd(block=8), Ccd(form="code"), Credit(), MaskedDiffusion(rule="static", measure="entropy")])
def test_the_confidence_told_is_a_probability(pair, method):
    """Whatever the method ranks places by; charts draw it on a scale from 0 to 1."""
    for step in decode(pair, method).steps:
        told = dict(zip(step.notes["places"], step.notes["confidence"]))
        assert all(0 <= one <= 1 for one in told.values())
        assert [told[place] for place in step.at] == pytest.approx([math.exp(one.logprob) for one in step.beliefs], abs=1e-4)


# -- P181 FreeDave ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 2, 3])
@pytest.mark.parametrize("ahead", [1, 2, 8])
@pytest.mark.parametrize("block", [6, 24])
def test_freedave_is_static_decoding_in_fewer_forwards(pair, tokens, ahead, block):
    mine = decode(pair, FreeDave(ahead=ahead, tokens=tokens, block=block))
    theirs = decode(pair, MaskedDiffusion(rule="static", tokens=tokens, block=block))
    assert mine.ids == theirs.ids
    order = iter(commits(theirs))
    for step in mine.steps:  # each round is some whole static rounds, in their order
        rounds = [next(order) for _ in range(step.notes["kept"])]
        assert step.at == [place for places, _ in rounds for place in places]
        assert step.emitted == [token for _, ids in rounds for token in ids]
    assert next(order, None) is None
    forwards, static = mine.cost.target_forwards, theirs.cost.target_forwards
    assert forwards == static if ahead == 1 else forwards <= static


def test_freedave_gains_somewhere(pair):
    mine, theirs = (decode(pair, method).cost.target_forwards for method in (FreeDave(ahead=8), MaskedDiffusion(rule="static")))
    assert mine < theirs


def test_a_guess_kept_unchecked_would_be_another_text(pair):
    """The wrong variant that takes the whole ladder writes another text on these models, or the check would say nothing."""

    class Credulous(FreeDave):
        def advance(self, state, logits):
            return super().advance(state, self.first)

        def ladder(self, state, logits):
            self.first = logits
            return super().ladder(state, logits)

    assert decode(pair, Credulous()).ids != decode(pair, MaskedDiffusion(rule="static")).ids


def test_freedave_refuses_to_draw(pair):
    with pytest.raises(KnobError, match="set it to 0"):
        decode(pair, FreeDave(), temperature=1.0)
