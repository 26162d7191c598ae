"""The verifiers' laws, enumerated through the real code: the right ones keep p to 1e-12, the wrong ones are caught."""

from __future__ import annotations

import math

import pytest
import torch
from exact import law_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from scipy.stats import chi2

from labkit.speculative import variants, verify
from labkit.speculative.check import chi_square
from labkit.speculative.spectr import Drafts
from labkit.speculative.variants import VARIANTS, Place, siblings
from labkit.trace import ACCEPTED, REFUSED, UNREACHED, Tree

FIRST = ([0.2, 0.3, 0.5], [0.5, 0.3, 0.2])  # p, q
SECOND = ([0.3, 0.4, 0.2, 0.1], [0.6, 0.2, 0.1, 0.1])
MIRROR = (
    [0.1, 0.2, 0.3, 0.4],
    [0.4, 0.3, 0.2, 0.1],
)  # shows every mistake; the first two hide merged and stale siblings
HALF = ([0.05, 0.15, 0.8], [0.7, 0.3, 0.0])  # a token the draft never proposes

# (vectors, verifier, drawn with replacement, k) -> chance that one of the k drafts is accepted
ACCEPTANCE = {
    ("first", "V2", True, 1): 0.70,
    ("first", "V2", True, 2): 0.76,
    ("first", "V2", True, 3): 0.808,
    ("first", "V2", False, 1): 0.70,
    ("first", "V2", False, 2): 0.82,
    ("first", "V2", False, 3): 1.0,
    ("first", "V1", True, 1): 0.29,  # sum of p q
    ("first", "V1", True, 2): 0.483,
    ("first", "V1", True, 3): 0.6161,
    ("first", "V1", False, 2): 0.6132142857,
    ("first", "V1", False, 3): 1.0,
    ("second", "V2", True, 2): 0.79,
    ("second", "V2", False, 2): 0.925,
    ("first", "V3", True, 1): 0.70,
    ("first", "V3", True, 2): 0.791355,
    ("first", "V3", True, 3): 0.858519,
    ("second", "V3", True, 2): 0.825367,
}
DIVISIONS = {("first", 1): 1.0, ("first", 2): 1.456776, ("first", 3): 1.792593, ("second", 2): 1.417891}  # rho*
VECTORS = {"first": FIRST, "second": SECOND, "half": HALF, "mirror": MIRROR}


def vector(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def place(p, q, drafts: int = 2) -> Place:
    """A place whose draft was warped: the raw q is flatter than the q that tokens are drawn from."""
    q = vector(q)
    raw = q.sqrt() / q.sqrt().sum()
    return Place(vector(p), q, raw, drafts)


def one_step(p, q, verifier, replace, k, rho=None):
    """Draft `k` siblings, verify them; (emitted token, whether a draft was accepted by its coin)."""
    p, q = vector(p), vector(q)

    def play():
        tokens, rows = siblings(q, k, replace, None)
        tree, laws = Tree(tokens, [-1] * len(tokens)), p.expand(len(tokens) + 1, -1)
        if verifier == "V1":
            outcome = verify.sample_and_match(tree, laws, None)
        elif verifier == "V2":
            outcome = verify.residual_chain(tree, laws, rows, None)
        else:
            outcome = verify.k_seq(tree, laws, rows, None, verify.children_of(tree), rho)
            if outcome.path and outcome.tested[-1].coin is None:  # the residual drew what a refused draft has
                return tree.tokens[outcome.path[0]], False
        return tree.tokens[outcome.path[0]] if outcome.path else outcome.added, bool(outcome.path)

    return play


def emitted(law: dict, size: int) -> list[float]:
    """The law of the emitted token from `law`, whose keys are tokens or (token, accepted)."""
    out = [0.0] * size
    for key, weight in law.items():
        out[key[0] if isinstance(key, tuple) else key] += weight
    return out


def distance(law: list[float], p) -> float:
    """The largest difference of two laws."""
    return max(abs(a - b) for a, b in zip(law, p))


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("replace", [True, False], ids=["iid", "without replacement"])
@pytest.mark.parametrize("verifier", ["V1", "V2"])
@pytest.mark.parametrize("vectors", VECTORS)
def test_law_is_kept(vectors, verifier, replace, k, monkeypatch):
    p, q = VECTORS[vectors]
    law = law_of(monkeypatch, one_step(p, q, verifier, replace, k))
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    assert distance(emitted(law, len(p)), p) < 1e-12


@pytest.mark.parametrize("rho", [None, 1.0, 1.6, 2.0, 9.0])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("vectors", VECTORS)
def test_k_seq_keeps_the_law_whatever_rho_is_asked_for(vectors, k, rho, monkeypatch):
    p, q = VECTORS[vectors]
    law = law_of(monkeypatch, one_step(p, q, "V3", True, k, rho))
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    assert distance(emitted(law, len(p)), p) < 1e-12
    split = verify.share(vector(p), vector(q), k, rho)
    accepted = sum(weight for (_, taken), weight in law.items() if taken)
    assert accepted == pytest.approx(split.chance, abs=1e-12)
    assert split.least <= split.rho <= k and split.residual.min() >= 0
    assert split.residual.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("vectors", "k"), DIVISIONS, ids=str)
