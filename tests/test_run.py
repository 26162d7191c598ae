"""From a request to its events: what a run promises, and what bad input is told."""

from __future__ import annotations

import dataclasses
import math
import struct

import msgspec
import pytest
import tiny_models
import torch

from labkit.attention.ground import Policy
from labkit.diffusion.ground import Unmask
from labkit.errors import KnobError, LabError, ModelError, PromptError
from labkit.lm import Session
from labkit.methods import all_methods, build_law
from labkit.run import run
from labkit.trace import Closing, Opening, Request, Setting, Step, Trace, loads

SEARCHES = {"pg-td"}  # they draw nothing and write their text at the end: tests/sampling has what they promise
BYTES = {"exact-bytes"}  # its laws are of bytes, and five letters are no bytes: tests/tokenization has what it promises
FILLS = {name for name, method in all_methods().items() if issubclass(method, Unmask)} | {"assd"}  # with models of their own
METHODS = sorted(set(all_methods()) - SEARCHES - BYTES - FILLS)  # tests/diffusion has what they promise
RERANK = ("adadec",)  # draws nothing at any temperature, and its text is not the greedy one
LOOK_AHEAD = ("adadec", "cntp")  # read more than they write
PROMPT = "def area(width, height):\n    return width * "


@pytest.fixture(scope="module")
def letters():
    """Five letters in float64; 4 ends the text."""
    return tiny_models.letters_pair("llama, grouped, tied", ends=(4,))


def timeless(trace: Trace) -> dict:
    """A trace as plain data, without its seconds."""

    def strip(value):
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in value.items() if not str(key).endswith("seconds")}
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    return strip(msgspec.to_builtins(trace))


FREE = {  # what a constraint allows is no matter of runs, and a step of several particles may emit nothing
    "awrs": {"constraint": "none", "count": 1},
    "lcd": {"constraint": "none"},
    **{name: method.whole for name, method in all_methods().items() if issubclass(method, Policy)},  # nothing forgotten
    "double-sparsity": {"share": 1.0, "criterion": "random"},  # which needs no text to be calibrated by
}


def settings_of(method: str) -> dict:
    """Knobs that fit five letters."""
    small = {"token-recycling": {"width": 4}, "aded": {"start_from": "empty"}, "specdec++": {"policy": "entropy"}}
    small |= {"adadec": {"threshold": "by hand"}}
    return (small | FREE).get(method, {})


# -- what every run promises -------------------------------------------------------------------------------------------


def some_run(method: str, temperature: float) -> dict:
    """The run that is made again and again below, with the same seed, another, or more kept."""
    tokens = 24 if temperature else 16
    return {"prompt": PROMPT, "temperature": temperature, "max_new_tokens": tokens, "knobs": FREE.get(method, {})}


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_trace(method, fitting, traced, once):
    ask = {**some_run(method, 1.0), "keep": ["laws", "prompt", "tests"]}
    first = once(fitting, method, **ask)
    assert timeless(first) == timeless(traced(fitting, method, **ask))
    others = [traced(fitting, method, **{**ask, "seed": seed, "max_new_tokens": 8}).ids for seed in (4, 5)]
    assert all((ids == first.ids[:8]) == (method in RERANK) for ids in others)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_what_a_trace_holds(method, temperature, shipped32, traced):
    ask = {"transforms": [Setting("top-p", {"p": 0.95})], "max_new_tokens": 24, "seed": 1, "knobs": FREE.get(method, {})}
    trace = traced(shipped32, method, prompt=PROMPT, temperature=temperature, **ask)
    opening, vocabulary = trace.opening, shipped32.vocabulary
    assert loads(trace.dumps()) == trace, "every mentioned token has its piece, every list its length"
    assert opening.prompt_ids == vocabulary.encode(PROMPT)
    assert "".join(opening.pieces[token] for token in opening.prompt_ids) == PROMPT
    assert (opening.target, opening.device, opening.dtype, opening.vocabulary) == ("lab-target", "cpu", "float32", 4096)
    assert opening.draft == ("lab-draft" if all_methods()[method].drafts == "model" else "")
    assert 1 <= len(trace.ids) <= 24
    assert trace.closing.text == vocabulary.decode(trace.ids)
    assert trace.closing.reason == ("length" if len(trace.ids) == 24 else "end of text")
    for step in trace.steps:
        assert step.emitted
        assert len(step.beliefs) == len(step.sources) == len(step.emitted)
        assert [belief.token for belief in step.beliefs] == step.emitted
        assert step.cost.seconds >= step.cost.target_seconds + step.cost.draft_seconds
        if tree := step.tree:
            whole = [tree.tokens[node] for node in tree.path] + [tree.added]
            assert step.emitted == whole[: len(step.emitted)]
            assert step.sources == ([tree.source] * len(tree.path) + ["target"])[: len(step.emitted)]
            assert [verdict == "accepted" for verdict in tree.verdicts] == [
                n in tree.path for n in range(len(tree.tokens))
            ]
    if method not in LOOK_AHEAD:
        calls = 2 if method == "uscd" else 1  # which reads two prompts
        assert sum(step.cost.target_forwards for step in trace.steps) <= calls * len(trace.steps) + 1


