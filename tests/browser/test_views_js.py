"""The page's views on their own: the joined script in a blank page, without a kernel, against plain-Python oracles."""

import json
import math
import random

import made_traces
import msgspec
import pytest
from playwright.sync_api import expect

from labkit import views
from labkit.speculative.variants import VARIANTS
from labkit.trace import UNREACHED, Setting
from labkit.ui import assets
from labkit.views import layout, read, table, theme
from labkit.views.text import cut, short, shown

EXPORTS = """applySampling entropyAfter withSampling layoutTree treeEdge TREE pieceShown pieceShort pieceCut makeStore
openLane addStep samplingOf stepTree patterns treeView distView curveView verifyView costView
checkView CHECK_RIGHT CHECK_LOSSY CHECK_BROKEN checkVariant testInFocus figureTable chartTemplate html openPlaces
chartView""".split()

SETTINGS = [
    {"temperature": t, "top-k": k, "top-p": p, "min-p": m}
    for t in (0, 0.3, 1, 1.7)
    for k, p, m in ((0, 1, 0), (8, 1, 0), (0, 0.9, 0), (0, 1, 0.1), (20, 0.8, 0.05), (3, 0.01, 0.9), (64, 1, 1))
]
SETTINGS += [
    {"temperature": t, **cuts}
    for t in (0, 0.3, 1, 1.7)
    for cuts in (
        *({"top-h": alpha, "top-h.rule": rule} for alpha in (0.05, 0.4, 0.9) for rule in ("paper", "released")),
        {"top-h": 0.4, "top-h.rule": "released", "top-h.cap": 30},
        *({"typical": mass} for mass in (0.05, 0.5, 0.95)),
        *({"eta": epsilon, "eta.rule": rule} for epsilon in (0.0005, 0.03) for rule in ("eta", "epsilon")),
        {"top-h": 0.9, "top-k": 40, "top-p": 0.9, "min-p": 0.02, "eta": 0.004, "typical": 0.7},
    )
]
KNOBS = {"top-h": "alpha", "top-k": "k", "top-p": "p", "min-p": "p", "eta": "epsilon", "typical": "mass"}
OFF = {"top-h": 1, "top-k": 0, "top-p": 1, "min-p": 0, "eta": 0, "typical": 1}

LOAD = """([trace, which, upto]) => {
  document.querySelector(".tl")?.remove();
  const root = html("div", { class: "tl", "data-theme": "light", style: "width:1000px" });
  root.append(patterns());
  document.body.append(root);
  const sent = (window.sent = []);
  const store = makeStore({ get: () => "", send: (m) => sent.push(m), on() {}, off() {} });
  store.root = root;
  const buffers = [];
  const place = (beliefs) => { for (const b of beliefs ?? []) if (b.law) {
    buffers.push(Uint8Array.from(atob(b.law), (c) => c.charCodeAt(0)));
    b.law = buffers.length - 1;
  } };
  place(trace.opening.prompt_beliefs);
  trace.steps.forEach((step) => place(step.beliefs));
  const lane = store.lanes[0];
  openLane(lane, trace.opening, buffers);
  for (const step of trace.steps) addStep(lane, step, buffers);
  Object.assign(lane, { at: upto ?? lane.steps.length, state: "done", request: trace.opening.request });
  store.sampling = samplingOf(trace.opening.request);
  const view = window[which](store);
  root.append(view.element);
  store.subscribe((names) => view.draw(names));
  store.branch = (...where) => sent.push({ branch: where });
  view.draw(new Set(["lanes"]));
  Object.assign(window, { store, view, lane });
}"""


@pytest.fixture(scope="module")
def blank(chromium):
    """A page with the bench's script in it, its words made global, and the bench's styles."""
    page = chromium.new_page(viewport={"width": 1100, "height": 900})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.set_content('<!doctype html><meta charset="utf-8"><body></body>')
    page.add_style_tag(content=assets.styles())
    script = assets.script("bench").replace("export default { render };", "")
    page.add_script_tag(content=f"{script}\nObject.assign(window, {{ {', '.join(EXPORTS)} }});", type="module")
    page.wait_for_function("() => Boolean(window.layoutTree)")
    yield page
    assert problems == []
    page.close()


def show(page, trace, view, upto=None):
    """Draw `view` of `trace` with `upto` steps shown; returns its element."""
    page.evaluate(LOAD, [json.loads(trace.dumps()), view, upto])
    return page.locator(".tl > :last-child")


