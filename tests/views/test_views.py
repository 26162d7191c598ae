"""Views say what the trace says: numbers are read back from the figures, and no token text is taken for markup."""

import json
import math
import re
import subprocess
import sys
from itertools import accumulate

import made_traces
import pytest
from scipy.stats import binomtest

from labkit import views
from labkit.errors import LabError, TraceError
from labkit.trace import ACCEPTED, UNREACHED, loads
from labkit.views import layout, read, table, theme
from labkit.views.acceptance import wilson
from labkit.views.text import cut, escaped, short, shown

TREES = ("draft_tree",)
OF_EVERY_RUN = ("strip", "entropy", "next_token", "draft_tree", "acceptance", "block_efficiency", "cost")  # others need notes


def trace_for(name, plain, trees):
    if name in ("running_alpha", "online_latency"):
        return made_traces.stream_trace()
    if name.startswith("adaspec"):
        return made_traces.adaspec_trace()
    return trees if name in ("draft_tree", "acceptance", "block_efficiency", "cost") else plain


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("name", OF_EVERY_RUN)
def test_every_view_draws_and_has_a_table(name, look, plain, trees):
    trace = trace_for(name, plain, trees)
    figure = views.VIEWS[name](trace, theme=look)
    assert figure.data or figure.layout.shapes
    assert "colorway" not in figure.to_json()  # the template stays out: 6 kB a figure
    columns, rows = table.table(name, trace)
    assert rows and all(len(row) == len(columns) for row in rows)
    assert (
        figure.to_json() == views.VIEWS[name](loads(trace.dumps()), theme=look).to_json()
    )  # pure, and a saved trace draws the same


@pytest.mark.parametrize("name", OF_EVERY_RUN)
def test_upto_hides_later_steps(name, plain, trees):
    trace = trace_for(name, plain, trees)
    whole, part = (views.VIEWS[name](trace, upto).to_json() for upto in (None, 2))
    assert whole != part
    short_trace = type(trace)(trace.opening, trace.steps[:2])
    assert views.VIEWS[name](short_trace).to_json() == part


def test_a_view_of_other_methods_says_so(trees):
    other = loads(trees.dumps())
    other.steps[-1].notes = {"rows known": 3}
    with pytest.raises(LabError, match="'agreement' draws the notes of another method"):
        views.figure("agreement", [other])


def test_no_token_text_becomes_markup(plain, trees):
    tag = re.compile(r"<(?!/?(?:br|s)>)")  # what the figures themselves write
    for name in OF_EVERY_RUN:
        for trace in (plain, trees) if name not in TREES else (trees,):
            for step in range(1, len(trace.steps) + 1):
                figure = json.loads(views.VIEWS[name](trace, step).to_json())
                for text in strings(figure):
                    assert not tag.search(text) and "$" not in text, text


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def test_hostile_text_is_in_the_figures(plain):
    """The test above would pass on figures that hold no text at all."""
    words = " ".join(strings(json.loads(views.VIEWS["strip"](plain).to_json())))
    mentioned = {token.text for token in read.tokens(plain)} & set(made_traces.HOSTILE)
    assert mentioned and all(escaped(shown(text)) in words for text in mentioned)


def test_entropy_bars_are_the_beliefs(plain):
    figure = views.VIEWS["entropy"](plain)
    beliefs = plain.opening.prompt_beliefs + [step.beliefs[0] for step in plain.steps]
    assert list(figure.data[0].y) == [belief.entropy for belief in beliefs]
    ink = theme.LIGHT
    assert list(figure.data[0].marker.color) == [ink[f"e{theme.entropy_class(belief.entropy)}"] for belief in beliefs]


def test_next_token_applies_the_request(plain):
    rows = table.table("next_token", plain, index=10).rows
    belief = read.tokens(plain)[10].belief
    logs = read.law(belief)
    kept = sorted((math.exp(x / 0.8) for x in logs), reverse=True)[:8]
    mass = list(accumulate(x / sum(kept) for x in kept))
    size = next(i for i, x in enumerate(mass, 1) if x >= 0.9)
    expected = [x / sum(kept[:size]) for x in kept[:size]]
    assert [row[3] for row in rows][:size] == pytest.approx(expected)
    assert all(row[3] == 0 for row in rows[size:])
    assert [row[4] for row in rows].count(True) == 1  # the drawn one is among them, however unlikely
    with pytest.raises(TraceError, match="from 0 to"):
        views.VIEWS["next_token"](plain, index=10_000)
    with pytest.raises(TraceError, match="no belief"):
        views.VIEWS["next_token"](plain, index=0)


