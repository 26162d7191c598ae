// "Check it": draw many outputs of the verify step, lay the empirical law over the exact one, and say what chi-square says.

const CHECK_ROWS = 5;
const CHECK_ALL = 20000;
const CHECK_BATCH = 1000; // outputs a question: others wait that long, and so does Stop; counts go along, so that answers add up
const CHECK_EACH = 2000; // outputs of every verifier when all are compared
// The verifiers that can be checked, as labkit/speculative/variants.py has them; the broken ones are mistakes that implementations
// really contain.
const CHECK_RIGHT = {
  V1: "V1 sample and match", V2: "V2 residual chain, one draft", "V2-iid": "V2 independent drafts", "V2-two": "V2 without replacement", V3: "V3 k-SEQ",
};
const CHECK_LOSSY = { V4: "V4 typical acceptance" };
const CHECK_BROKEN = {
  "no-residual": "draws from p after a refusal", "dropped-draft": "throws unloved drafts away", "merged-siblings": "tests equal drafts once",
  "stale-row": "tests the second draft against the first one's law", "unwarped-draft": "forgets the draft's temperature and cuts",
  "small-division": "k-SEQ with ρ = 1", "distinct-k-seq": "k-SEQ over drafts without replacement", V0: "V0, greedy, above temperature 0",
};

/**
 * Panel "Check it": a button, progress, stop; exact bars, drawn dots, and ✕ for the same check on a broken verifier. "Compare all"
 * checks every verifier there is at this place and lists how far the law of each is from p.
 */