def test_sampling_is_the_engines(blank):
    chance = random.Random(3)
    for size in (2, 64, 700):
        logs = [x for (x,) in (made_traces.struct.iter_unpack("<e", made_traces.packed(made_traces.law(chance, size))))]
        results = blank.evaluate(
            """([logs, settings]) => { const law = Float32Array.from(logs); return settings.map((s) => {
                const { first, kept, order, after, entropyAfter: h, entropyBefore, cuts } = applySampling(law, s);
                const own = entropyAfter(law, s);
                return { first, kept, order: [...order], after: [...after], h, own, entropyBefore, cuts }; }); }""",
            [logs, SETTINGS],
        )
        plain = read.apply(logs, 1, []).entropy
        for knobs, result in zip(SETTINGS, results):
            told = {name: {} for name in KNOBS}
            for name, value in knobs.items():
                cut, _, more = name.partition(".")
                if cut in KNOBS:
                    told[cut][more or KNOBS[cut]] = value
            on = [name for name, off in OFF.items() if knobs.get(name, off) != off]
            transforms = [Setting(name, dict(sorted(told[name].items(), key=lambda one: one[0] != KNOBS[name]))) for name in on]
            oracle = read.apply(logs, knobs["temperature"], transforms)
            assert result["order"] == oracle.order
            assert len(result["after"]) == len(oracle.after), knobs
            assert result["kept"] == oracle.kept == len(oracle.after) - result["first"], knobs
            assert result["after"] == pytest.approx(oracle.after, abs=2e-6)
            assert result["h"] == pytest.approx(oracle.entropy, abs=2e-5) == result["own"]
            assert result["entropyBefore"] == pytest.approx(plain, abs=2e-5)
            assert [(c["name"], c["at"]) for c in result["cuts"]] == [(name, at) for name, _, at in oracle.cuts]


def test_requests_keep_what_the_knobs_do_not_turn(blank):
    """To the knobs and back: the other knobs of a cut stay, a cut that is off goes, other transforms stay."""
    released = {"alpha": 0.4, "rule": "released", "cap": 100}
    cuts = [{"name": "typical", "knobs": {"mass": 0.5}}, {"name": "top-h", "knobs": released}]
    other = {"name": "mask", "knobs": {"x": 1}}
    request = {"method": "plain", "temperature": 0.7, "transforms": [other, *cuts]}
    again = "([request, turned]) => withSampling(request, { ...samplingOf(request), ...turned })"
    same = blank.evaluate(again, [request, {}])
    assert same == {**request, "transforms": [cuts[1], cuts[0], other]}, "in the order in which the page cuts"
    off = blank.evaluate(again, [request, {"typical": 1, "top-h.rule": "paper", "min-p": 0.1, "temperature": 1.5}])
    assert off["temperature"] == 1.5
    assert off["transforms"] == [
        {"name": "top-h", "knobs": {"alpha": 0.4, "cap": 100}},
        {"name": "min-p", "knobs": {"p": 0.1}},
        other,
    ]


def test_a_law_of_one_token_and_minus_infinity(blank):
    sure = blank.evaluate(
        """() => { const law = applySampling(Float32Array.from([-Infinity, 0, -Infinity]), { temperature: 1 });
            return [...law.order, law.entropyAfter, law.after[0]]; }"""
    )
    assert sure == [1, 0, 2, 0, 1]


@pytest.mark.parametrize("drafted", [True, False])
def test_layout_is_the_files_layout(blank, drafted):
    """Two pieces of code, one picture: the page's places against those that exported files use."""
    chance = random.Random(9)
    for size, width in ((0, 1000), (1, 300), (5, 836), (16, 1000), (40, 1900), (60, 640)):
        tree = (
            made_traces.tree(chance, size, drafted=drafted)
            if size
            else made_traces.Tree([], [], added=3, added_logprob=-1)
        )
        if len([1 for group in layout.children_of(tree)[1:] if not group]) > 24:
            continue  # the page folds those
        plan = layout.layout(tree, width, lambda node: "x" * (node % 7 + 1), lambda text: 8.0 * len(text))
        seen = blank.evaluate(
            """([tree, width]) => { const step = { tree }; const number = (id) => (id === "target" ? -2 : id);
                const name = (id) => "x".repeat(((number(id) % 7) + 7) % 7 + 1);
                const plan = layoutTree(stepTree(step), width, name, (text) => 8 * text.length);
                const all = [...plan.nodes];
                return { nodes: all.map(([id, s]) => [number(id), s.x, s.y, s.w, s.depth]),
                  edges: all.filter(([id]) => id !== -1)
                    .map(([id, s]) => [number(id), treeEdge(plan.nodes.get(s.parent), s)]),
                  size: [plan.width, plan.height, plan.columns, plan.step] }; }""",
            [json.loads(msgspec.json.encode(tree)), width],
        )
        mine = {node: (s.x, s.y, s.w, s.depth) for node, s in plan.nodes.items()}
        for node, *rest in seen["nodes"]:
            assert rest == pytest.approx(list(mine[node]))
        assert len(seen["nodes"]) == len(mine)
        assert seen["size"] == pytest.approx([plan.width, plan.height, plan.columns, plan.step])
        for node, path in seen["edges"]:
            assert path == layout.edge(plan.nodes[plan.nodes[node].parent], plan.nodes[node])


