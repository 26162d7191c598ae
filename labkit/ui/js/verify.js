// One verify step with its numbers: two laws, the coin, and the residual the target draws from after a refusal.

const VERIFY_ROWS = 10;

/** Panel "One verify step": three numbered sentences, the coin, q above p for the likeliest tokens, and the residual. */
function verifyView(store) {
  const element = html("div", { class: "tl-verify" });
  let count = 0;
  let key = "";
  const redraw = () => {
    const found = testInFocus(store);
    view.note = found ? `position ${found.place} of ${found.of}` : "";
    element.replaceChildren(...(found ? drawVerify(store, found, element.clientWidth || 730) : [emptyWords(laneNow(store), verifyMissing(store))]));
    element.dataset.drawn = String(++count);
  };
  whenResized(element, redraw);
  linked(element, store);
  roving(element, nextInColumn(element));
  const view = {
    title: "One verify step",
    note: "",
    element,
    draw() {
      const lane = laneNow(store);
      const found = testInFocus(store);
      const next = `${store.lane}/${lane?.name}/${lane?.at}/${found?.test.node}/${found?.now.step.emitted}`;
      if (next !== key) {
        key = next;
        redraw();
      }
    },
    table() {
      const found = testInFocus(store);
      const columns = ["token", "q (draft)", "p (target)", "min(p, q)", "residual"];
      if (!found) return { columns, rows: [] };
      const { test, lane } = found;
      const rows = test.tokens.map((id, i) => [pieceShown(pieceOf(lane, id)), ...[test.q[i], test.p[i], Math.min(test.p[i], test.q[i]), test.residual[i]].map((x) => (x ?? 0).toFixed(4))]);
      const least = test.agreement - test.tokens.reduce((sum, _, i) => sum + Math.min(test.p[i], test.q[i]), 0);
      rows.push(["all others", ...[test.q_rest, test.p_rest, Math.max(0, least), test.residual_rest].map((x) => (x ?? 0).toFixed(4))]);
      return { columns, rows };
    },
  };
  return view;
}

/** The test of the node in focus, else the step's last one; with its place on the path: position `place` of `of`. */
function testInFocus(store) {
  const lane = laneNow(store);
  const now = stepNow(lane);
  const tests = now?.step.tests ?? [];
  if (!tests.length || !now.tree) return null;
  const focus = nodeInFocus(store, now);
  const test = tests.find((one) => one.node === focus) ?? (focus === "target" ? tests.at(-1) : tests.find((one) => one.node === tellingNode(now.tree)) ?? tests.at(-1));
  const depths = [];
  now.tree.parents.forEach((parent, node) => (depths[node] = parent < 0 ? 1 : depths[parent] + 1));
  return { lane, now, test: { p_rest: 0, q_rest: 0, residual_rest: 0, ...test }, place: depths[test.node], of: Math.max(...depths) };
}

function verifyMissing(store) {
  const now = stepNow(laneNow(store));
  if (!now) return "No step yet: press Step.";
  return now.tree ? "This trace did not keep the laws of its verify steps: run again here." : "This step drafted nothing, so there was nothing to verify.";
}