def test_acceptance_counts_places_not_siblings(trees):
    for depth, tested, accepted, share, low, high, draft, target in table.table("acceptance", trees).rows:
        reached = taken = 0
        for step in trees.steps:
            depths = step.tree.depths
            verdicts = [v for v, d in zip(step.tree.verdicts, depths) if d == depth]
            reached += any(v != UNREACHED for v in verdicts)
            taken += ACCEPTED in verdicts
        assert (tested, accepted) == (reached, taken) and share == accepted / tested and low <= share <= high
        assert draft is not None and target is not None


@pytest.mark.parametrize("accepted,tested", [(0, 5), (5, 5), (3, 7), (480, 1000)])
def test_wilson_is_scipys(accepted, tested):
    interval = binomtest(accepted, tested).proportion_ci(0.95, method="wilson")
    assert wilson(accepted, tested) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_block_efficiency_and_cost_add_up(trees, plain):
    rows = table.table("block_efficiency", trees).rows
    assert sum(row[1] + row[2] for row in rows) == len(trees.ids)
    assert rows[-1][4] == pytest.approx(len(trees.ids) / trees.cost.target_forwards)
    made = len(trees.ids)
    assert made <= 20
    costs = {row[0]: row[1:] for row in table.table("cost", trees, plain=plain).rows}
    assert costs["Target calls"] == (trees.cost.target_forwards, made)  # plain needs one call a token
    assert costs["Seconds"][1] == pytest.approx(0.003 * made)
    short_plain = type(plain)(plain.opening, plain.steps[: made - 1])
    assert {row[2] for row in table.table("cost", trees, plain=short_plain).rows} == {None}  # never estimated


def test_tree_is_laid_out_by_the_rules(trees, matched_trees):
    for trace in (trees, matched_trees):
        for step in trace.steps:
            tree = step.tree
            shares = layout.draft_shares(tree)
            plan = layout.layout(tree, 1000, lambda node: "x" * (node % 9 + 1), lambda text: 8 * len(text))
            nodes = plan.nodes
            assert set(nodes) == {layout.ROOT, layout.TARGET, *range(len(tree.tokens))}
            for parent, group in enumerate(layout.children_of(tree), -1):
                chances = [shares[node] for node in group]
                if None not in chances:
                    assert chances == sorted(chances, reverse=True)
                if group:  # a straight line to the favourite
                    assert nodes[group[0]].y == nodes[parent].y
                    assert [nodes[node].y for node in group] == sorted({nodes[node].y for node in group})
            assert nodes[layout.ROOT].y == 41
            by_place = {(spot.x, spot.y) for spot in nodes.values()}
            assert len(by_place) == len(nodes)
            for node in range(len(tree.tokens)):
                below = min((s.y for s in nodes.values() if s.y > nodes[node].y), default=math.inf) - nodes[node].y
                assert below >= (layout.TALL if tree.verdicts[node] != UNREACHED else layout.LOW)


def test_draft_tree_shows_every_node_and_reason(trees):
    step = trees.steps[0]
    figure = views.VIEWS["draft_tree"](trees, step=1)
    texts = [note.text for note in figure.layout.annotations]
    for coin in step.tree.coins:
        if coin is not None:
            assert any(f"u {coin:.3f}".replace("0.", ".") in text for text in texts)
    assert len(figure.data[0].hovertext) == len(step.tree.tokens)
    assert f"{len(step.tree.path)} of {len(step.tree.tokens)}" in figure.layout.title.text
    with pytest.raises(TraceError, match="from 1 to"):
        views.VIEWS["draft_tree"](trees, step=99)


def test_a_long_chain_is_no_recursion():
    size = 3000
    chain = made_traces.Tree(list(range(size)), list(range(-1, size - 1)))
    plan = layout.layout(chain, 1000, str, len)
    assert len(plan.nodes) == size + 1 and plan.nodes[size - 1].y == plan.nodes[layout.ROOT].y


