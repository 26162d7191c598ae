// The welcome page: cards to the dashboards, who answers, and the catalogue, searchable.

const CARDS = [
  ["Entropy", "01_entropy.ipynb", "Where is the model sure, where not? Step through a text and see every law it was drawn from.", "entropy"],
  ["Draft trees", "02_draft_trees.ipynb", "A tree of guesses, checked in one forward. One path survives; see which, and why.", "tree"],
  ["Acceptance", "03_acceptance.ipynb", "One verify step with its numbers, and the proof by trial that the text keeps its law.", "coin"],
  ["When to draft", "04_when_to_draft.ipynb", "When should a draft stop, which layer should guess, and can it learn while it serves?", "stop"],
  ["Timelines", "05_batches_and_timelines.ipynb", "Who waits for whom: draft and target at work at once, and many texts in one batch.", "lanes"],
  ["Constraints", "06_constraints.ipynb", "JSON, Python that parses, names that exist, programs that pass: how to make a text obey, and what it costs.", "walk"],
  ["Attention sparsity", "08_attention_sparsity.ipynb", "A model that forgets part of its cache: what is kept, what is lost, and when the text goes wrong.", "cache"],
  ["KV cache", "09_kv_cache.ipynb", "Every token is held, but not every bit of it; and what to do with a cache when somebody edits the text.", "bits"],
  ["Serving", "10_serving.ipynb", "Many requests, one model: a long prompt makes everybody wait, unless it comes in pieces. Drag a schedule.", "serve"],
  ["Boundaries", "11_token_boundaries.ipynb", "One text, cut by a dozen tokenizers, byte above byte. Take any token apart, down to its bytes.", "ribbon"],
  ["Bytes and bias", "12_bytes_and_bias.ipynb", "A prompt that ends inside a token misleads a model. See the exact law of the next byte, and who sees letters.", "fan"],
  ["Languages and numbers", "13_languages_and_numbers.ipynb", "The same phrase costs one language many times what it costs another; where a number is cut decides who can add.", "premium"],
  ["Diffusion", "16_diffusion.ipynb", "A text of masks, filled in any order and many places at once: which places are sure, and when is it done?", "unmask"],
  ["What parallelism costs", "17_parallelism_costs.ipynb", "Places that depend on each other, filled together: the loss has a formula, and a model that checks its own guess.", "parallel"],
  ["Sweeps", "18_sweep.ipynb", "Every setting on every text, run after run, on all cores or a whole cluster: which setting is best, and for whom?", "sweep"],
];

