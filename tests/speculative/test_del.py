"""DEL: its equation, what it learns, what it reuses; that its drafts change nothing of what is written."""

from __future__ import annotations

import itertools

import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import some_tokens

from labkit.errors import KnobError, ModelError
from labkit.lm import Session
from labkit.methods import build_law, build_method
from labkit.models import load
from labkit.speculative.del_ import DEL, Shadows, tokens_per_layer
from labkit.speculative.exit_study import Exits, replay
from labkit.trace import Tree

LAYERS = 4
shares = st.floats(0.0, 1.0)


@pytest.fixture(scope="module")
def four():
    """A float64 model of four layers that agree with the last one now and then, and its pair over 64 tokens."""
    return tiny_models.letters_pair("llama, grouped, tied", 64, spread=0.15, num_hidden_layers=LAYERS)


@pytest.fixture(scope="module")
def exits64():
    """The target whose layers learnt to speak, in float64."""
    return load("lab-exits", "none", "cpu", "float64")


def grown(tokens: list[int]):
    """A chain of `tokens`, and a function that appends its next one."""
    tree, left = Tree([], []), list(tokens)

    def grow():
        tree.parents.append(len(tree.tokens) - 1)
        tree.tokens.append(left.pop(0))

    return tree, grow


# -- the equation ------------------------------------------------------------------------------------------------------


@given(shares, st.integers(1, 7), st.integers(0, 16))
def test_tokens_per_layer(a, layer, length):
    value = tokens_per_layer(a, layer, length, 8)
    closed = length + 1 if a > 1 - 1e-6 else (1 - a ** (length + 1)) / (1 - a)
    assert value == pytest.approx(closed / (length * layer + 8), rel=1e-4)
    assert tokens_per_layer(a, layer, 0, 8) == 1 / 8, "no draft: a token for all layers"
    assert tokens_per_layer(1.0, layer, length, 8) == (length + 1) / (length * layer + 8), "the limit at a = 1"


@given(st.lists(shares, min_size=8, max_size=8), st.integers(1, 16), st.integers(1, 7), st.integers(1, 7))
def test_the_choice_is_the_best_of_all_pairs(known, longest, shallowest, deepest):
    method = DEL(longest=longest)
    method.layers, method.shadows = 8, Shadows(8, 1.0)
    method.shadows.sums = torch.tensor([known, [1 - a for a in known], [0] * 8, [0] * 8], dtype=torch.float64)
    method.allowed = range(min(shallowest, deepest), max(shallowest, deepest) + 1)
    layer, length = method.choose(method.grid())
    best, pair = -1.0, None
    for d in range(longest + 1):
        for l in method.allowed:  # noqa: E741
            a = method.shadows.acceptance[l - 1]
            value = sum(a**k for k in range(d + 1)) / (d * l + 8)
            if value > best:
                best, pair = value, (l, d)
    assert (layer, length) == pair


def test_one_draft_is_worth_nothing_at_the_start():
    """So the first round does not draft: nothing is known yet."""
    known = Shadows(8, 0.95).acceptance
    assert [tokens_per_layer(a, layer, 1, 8) for layer, a in enumerate(known, 1)] == pytest.approx([1 / 8] * 8)
    method = DEL()
    method.layers, method.shadows, method.allowed = 8, Shadows(8, 0.95), range(1, 8)
    assert method.choose([[round(value, 12) for value in line] for line in method.grid()])[1] == 0


def test_shadows_are_ratios_of_discounted_sums():
    shadows, w = Shadows(2, 0.5), 0.5
    shadows.learn(torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]), torch.tensor([[0.8, 0.3, 0.6], [0.9, 0.9, 0.9]]))
    shadows.learn(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [0.9]]))
    # layer 1 of 2 began with half a match in one place, unsure; then 2 of 3, then 0 of 1
    matched, places = w * w * 0.5 + w * 2 + 0, w * w * 1 + w * 3 + 1
    assert shadows.acceptance == pytest.approx([matched / places, 1.0])
    sure = (w * (0.8 + 0.6)) / matched, (w * 0.3 + 0.5) / (places - matched)
    assert shadows.doubt[0] == pytest.approx(sum(sure) / 2)


def test_nothing_is_divided_by_zero():
    shadows = Shadows(3, 0.5)
    for _ in range(3000):
        shadows.learn(torch.zeros(3, 2), torch.ones(3, 2))
    assert all(0 <= value <= 1 for value in [*shadows.acceptance, *shadows.doubt])