def test_text_is_shown_alike(blank):
    texts = [
        *made_traces.WORDS,
        *made_traces.HOSTILE,
        "\n" + " " * 12,
        " " * 9,
        "\r\x00\x1b",
        "\u202e\u200b",
        "🙂" * 30,
        "",
    ]
    mine = [[shown(text), short(text), cut(text, 10)] for text in texts]
    assert blank.evaluate("(texts) => texts.map((t) => [pieceShown(t), pieceShort(t), pieceCut(t, 10)])", texts) == mine


def test_tree_says_what_the_trace_says(blank):
    trace = made_traces.tree_trace(drafted=True)
    for number, step in enumerate(trace.steps, 1):
        tree = step.tree
        element = show(blank, trace, "treeView", number)
        nodes = blank.evaluate(
            """() => [...document.querySelectorAll("g.node")].map((g) => [g.dataset.id, g.getAttribute("class"),
                g.getAttribute("aria-label"), g.querySelector("title").textContent,
                g.querySelector(".why")?.textContent ?? ""])"""
        )
        assert len(nodes) == len(tree.tokens) + 2  # and the last token, and the target's
        looks = {"accepted": "acc", "refused": "ref", "unreached": "gho"}
        for name, look, label, title, why in nodes:
            assert label == title
            if not name.isdigit():
                continue
            node = int(name)
            assert looks[tree.verdicts[node]] in look.split()
            assert f"draft {math.exp(tree.draft_logprobs[node]):.3f}" in label
            if tree.coins[node] is not None:
                assert f"{tree.coins[node]:.3f}".removeprefix("0") in why and f"coin {tree.coins[node]:.3f}" in label
        said = element.locator(".tl-sentence").inner_text()
        refused = [node for node in range(len(tree.tokens)) if tree.verdicts[node] == "refused"]
        if refused:
            last = max(refused, key=lambda node: tree.order[node])
            assert (
                "refused" in said
                and f"q = {math.exp(tree.draft_logprobs[last]):.3f}" in said
                and f"coin {tree.coins[last]:.3f}" in said
            )


def test_edges_are_as_wide_as_the_draft_was_sure(blank):
    trace = made_traces.tree_trace(steps=1)
    show(blank, trace, "treeView")
    widths = blank.evaluate(
        """() => [...document.querySelectorAll("path.edge:not(.refline):not(.tgt)")]
            .map((e) => Number(e.getAttribute("stroke-width")))"""
    )
    mine = sorted(1.5 + 15 * share for share in layout.draft_shares(trace.steps[0].tree))
    assert sorted(widths) == pytest.approx(mine, abs=0.051)
    order = blank.evaluate("() => [...document.querySelectorAll('path.edge')].map((e) => e.classList[1])")
    layer = {"gho": 0, "ref": 1, "refline": 1, "acc": 2, "tgt": 3}
    assert [layer[name] for name in order] == sorted(layer[name] for name in order)  # the accepted path lies on top


def test_big_trees_fold_what_was_never_reached(blank):
    trace = made_traces.tree_trace(steps=1, nodes=128)
    tree = trace.steps[0].tree
    show(blank, trace, "treeView")

    def count():
        names = blank.evaluate(
            "() => [...document.querySelectorAll('g.node')].map((g) => [g.dataset.id, g.getAttribute('aria-label')])"
        )
        drawn = {int(name) for name, _ in names if name.lstrip("-").isdigit()} - {-1}
        folded = sum(int(label.split()[0]) for name, label in names if name.startswith("f"))
        return drawn, folded

    drawn, folded = count()
    assert folded and len(drawn) + folded == 128  # nothing gets lost
    assert {node for node in range(128) if tree.verdicts[node] != UNREACHED} <= drawn  # verdicts are never folded
    blank.locator("g.fold").first.press("Enter")
    again, rest = count()
    assert len(again) > len(drawn) and len(again) + rest == 128


