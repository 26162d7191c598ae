"""P032 PIE: what an edited cache holds, beside a full recompute; and three wrong variants that must not pass for it."""

from __future__ import annotations

import pytest
import tiny_models
import torch

from labkit.attention import pie
from labkit.attention.edit_cache import EditCache, one_by_one, restood, ruler, typed
from labkit.attention.ground import against
from labkit.attention.pie import Change, edit, moved
from labkit.errors import LabError, ModelError, PromptError
from labkit.knobs import build
from labkit.law import Law
from labkit.lm import Session
from labkit.methods import all_studies
from labkit.prompts import heldout
from labkit.run import run
from labkit.trace import Request, Step

TEXT = torch.randint(64, 4096, (60,), generator=torch.Generator().manual_seed(3)).tolist()
NEW = tuple(torch.randint(64, 4096, (7,), generator=torch.Generator().manual_seed(4)).tolist())
INSERT, DELETE, REPLACE = Change(20, 0, NEW), Change(20, 9), Change(20, 3, NEW)
SEVERAL = [Change(10, 0, NEW), Change(25, 4), Change(40, 5, NEW[:2])]
CASES = {"insert": [INSERT], "delete": [DELETE], "replace": [REPLACE], "several": SEVERAL}


@pytest.fixture(scope="module", params=tiny_models.LEAN)
def runner(request):
    return tiny_models.runner(tiny_models.tiny(request.param))


@pytest.fixture(scope="module")
def llama():
    return tiny_models.runner(tiny_models.tiny("llama, grouped, tied"))


def opened(runner, ids=TEXT):
    session = Session(runner, ids, Law(0))
    _ = session.logits
    return session


def edited(runner, changes, ids=TEXT, **more):
    session = opened(runner, ids)
    edit(session, changes, **more)
    _ = session.logits
    return session


def held(session):
    """Keys and values of the whole text, [layers, 2, kv_heads, N, size]."""
    return session.cache.part(0, 0, len(session.ids))


def rewritten(changes, ids=TEXT):
    ids = list(ids)
    for change in reversed(changes):
        ids[change.place : change.stop] = change.new
    return ids


def off_at_layer_0(session):
    """How far keys and values of layer 0 are from a full recompute's."""
    return float((held(session)[0] - held(opened(session.runner, session.ids))[0]).abs().max())


@pytest.mark.parametrize("case", CASES)
def test_layer_0_is_that_of_a_full_recompute(runner, case):
    session = edited(runner, CASES[case])
    assert session.ids == rewritten(CASES[case])
    assert off_at_layer_0(session) < 1e-12
    deeper = (held(session)[1] - held(opened(runner, session.ids))[1]).abs().max()
    assert deeper > 1e-3, "the rest is stale"