# -- what is reused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("layer", range(1, LAYERS))
def test_reuse_equals_recomputation(layer, dtype, tolerance):
    """States, keys, values and logits of an early chain are those of one forward over all of it; also where the cache grows."""
    model = tiny_models.tiny("llama, grouped, tied", vocabulary=64, spread=0.1, num_hidden_layers=LAYERS).to(dtype)
    runner = tiny_models.runner(model)
    for context, length in itertools.product((1, 7, 252), (1, 2, 6)):
        session, whole = (Session(runner, some_tokens(context)) for _ in range(2))
        tree, grow = grown(some_tokens(length, seed=5))
        speeches = []
        for _ in range(length):
            speeches.append(session.early(tree, layer))
            grow()
        early, late = session.score(tree), whole.score(tree, hidden=True)
        torch.testing.assert_close(early.logits, late.logits, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(early.hidden, late.hidden, rtol=tolerance, atol=tolerance)
        said = whole.speak(late.hidden[layer, :length])
        torch.testing.assert_close(torch.stack(speeches), said, rtol=tolerance, atol=tolerance)
        assert session.cache.length == whole.cache.length == context + length
        for kept in (session.cache.kv, whole.cache.kv):
            assert kept.shape[3] >= context + length
        rows = [kept[:, :, :, : context + length] for kept in (session.cache.kv, whole.cache.kv)]
        torch.testing.assert_close(*rows, rtol=tolerance, atol=tolerance)
        for one in (session, whole):
            one.commit(list(range(length // 2)))
            one.push(3)
        torch.testing.assert_close(session.logits, whole.logits, rtol=tolerance, atol=tolerance)


def test_a_chain_may_end_behind_its_newest_token(four):
    """Drafted behind but not written on: then no layer is left to run but the later ones."""
    session, whole = (Session(four.target, some_tokens(9)) for _ in range(2))
    tree, grow = grown([4, 5])
    for _ in range(2):
        session.early(tree, 2)
        grow()
    session.early(tree, 2)
    before = session.ledger.layers
    torch.testing.assert_close(session.score(tree).logits, whole.score(tree).logits)
    assert session.ledger.layers - before == LAYERS - 2


@pytest.mark.parametrize("known", [False, True], ids=["root not fed", "root fed"])
@pytest.mark.parametrize("then", ["logits", "score", "grow", "fork", "rewind", "another chain"])
def test_a_chain_that_is_given_up_leaves_nothing(four, then, known):
    session, fresh = (Session(four.target, some_tokens(9)) for _ in range(2))
    if known:
        session.prompt_logits()
    tree, grow = grown([4, 5, 6])
    for _ in range(2):
        session.early(tree, 1)
        grow()
    other = Tree([7, 8], [-1, 0])
    if then == "rewind":
        session.rewind(8)
        session.push(session.ids[0])
        fresh = Session(four.target, session.ids)
    if then == "fork":
        session = session.fork()[0]
    if then in ("logits", "fork", "rewind"):
        got, due = session.logits, fresh.logits
    elif then == "another chain":
        got, due = session.early(other, 3), fresh.early(other, 3)
        torch.testing.assert_close(session.score(other).logits, fresh.score(other).logits)
    else:
        got, due = (getattr(one, then)(other).logits for one in (session, fresh))
    torch.testing.assert_close(got, due)


def test_layers_are_counted(four, traced):
    """DEL's price of a round: d times l to draft, L to verify; the first layers' forwards count as drafting."""
    knobs = {"policy": "fixed", "layer": 3, "length": 2, "stop_early": False}
    trace = traced(four, "del", ids=some_tokens(9), max_new_tokens=40, knobs=knobs)
    for step in trace.steps:
        assert step.notes["layers loaded"] == 2 * 3 + LAYERS
        assert (step.cost.target_forwards, step.cost.draft_forwards) == (1, 2)
        assert step.cost.target_tokens == 3 + 8 * (step is trace.steps[0])
        assert step.cost.draft_seconds > 0
    plain = Session(four.target, some_tokens(9))
    assert plain.logits is not None and plain.ledger.layers == LAYERS and plain.ledger.early.layers == 0


# -- what is written ---------------------------------------------------------------------------------------------------


def test_every_fixed_pair_writes_the_greedy_text(four, traced):
    prompts = [some_tokens(9, seed) for seed in range(3)]
    due = [traced(four, "plain", ids=prompt, max_new_tokens=24).ids for prompt in prompts]
    paths = set()
    for layer, length in itertools.product(range(1, LAYERS), range(7)):
        knobs = {"policy": "fixed", "layer": layer, "length": length, "stop_early": length % 2 == 0}
        for prompt, ids in zip(prompts, due):
            trace = traced(four, "del", ids=prompt, max_new_tokens=24, knobs=knobs)
            assert trace.ids == ids, (layer, length)
            paths |= {(len(step.tree.path), len(step.tree.tokens)) for step in trace.steps}
    assert any(taken for taken, _ in paths) and any(taken < drafted for taken, drafted in paths)


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"stop_early": False, "longest": 16, "discount": 1.0},
        {"shallowest": 3, "deepest": 5},
        *({"policy": "fixed", "layer": layer, "length": 2 + layer} for layer in range(1, 8)),
    ],
    ids=str,
)
def test_the_target_that_learnt_to_exit(exits64, prompts, greedy_text, traced, knobs):
    """Against transformers' `generate` on the merged weights."""
    traces = [traced(exits64, "del", ids=prompt, max_new_tokens=32, knobs=knobs) for prompt in prompts[:4]]
    assert [trace.ids for trace in traces] == greedy_text(exits64, prompts[:4], 32)
    trees = [step.tree for trace in traces for step in trace.steps]
    assert 0 < sum(len(tree.path) for tree in trees) < sum(len(tree.tokens) for tree in trees)


def test_it_drafts_where_drafting_pays(exits64, prompts, traced):
    layers = {}
    for name, pair in (("exits", exits64), ("plain", load("lab-target", "none", "cpu", "float64"))):
        traces = [traced(pair, "del", ids=prompt, max_new_tokens=64) for prompt in prompts[:6]]
        tokens = sum(len(trace.ids) for trace in traces)
        layers[name] = sum(step.notes["layers loaded"] for trace in traces for step in trace.steps) / tokens
    assert layers["exits"] < 7 < layers["plain"] < 8.5, "layers loaded a token; plain decoding loads 8"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_what_the_notes_say(exits64, traced, prompts, temperature):
    trace = traced(exits64, "del", ids=prompts[0], max_new_tokens=48, temperature=temperature, keep=["laws"])
    assert any(step.tree.tokens for step in trace.steps)
    for step in trace.steps:
        notes = step.notes
        assert notes["acceptance"][-1] == pytest.approx(1.0, abs=1e-12 if temperature == 0 else 1e-6), "a_L is 1"
        assert all(0 <= a <= 1 + 1e-6 for a in notes["acceptance"])
        assert {line[0] for line in notes["tpl"]} == {1 / 8}
        flat = [value for line in notes["tpl"] for value in line]
        assert notes["tpl"][notes["exit"] - 1][notes["length"]] == max(flat)
        assert len(step.tree.tokens) <= notes["length"]
        last = notes["tokens"][-1]
        assert last[: len(step.beliefs)] == [belief.top[0] for belief in step.beliefs], "layer L says what the target says"
        if step.tree.tokens and temperature == 0:  # what was drafted is the exit layer's shadow
            places = min(len(last), len(step.tree.tokens))
            assert notes["tokens"][notes["exit"] - 1][:places] == step.tree.tokens[:places]
        assert {token for row in notes["tokens"] for token in row} <= trace.pieces.keys()


# -- what it cannot do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["gpt2", "neox"])
def test_other_families_cannot_stop_between_layers(style):
    session = Session(tiny_models.runner(tiny_models.tiny(style, vocabulary=64)), some_tokens(5))
    with pytest.raises(ModelError, match="Llama family"):
        next(build_method("del", {}).steps(session, torch.Generator()))
    for call in (lambda: session.early(Tree([], []), 1), lambda: session.speak(torch.zeros(48, dtype=torch.float64))):
        with pytest.raises(ModelError, match="Llama family"):
            call()


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"policy": "fixed", "layer": 4}, "Fixed exit is 4, but the target has 4 layers: choose 1 to 3."),
        ({"shallowest": 4}, "Shallowest exit is 4, deeper than the deepest: choose 1 to 3."),
        ({"shallowest": 3, "deepest": 2}, "Shallowest exit is 3, deeper than the deepest: choose 1 to 2."),
    ],
)
def test_layers_that_are_not_there(four, knobs, sentence):
    with pytest.raises(KnobError, match=sentence):
        next(build_method("del", knobs).steps(Session(four.target, [1]), torch.Generator()))