def test_beliefs_are_the_raw_law_behind_each_token(shipped64, traced):
    """Whatever the temperature and the cuts, a belief is the softmax of the logits behind its token."""
    more = {"temperature": 1.3, "transforms": [Setting("top-k", {"k": 5})], "max_new_tokens": 12}
    for method in METHODS:
        trace = traced(shipped64, method, prompt=PROMPT, knobs=FREE.get(method, {}), **more)
        prompt = trace.opening.prompt_ids
        rows = Session(shipped64.target, prompt + trace.ids[:-1]).prompt_logits()[len(prompt) - 1 :].log_softmax(-1)
        found = [belief for step in trace.steps for belief in step.beliefs]
        assert [belief.token for belief in found] == trace.ids and len(rows) == len(found)
        for belief, logs in zip(found, rows):
            assert belief.logprob == pytest.approx(logs[belief.token].item(), abs=1e-9)
            assert belief.rank == int((logs > logs[belief.token]).sum()) < 5
            assert belief.entropy == pytest.approx(-(logs.exp() * logs).sum().item(), abs=1e-9)
            assert belief.top == logs.topk(12).indices.tolist()


def test_trees_carry_p_and_q(shipped64, traced):
    """The log-probs in a tree are those of separate forwards, after temperature and transforms."""
    more = {"temperature": 0.8, "transforms": [Setting("top-p", {"p": 0.9})], "max_new_tokens": 16, "seed": 2}
    trace = traced(shipped64, "chain", prompt=PROMPT, **more)
    law = build_law(more["temperature"], more["transforms"])
    ids = list(trace.opening.prompt_ids)
    for step in trace.steps:
        tree, context = step.tree, list(ids)
        for node, token in enumerate(tree.tokens):
            p, q = (law(Session(runner, context).logits) for runner in (shipped64.target, shipped64.draft))
            assert tree.draft_logprobs[node] == pytest.approx(q[token].log().item(), abs=1e-7)
            due = p[token].log().item() if p[token] > 0 else -1e9
            assert tree.target_logprobs[node] == pytest.approx(due, abs=1e-7)
            if tree.thresholds[node] is not None:
                assert tree.thresholds[node] == pytest.approx(min(1.0, (p[token] / q[token]).item()), abs=1e-7)
                assert (tree.coins[node] < tree.thresholds[node]) == (tree.verdicts[node] == "accepted")
            context.append(token)
        ids += step.emitted


def test_costs_are_whole(shipped32, traced):
    trace = traced(shipped32, "chain", prompt=PROMPT, max_new_tokens=30, knobs={"length": 4})
    cost, prompt = trace.cost, len(trace.opening.prompt_ids)
    assert cost.target_forwards == len(trace.steps)
    drafted = sum(len(step.tree.tokens) for step in trace.steps)
    # the prompt, then for every later step its root; and every drafted token
    assert cost.target_tokens == prompt + len(trace.steps) - 1 + drafted
    assert cost.draft_forwards == drafted
    # the draft is fed each committed token once, and the drafts that were refused
    assert cost.draft_tokens <= prompt + drafted + len(trace.steps)
    plain = traced(shipped32, "plain", prompt=PROMPT, max_new_tokens=30).cost
    assert (plain.target_forwards, plain.target_tokens, plain.draft_forwards) == (30, prompt + 29, 0)
    assert plain.cache_bytes == (prompt + 29) * 8 * 2 * 2 * 64 * 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tokens", [1, 2, 3, 5])