def test_division_is_the_reference_value(vectors, k):
    p, q = VECTORS[vectors]
    assert verify.division(vector(p), vector(q), k) == pytest.approx(DIVISIONS[vectors, k], abs=1e-6)


@pytest.mark.parametrize("vectors", VECTORS)
def test_k_seq_with_one_draft_is_standard(vectors, monkeypatch):
    """Same coins, same verdicts, same residual as V2 with one draft."""
    p, q = VECTORS[vectors]
    v2, v3 = (law_of(monkeypatch, one_step(p, q, verifier, True, 1)) for verifier in ("V2", "V3"))
    assert all(v3.get(key, 0) == pytest.approx(v2.get(key, 0), abs=1e-12) for key in v2 | v3)
    assert verify.share(vector(p), vector(q), 1).rho == 1


def test_nothing_in_common_and_everything():
    apart = verify.share(vector([1.0, 0.0]), vector([0.0, 1.0]), 3)
    assert (apart.beta, apart.chance, apart.residual.tolist()) == (0, 0, [1.0, 0.0])
    same = verify.share(vector([0.3, 0.7]), vector([0.3, 0.7]), 3)
    assert same.chance == pytest.approx(1) and same.rho == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("vectors", "verifier", "replace", "k"), ACCEPTANCE, ids=str)
def test_acceptance_is_the_reference_value(vectors, verifier, replace, k, monkeypatch):
    p, q = VECTORS[vectors]
    law = law_of(monkeypatch, one_step(p, q, verifier, replace, k))
    accepted = sum(weight for (_, taken), weight in law.items() if taken)
    assert accepted == pytest.approx(ACCEPTANCE[vectors, verifier, replace, k], abs=1e-6)


@pytest.mark.parametrize("drafts", [1, 2, 3])
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_have_the_law_of_their_formula(name, vectors, drafts, monkeypatch):
    """The formulas need no drawing at a place of 4,096 tokens; here they meet the enumeration of the real code."""
    p, q = VECTORS[vectors]
    at, variant = place(p, q, drafts), VARIANTS[name]
    law = emitted(law_of(monkeypatch, lambda: variant.emit(at, None)), len(p))
    assert sum(law) == pytest.approx(1, abs=1e-12)
    assert distance(law, variant.law(at).tolist()) < 1e-12
    if variant.right:
        assert distance(law, p) < 1e-12


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if not variant.right])
def test_wrong_variants_are_caught(name, monkeypatch):
    at = place(*MIRROR)
    law = law_of(monkeypatch, lambda: VARIANTS[name].emit(at, None))
    assert distance(emitted(law, 4), MIRROR[0]) > 1e-3


def test_some_mistakes_do_not_show_everywhere():
    """Why the page names the distance of every variant at its place: there the formula says that no count of draws would tell."""
    near = {name: (VARIANTS[name].law(place(*FIRST)) - vector(FIRST[0])).abs().sum().item() for name in VARIANTS}
    assert near["merged-siblings"] < 1e-12 and near["stale-row"] < 1e-12 < 1e-2 < near["no-residual"]