/** The small picture of a card, drawn with the marks of its page. */
function cardPicture(kind) {
  const box = (x, y, w, h, style, rx = 3) => svg("rect", { x, y, width: w, height: h, rx, style });
  const marks = {
    entropy: [[0, 26, 0], [28, 40, 1], [70, 30, 4], [102, 22, 2], [126, 48, 6], [176, 26, 3], [204, 20, 0]].flatMap(([x, w, e], k) => [
      box(x, 8, w - 2, 22, `fill:var(--tl-e${e});stroke:var(--tl-edge);stroke-width:.6`),
      box(x, 62 - [2, 5, 22, 10, 30, 14, 2][k], w - 2, [2, 5, 22, 10, 30, 14, 2][k], `fill:var(--tl-e${e});stroke:var(--tl-edge);stroke-width:.6`, 1)]),
    tree: [
      svg("path", { d: "M34 35C60 35 50 12 80 12H118C140 12 140 12 152 12", style: "fill:none;stroke:var(--tl-draft);stroke-width:6" }),
      svg("path", { d: "M34 35C60 35 50 56 80 56", style: "fill:none;stroke:var(--tl-refuse);stroke-width:1.6;stroke-dasharray:5 4" }),
      svg("path", { d: "M118 56H152M118 12C140 12 134 35 152 35", style: "fill:none;stroke:var(--tl-ghost);stroke-width:3" }),
      box(0, 25, 34, 20, "fill:var(--tl-ink)"), box(80, 2, 38, 20, "fill:var(--tl-draft)", 6), box(80, 46, 38, 20, "fill:var(--tl-refuse-tint);stroke:var(--tl-refuse);stroke-width:1.4;stroke-dasharray:4 3", 6),
      box(152, 2, 30, 20, "fill:var(--tl-draft)", 6), box(152, 26, 30, 18, "fill:var(--tl-paper);stroke:var(--tl-edge);stroke-dasharray:1.5 3", 6), box(152, 47, 30, 18, "fill:var(--tl-paper);stroke:var(--tl-edge);stroke-dasharray:1.5 3", 6),
      svg("path", { d: "M182 12H200", style: "stroke:var(--tl-target-edge);stroke-width:2" }), svg("path", { d: "M200 2h16l8 10-8 10h-16z", style: "fill:var(--tl-target);stroke:var(--tl-target-edge)" })],
    coin: [box(0, 8, 96, 9, "fill:var(--tl-draft)", 0), box(0, 19, 150, 9, "fill:var(--tl-target);stroke:var(--tl-target-edge)", 0),
      box(0, 44, 120, 16, "fill:var(--tl-draft)", 0), box(121, 44, 102, 16, "fill:var(--tl-refuse-tint);stroke:var(--tl-refuse);stroke-width:1.4;stroke-dasharray:4 3", 0),
      svg("path", { d: "M148 38V66M142 32h12l-6 8z", style: "stroke:var(--tl-ink);stroke-width:2.4;fill:var(--tl-ink)" })],
    stop: [12, 17, 24, 30, 46].map((h, k) => box(8 + 34 * k, 66 - h, 26, h, k < 4 ? "fill:var(--tl-draft)" : "fill:var(--tl-refuse-tint);stroke:var(--tl-refuse);stroke-width:1.4;stroke-dasharray:4 3", 2)).concat([
      svg("path", { d: "M0 30H190", style: "stroke:var(--tl-ink);stroke-width:1.6;stroke-dasharray:6 4" }), box(196, 20, 22, 20, "fill:var(--tl-ink)", 4)]),
    lanes: [0, 46, 92, 138, 184].flatMap((x, k) => [
      box(x, 10, 40, 18, k === 3 ? "fill:var(--tl-refuse-tint);stroke:var(--tl-refuse);stroke-width:1.4;stroke-dasharray:4 3" : "fill:var(--tl-draft)"), box(x, 40, 40, 18, "fill:var(--tl-target);stroke:var(--tl-target-edge)")]),
    walk: [svg("path", { d: "M0 8C40 12 60 30 100 44S180 60 222 62", style: "fill:none;stroke:var(--tl-edge);stroke-width:2" }),
      ...[[18, 10], [52, 22], [84, 38]].map(([x, y]) => svg("path", { d: `M${x - 6} ${y - 6}l12 12m0 -12l-12 12`, style: "stroke:var(--tl-refuse);stroke-width:3" })),
      svg("circle", { cx: 128, cy: 51, r: 8, style: "fill:var(--tl-draft);stroke:var(--tl-ink)" })],
    ribbon: [[6, [30, 52, 20, 70, 40]], [28, [12, 18, 52, 34, 56, 40]], [50, [82, 20, 110]]].flatMap(([y, widths]) => {
      let x = 0;
      return widths.map((w, k) => box((x += w) - w, y, w - 2, 16, `fill:var(${["--tl-draft-tint", "--tl-target-tint"][k % 2]});stroke:var(--tl-edge);stroke-width:.6`));
    }),
    cache: Array.from({ length: 4 }, (_, row) => Array.from({ length: 22 }, (_, k) => [row, k])).flat().filter(([row, k]) => k > 16 || k < 2 || (k * 7 + row * 5) % 11 < 3).map(([row, k]) => box(k * 10.2, 4 + row * 17, 9, 14, "fill:var(--tl-draft)", 1.5)),
    bits: Array.from({ length: 5 }, (_, row) => Array.from({ length: 22 }, (_, k) => box(k * 10.2, 2 + row * 14, 9, 12, k > 18 || (k * 5 + row * 3) % 7 < 2 || k === 6 ? "fill:var(--tl-target);stroke:var(--tl-target-edge);stroke-width:.6" : "fill:var(--tl-paper);stroke:var(--tl-line)", 1))).flat(),
    serve: [0, 1, 2].flatMap((row) => [box(18 * row, 4 + 22 * row, 44, 18, "fill:var(--tl-target);stroke:var(--tl-target-edge)"), box(46 + 18 * row, 4 + 22 * row, 18, 18, "fill:var(--tl-target);stroke:var(--tl-target-edge)"), box(66 + 18 * row, 4 + 22 * row, 120, 18, "fill:var(--tl-draft)")]),
    fan: [["M40 35C80 35 90 10 130 10H200", 6, "--tl-draft"], ["M40 35H200", 3, "--tl-draft"], ["M40 35C80 35 90 60 130 60H200", 1.6, "--tl-edge"]].map(([d, w, c]) => svg("path", { d, style: `fill:none;stroke:var(${c});stroke-width:${w}` })).concat([box(0, 26, 40, 18, "fill:var(--tl-ink)")]),
    unmask: Array.from({ length: 4 }, (_, row) => [[34, 2], [52, 1], [22, 3], [44, 0], [30, 3], [28, 2]].reduce(([x, all], [w, from]) => [x + w, [...all, box(x, 2 + row * 17, w - 3, 14, row >= from ? "fill:var(--tl-target-tint);stroke:var(--tl-target-edge);stroke-width:.8" : "fill:var(--tl-paper);stroke:var(--tl-edge);stroke-dasharray:1.5 3", 2)]], [2, []])[1]).flat(),
    parallel: [svg("path", { d: "M6 8C50 12 70 44 110 54S190 62 222 63", style: "fill:none;stroke:var(--tl-edge);stroke-width:2.4" }), ...[[6, 8], [50, 19], [94, 47], [138, 57], [182, 61], [220, 63]].map(([x, y]) => svg("circle", { cx: x, cy: y, r: 5, style: "fill:var(--tl-draft);stroke:var(--tl-ink)" }))],
    sweep: [0, 1, 2].flatMap((row) => [0, 1, 2, 3, 4, 5, 6].map((at) => box(2 + 32 * at, 4 + 22 * row, 28, 18, row + 3 * at < 14 ? `fill:var(--tl-e${[1, 3, 4, 2, 5, 4, 2][(at + 2 * row) % 7]});stroke:var(--tl-edge);stroke-width:.6` : "fill:var(--tl-sunk);stroke:var(--tl-edge);stroke-width:.6"))),
    premium: [20, 26, 34, 48, 58, 40, 64].map((h, k) => box(4 + 32 * k, 68 - h, 24, h, k ? "fill:var(--tl-target);stroke:var(--tl-target-edge);stroke-width:.8" : "fill:var(--tl-draft)", 2)).concat([svg("path", { d: "M0 48H226", style: "stroke:var(--tl-ink);stroke-width:1.4;stroke-dasharray:6 4" })]),
  };
  return svg("svg", { viewBox: "-2 0 230 70", "aria-hidden": "true" }, ...marks[kind]);
}