function checkView(store) {
  const start = html("button", { class: "tl-btn", type: "button", "data-lm-suppress-shortcuts": "true", onclick: () => run() }, "Draw");
  const all = html("button", { class: "tl-btn", type: "button", "data-lm-suppress-shortcuts": "true", onclick: () => compare() }, "Compare all");
  const stop = html("button", { class: "tl-btn", type: "button", "data-lm-suppress-shortcuts": "true", hidden: true, onclick: () => (stopped = true) }, "Stop");
  const broken = html("select", { class: "tl-select", "aria-label": "The broken variant, for comparison", "data-lm-suppress-shortcuts": "true", onchange: () => forget() },
    ...Object.entries(CHECK_BROKEN).map(([name, words]) => html("option", { value: name }, `✕ ${words}`)));
  const said = html("p", { class: "tl-checksaid", "aria-live": "polite" });
  const chart = html("div", { class: "tl-checkchart" });
  const meter = html("progress", { class: "tl-progress", max: 1, value: 0, "aria-label": "Outputs drawn", hidden: true });
  const element = html("div", { class: "tl-check" }, html("div", { class: "tl-checkbar" }, start, all, stop, meter, broken), chart, said);
  let results = {}; // { kept, broken } as the engine answers, or { all } = its answers by verifier
  let stopped = false;
  let seed = 0;
  let about = ""; // the place the results speak of
  let count = 0;

  const place = () => {
    const found = testInFocus(store);
    return found ? `${store.lane}/${found.lane.name}/${found.lane.at}/${found.test.node}` : "";
  };
  const forget = () => {
    [about, results, stopped] = [place(), {}, true];
    redraw();
  };
  const redraw = () => {
    const found = testInFocus(store);
    const greedy = found && !(found.lane.opening.request.temperature > 0);
    start.disabled = all.disabled = !found || greedy;
    view.note = results.kept ? `${results.kept.draws.toLocaleString("en")} verify steps, exact law beside it` : results.all ? `${CHECK_EACH.toLocaleString("en")} verify steps each` : "";
    start.textContent = results.kept ? "Draw again" : `Draw ${CHECK_ALL.toLocaleString("en")}`;
    const words = () => html("p", { class: "quiet tl-none" }, checkInvitation(found, greedy));
    chart.replaceChildren(results.kept ? drawCheck(results, chart.clientWidth || 420) : results.all ? drawAll(results.all) : words());
    said.replaceChildren(...(results.kept ? checkSentence(results, CHECK_BROKEN[broken.value]) : results.all ? allSentence(results.all) : []));
    element.dataset.drawn = String(++count);
  };

  /** Hide the controls while `work(found)` asks the engine; it goes on until it is done, stopped, or the place has changed. */
  async function busy(work) {
    const found = testInFocus(store);
    if (!found) return;
    [stopped, about, results] = [false, place(), {}];
    [start.hidden, all.hidden, stop.hidden, meter.hidden, broken.hidden, meter.value] = [true, true, false, false, true, 0];
    element.setAttribute("aria-busy", "true");
    try {
      await work(found);
    } catch (error) {
      said.replaceChildren(html("b", { class: "ref" }, "! "), error.message);
    } finally {
      [start.hidden, all.hidden, stop.hidden, meter.hidden, broken.hidden] = [false, false, true, true, false];
      element.removeAttribute("aria-busy");
    }
  }

  const run = () => busy(async (found) => {
    const wrong = broken.value;
    const { variant, drafts } = checkVariant(found);
    let [kept, other] = [{}, {}];
    while ((kept.draws ?? 0) < CHECK_ALL && !stopped) {
      const question = { ask: "check", ...checkQuestion(found), draws: CHECK_BATCH, seed: ++seed };
      kept = await store.ask({ ...question, variant, drafts, counts: kept.counts ?? {} });
      other = await store.ask({ ...question, variant: wrong, drafts: Math.max(2, drafts), counts: other.counts ?? {} });
      if (about !== place()) return;
      results = { kept, broken: other };
      meter.value = kept.draws / CHECK_ALL;
      redraw();
    }
  });

  const compare = () => busy(async (found) => {
    const names = Object.keys({ ...CHECK_RIGHT, ...CHECK_LOSSY, ...CHECK_BROKEN });
    const drafts = Math.max(2, checkVariant(found).drafts);
    const answers = {};
    for (let turn = 0; turn < names.length * (CHECK_EACH / CHECK_BATCH) && !stopped; turn++) {
      const variant = names[turn % names.length];
      const question = { ask: "check", ...checkQuestion(found), draws: CHECK_BATCH, seed: ++seed, variant, drafts };
      answers[variant] = await store.ask({ ...question, counts: answers[variant]?.counts ?? {} });
      if (about !== place()) return;
      results = { all: answers };
      meter.value = (turn + 1) / (names.length * (CHECK_EACH / CHECK_BATCH));
      redraw();
    }
    broken.value = Object.keys(CHECK_BROKEN).reduce((far, name) => ((answers[name]?.distance ?? 0) > (answers[far]?.distance ?? 0) ? name : far)); // the one that shows best here
  });

  whenResized(chart, redraw);
  const view = {
    title: "Check it",
    note: "",
    element,
    draw() {
      if (place() !== about || !count) forget();
    },
    table() {
      if (results.all) return tableOfAll(results.all);
      const { kept, broken } = results; // over the same tokens: they stand under the same exact law
      const rows = (kept?.tokens ?? []).map((id, i) => [pieceShown(kept.pieces[i] ?? `#${id}`), kept.exact[i].toFixed(4), kept.drawn[i].toFixed(4), broken.drawn[i].toFixed(4)]);
      if (kept) rows.push(["all others", ...[kept.rest_exact, kept.rest_drawn, broken.rest_drawn].map((x) => x.toFixed(4))]);
      return { columns: ["token", "exact", "drawn", "drawn, broken variant"], rows };
    },
  };
  return view;
}

function checkInvitation(found, greedy) {
  if (!found) return "There is no verify step to check here yet: press Step.";
  if (greedy) return "At temperature 0 nothing is drawn, so there is no law to check: raise the temperature.";
  return "Does speculation change what the target would have written? Draw many outputs of this verify step and see.";
}

/** What the engine needs to know to repeat this verify step: the context of the drafted node, and how p and q were warped. */
function checkQuestion({ lane, now, test }) {
  const { request } = lane.opening;
  const prefix = [];
  for (let node = now.tree.parents[test.node]; node >= 0; node = now.tree.parents[node]) prefix.unshift(now.tree.tokens[node]);
  const ids = [...lane.tokens.slice(0, now.first).map((token) => token.id), ...prefix];
  return { ids, temperature: request.temperature, transforms: request.transforms ?? [], heat: request.knobs?.heat ?? 1 };
}

/** The verifier under test, the run's own, and how many drafts it had there. */
function checkVariant({ now, test }) {
  const { tree, step } = now;
  const reason = tree.reasons[test.node] ?? "";
  const beside = (node) => tree.parents[node] === tree.parents[test.node];
  const paths = Array.isArray(step.notes.drafts?.[0]) ? step.notes.drafts : null; // independent drafts that share nodes
  const count = paths ? paths.filter((path) => path.some(beside)).length : tree.tokens.filter((_, node) => beside(node)).length;
  const drafts = Math.min(8, count);
  if (reason.includes("k-SEQ")) return { variant: "V3", drafts };
  if (reason.includes("typical")) return { variant: "V4", drafts };
  if (!reason.includes("coin")) return { variant: "V1", drafts };
  return { variant: drafts === 1 ? "V2" : tree.kind === "without_replacement" ? "V2-two" : "V2-iid", drafts };
}