# -- the study ---------------------------------------------------------------------------------------------------------


def test_replayed_pairs_are_real_ones(four, traced):
    """What the study counts from shadow tokens is what running that pair costs, layer for layer."""
    prompt = some_tokens(9)
    session = Session(four.target, prompt, build_law(0.0, []))
    found = Exits(tokens=24, longest=5).measure(session, LAYERS, torch.Generator())
    assert found["tokens"] == 24
    for layer, length in itertools.product(range(1, LAYERS), range(1, 6)):
        knobs = {"policy": "fixed", "layer": layer, "length": length, "stop_early": False}
        trace = traced(four, "del", ids=prompt, max_new_tokens=24, knobs=knobs)
        assert found["fixed"][layer - 1][length - 1] == sum(step.notes["layers loaded"] for step in trace.steps)
    trace = traced(four, "del", ids=prompt, max_new_tokens=24, knobs={"longest": 5})
    assert found["DEL"] == sum(step.notes["layers loaded"] for step in trace.steps)
    assert found["rounds"] == len(trace.steps)


def test_replay_by_hand():
    assert replay([True] * 6, 2, 2, 8) == 2 * (2 * 2 + 8)
    assert replay([False] * 3, 1, 1, 8) == 3 * (1 + 8)
    assert replay([True, False, True, True, True], 3, 4, 8) == 2 * (4 * 3 + 8)


def test_the_study_ignores_the_temperature(shipped32, traced):
    knobs = {"texts": 2, "tokens": 16, "longest": 3}
    cold, warm = (traced(shipped32, "exits", prompt="x", temperature=t, knobs=knobs) for t in (0.0, 1.0))
    assert [step.notes for step in cold.steps] == [step.notes for step in warm.steps]
    assert [step.notes["done"] for step in cold.steps] == [1, 2] and cold.closing.reason == "done"