def test_a_folded_tree_is_as_wide_as_what_is_drawn(blank):
    """A deep guess that nobody looked at must not stretch the picture."""
    trace = made_traces.tree_trace(steps=1, nodes=1)
    tree = trace.steps[0].tree
    tree.tokens, tree.parents = [5] * 100, [-1, *range(99)]
    tree.draft_logprobs, tree.draft_entropies = [-0.1] * 100, [0.5] * 100
    tree.target_logprobs, tree.target_entropies = [-5.0] * 100, [0.5] * 100
    tree.verdicts = ["refused"] + [UNREACHED] * 99
    tree.reasons, tree.path = ["coin above p/q"] + [""] * 99, []
    tree.coins, tree.thresholds, tree.order = [0.9] + [None] * 99, [0.1] + [None] * 99, [0] + [None] * 99
    trace.steps[0].tests, trace.steps[0].emitted, trace.steps[0].beliefs = [], [tree.added], trace.steps[0].beliefs[-1:]
    trace.steps[0].sources = ["target"]
    element = show(blank, trace, "treeView")
    assert element.locator("g.fold > text").text_content() == "+ 99 nodes"
    assert element.locator("text.col").all_text_contents() == ["last token", "+1", "+2", "+3"]


def grown_by_heap(trace, seed: int) -> dict:
    """Regrow the first tree of `trace` as DySpec would, with made-up probabilities; its notes."""
    chance, tree = random.Random(seed), trace.steps[0].tree
    size = len(tree.tokens)
    slots, values, parents, shares = [(1.0, -1)], [], [], []
    while len(values) < size:
        slots.sort()
        v, parent = slots.pop()
        share = chance.uniform(0.1, 0.9)
        parents.append(parent)
        values.append(v)
        shares.append(math.log(share))
        slots += [(v * (1 - share), parent), (v * share, len(values) - 1)]
    tree.parents, tree.draft_logprobs, tree.path = parents, shares, []
    tree.verdicts, tree.reasons = [UNREACHED] * size, [""] * size
    tree.coins, tree.thresholds, tree.order = [None] * size, [None] * size, [None] * size
    return {"values": values, "open": [[parent, v] for v, parent in sorted(slots, reverse=True)]}


def test_the_slider_grows_the_tree_and_shows_the_heap(blank):
    trace = made_traces.tree_trace(steps=1)
    step = trace.steps[0]
    step.notes = grown_by_heap(trace, 4)
    step.tests, step.emitted, step.beliefs, step.sources = [], [step.tree.added], step.beliefs[-1:], ["target"]
    size, values, left = len(step.tree.tokens), step.notes["values"], step.notes["open"]
    element = show(blank, trace, "treeView")
    for grown in range(size + 1):
        places = blank.evaluate(
            """(grown) => openPlaces({ tree: lane.steps[0].tree, ...lane.steps[0].notes }, grown)""", grown
        )
        assert len(places) == grown + 1, "every node closes a place and opens two"
        assert [place["v"] for place in places] == sorted((place["v"] for place in places), reverse=True)
        if grown < size:
            assert (places[0]["node"], places[0]["v"]) == (grown, values[grown]), "the best place is filled next"
        else:
            assert [[place["parent"], place["v"]] for place in places] == left

    slider = blank.locator(".tl-grow input")  # the panel round the view holds it; here it stands by itself
    assert slider.count() == 0
    blank.evaluate("() => document.querySelector('.tl').append(view.legend)")
    slider.fill("5")
    seen = blank.evaluate(
        """() => [...document.querySelectorAll("g.node")]
            .filter((g) => getComputedStyle(g).visibility === "visible").map((g) => Number(g.dataset.id))"""
    )
    assert sorted(seen) == [-1, 0, 1, 2, 3, 4]
    said = element.page.locator(".tl-growing").inner_text()
    assert said.startswith("5 nodes grown. 6 places open;") and f"v = {values[5]:.3f}" in said
    assert element.page.locator(".places .place").count() == 6
    slider.press("ArrowRight")
    assert "6 nodes grown" in element.page.locator(".tl-growing").inner_text()
    slider.press("End")
    assert element.page.locator(".ungrown").count() == 0
    assert element.page.locator(".places:visible").count() == 0