function sayChi(x) {
  return x >= 1000 ? Math.round(x).toLocaleString("en") : x.toFixed(1);
}

function sayChance(x) {
  return x >= 0.01 ? `= ${x.toFixed(2)}` : x >= 0.0001 ? `= ${x.toFixed(4)}` : "< 0.0001";
}

function sayShare(x) {
  return x > 0.995 ? "nearly always" : `${(100 * x).toFixed(0)} % of the time`;
}

/** Why a broken verifier was not found out: its law may be too near p at this place. */
function whyMissed({ distance, power }) {
  if (power >= 0.5) return `not caught yet: ${CHECK_ALL.toLocaleString("en")} draws find it ${sayShare(power)}`;
  const far = distance < 5e-7 ? "exactly p" : `only ${smallNumber(distance)} from p`;
  return `cannot be told apart at this place, where its law is ${far}: try another place`;
}

function checkSentence({ kept, broken }, mistake) {
  const fine = kept.chi_square <= kept.limit;
  const numbers = `χ² = ${sayChi(kept.chi_square)}, ${kept.df} df, P ${sayChance(kept.p_value)}.`;
  const title = fine ? html("b", {}, "The law is kept:") : html("b", { class: "ref" }, kept.kind === "lossy" ? "Lossy, as announced:" : "Above the 5 % line:");
  const more = fine || kept.kind === "lossy" ? "" : " One fair check in twenty lands there by chance: draw again; a broken one stays.";
  const caught = broken.chi_square > broken.limit ? "" : `, ${whyMissed(broken)}`;
  const wrong = html("span", { class: "quiet" }, ` ✕ broken on purpose, ${mistake}: χ² = ${sayChi(broken.chi_square)}${caught}.`);
  return [title, ` ${numbers}${more}`, wrong];
}

/** [name, kind, answer] of every verifier that was checked, the right ones first. */
function checkedOnes(answers) {
  const kinds = [[CHECK_RIGHT, "lossless"], [CHECK_LOSSY, "lossy"], [CHECK_BROKEN, "broken"]];
  return kinds.flatMap(([names, kind]) => Object.entries(names).filter(([key]) => answers[key]).map(([key, words]) => [words, kind, answers[key]]));
}

function verdictOf(kind, answer) {
  const above = answer.chi_square > answer.limit;
  if (kind === "lossless") return above ? "above the line, as one in twenty is" : "✓ law kept";
  if (above) return kind === "lossy" ? "✕ lossy" : "✕ found out";
  return answer.power < 0.5 ? "≈ not told apart here" : "needs more draws";
}

function tableOfAll(answers) {
  const rows = checkedOnes(answers).map(([words, kind, one]) => [words, kind, one.distance.toFixed(4), sayChi(one.chi_square), one.limit.toFixed(1), String(one.draws), verdictOf(kind, one)]);
  return { columns: ["verifier", "kind", "distance from p", "χ²", "5 % line", "draws", "verdict"], rows };
}

function drawAll(answers) {
  const cells = (tag, values) => html("tr", {}, ...values.map((value, at) => html(at ? tag : "th", at ? {} : { scope: "row" }, value)));
  const body = checkedOnes(answers).map(([words, kind, one]) => {
    const row = cells("td", [kind === "broken" ? `✕ ${words}` : words, one.distance.toFixed(4), sayChi(one.chi_square), verdictOf(kind, one)]);
    row.className = kind;
    return row;
  });
  const head = html("tr", {}, ...["verifier", "off p by", "χ²", ""].map((words) => html("th", { scope: "col" }, words)));
  return html("table", { class: "tl-checkall", "aria-label": "Every verifier, checked at this place" }, html("thead", {}, head), html("tbody", {}, ...body));
}

function allSentence(answers) {
  const wrong = checkedOnes(answers).filter(([, kind]) => kind === "broken");
  const near = wrong.filter(([, , one]) => one.power < 0.5).length;
  const hidden = near ? ` ${near} of ${wrong.length} broken ones cannot be told from p at this place by ${CHECK_ALL.toLocaleString("en")} draws: a check that passes here proves little about them.` : "";
  return [html("b", {}, "Off p by"), " = half the sum of all differences between a verifier's own law and p, by formula; 0 = lossless.", html("span", { class: "quiet" }, hidden)];
}