function drawVerify(store, found, width) {
  const { lane, now, test } = found;
  const { tree } = now;
  const node = test.node;
  const drafted = tree.tokens[node];
  const refused = nodeVerdict(tree, node) === "refused";
  const last = !tree.tokens.some((_, other) => tree.parents[other] === tree.parents[node] && (tree.order[other] ?? -1) > (tree.order[node] ?? 0));
  const drawn = refused && last ? now.added : null;
  const at = (id) => test.tokens.indexOf(id);
  const [p, q] = [test.p[at(drafted)] ?? 0, test.q[at(drafted)] ?? 0];
  const [coin, threshold] = coinOf(tree, node);
  const rule = coinRule(tree, node);
  const name = (id) => html("code", {}, pieceShort(pieceOf(lane, id)));
  const verdict = refused ? html("b", { class: "ref" }, "✕ refused") : html("b", { class: "acc" }, "✓ accepted");
  const gave = tree.added_from === "residual" ? "The residual gave " : "The target's own choice stands: ";
  const third = !refused
    ? ["The token stays; nothing is drawn from the residual."]
    : drawn !== null ? [gave, html("b", {}, name(drawn)), "."] : [coin === null ? "The next sibling is looked at." : "The next sibling is tested against the residual."];
  const first = coin === null ? [`The ${SOURCES[tree.source] ?? "draft"} proposed `, html("b", {}, name(drafted)), "."] : ["The draft drew ", html("b", {}, name(drafted)), " from q."];
  const second = coin === null
    ? [`p = ${smallNumber(p)}, q = ${smallNumber(q)}: `, verdict, tree.reasons[node] ? `, it ${tree.reasons[node]}.` : "."]
    : [rule === "p/q" ? `p/q = ${smallNumber(p)} ÷ ${smallNumber(q)} = ${q > 0 ? (p / q).toFixed(3) : "∞"}` : `p ÷ q = ${smallNumber(p)} ÷ ${smallNumber(q)}, and ${rule} ${equalsNumber(threshold)}`, `; the coin fell at ${coin.toFixed(3)}: `, verdict, "."];
  const numbered = (n, words) => html("span", { class: "tl-line" }, html("b", {}, String(n)), "\u2002", ...words);
  const words = html("p", {}, numbered(1, first), numbered(2, second), numbered(3, third));
  const gauge = coin === null ? null : coinGauge(threshold, coin, Math.min(400, Math.max(240, width * 0.4)), rule);
  return [html("div", { class: "tl-why coinrow" }, words, gauge ?? ""), drawLaws(store, found, width, drafted, drawn, refused)];
}

/** Three decimals, or in powers of ten what would read as nothing. */
function smallNumber(x) {
  return x >= 0.0005 || x === 0 ? x.toFixed(3) : x.toExponential(0).replace("e-", "·10⁻").replace(/\d+$/, (n) => [...n].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join(""));
}