def test_no_more_tokens_than_asked_for(method, tokens, fitting, traced, once):
    ask = some_run(method, 0.0)
    trace = traced(fitting, method, **{**ask, "max_new_tokens": tokens})
    assert trace.ids == once(fitting, method, **ask).ids[:tokens]
    assert trace.closing.reason == "length"
    assert len(trace.steps[-1].beliefs) == len(trace.steps[-1].sources) == len(trace.steps[-1].emitted)


@pytest.mark.parametrize("method", METHODS)
def test_the_end_of_text_ends_it(method, letters, traced):
    ended = 0
    for seed in range(20):
        ask = {"ids": [1, 2, 1, 2], "temperature": 1.0, "max_new_tokens": 4, "seed": seed}
        trace = traced(letters, method, knobs=settings_of(method), **ask)
        ended += trace.closing.reason == "end of text"
        assert (trace.closing.reason == "end of text") == (trace.ids[-1] == 4)
        assert 4 not in trace.ids[:-1]
        assert trace.closing.text == letters.vocabulary.decode(trace.ids)
    assert 0 < ended < 20 or method in LOOK_AHEAD  # and see the end coming


def test_a_text_that_ends_where_it_is_cut_ended(letters, traced):
    """The end of text is the better reason."""
    ask = {"ids": [1, 2, 1, 2], "temperature": 1.0, "seed": 5}
    ended = next(
        t for s in range(50) if (t := traced(letters, "plain", **{**ask, "seed": s})).closing.reason == "end of text"
    )
    again = traced(letters, "plain", **{**ask, "seed": ended.opening.request.seed, "max_new_tokens": len(ended.ids)})
    assert again.closing.reason == "end of text"


@pytest.fixture(scope="module")
def short():
    """A pair over five letters that holds 32 tokens."""
    return tiny_models.letters_pair("llama, grouped, tied", context=32)


@pytest.fixture(scope="module")
def shorter():
    """One that holds 20."""
    return tiny_models.letters_pair("llama, grouped, tied", context=20)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_run_may_fill_the_context_to_the_last_token(method, temperature, short, shorter, traced, once):
    """Trees wider than the places left, drafts of a draft whose context is shorter: the text is plain decoding's."""
    ask = {"ids": [1, 2, 3, 1, 2], "max_new_tokens": 27, "temperature": temperature}
    trace = traced(short, method, knobs=settings_of(method), **ask)
    assert len(trace.ids) == 27
    if temperature == 0 and method not in RERANK:
        assert trace.ids == once(short, "plain", **ask).ids
    mixed = traced(dataclasses.replace(short, draft=shorter.draft), method, knobs=settings_of(method), **ask)
    assert len(mixed.ids) == 27
    if temperature == 0:
        assert mixed.ids == trace.ids


def test_steps_come_when_they_are_asked_for(shipped32):
    events = run(shipped32, Request(method="plain", prompt=PROMPT, max_new_tokens=5))
    assert isinstance(next(events), Opening)
    step = next(events)
    assert isinstance(step, Step)
    assert step.cost.target_forwards == 1
    events.close()
    assert list(events) == []
    assert isinstance(list(run(shipped32, Request(method="plain", prompt=PROMPT, max_new_tokens=2)))[-1], Closing)


