"""P056: labels, cuts, chunk scores, what a block reads, and what the choice of chunks catches."""

from __future__ import annotations

import pytest
import tiny_models
import torch

from labkit.attention import dhsa_chunks as chunks
from labkit.attention.dhsa import DHSA, marked
from labkit.attention.dhsa_recall import DhsaRecall
from labkit.attention.ground import Spec
from labkit.errors import ModelError
from labkit.law import Law
from labkit.lm import Session

TEXT = torch.randint(0, 64, (96,), generator=torch.Generator().manual_seed(3)).tolist()
SPARSE = {"budget": 0.6, "local": 0}  # in short texts what must be read would else be all that is read
CUTS = ("predicted", "oracle", "lines", "fixed size")


class Lines(tiny_models.Letters):
    """Letters of which one is a line break."""

    def piece(self, token):
        return "\n" if token % 7 == 0 else "x"


@pytest.fixture(scope="module")
def runner():
    return tiny_models.runner(tiny_models.tiny("llama, grouped, tied"))


@pytest.fixture
def any_predictor(monkeypatch, runner):
    """A predictor with random weights in the place of the trained one, and half of the gaps above its threshold."""
    torch.manual_seed(0)
    made = chunks.Predictor(runner.kv_heads * runner.size, runner.depth).requires_grad_(False)
    made.say.weight.mul_(30)
    monkeypatch.setattr("labkit.attention.dhsa.load_predictor", lambda runner: made)
    return made


def opened(runner, policy, text=TEXT):
    session = Session(runner, text, Law(0))
    session.vocabulary = Lines(64)
    policy.prepare(session)
    session.carry(runner.policy_cache(policy))
    return session


def filled(seed=0, length=160, **knobs):
    """A policy of one layer that holds random keys [2, length, 8], and queries [2, 2, 16, 8]."""
    rng = torch.Generator().manual_seed(seed)
    policy = DHSA(cuts="fixed size", **knobs)
    policy.begin(Spec(1, 4, 2, 8, None, torch.float64, torch.device("cpu")))
    keys, values = torch.randn(2, 2, length, 8, generator=rng, dtype=torch.float64)
    policy.append(0, keys, values, torch.arange(length))
    return policy, keys, torch.randn(2, 2, 16, 8, generator=rng, dtype=torch.float64)


# -- labels and cuts ---------------------------------------------------------------------------------------------------


def test_labels_are_the_ratio_of_what_later_rows_give_to_both_sides():
    attention = torch.rand(30, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64).tril()
    found, w = chunks.ratios(attention), chunks.WINDOW
    for gap in range(30):
        past = sum(attention[row, col] for row in range(gap + w, 30) for col in range(gap - w + 1, gap + 1) if col >= 0)
        future = sum(attention[row, col] for row in range(gap + w, 30) for col in range(gap + 1, min(gap + w + 1, 30)))
        if w - 1 <= gap < 30 - w:
            assert found[gap] == pytest.approx(float((max(past, future) + 1e-6) / (min(past, future) + 1e-6)))
        else:
            assert found[gap] == float("-inf")
    assert chunks.ratios(attention[:7, :7]).max() == float("-inf")


@pytest.mark.parametrize("apart", [0, 1, 8])
def test_gaps_are_chosen_best_first_and_apart(apart):
    scores = torch.randn(200, generator=torch.Generator().manual_seed(apart))
    chosen = chunks.best_gaps(scores, 12, apart, 0.3)
    due: list[int] = []
    for gap in sorted(range(200), key=lambda gap: -scores[gap]):
        if scores[gap] > 0.3 and len(due) < 12 and all(abs(gap - other) > apart for other in due):
            due.append(gap)
    assert chosen == sorted(due) and len(chosen) == (12 if apart < 8 else len(due))
    assert chunks.best_gaps(scores, 12, apart, 99.0) == []