def test_an_empty_trace_is_one_sentence(trees):
    empty = type(trees)(trees.opening)
    with pytest.raises(TraceError, match="run at least one"):
        views.VIEWS["draft_tree"](empty)
    for name in ("strip", "entropy", "acceptance", "block_efficiency", "cost"):
        views.VIEWS[name](empty)
    with pytest.raises(LabError, match="choose one of"):
        views.view("pie")
    with pytest.raises(LabError, match="press Step"):
        views.figure("strip", [None])
    with pytest.raises(LabError, match="light or dark"):
        views.VIEWS["strip"](trees, theme="sepia")


def test_figure_for_the_page_is_json(trees):
    figure = json.loads(views.figure("acceptance", [None, trees], lane=1, upto=3, theme="dark"))
    assert figure["data"][0]["marker"]["color"] == theme.DARK["draft"]
    with pytest.raises(LabError, match="leave it out"):
        views.figure("acceptance", [trees], flavour="sour")


def test_csv_is_harmless(trees):
    trees = loads(trees.dumps())
    trees.opening.pieces |= {trees.steps[0].tree.tokens[0]: "=cmd()", trees.steps[0].tree.tokens[1]: "a,b\n"}
    text = table.csv_text("draft_tree", trees, step=1)
    assert "'=cmd()" in text and '"a,b↵"' in text


def test_text_is_visible_and_cut():
    assert shown(" a\n\t\x00\u202e") == "·a↵⇥␀\\u202e"
    assert short("\n" + " " * 8) == "↵·×8" and short("\n  ") == "↵··" and short(" " * 8) == "·×8"
    assert cut("abcdef", 4) == "abc…" and escaped("<b>&$") == "&lt;b&gt;&amp;&#36;"


def test_laws_survive_temperature_zero_and_odd_knobs():
    logs = [math.log(x) for x in (0.5, 0.3, 0.2)]
    assert read.apply(logs, 0, []).after == [1.0]
    setting = made_traces.Setting
    assert read.apply(logs, 1, [setting("top-p", {"p": 0.75})]).after == pytest.approx([0.625, 0.375])
    assert read.apply(logs, 1, [setting("min-p", {"p": 0.5})]).after == pytest.approx([0.625, 0.375])
    assert read.apply(logs, 1, [setting("top-k", {"k": 0}), setting("other", {"x": 1})]).after == pytest.approx(
        [0.5, 0.3, 0.2]
    )


def test_views_need_no_torch_numpy_pandas():
    code = "import sys, labkit.views.export, labkit.views.table; print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )


def test_real_sampling_is_the_views_sampling():
    """The engine's transforms and the views' own arithmetic are two pieces of code; they must agree."""
    torch = pytest.importorskip("torch")
    from labkit.methods import build_law

    chance = made_traces.random.Random(5)
    paper, released = {"alpha": 0.4}, {"alpha": 0.4, "rule": "released"}
    for transforms in (
        [("top-k", {"k": 5})],
        [("top-p", {"p": 0.7})],
        [("min-p", {"p": 0.1})],
        [("top-k", {"k": 20}), ("top-p", {"p": 0.8}), ("min-p", {"p": 0.05})],
        *([("top-h", knobs)] for knobs in (paper, released, released | {"cap": 30}, {"alpha": 1.0}, {"alpha": 1.0, "cap": 30})),
        *([("typical", {"mass": mass})] for mass in (0.05, 0.5, 0.95)),
        *([("eta", {"epsilon": 0.004, "rule": rule})] for rule in ("eta", "epsilon")),
        [("typical", {"mass": 0.6}), ("top-h", {"alpha": 0.8}), ("min-p", {"p": 0.1}), ("top-k", {"k": 9})],
        [("eta", {"epsilon": 0.01}), ("typical", {"mass": 0.9}), ("top-p", {"p": 0.8})],
    ):
        settings = [made_traces.Setting(name, knobs) for name, knobs in transforms]
        for temperature in (0.0, 0.3, 1.0, 1.7):
            logs = made_traces.law(chance)
            real = build_law(temperature, settings)(torch.tensor(logs, dtype=torch.float64))
            mine = read.apply(logs, temperature, settings)
            after = [real[token].item() for token in mine.order[: len(mine.after)]]
            assert after == pytest.approx(mine.after, abs=1e-9), transforms
            assert real.count_nonzero() == mine.kept