def test_arrows_walk_the_tree(blank):
    trace = made_traces.tree_trace(steps=1, nodes=24)
    tree = trace.steps[0].tree
    show(blank, trace, "treeView")
    children = layout.children_of(tree)
    root = blank.locator('g.node[data-id="-1"]')
    root.focus()

    def here():
        return blank.evaluate("() => document.activeElement.dataset.id")

    blank.keyboard.press("ArrowRight")
    assert here() == str(children[0][0])
    blank.keyboard.press("ArrowLeft")
    assert here() == "-1"
    blank.keyboard.press("ArrowRight")
    if len(children[0]) > 1:
        blank.keyboard.press("ArrowDown")
        assert here() != str(children[0][0])
        blank.keyboard.press("ArrowUp")
        assert here() == str(children[0][0])
    blank.keyboard.press("Enter")
    expect(blank.locator(f'g.node[data-id="{children[0][0]}"]')).to_have_attribute("aria-pressed", "true")
    assert blank.evaluate("() => document.querySelectorAll('svg [tabindex=\"0\"]').length") == 1


def test_bars_before_and_after(blank):
    trace = made_traces.plain_trace()
    element = show(blank, trace, "distView")
    token = read.tokens(trace)[-1]
    logs = read.law(token.belief)
    oracle = read.apply(logs, 0.8, trace.opening.request.transforms)
    labels = blank.evaluate(
        "() => [...document.querySelectorAll('g.row')].map((g) => [g.dataset.token, g.getAttribute('aria-label')])"
    )
    assert [int(t) for t, _ in labels][:9] == oracle.order[:9] and len(labels) == 10
    for rank, (name, label) in enumerate(labels[:9]):
        assert f"raw {math.exp(logs[int(name)]):.3f}" in label
        assert f"after {oracle.after[rank]:.3f}" in label if rank < len(oracle.after) else "cut by" in label
    assert sum("drawn" in label for _, label in labels) == 1
    assert "stops here" in element.inner_text()
    before = element.inner_text()
    blank.evaluate(
        "() => { store.set({ sampling: { temperature: 1.5, 'top-k': 3, 'top-p': 1, 'min-p': 0 } }); store.flush(); }"
    )
    assert "3 of 64 kept" in element.inner_text() != before and "top-k 3 stops here" in element.inner_text()
    element.get_by_role("button", name="Branch here with").click()
    sent = blank.evaluate("() => window.sent")
    assert len(sent) == 1 and sent[0]["branch"][0] == len(read.tokens(trace)) - 1  # and no question went to the kernel


def test_curve_follows_the_knobs_alone(blank):
    trace = made_traces.plain_trace()
    show(blank, trace, "curveView", 10)
    tokens = [token for token in read.tokens(trace) if token.belief]
    assert blank.locator("g.curvebar").count() == len(tokens)
    assert blank.locator("g.curvebar.later").count() == 10
    ticks = "() => document.querySelector('.afterticks').getAttribute('d')"
    first = blank.evaluate(ticks)
    assert first.count("M") == sum(
        read.apply(read.law(t.belief), 0.8, trace.opening.request.transforms).entropy > 0.02 for t in tokens
    )
    blank.evaluate("() => { store.set({ sampling: { ...store.sampling, temperature: 0 } }); store.flush(); }")
    assert blank.evaluate(ticks) == ""
    blank.locator("g.curvebar").nth(3).press("Enter")
    assert blank.evaluate("() => store.selected") == {"kind": "token", "lane": 0, "index": 4}
    assert blank.evaluate("() => window.sent") == []


def test_verify_step_in_numbers(blank):
    trace = made_traces.tree_trace(steps=3)
    element = show(blank, trace, "verifyView")
    step = trace.steps[-1]
    tests = {test.node: test for test in step.tests}
    refused = [node for node in tests if step.tree.verdicts[node] == "refused"]
    node = max(refused, key=lambda n: step.tree.order[n]) if refused else step.tests[-1].node
    test = tests[node]
    text = element.inner_text()
    assert f"Σ min(p, q) = {test.agreement:.3f}" in text and f"Σ (p − q)₊ = {1 - test.agreement:.3f}" in text
    assert f"the coin fell at {step.tree.coins[node]:.3f}" in text
    seen = blank.evaluate("() => view.table()")
    assert [row[1:] for row in seen["rows"][:-1]] == [
        [f"{x:.4f}" for x in (q, p, min(p, q), r)] for p, q, r in zip(test.p, test.q, test.residual)
    ]
    for column, total in ((1, 1), (2, 1), (3, test.agreement), (4, 1)):
        assert sum(float(row[column]) for row in seen["rows"]) == pytest.approx(total, abs=2e-3)


