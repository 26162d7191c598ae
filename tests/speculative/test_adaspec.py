"""P008: a share of 1 is plain distillation, held-out text stays held out, the shared draft stays as it is."""

from __future__ import annotations

import pytest
import tiny_models
import torch

from labkit.errors import ModelError
from labkit.lm import Session
from labkit.speculative import adaspec
from labkit.speculative.contest import Contest, alpha
from labkit.speculative.distil import FORWARD, divergence
from labkit.speculative.narrow import narrowed
from labkit.train.corpus import Document, Source

V = 40


@pytest.fixture(scope="module")
def start():
    return tiny_models.tiny("llama, grouped, tied", 5, vocabulary=V, spread=0.1)


@pytest.fixture(scope="module")
def batches():
    rng = torch.Generator().manual_seed(0)
    target = tiny_models.tiny("llama, grouped, tied", 1, vocabulary=V)
    texts = [torch.randint(V, (3, 12), generator=rng) for _ in range(12)]
    with torch.no_grad():
        return [(ids, target(ids).logits.flatten(0, 1).log_softmax(-1)) for ids in texts]


def weights(pupil):
    return torch.cat([weight.detach().flatten() for weight in pupil.model.parameters()])


def run(start, batches, shares, order):
    contest = Contest(start, shares, len(batches), 0.003, FORWARD)
    for ids, log_p in [*batches, *(batches[place] for place in order)]:
        with torch.inference_mode():  # as the engine runs it
            contest.step(ids, log_p)
    assert contest.over
    return contest


def test_a_share_of_one_is_plain_distillation(start, batches):
    """On the same batches it ends where the reference ended; a smaller share ends elsewhere."""
    contest = run(start, batches, [0.4, 1.0], range(12))
    torch.testing.assert_close(weights(contest.drafts[1.0]), weights(contest.reference), rtol=0, atol=1e-6)
    assert (weights(contest.drafts[0.4]) - weights(contest.reference)).abs().max() > 1e-3
    assert torch.equal(weights(contest.reference), weights(run(start, batches, [1.0], range(11, -1, -1)).reference))


def test_everybody_learns_from_one_start(start, batches):
    first = torch.cat([weight.detach().flatten() for weight in start.parameters()])
    contest = run(start, batches, [0.4, 1.0], range(12))
    assert torch.equal(first, torch.cat([weight.detach().flatten() for weight in start.parameters()]))
    ids, log_p = batches[0]
    before = Contest(start, [1.0], 12, 0.003, FORWARD)
    for pupil in (contest.reference, *contest.drafts.values(), contest.longer):
        assert divergence(log_p, pupil.log_q(ids)).mean() < 0.9 * divergence(log_p, before.reference.log_q(ids)).mean()
    assert contest.longer.done == contest.reference.done == 12 and contest.pupils.keys() == {
        "share 0.4",
        "share 1",
        "longer",
    }


def test_alpha_is_the_mean_of_the_smaller_law(start, batches):
    contest = Contest(start, [1.0], 1, 0.0, FORWARD)
    ids, log_p = batches[0]
    with torch.no_grad():
        q = start(ids).logits.softmax(-1).flatten(0, 1)
    assert alpha(contest.reference, ids, log_p.exp()) == pytest.approx(
        torch.minimum(log_p.exp(), q).sum(-1).mean().item()
    )


# -- the narrow draft --------------------------------------------------------------------------------------------------


def test_at_full_width_it_is_nearly_the_draft_itself(shipped32, prompts):
    """But for the last norm, whose weights turn with the basis and cannot stay apart from the tied embeddings."""
    texts = [ids[:32] for ids in prompts[:30] if len(ids) >= 32]
    p = torch.cat([Session(shipped32.draft, ids).prompt_logits().softmax(-1) for ids in texts])
    agreements = {}
    for width in (32, 64, 128):
        small = narrowed(shipped32.draft.fresh(), width, texts[:12])
        assert small.config.hidden_size == width and small.model.embed_tokens.weight.shape == (4096, width)
        with torch.no_grad():
            q = small(torch.tensor(texts)).logits.softmax(-1).flatten(0, 1)
        agreements[width] = torch.minimum(p, q).sum(-1).mean().item()
    assert agreements[128] > 0.9 and 0.2 < agreements[32] < agreements[64] < 0.8