def test_dropping_drawn_tokens_gives_the_law_of_the_atlas(monkeypatch):
    at = place(*FIRST)
    law = law_of(monkeypatch, lambda: VARIANTS["dropped-draft"].emit(at, None))
    assert emitted(law, 3) == pytest.approx([0.30, 0.15, 0.55], abs=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_draw_as_enumerated(name, monkeypatch):
    """The enumeration stands for real coins: 4,000 real steps fit it, by chi-square."""
    at, rng = place(*SECOND), torch.Generator().manual_seed(5)
    exact = emitted(law_of(monkeypatch, lambda: VARIANTS[name].emit(at, None)), 4)
    counts: dict[int, int] = {}
    for _ in range(4000):
        token = VARIANTS[name].emit(at, rng)
        counts[token] = counts.get(token, 0) + 1
    statistic, df = chi_square(vector(exact), counts)
    assert chi2.sf(statistic, df) > 1e-3


@some.composite
def laws(draw, size):
    """A law over `size` tokens, zeros included."""
    weights = draw(some.lists(some.integers(0, 20), min_size=size, max_size=size).filter(any))
    return [weight / sum(weights) for weight in weights]


@some.composite
def vectors(draw):
    size = draw(some.integers(2, 6))
    return draw(laws(size)), draw(laws(size)), draw(some.integers(1, 3 if size < 4 else 2))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(vectors(), some.sampled_from(["V1", "V2", "V3"]), some.booleans())
def test_any_law_is_kept(monkeypatch, drawn, verifier, replace):
    p, q, k = drawn
    law = law_of(monkeypatch, one_step(p, q, verifier, replace or verifier == "V3", k))
    assert distance(emitted(law, len(p)), p) < 1e-12


@some.composite
def trees(draw):
    """A tree of up to 5 distinct-sibling nodes over 3 letters, and a law for every row."""
    parents = [draw(some.integers(-1, node - 1)) for node in range(draw(some.integers(0, 5)))]
    tokens: list[int] = []
    for node, parent in enumerate(parents):
        taken = {tokens[other] for other in range(node) if parents[other] == parent}
        tokens.append(draw(some.sampled_from([token for token in range(3) if token not in taken] or [0])))
    p = [draw(laws(3)) for _ in range(len(parents) + 1)]
    return Tree(tokens, parents), p


def expected(tree: Tree, p: list[list[float]]) -> dict[tuple, float]:
    """What a lossless verifier of a deterministic tree emits: draws from p that go on as long as a child fits."""
    out: dict[tuple, float] = {}

    def walk(row, sofar, weight):
        for token, share in enumerate(p[row]):
            if share == 0:
                continue
            fits = [n for n, parent in enumerate(tree.parents) if parent == row - 1 and tree.tokens[n] == token]
            if fits:
                walk(fits[0] + 1, (*sofar, token), weight * share)
            else:
                out[*sofar, token] = out.get((*sofar, token), 0.0) + weight * share

    walk(0, (), 1.0)
    return out


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(trees(), some.booleans())
def test_whole_trees_keep_the_law(monkeypatch, drawn, certain):
    """Emitted sequences of a whole tree; V2 sees a deterministic node as drawn from a law that is sure of it."""
    tree, p = drawn
    rows = vector(p)
    q = torch.nn.functional.one_hot(torch.tensor(tree.tokens, dtype=torch.long), 3).double()

    def play():
        if certain:
            outcome = verify.residual_chain(tree, rows, q, None)
        else:
            outcome = verify.sample_and_match(tree, rows, None)
        return (*(tree.tokens[node] for node in outcome.path), outcome.added)

    law, due = law_of(monkeypatch, play), expected(tree, p)
    assert law.keys() == due.keys()
    assert all(law[key] == pytest.approx(due[key], abs=1e-12) for key in due)


# -- several drafts of several tokens ----------------------------------------------------------------------------------

P_AFTER = {(): [0.7, 0.3], (0,): [0.2, 0.8], (1,): [0.55, 0.45], (0, 0): [0.9, 0.1], (0, 1): [0.4, 0.6]}
Q_AFTER = {(): [0.4, 0.6], (0,): [0.7, 0.3], (1,): [0.5, 0.5]}


def laws_after(text, table) -> torch.Tensor:
    size = len(table[()])
    return vector(table.get(text, [1 / size] * size))


def drafts_of(count: int, length: int, table) -> tuple[Drafts, torch.Tensor]:
    """`count` drafts of `length` letters, and the law each node was drawn from."""
    grown, rows = Drafts(Tree([], []), count), []
    texts = [()] * count
    for _ in range(length):
        laws = [laws_after(text, table) for text in texts]
        tokens = [variants.draw(law, None) for law in laws]
        paths = [len(path) for path in grown.paths]
        fresh = grown.extend(tokens)
        first = {path[place]: law for path, place, law in reversed(list(zip(grown.paths, paths, laws)))}
        rows += [first[node] for node in fresh]
        texts = [(*text, token) for text, token in zip(texts, tokens)]
    return grown, torch.stack(rows)


def several(count, length, verifier, draws=lambda grown: grown.draws, rho=None, tables=(P_AFTER, Q_AFTER)):
    """Draft, verify; the emitted text."""

    def play():
        grown, q = drafts_of(count, length, tables[1])
        tree, text = grown.tree, {-1: ()}
        for node, (parent, token) in enumerate(zip(tree.parents, tree.tokens)):
            text[node] = (*text[parent], token)
        p = torch.stack([laws_after(text[node], tables[0]) for node in range(-1, len(tree.tokens))])
        if verifier == "V1":
            outcome = verify.sample_and_match(tree, p, None)
        elif verifier == "V2":
            outcome = verify.residual_chain(tree, p, q, None, draws(grown))
        else:
            outcome = verify.k_seq(tree, p, q, None, draws(grown), rho)
        return (*(tree.tokens[node] for node in outcome.path), outcome.added)

    return play


def furthest(law: dict[tuple, float], table) -> float:
    """How far the next letter is from its law, at worst over everything that was written so far."""
    worst = 0.0
    for text in {emitted[:length] for emitted in law for length in range(len(emitted))}:
        behind = [sum(w for key, w in law.items() if key[: len(text) + 1] == (*text, letter)) for letter in range(len(table[()]))]
        worst = max(worst, distance([share / sum(behind) for share in behind], laws_after(text, table).tolist()))
    return worst


@pytest.mark.parametrize("verifier", ["V1", "V2", "V3"])
@pytest.mark.parametrize(("count", "length"), [(1, 2), (2, 2), (3, 1), (3, 2)])
def test_drafts_that_share_nodes_keep_the_law(verifier, count, length, monkeypatch):
    law = law_of(monkeypatch, several(count, length, verifier))
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    assert furthest(law, P_AFTER) < 1e-12
    assert max(map(len, law)) == length + 1


@pytest.mark.parametrize("rho", [1.0, 1.7, 3.0])
def test_a_manual_division_keeps_the_law_of_whole_drafts(rho, monkeypatch):
    """Above rho* the residual may draw what a refused draft has, and that draft goes on."""
    law = law_of(monkeypatch, several(2, 2, "V3", rho=rho))
    assert furthest(law, P_AFTER) < 1e-12


def once(grown: Drafts) -> list[list[int]]:
    """Wrong: equal drafts are one candidate."""
    return [list(dict.fromkeys(nodes)) for nodes in grown.draws]


def in_a_row(grown: Drafts) -> list[list[int]]:
    """Wrong: equal drafts are tested one after the other, before a different one that was drawn between them."""
    return [sorted(nodes, key=nodes.index) for nodes in grown.draws]


@pytest.mark.parametrize("verifier", ["V2", "V3"])
@pytest.mark.parametrize("draws", [once, in_a_row])
def test_drafts_that_share_nodes_wrongly_are_caught(draws, verifier, monkeypatch):
    tables = ({(): MIRROR[0]}, {(): MIRROR[1]})
    law = law_of(monkeypatch, several(3, 1, verifier, draws, tables=tables))
    assert furthest(law, tables[0]) > 1e-3


def test_drafts_know_who_goes_where():
    grown = Drafts(Tree([], []), 3)
    assert grown.extend([5, 7, 5]) == [0, 1] and grown.ends == [0, 1, 0]
    assert grown.extend([1, 1, 2]) == [2, 3, 4]
    assert (grown.tree.tokens, grown.tree.parents) == ([5, 7, 1, 1, 2], [-1, -1, 0, 1, 0])
    assert grown.paths == [[0, 2], [1, 3], [0, 4]]
    assert grown.draws == [[0, 1, 0], [2, 4], [3], [], [], []]


def test_typical_follows_the_first_child_above_the_bar():
    tree = Tree([0, 1, 2, 0], [-1, -1, 1, 2])
    p = vector([[0.05, 0.35, 0.6], [1, 0, 0], [0.02, 0.08, 0.9], [0.4, 0.3, 0.3], [1, 0, 0]])
    outcome = verify.typical(tree, p, torch.Generator().manual_seed(0), 0.09, 1.0)
    verify.write(tree, outcome)
    assert tree.verdicts == [REFUSED, ACCEPTED, ACCEPTED, ACCEPTED]
    assert (outcome.path, outcome.added) == ([1, 2, 3], 0)
    assert tree.reasons[:2] == ["is not typical: p not above 0.09", "is typical: p above 0.09"]
    entropies = -(p.clamp(min=1e-300).log() * p).sum(-1)
    low = verify.typical(Tree([0], [-1]), p[:2], torch.Generator().manual_seed(0), 0.09, 0.1)
    assert low.tested[0].reason.endswith(f"{0.1 * math.exp(-entropies[0].item()):.3g}")
    assert low.path == [0], "where the target is unsure, less is enough"


@pytest.mark.parametrize("heads", [0, 1, 3])
def test_two_iid_chains_deep(heads, monkeypatch):
    """A chain of two: the second draft is looked at only behind the first, and each place keeps its own law."""
    p, q = vector([FIRST[0], HALF[0], SECOND[0][:1] + [0.1, 0.6]]), vector([FIRST[1], SECOND[1][:1] + [0.2, 0.2]])
    tokens = [0 if heads == 0 else 1, heads % 3]

    def play():
        outcome = verify.residual_chain(Tree(tokens, [-1, 0]), p, q, None)
        return (*(tokens[node] for node in outcome.path), outcome.added)

    law = law_of(monkeypatch, play)
    first = min(1.0, p[0, tokens[0]] / q[0, tokens[0]])
    second = min(1.0, p[1, tokens[1]] / q[1, tokens[1]])
    assert sum(w for key, w in law.items() if len(key) > 1) == pytest.approx(float(first))
    assert sum(w for key, w in law.items() if len(key) > 2) == pytest.approx(float(first * second))
    behind = [sum(w for key, w in law.items() if len(key) == 3 and key[2] == token) for token in range(3)]
    assert distance([share / max(sum(behind), 1e-9) for share in behind], p[2].tolist()) < 1e-12 or sum(behind) == 0


def test_greedy_follows_the_likeliest_through_a_tree():
    tree = Tree([4, 7, 7, 2, 9], [-1, -1, 1, 1, 3])
    outcome = verify.greedy(tree, [7, 0, 2, 0, 9, 5])
    assert (outcome.path, outcome.added) == ([1, 3, 4], 5)
    verify.write(tree, outcome)
    assert tree.verdicts == [REFUSED, ACCEPTED, REFUSED, ACCEPTED, ACCEPTED]
    assert (tree.path, tree.added, tree.added_from) == ([1, 3, 4], 5, "target")
    assert tree.order == [0, 1, 2, 3, 4]


def test_verdicts_say_what_happened_to_every_node():
    tree = Tree([0, 1, 2, 0], [-1, -1, -1, 0])
    p = vector([[0.0, 1.0, 0.0]] * 5)
    q = vector([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    verify.write(tree, verify.residual_chain(tree, p, q, torch.Generator().manual_seed(0)))
    assert tree.verdicts == [REFUSED, ACCEPTED, UNREACHED, UNREACHED]
    assert tree.reasons == [
        "coin above p/q",
        "coin below p/q",
        "an earlier sibling was accepted",
        "its parent was not accepted",
    ]
    assert tree.thresholds == [0.0, 1.0, None, None]
    assert [coin is None for coin in tree.coins] == [False, False, True, True]
    assert tree.order == [0, 1, None, None]


@pytest.mark.parametrize("verifier", ["V1", "V2"])
def test_an_empty_tree_is_a_plain_draw(verifier, monkeypatch):
    p = vector([FIRST[0]])

    def play():
        if verifier == "V1":
            outcome = verify.sample_and_match(Tree([], []), p, None)
        else:
            outcome = verify.residual_chain(Tree([], []), p, p[:0], None)
        assert outcome.path == []
        assert outcome.added_probability == p[0, outcome.added]
        return outcome.added

    assert distance(emitted(law_of(monkeypatch, play), 3), FIRST[0]) < 1e-12