/** Do relative addresses of other notebooks lead there from here? */
function linksWork() {
  return hostName() === "voila" || location.pathname.includes("/tree/");
}

function drawCard([title, file, words, kind]) {
  const inner = [cardPicture(kind), html("h2", null, title), html("p", null, words)];
  return linksWork() ? html("a", { class: "tl-panel tl-card", href: file }, ...inner) : html("div", { class: "tl-panel tl-card" }, ...inner, html("code", { class: "quiet" }, file));
}

/** The catalogue: search, theme, what works; a list that answers while one types. */
function makeCatalogue() {
  const search = html("input", { type: "search", id: "tl-search", placeholder: "title, mechanism or id", autocomplete: "off" });
  const theme = html("select", { "aria-label": "Theme" }, html("option", { value: "" }, "all themes"), ...Object.entries(THEME_WORDS).map(([name, words]) => html("option", { value: name }, words)));
  const works = html("input", { type: "checkbox", id: "tl-works", role: "switch" });
  const count = html("span", { class: "quiet num", role: "status" });
  const body = html("tbody");
  const table = html("div", { class: "tl-table tl-papers", tabindex: 0, role: "region", "aria-label": "Papers" },
    html("table", null, html("caption", { class: "sr" }, "Papers"), html("thead", null, html("tr", null, ...["", "paper", "theme", "year", "here"].map((name) => html("th", { scope: "col" }, name)))), body));
  const element = html("section", { class: "tl-panel a-papers", "aria-label": "Catalogue" },
    html("div", { class: "tl-top" }, html("h2", null, "The papers"), count, html("span", { class: "end tl-filters" },
      html("label", { for: "tl-search" }, "Search"), search, theme, html("label", { class: "tl-check" }, works, " works here"))), table);
  let rows = [];
  let working = {};

  function fill() {
    for (const row of rows) {
      const names = working[row.paper.id] ?? [];
      row.here.textContent = names.length ? `✓ ${names.join(", ")}` : "";
      row.node.classList.toggle("works", names.length > 0);
    }
    filter();
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const yes = words.every((word) => row.text.includes(word)) && (!theme.value || row.paper.theme === theme.value) && (!works.checked || working[row.paper.id]);
      row.node.hidden = !yes;
      shown += yes ? 1 : 0;
    }
    const all = Object.keys(working).length;
    count.textContent = `${shown} of ${rows.length}${all ? `, ${all} work here` : ""}`;
    element.dataset.shown = shown;
  }

  for (const [field, event] of [[search, "input"], [theme, "change"], [works, "change"]]) field.addEventListener(event, filter);
  return {
    element,
    papers(list) {
      rows = list.map((paper) => {
        const here = html("td");
        const title = html("td", null, html("b", null, paper.name), html("span", { class: "quiet" }, paper.title));
        const node = html("tr", { "data-paper": paper.id }, html("td", { class: "num quiet" }, paper.id), title, html("td", null, THEME_WORDS[paper.theme] ?? paper.theme), html("td", { class: "num" }, String(paper.year)), here);
        return { paper, node, here, text: `${paper.id} ${paper.title} ${paper.name} ${paper.kind}`.toLowerCase() };
      });
      body.replaceChildren(...rows.map((row) => row.node));
      fill();
    },
    works(found) {
      working = found;
      fill();
    },
  };
}