# -- keep --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_keeping_more_changes_nothing_else(method, temperature, fitting, once):
    ask = some_run(method, temperature)
    less = once(fitting, method, **ask)
    more = once(fitting, method, **{**ask, "keep": ["laws", "prompt", "tests"]})
    assert more.ids == less.ids
    assert [step.tree and step.tree.tokens for step in more.steps] == [
        step.tree and step.tree.tokens for step in less.steps
    ]
    forwards = [trace.cost.target_forwards for trace in (less, more)]
    assert forwards[1] - forwards[0] in (0, 1), (
        "the prompt is fed once; only its last token may be fed before the first tree"
    )
    assert loads(more.dumps()) == more


def test_kept_prompt_beliefs(shipped64, traced):
    trace = traced(shipped64, "plain", prompt=PROMPT, keep=["prompt", "laws"], max_new_tokens=1)
    ids = trace.opening.prompt_ids
    assert [belief.token for belief in trace.opening.prompt_beliefs] == ids[1:]
    for n in (1, 4, len(ids) - 1):
        logs = Session(shipped64.target, ids[:n]).logits.log_softmax(-1)
        belief = trace.opening.prompt_beliefs[n - 1]
        assert belief.logprob == pytest.approx(logs[ids[n]].item(), abs=1e-9)
        assert belief.law is None  # it was not drawn from: whoever wants to see it asks
    logs = Session(shipped64.target, ids).logits.log_softmax(-1)
    law = trace.steps[0].beliefs[0].law
    assert struct.unpack("<4096e", law) == pytest.approx(logs.tolist(), rel=1e-3, abs=1e-3)
    single = traced(shipped64, "plain", ids=ids[:1], keep=["prompt"], max_new_tokens=1)
    assert single.opening.prompt_beliefs == []


@pytest.mark.parametrize(
    ("method", "temperature"), [("chain", 1.0), ("chain", 0.0), ("lookup", 1.0), ("token-recycling", 1.0)]
)
def test_kept_tests_are_the_laws_of_what_was_tested(method, temperature, letters, traced):
    pair = tiny_models.letters_pair("llama, grouped, tied")
    ask = {"ids": [1, 2, 3, 1, 2], "temperature": temperature, "max_new_tokens": 24, "keep": ["tests"], "seed": 4}
    trace = traced(pair, method, knobs=settings_of(method), **ask)
    tested = 0
    for step in trace.steps:
        looked = [node for node, verdict in enumerate(step.tree.verdicts) if verdict != "unreached"]
        assert [test.node for test in step.tests] == sorted(looked, key=lambda node: step.tree.order[node])
        for test in step.tests:
            tested += 1
            assert sorted(test.tokens) == list(range(5)), "five letters fit whole"
            assert step.tree.tokens[test.node] == test.tokens[0]
            for law, rest in ((test.p, test.p_rest), (test.q, test.q_rest)):
                assert sum(law) + rest == pytest.approx(1)
            assert test.agreement == pytest.approx(sum(map(min, test.p, test.q)))
            gaps = [max(p - q, 0.0) for p, q in zip(test.p, test.q)]
            if sum(gaps) > 0:
                assert test.residual == pytest.approx([gap / sum(gaps) for gap in gaps])
            node = test.node
            if method == "chain" and temperature:
                assert math.exp(step.tree.draft_logprobs[node]) == pytest.approx(test.q[0])
                assert step.tree.thresholds[node] == pytest.approx(min(1, test.p[0] / test.q[0]))
    assert tested > 5


# -- bad input: one sentence each --------------------------------------------------------------------------------------