@pytest.mark.parametrize("cuts", CUTS)
def test_cuts_part_the_text(runner, any_predictor, cuts):
    policy = DHSA(cuts=cuts, chunks=6, apart=5, size=11)
    session = opened(runner, policy)
    _ = session.logits
    inner = set()
    for layer in range(2):
        for held in (1, 5, 16, 33, 96):
            edges = policy.edges(layer, held).tolist()
            assert edges[0] == 0 and edges[-1] == held and edges == sorted(set(edges))
            inner.update(edges[1:-1])
            if cuts in CUTS[:2]:
                assert len(edges) <= 7 and all(high - low > 5 for low, high in zip(edges[1:-1], edges[2:-1]))
    if cuts == "lines":
        assert inner == {place + 1 for place, token in enumerate(TEXT[:-1]) if token % 7 == 0}
    if cuts == "fixed size":
        assert inner == set(range(11, 96, 11))
    assert len(inner) > 5


def test_a_gap_is_scored_once_its_window_is_full_and_never_again(runner, any_predictor):
    at_once, growing = DHSA(**SPARSE), DHSA(**SPARSE)
    _ = opened(runner, at_once).logits
    session = opened(runner, growing, TEXT[:72])
    for token in TEXT[72:]:
        _ = session.logits
        before = growing.slots[1]["gaps"][0].clone()
        session.push(token)
        _ = session.logits
        assert torch.equal(growing.slots[1]["gaps"][0, : len(before) - 4], before[:-4])
    for slots in (at_once.slots[0], growing.slots[0]):  # layer 0: the same keys, whatever was read
        gaps = slots["gaps"][0]
        assert (gaps > float("-inf")).nonzero()[:, 0].tolist() == list(range(3, 92))
        assert torch.allclose(gaps[3:92], at_once.slots[0]["gaps"][0, 3:92], atol=1e-4)


def test_without_its_part_it_says_what_to_do(runner):
    with pytest.raises(ModelError, match="belongs to lab-target"):
        DHSA().prepare(Session(runner, TEXT, Law(0)))


# -- chunk scores ------------------------------------------------------------------------------------------------------


def test_the_root_of_the_length_keeps_the_norm_of_independent_keys():
    """1,000 draws of zero-mean keys of variance 1: with the mean a long chunk looks weak, with the sum strong."""
    rng = torch.Generator().manual_seed(0)
    edges, draws = torch.tensor([0, 4, 16, 64, 192]), torch.randn(192, 1000, generator=rng, dtype=torch.float64)
    sums = draws.cumsum(0)  # each of the thousand channels is a draw of its own
    found = {}
    for norm in chunks.NORMS:
        rows = torch.stack([chunks.chunk_scores(unit, sums, edges, norm) for unit in torch.eye(1000).double()])
        found[norm] = rows.square().mean(0).sqrt()  # over the draws, by chunk: 4, 12, 48, 128 tokens
    assert (found["sqrt"] - 1).abs().max() < 0.05
    assert found["mean"][0] > 1.6 * found["mean"][1] > 3 * found["mean"][2]
    assert found["sum"][2] > 1.9 * found["sum"][1] > 3 * found["sum"][0]


def test_every_token_has_the_score_of_its_chunk():
    edges, scores = torch.tensor([0, 3, 4, 9]), torch.tensor([0.5, -1.0, 2.0])
    assert chunks.spread(scores, edges).tolist() == [0.5] * 3 + [-1.0] + [2.0] * 5
    order = chunks.ranked(chunks.spread(scores, edges), 1, 1).tolist()
    assert order == [0, 8, 4, 5, 6, 7, 1, 2, 3]  # what is always read, then by score, ties by place


@pytest.mark.parametrize("seed", range(4))
def test_fixed_chunks_with_the_plain_mean_are_block_sparse_attention(seed):
    policy, keys, query = filled(norm="mean", budget=0.4, first=0, local=0, seed=seed)
    chosen = policy.select(0, query, torch.arange(144, 160)).index
    blocks = keys.mean(0).view(10, 16, 8).mean(1)  # [blocks, size]
    best = (blocks[:9] @ query.mean((0, 1, 2))).topk(3).indices.tolist()  # 64 tokens: the block itself, and three more
    due = sorted(place for block in [*best, 9] for place in range(16 * block, 16 * block + 16))
    assert chosen[0].tolist() == chosen[1].tolist() == due