def test_cost_beside_plain_is_measured_or_absent(blank):
    trace = made_traces.tree_trace()
    element = show(blank, trace, "costView")
    assert "not yet measured" in element.inner_text()
    made, calls = len(trace.ids), trace.cost.target_forwards
    assert element.locator(".big").inner_text() == f"{made / calls:.2f}"
    plain = json.loads(made_traces.plain_trace(laws=False).dumps())
    blank.evaluate("(plain) => { store.plain = plain; store.set({ plain }); store.flush(); }", plain)
    rows = {row[0]: row[1:] for row in blank.evaluate("() => view.table().rows")}
    assert rows["Target calls"] == [str(calls), str(made)]
    blank.wait_for_function("() => !document.body.innerText.includes('not yet')")  # it is drawn behind the frame of the step


def test_more_target_calls_than_plain_decoding_are_said(blank):
    """A method that looks ahead, and drafts nothing."""
    plain, trace = (made_traces.plain_trace(laws=False) for _ in range(2))
    trace.opening.request.method = "adadec"
    for step in trace.steps:
        step.cost.target_forwards *= 3
    element = show(blank, trace, "costView")
    blank.evaluate("(plain) => { store.plain = plain; store.set({ plain }); store.flush(); }", json.loads(plain.dumps()))
    blank.wait_for_function("() => !document.body.innerText.includes('not yet')")
    note = element.locator(".tl-note").inner_text()
    assert note.startswith("3.00 × the target calls of plain decoding") and "draft" not in note


CHECKED = """(broken) => { store.ask = async (m) => { window.sent.push(m); const bad = !(m.variant in CHECK_RIGHT);
  const draws = Object.values(m.counts).reduce((a, b) => a + b, 0) + m.draws;
  return { tokens: [1, 2], pieces: ["<b>", " x"], exact: [0.6, 0.4], drawn: bad ? [0.9, 0.1] : [0.61, 0.39],
    rest_exact: 0, rest_drawn: 0, draws, counts: { [bad ? 2 : 1]: draws }, df: 1, limit: 3.84,
    chi_square: bad && m.variant !== "stale-row" ? 900 : 1.2, p_value: bad ? 0 : 0.27,
    kind: m.variant in CHECK_RIGHT ? "lossless" : m.variant in CHECK_LOSSY ? "lossy" : "broken",
    distance: bad ? (m.variant === "merged-siblings" ? 0.4 : m.variant === "stale-row" ? 0.0003 : 0.2) : 0,
    power: m.variant === "stale-row" ? 0.06 : 1 }; }; }"""


def test_check_draws_in_batches_and_tells_right_from_broken(blank):
    trace = made_traces.tree_trace(steps=3)
    element = show(blank, trace, "checkView")
    blank.evaluate(CHECKED)
    element.get_by_role("button", name="Draw 20,000").click()
    expect(element).not_to_have_attribute("aria-busy", "true")
    text = element.inner_text()
    assert "The law is kept" in text and "1.2" in text and "900" in text and "0.6000" in text and "<b>" in text
    asked = blank.evaluate("() => window.sent")
    own = asked[0]["variant"]
    assert own in ("V2", "V2-two") and {m["variant"] for m in asked} == {own, "no-residual"}
    assert sum(m["draws"] for m in asked if m["variant"] == own) == 20_000
    assert len({m["seed"] for m in asked}) == len(asked) / 2
    assert all(set(m["counts"]) <= {"1" if m["variant"] == own else "2"} for m in asked)  # each adds up its own
    prompt = trace.opening.prompt_ids + trace.ids_upto(2)
    assert asked[0]["ids"][: len(prompt)] == prompt and asked[0]["temperature"] == 0.7


def test_check_can_be_stopped(blank):
    element = show(blank, made_traces.tree_trace(steps=3), "checkView")
    blank.evaluate(CHECKED)
    blank.evaluate(
        """() => { const ask = store.ask;
            const stop = [...document.querySelectorAll("button")].find((b) => b.textContent === "Stop");
            store.ask = async (m) => { if (window.sent.length === 3) stop.click(); return ask(m); }; }"""
    )
    element.get_by_role("button", name="Draw 20,000").click()
    expect(element.get_by_role("button", name="Draw again")).to_be_visible()
    expect(element).not_to_have_attribute("aria-busy", "true")
    assert len(blank.evaluate("() => window.sent")) == 4


def test_variants_are_the_labs(blank):
    for names, kind in (("CHECK_RIGHT", "lossless"), ("CHECK_LOSSY", "lossy"), ("CHECK_BROKEN", "broken")):
        mine = {name for name, variant in VARIANTS.items() if variant.kind == kind}
        assert set(blank.evaluate(f"() => Object.keys({names})")) == mine


