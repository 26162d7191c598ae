// "Check it": draw many outputs of the verify step, lay the empirical law over the exact one, and say what chi-square says.

const CHECK_ROWS = 5;
const CHECK_ALL = 20000;
const CHECK_BATCH = 1000; // outputs a question: others wait that long, and so does Stop; counts go along, so that answers add up
// Mistakes that implementations really contain; labkit/speculative/variants.py makes them on purpose.
const CHECK_BROKEN = {
  "no-residual": "draws from p after a refusal", "dropped-draft": "throws unloved drafts away", "merged-siblings": "tests equal drafts once",
  "stale-row": "tests the second draft against the first one's law", "unwarped-draft": "forgets the draft's temperature and cuts",
};

/** Panel "Check it": a button, progress, stop; exact bars, drawn dots, and ✕ for the same check on a broken verifier. */
function checkView(store) {
  const start = html("button", { class: "tl-btn", type: "button", "data-lm-suppress-shortcuts": "true", onclick: () => run() }, "Draw");
  const stop = html("button", { class: "tl-btn", type: "button", "data-lm-suppress-shortcuts": "true", hidden: true, onclick: () => (stopped = true) }, "Stop");
  const broken = html("select", { class: "tl-select", "aria-label": "The broken variant, for comparison", "data-lm-suppress-shortcuts": "true", onchange: () => forget() },
    ...Object.entries(CHECK_BROKEN).map(([name, words]) => html("option", { value: name }, `✕ ${words}`)));
  const said = html("p", { class: "tl-checksaid", "aria-live": "polite" });
  const chart = html("div", { class: "tl-checkchart" });
  const meter = html("progress", { class: "tl-progress", max: 1, value: 0, "aria-label": "Outputs drawn", hidden: true });
  const element = html("div", { class: "tl-check" }, html("div", { class: "tl-checkbar" }, start, stop, meter, broken), chart, said);
  let results = {}; // { kept, broken } as the engine answers
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
    start.disabled = !found || greedy;
    view.note = results.kept ? `${results.kept.draws.toLocaleString("en")} verify steps, exact law beside it` : "";
    start.textContent = results.kept ? "Draw again" : `Draw ${CHECK_ALL.toLocaleString("en")}`;
    chart.replaceChildren(results.kept ? drawCheck(results, chart.clientWidth || 420) : html("p", { class: "quiet tl-none" }, checkInvitation(found, greedy)));
    said.replaceChildren(...(results.kept ? checkSentence(results, CHECK_BROKEN[broken.value]) : []));
    element.dataset.drawn = String(++count);
  };

  async function run() {
    const found = testInFocus(store);
    if (!found) return;
    const wrong = broken.value;
    [stopped, about, results] = [false, place(), {}];
    [start.hidden, stop.hidden, meter.hidden, broken.hidden, meter.value] = [true, false, false, true, 0];
    element.setAttribute("aria-busy", "true");
    try {
      let kept = {};
      let other = {};
      while ((kept.draws ?? 0) < CHECK_ALL && !stopped) {
        const question = { ask: "check", ...checkQuestion(found), draws: CHECK_BATCH, seed: ++seed };
        kept = await store.ask({ ...question, variant: checkVariant(found), counts: kept.counts ?? {} });
        other = await store.ask({ ...question, variant: wrong, counts: other.counts ?? {} });
        if (about !== place()) return;
        results = { kept, broken: other };
        meter.value = kept.draws / CHECK_ALL;
        redraw();
      }
    } catch (error) {
      said.replaceChildren(html("b", { class: "ref" }, "! "), error.message);
    } finally {
      [start.hidden, stop.hidden, meter.hidden, broken.hidden] = [false, true, true, false];
      element.removeAttribute("aria-busy");
    }
  }

  whenResized(chart, redraw);
  const view = {
    title: "Check it",
    note: "",
    element,
    draw() {
      if (place() !== about || !count) forget();
    },
    table() {
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

/** The verifier under test: the run's own. */
function checkVariant({ lane, now }) {
  return now.tree.draft_logprobs.length && !String(lane.opening.request.knobs?.verifier ?? "").includes("V1") ? "V2" : "V1";
}

function sayChi(x) {
  return x >= 1000 ? Math.round(x).toLocaleString("en") : x.toFixed(1);
}

function sayChance(x) {
  return x >= 0.01 ? `= ${x.toFixed(2)}` : x >= 0.0001 ? `= ${x.toFixed(4)}` : "< 0.0001";
}

function checkSentence({ kept, broken }, mistake) {
  const fine = kept.chi_square <= kept.limit;
  const numbers = `χ² = ${sayChi(kept.chi_square)}, ${kept.df} df, P ${sayChance(kept.p_value)}.`;
  const title = fine ? html("b", {}, "The law is kept:") : html("b", { class: "ref" }, "Above the 5 % line:");
  const more = fine ? "" : " One fair check in twenty lands there by chance: draw again; a broken one stays.";
  const caught = broken.chi_square > broken.limit ? "" : ", not caught here: try another place, or draw again";
  const wrong = html("span", { class: "quiet" }, ` ✕ broken on purpose, ${mistake}: χ² = ${sayChi(broken.chi_square)}${caught}.`);
  return [title, ` ${numbers}${more}`, wrong];
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