def test_heads_apart_sum_their_own_products():
    policy, keys, query = filled(heads="apart", norm="sum")
    edges = policy.edges(0, 160)
    scores = chunks.chunk_scores(policy.asking(query), policy.slots[0]["sums"][0], edges, "sum")
    due = sum(keys[head].view(10, 16, 8).sum(1) @ query[head].mean((0, 1)) for head in range(2))
    assert torch.allclose(scores, due)


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0.05, 0.3, 0.7])
def test_a_block_reads_no_more_than_its_budget_and_what_it_must(budget):
    policy, _, query = filled(budget=budget, first=3, local=5)
    chosen = policy.select(0, query, torch.arange(96, 112)).index[0].tolist()
    assert len(chosen) == len(set(chosen)) == max(round(budget * 112), 3 + 5 + 16)
    assert chosen == sorted(chosen) and set(chosen) >= {0, 1, 2, *range(91, 112)} and chosen[-1] == 111


@pytest.mark.parametrize("cuts", CUTS)
def test_nothing_is_read_behind_a_query(runner, any_predictor, cuts):
    policy, seen = DHSA(cuts=cuts, **SPARSE), []
    session = opened(runner, policy)

    def in_turn(layer, query, probs, selection):
        rows = asked[0][:, None]
        places = policy.met[layer][:, None, None, :].expand_as(probs)
        seen.append(int((probs * (places > rows)).count_nonzero()))

    asked = []
    select = policy.select

    def asking(layer, query, positions):
        asked[:] = [positions]
        found = select(layer, query, positions)
        assert found is None or int(found.index.max()) <= int(positions[-1])
        return found

    policy.select, policy.observe = asking, in_turn
    _ = session.logits
    assert len(seen) == 12 and not any(seen)


@pytest.mark.parametrize("cuts", ["predicted", "lines", "fixed size", "oracle"])
def test_later_text_changes_no_earlier_block(runner, any_predictor, cuts):
    """Not even where the cuts are predicted; the oracle knows the rest of the prompt, so there it does."""
    texts = (TEXT, TEXT[:80] + TEXT[:16], TEXT[:80])
    long, other, short = (opened(runner, DHSA(cuts=cuts, **SPARSE), text).prompt_logits()[:80] for text in texts)
    same = torch.allclose(long, other, atol=1e-9) and torch.allclose(long, short, atol=1e-9)
    assert same == (cuts != "oracle")


def test_the_question_reads_everything(runner):
    dense = Session(runner, TEXT, Law(0)).logits
    sparse, asked = (opened(runner, DHSA(cuts="fixed size", local=0, question=q)).logits for q in (0, 64))
    everywhere = DHSA(cuts="fixed size", local=0, budget=0.05, question=64)
    _ = opened(runner, everywhere).logits
    assert everywhere.met[1].shape[1] == 96
    assert (asked - dense).abs().max() < (sparse - dense).abs().max()


def test_marks_are_rows_of_what_is_read():
    assert marked(torch.tensor([0, 2]), 2, 4).tolist() == [[1, 0, 1, 0]] * 2
    assert marked(None, 1, 3).tolist() == [[1, 1, 1]]


# -- what it is worth --------------------------------------------------------------------------------------------------


def test_recall_of_chunks(shipped32):
    """On the shipped target: labels cut better than fixed sizes, and all chunks lie between the newest and the best tokens."""
    session = Session(shipped32.target, [5], Law(0))
    session.vocabulary = shipped32.vocabulary
    with torch.inference_mode():
        notes = list(DhsaRecall(texts=2).steps(session, None))[-1].notes
    at = notes["budgets"].index(0.25)
    caught = {(one["cuts"], one["norm"]): one["recall"] for one in notes["results"]}
    for recall in caught.values():
        assert recall[-1] == pytest.approx(1, abs=1e-5) and all(low <= high + 1e-9 for low, high in zip(recall, recall[1:]))
        assert all(mine <= best + 1e-6 for mine, best in zip(recall, caught["best tokens", ""]))
    assert min(caught["oracle", "mean"][at], caught["predicted", "mean"][at]) > caught["fixed size", "mean"][at]
    longest = {one["norm"]: one["best chunk"] for one in notes["results"] if one["cuts"] == "oracle"}
    assert longest["mean"] < longest["sqrt"] < longest["sum"]
    assert caught["fixed size", "mean"][at] == pytest.approx(caught["fixed size", "sqrt"][at], abs=2e-3)  # one length: one order