def test_all_verifiers_are_compared(blank):
    element = show(blank, made_traces.tree_trace(steps=3), "checkView")
    blank.evaluate(CHECKED)
    element.get_by_role("button", name="Compare all").click()
    expect(element).not_to_have_attribute("aria-busy", "true")
    asked = blank.evaluate("() => window.sent")
    assert {m["variant"] for m in asked} == set(VARIANTS)
    assert all(sum(m["draws"] for m in asked if m["variant"] == name) == 2_000 for name in VARIANTS)
    assert min(m["drafts"] for m in asked) >= 2
    rows = {row[0]: row for row in blank.evaluate("() => view.table().rows")}
    assert len(rows) == len(VARIANTS) == element.locator("tbody tr").count()
    assert rows["V3 k-SEQ"][1:] == ["lossless", "0.0000", "1.2", "3.8", "2000", "✓ law kept"]
    assert rows["V4 typical acceptance"][-1] == "✕ lossy" and rows["k-SEQ with ρ = 1"][-1] == "✕ found out"
    stale = rows["tests the second draft against the first one's law"]
    assert stale[2] == "0.0003" and stale[-1] == "≈ not told apart here"
    assert "1 of 8 broken ones cannot be told" in element.inner_text()
    assert element.locator("select").input_value() == "merged-siblings", "the one that is furthest from p here"


def test_a_mistake_that_does_not_show_here_is_said_so(blank):
    element = show(blank, made_traces.tree_trace(steps=3), "checkView")
    blank.evaluate(CHECKED)
    element.locator("select").select_option("stale-row")
    element.get_by_role("button", name="Draw 20,000").click()
    expect(element).not_to_have_attribute("aria-busy", "true")
    assert "cannot be told apart at this place, where its law is only 3·10⁻⁴ from p" in element.inner_text()


REASONS = ["k-SEQ: coin above p/(ρ q) (2 drafts)", "is typical: p above 0.09", "is what the target drew", "coin above p/q"]


@pytest.mark.parametrize(("reason", "variant"), list(zip(REASONS, ["V3", "V4", "V1", "V2-iid"])), ids=str)
def test_the_runs_own_verifier_is_checked(blank, reason, variant):
    """With independent drafts that share nodes, their number is that of the drafts, not of the nodes."""
    trace = made_traces.tree_trace(steps=1)
    step = trace.steps[0]
    step.tree.reasons, step.tree.kind = [reason] * len(step.tree.tokens), "iid"
    roots = [node for node, parent in enumerate(step.tree.parents) if parent < 0]
    step.tests = [test for test in step.tests if test.node in roots]
    step.notes = {"drafts": [[node] for node in roots for _ in range(2)] + [[roots[0]]]}
    show(blank, trace, "checkView")
    seen = blank.evaluate("() => checkVariant(testInFocus(store))")
    assert seen == {"variant": variant, "drafts": min(8, 2 * len(roots) + 1)}


def test_k_seq_is_said_in_its_own_words(blank):
    trace = made_traces.tree_trace(steps=1)
    tree = trace.steps[0].tree
    tested = [test.node for test in trace.steps[0].tests]
    for node in tested:
        tree.reasons[node] = f"k-SEQ: coin {'below' if tree.verdicts[node] == 'accepted' else 'above'} p/(ρ q) (3 drafts)"
    for view in ("treeView", "verifyView"):
        text = show(blank, trace, view).inner_text()
        assert "p/(ρ q)" in text and "p/q" not in text
    assert "what k-SEQ leaves of p" in text
    assert "3 drafts go through it" in show(blank, trace, "treeView").inner_text()


@pytest.mark.parametrize("view", ["treeView", "distView", "curveView", "verifyView", "costView"])
def test_hostile_text_stays_text(blank, view):
    trace = (
        made_traces.tree_trace(steps=4, nodes=24)
        if view in ("treeView", "verifyView", "costView")
        else made_traces.plain_trace(40)
    )
    for name in trace.opening.pieces:
        trace.opening.pieces[name] = made_traces.HOSTILE[name % len(made_traces.HOSTILE)]
    element = show(blank, trace, view)
    assert element.locator("script, img, b > b, a").count() == 0
    if view != "costView":
        titles = " ".join(blank.evaluate("() => [...document.querySelectorAll('title')].map((t) => t.textContent)"))
        assert "<img src=x onerror=alert(1)>" in titles and "<script>" in titles