function drawCheck({ kept, broken }, width) {
  const order = kept.tokens.map((_, i) => i).sort((a, b) => kept.exact[b] - kept.exact[a]).slice(0, CHECK_ROWS);
  const most = Math.max(0.02, ...order.map((i) => Math.max(kept.exact[i], kept.drawn[i], broken.drawn[i])));
  const x0 = 84;
  const scale = (width - x0 - 108) / most;
  const out = [];
  const words = (x, y, content, attributes = {}) => out.push(svg("text", { x, y, ...attributes }, content));
  words(x0, 8, "▭ exact p\u2002 ● drawn", { class: "tick" });
  words(width - 50, 8, "exact", { class: "tick", "text-anchor": "end" });
  words(width, 8, "drawn", { class: "tick", "text-anchor": "end" });
  let y = 16;
  for (const i of order) {
    const text = kept.pieces[i];
    const [exact, drawn] = [kept.exact[i], kept.drawn[i]];
    const label = `${pieceSpoken(text)}: exact ${exact.toFixed(4)}, drawn ${drawn.toFixed(4)}, broken variant ${broken.drawn[i].toFixed(4)}`;
    out.push(svg("g", { role: "img", "aria-label": label }, svg("title", {}, label),
      svg("text", { class: "code", x: x0 - 8, y: y + 13, "text-anchor": "end" }, pieceCut(text, 9)),
      svg("rect", { class: "rawfill", x: x0, y: y + 3, width: (exact * scale).toFixed(1), height: 12 }),
      svg("path", { class: "brokenmark", d: `M${(x0 + broken.drawn[i] * scale - 3.5).toFixed(1)} ${y + 5.5}l7 7m0 -7l-7 7` }),
      svg("circle", { class: "emp", cx: (x0 + drawn * scale).toFixed(1), cy: y + 9, r: 4 }),
      svg("text", { class: "tick", x: width - 50, y: y + 13, "text-anchor": "end" }, exact.toFixed(4)),
      svg("text", { class: "strong", x: width, y: y + 13, "text-anchor": "end" }, drawn.toFixed(4))));
    y += 21;
  }
  y += 12;
  const long = width - 116; // the gauge: 0 to a little behind the 5 % line; what lies beyond is named at an arrow
  const most2 = Math.max(kept.limit * 1.42, Math.min(kept.chi_square * 1.1, kept.limit * 3));
  const at = (chi) => 4 + (Math.min(chi, most2) / most2) * (long - 4);
  const [pin, line] = [at(kept.chi_square), at(kept.limit)];
  const near = Math.abs(pin - line) < 74;
  out.push(svg("rect", { class: "rawfill", x: 4, y, width: line - 4, height: 10 }), svg("rect", { class: "beyond", x: line, y, width: long - line, height: 10 }),
    svg("path", { class: "chipin", d: `M${pin} ${y - 4}v18` }));
  words(4, y + 25, "0", { class: "tick" });
  words(near ? Math.min(pin, line - 8) : pin, y + 25, `χ² ${sayChi(kept.chi_square)}`, { class: "strong", "text-anchor": near ? "end" : "middle" });
  words(near ? Math.max(line, pin - 8) : line, y + 25, `5 % line ${kept.limit.toFixed(1)}`, { "text-anchor": near ? "start" : "middle" });
  // The broken variant's figure is usually far beyond the gauge: an arrow points there.
  if (broken.chi_square > most2) out.push(svg("path", { class: "brokenarrow", d: `M${long + 8} ${y + 5}h22m-5 -4l5 4 -5 4` }));
  else out.push(svg("path", { class: "brokenmark", d: `M${at(broken.chi_square) - 3.5} ${y + 1.5}l7 7m0 -7l-7 7` }));
  words(long + 38, y + 10, `✕ ${sayChi(broken.chi_square)}`, { class: "broken" });
  y += 32;
  const label = `Empirical against exact law; chi-square ${sayChi(kept.chi_square)} at ${kept.df} degrees of freedom, 5 % line ${kept.limit.toFixed(1)}`;
  return svg("svg", { width, height: y, viewBox: `0 0 ${width} ${y}`, style: `width:${width}px;height:${y}px`, role: "group", "aria-label": label }, ...out);
}