/** Who answers, in words. */
function engineWords({ models, status, counts }) {
  const size = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} B` : `${(n / 1e6).toFixed(1)} M`);
  const say = (name) => {
    const model = models.find((one) => one.name === name);
    return model?.parameters ? `${name}, ${size(model.parameters)} parameters` : name;
  };
  return [["engine", status.where], ["target", say(status.target ?? "")], ["draft", say(status.draft ?? "")], ["device", status.device ?? "cpu"], ["offers", `${counts.methods} methods, ${counts.transforms} samplers, ${counts.studies} studies`]].filter(([, words]) => words);
}

function renderWelcome({ model, el }) {
  const leave = new AbortController();
  const root = html("div", { class: "tl", role: "region", "aria-label": "Token Lab welcome page" });
  const models = html("span", { class: "models" });
  let head = null;
  const looks = makeLooks(root, (patch) => patch.theme && head?.showTheme(patch.theme), leave.signal);
  head = drawHead("welcome", looks, models);
  head.showTheme(root.dataset.theme);
  const facts = html("dl", { class: "tl-facts" });
  const alarm = html("div", { class: "tl-error", role: "alert", hidden: true });
  const catalogue = makeCatalogue();
  const intro = html("section", { class: "tl-intro" },
    html("p", { class: "tl-lead" }, "See how a language model writes, one token at a time."),
    html("p", null, "A prompt goes in; the model proposes, checks and chooses; every number of every choice stays on the page. The models are real, small and here: no network, no GPU needed."));
  const who = html("section", { class: "tl-panel tl-who", "aria-label": "Who answers" }, html("h2", null, "Who answers"), alarm, facts);
  root.append(head.element, html("div", { class: "tl-page lay-welcome" }, intro, ...CARDS.map(drawCard), who, catalogue.element));
  el.append(root);
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"), { signal: leave.signal });

  const say = (pairs) => facts.replaceChildren(...pairs.flatMap(([name, words]) => [html("dt", null, name), html("dd", null, words)]));
  say([["engine", "asking …"]]);
  const listen = (message, buffers) => {
    const fields = JSON.parse(new TextDecoder().decode(buffers[0]));
    alarm.hidden = message.kind !== "error";
    if (message.kind === "papers") catalogue.papers(fields.papers);
    if (message.kind === "engine") {
      catalogue.works(fields.working);
      say(engineWords(fields));
      root.dataset.engine = "here";
    }
    if (message.kind === "error") alarm.replaceChildren(html("p", null, fields.text), button("Retry", () => model.send({ do: "open" })));
    root.dataset.ready = "1";
  };
  model.on("msg:custom", listen);
  model.send({ do: "open" });
  return () => {
    leave.abort();
    model.off("msg:custom", listen);
  };
}

export default { render: renderWelcome };