WRONG = {
    "not rotated": lambda part, turns, start, delta: part,
    "values rotated": lambda part, turns, start, delta: moved(part, turns, start, delta),
    "rotated backwards": lambda part, turns, start, delta: torch.stack([moved(part[:, 0], turns, start, -delta), part[:, 1]], 1),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_variants_are_caught(runner, wrong, monkeypatch):
    monkeypatch.setattr(pie, "carried", WRONG[wrong])
    for change in (INSERT, DELETE, REPLACE):
        assert off_at_layer_0(edited(runner, [change])) > 1e-3


def test_only_the_last_delta_for_every_segment_is_caught(runner, monkeypatch):
    right, last = pie.carried, SEVERAL[-1].delta
    monkeypatch.setattr(pie, "carried", lambda part, turns, start, delta: right(part, turns, start, last))
    assert off_at_layer_0(edited(runner, SEVERAL)) > 1e-3


def test_the_prefix_is_untouched_and_values_are_carried_bit_for_bit(runner):
    before = held(opened(runner)).clone()
    for rotate in (True, False):
        after = held(edited(runner, [INSERT], rotate=rotate))
        assert torch.equal(after[:, :, :, :20], before[:, :, :, :20])
        assert torch.equal(after[:, 1, :, 27:-1], before[:, 1, :, 20:-1])
        assert torch.equal(after[:, 0, :, 27:-1], before[:, 0, :, 20:-1]) is not rotate


def test_rotations_add_up(llama):
    keys = torch.randn(2, 30, llama.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    once, twice = moved(keys, llama.turns, 50, 13), moved(moved(keys, llama.turns, 50, 40), llama.turns, 90, -27)
    assert (once - twice).abs().max() < 1e-6 and (once - keys).abs().max() > 0.1
    assert (moved(once, llama.turns, 63, -13) - keys).abs().max() < 1e-6
    assert moved(keys, llama.turns, 50, 0) is keys


def test_the_move_is_one_rotation_for_all_positions(llama):
    keys = torch.randn(2, 200, llama.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one = moved(keys[:, :1].expand_as(keys), llama.turns, 100, 13)
    assert (one - one[:, :1]).abs().max() < 1e-4, "but for the float32 angles of the model's table"


def test_a_change_of_no_length_leaves_every_key(runner):
    before, after = held(opened(runner)), held(edited(runner, [Change(20, 3, tuple(TEXT[20:23]))]))
    assert torch.equal(after[:, :, :, 23:-1], before[:, :, :, 23:-1])
    assert (after - before).abs().max() < 1e-12


def test_deleted_and_put_back(runner):
    before = held(opened(runner)).clone()
    session = edited(runner, [DELETE])
    edit(session, [Change(20, 0, tuple(TEXT[20:29]))])
    _ = session.logits
    assert session.ids == TEXT
    assert (held(session)[:, :, :, :-1] - before[:, :, :, :-1]).abs().max() < 1e-12


def test_with_nothing_behind_it_is_plain_prefill(runner):
    for change in (Change(60, 0, NEW), Change(50, 10, NEW), Change(50, 10)):
        session = edited(runner, [change])
        full = opened(runner, session.ids)
        assert (session.logits - full.logits).abs().max() < 1e-11
        assert (held(session) - held(full)).abs().max() < 1e-11


def test_refreshing_the_whole_suffix_is_a_full_recompute(runner):
    session = edited(runner, [INSERT], refresh=64)
    assert (held(session) - held(opened(runner, session.ids))).abs().max() < 1e-11
    assert torch.equal(held(session)[:, :, :, :20], held(opened(runner))[:, :, :, :20]), "and touches no prefix"


@pytest.mark.parametrize("rotate", [True, False])
def test_typing_and_one_change_after_the_other_come_to_the_same(runner, rotate):
    whole = edited(runner, SEVERAL, rotate=rotate)
    for way in (one_by_one, typed):
        session = opened(runner)
        for change in way(SEVERAL):
            edit(session, [change], rotate)
            _ = session.logits
        assert session.ids == whole.ids
        assert (held(session) - held(whole)).abs().max() < 1e-11
        assert (session.logits - whole.logits).abs().max() < 1e-11


def test_what_it_computes_is_counted(llama):
    for changes, refresh, fed in (([INSERT], 0, 8), ([DELETE], 0, 1), (SEVERAL, 0, 10), ([INSERT], 5, 12)):
        session = opened(llama)
        before = session.ledger.tokens
        edit(session, changes, refresh=refresh)
        _ = session.logits
        assert session.ledger.tokens - before == fed


def test_a_fork_keeps_its_own_text(llama):
    session = opened(llama)
    twin, before = session.fork()[0], held(session).clone()
    edit(twin, [INSERT])
    _ = twin.logits
    assert session.ids == TEXT and torch.equal(held(session), before)


def test_bad_input_is_one_sentence(llama):
    gpt2 = tiny_models.runner(tiny_models.tiny("gpt2"))
    with pytest.raises(ModelError, match="rotary positions run by the lab's own loop"):
        edit(opened(gpt2), [INSERT])
    for changes in ([], [Change(0, 1)], [Change(55, 6)], [Change(30, 5), Change(34, 1)], [Change(30, 1), Change(20, 1)]):
        with pytest.raises(LabError, match="in order, apart"):
            edit(opened(llama), changes)
    with pytest.raises(PromptError, match="insert less"):
        edit(opened(llama), [Change(20, 0, NEW * 70)])


@pytest.mark.parametrize("what", ["insert", "delete"])
def test_the_shipped_target_is_repaired(shipped32, what):
    """Layer 0 in float32, and the direction on held-out texts: KL(full || PIE) < KL(full || no rotation) on average."""
    runner, kl = shipped32.target, []
    for text in heldout(6):
        ids = shipped32.vocabulary.encode(text)
        change = Change(len(ids) // 2, 0, NEW) if what == "insert" else Change(len(ids) // 2, 7)
        right, bare = edited(runner, [change], ids), edited(runner, [change], ids, rotate=False)
        full = opened(runner, right.ids)
        assert (held(right)[0] - held(full)[0]).abs().max() < 1e-5
        kl.append([against(full.logits, one.logits)["kl"] for one in (right, bare)])
    ours, theirs = (sum(column) for column in zip(*kl))
    assert ours < 0.3 * theirs


# -- the study ---------------------------------------------------------------------------------------------------------


def steps_of(pair, text=heldout(5)[4], **knobs):
    asked = Request(method="edit-cache", prompt=text, knobs=knobs, max_new_tokens=1)
    return [event for event in run(pair, asked) if isinstance(event, Step)]


def test_it_is_a_study():
    assert all_studies()["edit-cache"] is EditCache


def test_its_figures_are_those_of_the_caches(shipped64):
    text, study = heldout(5)[4], build(EditCache, {"what": "replace", "length": 6, "edits": 2, "typed": False, "texts": 0})
    vocabulary = shipped64.vocabulary
    ids = vocabulary.encode(text)
    session = Session(shipped64.target, ids, Law(0))
    session.vocabulary = vocabulary
    steps = list(study.steps(session, torch.Generator().manual_seed(0)))
    assert [step.notes["done"] for step in steps] == [1, 2] and steps[-1].notes["of"] == 2
    for step in steps:
        place, removed, new = step.notes["edit"]
        ids[place : place + removed] = new
    notes = steps[-1].notes
    assert session.ids == ids and len(notes["trail"]) == 2 and notes["trail"][-1] == notes["kl"]
    full = opened(shipped64.target, ids)
    assert notes["kl"][0] == pytest.approx(against(full.logits, session.logits)["kl"], abs=1e-9)
    chances = full.logits.softmax(-1)[notes["laws"]["tokens"]].tolist()
    assert notes["laws"]["full"] == pytest.approx(chances)
    assert notes["costs"]["full"][0] == len(ids) and notes["costs"]["PIE"][0] == 6 + 1
    for name in ("PIE", "no rotation"):
        assert len(notes["errors"][name]["keys"]) == 8 and notes["errors"][name]["values"][0] < 1e-12
    assert notes["errors"]["PIE"]["keys"][0] < 1e-12 < notes["errors"]["PIE"]["keys"][-1]


def test_refused_for_other_models_and_short_texts(shipped32):
    pair = tiny_models.letters_pair("neox")
    with pytest.raises(ModelError, match="rotary"):
        list(run(pair, Request(method="edit-cache", prompt="abcde" * 4, max_new_tokens=1)))
    with pytest.raises(PromptError, match="write at least 9"):
        steps_of(shipped32, "x = 1")


@pytest.mark.parametrize("knobs", [{"what": "delete", "length": 64, "edits": 8}, {"what": "replace", "edits": 3}, {"where": 0.9}])
def test_plans_fit_the_text(shipped32, knobs):
    for text in heldout(6):
        session = Session(shipped32.target, shipped32.vocabulary.encode(text), Law(0))
        session.vocabulary = shipped32.vocabulary
        study, ids = build(EditCache, knobs), list(session.ids)
        changes = study.plan(session, ids, torch.Generator().manual_seed(1))
        assert len(changes) == study.edits and changes[0].place >= 1 and changes[-1].stop < len(ids)
        assert all(one.stop <= two.place for one, two in zip(changes, changes[1:]))
        assert all(bool(change.removed) == (study.what != "insert") for change in changes)
        assert all(bool(change.new) == (study.what != "delete") for change in changes)
        assert rewritten(changes, ids) != ids


def test_texts_show_the_direction(shipped32):
    steps = steps_of(shipped32, length=8, typed=False, texts=6)
    assert len(steps) == 7 and len(steps[-1].notes["texts"]) == 6
    ours, theirs = (sum(column) for column in zip(*steps[-1].notes["texts"]))
    assert ours < theirs


def test_the_ruler_finds_collisions_and_gaps():
    def standing(length):
        return [(place, "behind") for place in range(length)]

    after = ruler(restood(standing(10), Change(4, 0, (7, 7)), 0))
    assert after["collisions"] == [4, 6] and after["gaps"] == [9, 11]
    assert after["runs"] == [[0, 0, 4, "behind"], [4, 4, 2, "new"], [6, 4, 5, "behind"], [11, 11, 1, "behind"]]
    after = ruler(restood(standing(10), Change(4, 3), 0))
    assert after["collisions"] == [] and after["gaps"] == [4, 6], "the last token is re-run at position 6"
    assert ruler(restood(standing(10), Change(4, 3), 64)) == {"runs": [[0, 0, 7, "behind"]], "collisions": [], "gaps": []}
    assert ruler(restood(standing(10), Change(4, 2, (7, 7)), 0))["gaps"] == []


@pytest.mark.parametrize("refresh", [0, 4])
@pytest.mark.parametrize("case", ["insert", "delete", "replace"])
def test_the_ruler_tells_where_the_keys_stand(llama, case, refresh):
    """Without rotation, keys of layer 0 are those of the same tokens fed at the positions that the ruler shows."""
    session = edited(llama, CASES[case], rotate=False, refresh=refresh)
    stands = restood([(place, "") for place in range(len(TEXT))], CASES[case][0], refresh)
    cache = llama.new_cache()
    with torch.inference_mode():
        llama.forward(torch.tensor(session.ids), torch.tensor([position for position, _ in stands]), None, cache, 0, False)
    assert (held(session)[0] - cache.part(0, 0, len(stands))[0]).abs().max() < 1e-12