BAD = [
    ({"prompt": ""}, PromptError, "The prompt is empty"),
    ({"ids": []}, PromptError, "The prompt is empty"),
    ({"prompt": "\ud83d"}, PromptError, "half a character"),
    ({"ids": [5, -1]}, PromptError, "Token -1 is outside the vocabulary: choose ids from 0 to 4,095"),
    ({"ids": [4096]}, PromptError, "Token 4096 is outside the vocabulary"),
    ({"ids": [2**70]}, PromptError, "is outside the vocabulary"),
    ({"ids": [1] * 2048}, PromptError, "2,048 tokens and 4 new ones are asked for, but the model holds 2,048"),
    ({"ids": [1] * 2045}, PromptError, "ask for 3 new tokens"),
    ({"ids": [1] * 3000}, PromptError, "ask for 0 new tokens"),
    ({"max_new_tokens": 0}, KnobError, "0 new tokens are asked for: choose at least 1"),
    ({"max_new_tokens": -5}, KnobError, "-5 new tokens"),
    ({"max_new_tokens": 10**9}, PromptError, "shorten the prompt or ask for"),
    ({"temperature": -0.5}, KnobError, "The temperature is -0.5"),
    ({"temperature": 5.5}, KnobError, "The temperature is 5.5"),
    ({"temperature": math.nan}, KnobError, "The temperature is nan"),
    ({"temperature": math.inf}, KnobError, "The temperature is inf"),
    ({"transforms": [Setting("top-q")]}, KnobError, "There is no transform 'top-q'"),
    ({"transforms": [Setting("top-k", {"k": -1})]}, KnobError, "Top-k is -1, outside its range"),
    ({"transforms": [Setting("top-k", {"p": 1})]}, KnobError, "There is no knob 'p'"),
    ({"method": "magic"}, KnobError, "There is no method 'magic': choose one of "),
    ({"method": ""}, KnobError, "There is no method ''"),
    ({"method": "chain", "knobs": {"length": 0}}, KnobError, "Drafted tokens is 0, outside its range"),
    ({"method": "chain", "knobs": {"length": 2.5}}, KnobError, "counts whole things"),
    ({"method": "chain", "knobs": {"verifier": "V9"}}, KnobError, "choose one of residual chain"),
    ({"method": "chain", "knobs": {"depth": 3}}, KnobError, "There is no knob 'depth'"),
    ({"knobs": {"length": 3}}, KnobError, "There is no knob 'length': choose one of none, it has no knobs"),
    ({"keep": ["everything"]}, KnobError, "There is nothing called 'everything' to keep"),
    ({"seed": -1}, KnobError, "The seed is -1"),
    ({"seed": 2**70}, KnobError, "The seed is "),
]


@pytest.mark.parametrize(("ask", "kind", "sentence"), BAD, ids=lambda value: str(value)[:50])
def test_bad_input(ask, kind, sentence, shipped32):
    with pytest.raises(kind) as caught:
        list(run(shipped32, Request(**{"method": "plain", "prompt": "x", "max_new_tokens": 4, **ask})))
    assert sentence in str(caught.value)
    assert str(caught.value).endswith(".")
    assert str(caught.value).count(". ") == 0, "one sentence"


def test_a_draft_that_is_missing(letters):
    alone = dataclasses.replace(letters, draft=None, draft_name="")
    with pytest.raises(ModelError, match="needs a draft model and 'letters' has none: choose a draft"):
        list(run(alone, Request(method="chain", ids=[1], max_new_tokens=2)))
    for method in METHODS:
        if all_methods()[method].drafts != "model":
            assert list(run(alone, Request(method=method, ids=[1], max_new_tokens=2, knobs=settings_of(method))))


def spoiled(model):
    torch.nn.init.constant_(model.get_input_embeddings().weight, math.nan)
    return model


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("sick", ["target", "draft"])
def test_models_gone_bad(method, temperature, sick, traced):
    """NaN logits end in one sentence; a sick draft may still lose every test where nothing is drawn (DySpec always draws)."""
    pair = tiny_models.letters_pair("llama, grouped, tied")
    runner = getattr(pair, sick)
    runner.embedding = torch.full_like(runner.embedding, math.nan)
    fresh = runner.fresh
    runner.fresh = lambda: spoiled(fresh())  # what learns from a sick draft is sick
    ask = {"ids": [1, 2, 1], "max_new_tokens": 4, "temperature": temperature}
    drawn = temperature > 0 or method == "dyspec"  # which draws its drafts at temperature 0 too
    if sick == "draft" and not (drawn and all_methods()[method].drafts == "model"):
        well = traced(tiny_models.letters_pair("llama, grouped, tied"), method, knobs=settings_of(method), **ask)
        assert traced(pair, method, knobs=settings_of(method), **ask).ids == well.ids
    else:
        with pytest.raises(LabError, match="not numbers"):
            traced(pair, method, knobs=settings_of(method), **ask)