function drawLaws(store, found, width, drafted, drawn, refused) {
  const { lane, now, test } = found;
  const rest = 1 - test.agreement;
  const order = test.tokens.map((_, i) => i);
  order.sort((a, b) => Math.max(test.p[b], test.q[b]) - Math.max(test.p[a], test.q[a]));
  const rows = order.slice(0, VERIFY_ROWS);
  for (const must of [drafted, drawn]) { // the two tokens the sentences name are always among the rows
    const i = test.tokens.indexOf(must);
    if (i >= 0 && !rows.includes(i)) rows.splice(rows.findLastIndex((j) => test.tokens[j] !== drafted && test.tokens[j] !== drawn), 1, i);
  }
  const names = new Map(rows.map((i) => [i, pieceCut(pieceOf(lane, test.tokens[i]), 14)]));
  const x0 = Math.max(84, 18 + Math.max(...[...names.values()].map((text) => text.length)) * 7.9);
  const rx = Math.round(width * 0.685);
  const most = Math.max(0.05, ...rows.map((i) => Math.max(test.p[i], test.q[i])));
  const scale = (rx - x0 - 96) / most; // room for ".186 drawn" behind the longest bar
  const leftScale = (width - rx - 96) / Math.max(0.05, ...rows.map((i) => test.residual[i] ?? 0));
  const out = [];
  const text = (x, y, content, attributes = {}) => out.push(svg("text", { x, y, ...attributes }, content));
  text(x0, 12, "1\u2002two laws: q draft above, p target below", { class: "strong" });
  text(rx, 12, refused ? "3\u2002refused: draw from what q left out" : "3\u2002had it been refused", { class: "strong" });
  text(x0, 30, "solid: min(p, q) · hatched: q beyond p · dotted: p beyond q", { class: "tick" });
  const reason = now.tree.reasons[test.node] ?? "";
  text(rx, 30, reason.includes("k-SEQ") ? "what k-SEQ leaves of p" : reason.includes("typical") ? "p itself: lossy" : `(p − q)₊ ÷ ${rest.toFixed(3)}`, { class: "tick" });
  let y = 40;
  for (const i of rows) {
    const [p, q, residual] = [test.p[i], test.q[i], test.residual[i] ?? 0];
    const least = Math.min(p, q);
    const id = test.tokens[i];
    const [isDrafted, isDrawn] = [id === drafted, id === drawn];
    const label = `${pieceSpoken(pieceOf(lane, id))}: p ${p.toFixed(3)}, q ${q.toFixed(3)}, min ${least.toFixed(3)}, residual ${residual.toFixed(3)}`;
    const bar = (kind, x, top, w, height) => svg("rect", { class: kind, x: x.toFixed(1), y: top, width: Math.max(kind.endsWith("solid") ? 1 : 0, w).toFixed(1), height });
    const link = isDrafted ? nodeLink(now, test.node) : isDrawn ? `t${now.first + now.tree.path.length}` : `w${id}`;
    out.push(svg("g", { class: "row", role: "img", tabindex: isDrafted ? 0 : -1, "aria-label": label, "data-link": link, "data-lm-suppress-shortcuts": "true" },
      svg("title", {}, label),
      svg("rect", { class: isDrafted ? "rowhot on" : "rowhot", x: -4, y: y - 2, width: width + 8, height: 34, rx: 4 }),
      svg("text", { class: isDrafted || isDrawn ? "code heavy" : "code", x: x0 - 10, y: y + 20, "text-anchor": "end" }, names.get(i)),
      bar("q-solid", x0, y + 3, least * scale, 11),
      q - least > 0.002 ? bar("q-over", x0 + least * scale, y + 3.6, (q - least) * scale, 9.8) : null,
      bar("p-solid", x0, y + 16, least * scale, 11),
      p - least > 0.002 ? bar("p-over", x0 + least * scale, y + 16.6, (p - least) * scale, 9.8) : null,
      svg("text", { class: "tick q", x: (x0 + q * scale + 6).toFixed(1), y: y + 13 }, decimals(q) + (isDrafted ? "  drawn" : "")),
      svg("text", { class: "tick p", x: (x0 + p * scale + 6).toFixed(1), y: y + 26 }, decimals(p)),
      residual > 0.0005 ? bar("p-over", rx, y + 7, residual * leftScale, 16) : null,
      svg("text", { class: isDrawn ? "strong" : "tick", x: (rx + (residual > 0.0005 ? residual * leftScale + 6 : 0)).toFixed(1), y: y + 19.5 }, residual > 0.0005 ? decimals(residual) + (isDrawn ? " ◆ drawn" : "") : "0")));
    y += 33;
  }
  const sum = (list, mass) => Math.max(0, mass - rows.reduce((total, i) => total + (list(i) ?? 0), 0));
  const [qLeft, pLeft] = [sum((i) => test.q[i], test.q.reduce((a, b) => a + b, test.q_rest)), sum((i) => test.p[i], test.p.reduce((a, b) => a + b, test.p_rest))];
  const leastLeft = sum((i) => Math.min(test.p[i], test.q[i]), test.agreement);
  const residualLeft = sum((i) => test.residual[i], test.residual.reduce((a, b) => a + (b ?? 0), test.residual_rest));
  const others = (lane.opening?.vocabulary ?? 0) - rows.length;
  text(x0 - 10, y + 13, others > 0 ? `${others.toLocaleString("en")} more` : "all others", { class: "tick", "text-anchor": "end" });
  text(x0, y + 13, `q ${decimals(qLeft)} · p ${decimals(pLeft)} · min ${decimals(leastLeft)}`, { class: "tick" });
  text(rx, y + 13, decimals(residualLeft), { class: "tick" });
  y += 24;
  out.push(svg("path", { class: "grid", d: `M0 ${y}H${width}` }));
  const alpha = `Σ min(p, q) = ${test.agreement.toFixed(3)}`;
  text(x0, y + 18, alpha, { class: "strong" });
  text(x0 + 138, y + 18, reason.includes("k-SEQ") ? "chance of a draft that is alone here" : reason.includes("typical") ? "what a lossless verifier would keep" : "chance that a drafted token survives here");
  text(rx, y + 18, `Σ (p − q)₊ = ${rest.toFixed(3)}`, { class: "strong" });
  const height = y + 24;
  return svg("svg", { class: "tl-laws", width, height, viewBox: `0 0 ${width} ${height}`, style: `width:${width}px;height:${height}px`, role: "group", "aria-label": "Draft law q, target law p, their minimum and the residual" }, ...out);
}