@pytest.mark.parametrize("view", ["treeView", "distView", "curveView", "verifyView"])
def test_everything_that_can_be_pressed_has_a_name(blank, view):
    trace = made_traces.tree_trace(steps=4) if view in ("treeView", "verifyView") else made_traces.plain_trace()
    show(blank, trace, view)
    nameless = """() => [...document.querySelectorAll(".tl [role=button], .tl button")]
        .filter((e) => !(e.getAttribute("aria-label") || e.textContent)).length"""
    assert blank.evaluate(nameless) == 0
    lists = blank.evaluate(
        """() => [...document.querySelectorAll(".tl svg[role=group]")]
            .map((s) => [s.getAttribute("aria-label"), s.querySelectorAll('[tabindex="0"]').length])"""
    )
    assert lists and all(label and stops == 1 for label, stops in lists)


@pytest.mark.parametrize("view", ["treeView", "distView", "curveView", "verifyView", "costView", "checkView"])
def test_an_empty_trace_is_one_sentence(blank, view):
    trace = made_traces.tree_trace(steps=1)
    trace.steps, trace.closing = [], None
    element = show(blank, trace, view)
    assert "Step" in element.inner_text() or "law to show" in element.inner_text()
    assert blank.evaluate("() => view.table().rows").__class__ is list


def test_charts_take_their_looks_from_the_page(blank):
    show(blank, made_traces.tree_trace(steps=1), "costView")
    colours = blank.evaluate(
        "() => { const t = chartTemplate(view.element).layout; return [t.colorway[0], t.colorway[1], t.font.color]; }"
    )
    assert colours == [theme.LIGHT[name] for name in ("draft", "target", "ink-2")]


@pytest.mark.parametrize(
    ("stepping", "busy", "at_once"), [(True, False, 0), (True, True, 0), (False, True, 1), (False, False, 1)]
)
def test_the_first_chart_waits_for_steps_by_hand_and_for_nothing_else(blank, stepping, busy, at_once):
    """The library and the first figure cost more than a step does: whoever presses Step again must not wait for them."""
    show(blank, made_traces.tree_trace(), "verifyView")
    asked = """async ([stepping, busy]) => {
      const drawn = { react: async () => {}, purge() {} }, questions = [];
      window[Symbol.for("labkit.plotly")] = Promise.resolve(drawn);
      Object.assign(store, { stepping, actions: { busy: () => busy } });
      store.ask = async (question) => { questions.push(question.args.upto); return { figure: '{"data": [], "layout": {}}' }; };
      const chart = chartView(store, "cost");
      for (lane.at = 1; lane.at < 3; lane.at++) chart.draw();
      const first = questions.length;
      while (questions.at(-1) !== 3) await new Promise((go) => setTimeout(go, 10));
      chart.close();
      return [first, questions.length];
    }"""
    assert blank.evaluate(asked, [stepping, busy]) == [at_once, at_once + 1], "the newest step is drawn, and none between"


def test_a_chart_keeps_within_its_panel_when_a_neighbour_leaves_it_less_height(blank):
    show(blank, made_traces.tree_trace(), "verifyView")
    heights = blank.evaluate("""async () => {
      const heights = [];
      const drawn = { react: async (plot, data, layout) => heights.push(layout.height), purge() {} };
      window[Symbol.for("labkit.plotly")] = Promise.resolve(drawn);
      Object.assign(store, { stepping: false, actions: { busy: () => false } });
      store.ask = async () => ({ figure: '{"data": [], "layout": {"meta": {"height": 190}}}' });
      const chart = chartView(store, "cost"), body = html("div", { class: "tl-body" }, chart.element);
      const panel = html("section", { class: "tl-panel", style: "height:400px" }, body);
      store.root.append(html("div", { class: "tl-own" }, panel));
      chart.draw();
      while (heights.length < 1) await new Promise((go) => setTimeout(go, 10));
      panel.style.height = "260px";
      while (heights.length < 2) await new Promise((go) => setTimeout(go, 10));
      chart.close();
      return [...heights, chart.element.querySelector(".tl-plot").clientHeight];
    }""")
    assert heights[0] > heights[1] == heights[2] >= 190


def test_a_charts_table_is_the_figure(blank):
    trace = made_traces.tree_trace()
    figure = json.loads(views.figure("acceptance", [trace]))
    seen = blank.evaluate("(figure) => figureTable(figure)", figure)
    assert seen["columns"] == ["position", "accepted", "low", "high", "draft entropy", "target entropy"]
    mine = table.table("acceptance", trace).rows
    for row, (depth, tested, _, share, low, high, draft, target) in zip(seen["rows"], mine, strict=True):
        assert row[0] == f"{depth}, n {tested}"
        assert [float(x) for x in row[1:]] == pytest.approx([share, low, high, draft, target], abs=1e-4)