def test_what_cannot_be_narrowed():
    with pytest.raises(ModelError, match="48 dimensions, 64 are asked for"):
        narrowed(tiny_models.tiny("llama, grouped, tied", vocabulary=V), 64, [[1, 2, 3]])
    for style in ("gpt2", "llama, untied"):
        with pytest.raises(ModelError, match="Llama family with tied embeddings"):
            narrowed(tiny_models.tiny(style, vocabulary=V), 16, [[1, 2, 3]])


# -- the study ---------------------------------------------------------------------------------------------------------


def test_margins_by_hand():
    log_p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.6, 0.2, 0.2]]).log()
    logits = torch.tensor([[3.0, 1.5, 0.0], [2.5, 0.0, 0.0], [0.0, 0.0, 20.0], [-20.0, 5.0, 0.0]])
    counts = dict(zip(adaspec.EDGES, adaspec.margins(logits.log_softmax(-1), log_p)))
    assert {low: count for low, count in counts.items() if count} == {1: 1, -3: 1, 7: 1, -8: 1}


def test_only_training_files_are_learned_from(monkeypatch, shipped32):
    held, kept = (f"{100:064x}", "held = 1\n"), (f"{101:064x}", "kept = 2\n")
    found = [Document("x.py", "python", text * 400, digest) for digest, text in (held, kept)]
    monkeypatch.setattr(adaspec.corpus, "sources", lambda packages: [Source("python", "3", "PSF-2.0", ())])
    monkeypatch.setattr(adaspec.corpus, "documents", lambda chosen: iter(found))
    windows = adaspec.training_windows(shipped32.vocabulary, torch.Generator())
    allowed = set(shipped32.vocabulary.encode(kept[1] * 3))
    for _ in range(30):
        window = next(windows)
        assert len(window) == adaspec.WINDOW and set(window) <= allowed


def test_the_study(shipped32, traced):
    said = Session(shipped32.draft, [70, 80, 90]).prompt_logits()
    knobs = {"gradient_steps": 10, "width": 32, "share": 0.3}
    trace = traced(shipped32, "adaspec", prompt="x", knobs=knobs)
    first, last = trace.steps[0].notes, trace.steps[-1].notes
    assert trace.closing.reason == "done" and not trace.ids
    assert [step.notes["done"] for step in trace.steps] == list(range(21)) and last["of"] == 20
    assert first["phase"] == "reference" and last["phase"] == "drafts"
    assert last["curves"].keys() == {"reference", "share 0.2", "share 0.3", "share 1", "longer"}
    for name, (taken, values) in last["curves"].items():
        assert taken == [*range(10, 21)] if name == "longer" else [*range(11)]
        assert len(values) == 11 and all(0 < value < 1 for value in values)
    curves = last["curves"]
    assert (
        curves["longer"][1][0]
        == curves["reference"][1][-1]
        > first["curves"]["reference"][1][0]
        == curves["share 1"][1][0]
    )
    listing = last["listing"]
    assert len(listing["pieces"]) == len(listing["lag"]) + 1 == len(listing["kept"]) + 1 == adaspec.WINDOW
    assert sum(listing["kept"]) / len(listing["kept"]) == pytest.approx(0.3, abs=0.02)
    for counts in last["margins"].values():
        assert sum(counts) == adaspec.HELD_OUT * adaspec.WINDOW
    assert torch.equal(Session(shipped32.draft, [70, 80, 90]).prompt_logits(), said)
    assert trace.cost.target_forwards == adaspec.HELD_OUT + 20 * adaspec.BATCH


def test_the_long_run_belongs_to_its_models(tmp_path, monkeypatch):
    monkeypatch.setattr(adaspec, "LONG_RUN", tmp_path / "adaspec.json")
    assert adaspec.long_run("lab-target", "lab-draft") is None
    prints = {role: adaspec.fingerprint(f"lab-{role}") for role in ("target", "draft")}
    (tmp_path / "adaspec.json").write_text(adaspec.json.dumps({"models": prints, "seeds": []}))
    assert adaspec.long_run("lab-target", "lab-draft")["models"] == prints
    assert adaspec.long_run("lab-draft", "lab-draft") is None
