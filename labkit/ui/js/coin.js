// The sentence under the tree, with its numbers, and the coin gauge beside it.

/** What happened to the node in focus, said with its numbers; the gauge shows the coin against the threshold. */
function coinView(store) {
  const words = html("p", { class: "tl-sentence" });
  const gauge = html("div", { class: "tl-gauge" });
  const element = html("div", { class: "tl-why", "aria-live": "polite" }, words, gauge);
  let count = 0;
  let key = "";
  let wide = 0; // remembered: asking for it between two changes costs a layout
  const redraw = () => {
    const lane = laneNow(store);
    const now = stepNow(lane);
    const focus = nodeInFocus(store, now);
    words.replaceChildren(...coinSentence(lane, now, focus));
    const [coin, threshold] = coinOf(now?.tree, focus);
    gauge.replaceChildren(coin === null ? "" : coinGauge(threshold, coin, wide || gauge.clientWidth || 360, coinRule(now.tree, focus)));
    hide(gauge, coin === null);
    element.classList.toggle("wordy", coin === null);
    hide(element, !now);
    element.dataset.drawn = String(++count);
  };
  whenResized(gauge, (width) => ((wide = width), redraw()));
  return {
    title: "Why",
    element,
    draw() {
      const lane = laneNow(store);
      const now = stepNow(lane);
      const next = `${store.lane}/${lane?.name}/${lane?.at}/${now?.step.emitted}/${nodeInFocus(store, now)}`;
      if (next !== key) {
        key = next;
        redraw();
      }
    },
    table() {
      const [coin, threshold] = coinOf(stepNow(laneNow(store))?.tree, nodeInFocus(store, stepNow(laneNow(store))));
      return { columns: ["coin", "threshold"], rows: coin === null ? [] : [[coin.toFixed(4), threshold.toFixed(4)]] };
    },
  };
}

function coinOf(tree, node) {
  if (!tree || typeof node !== "number") return [null, null];
  const [coin, threshold] = [tree.coins[node] ?? null, tree.thresholds[node] ?? null];
  return threshold === null ? [null, null] : [coin, threshold];
}

/** What the coin of a node was compared with: k-SEQ divides by ρ too. */
function coinRule(tree, node) {
  return tree.reasons[node]?.includes("ρ") ? "p/(ρ q)" : "p/q";
}

/** The sentence as nodes: token text goes in as text. */
function coinSentence(lane, now, focus) {
  const { tree } = now ?? {};
  const name = (id) => html("code", {}, pieceShort(pieceOf(lane, id)));
  if (!now) return ["No step yet."];
  if (focus === null || !tree) {
    const last = now.step.emitted.at(-1);
    return last === undefined ? ["This step added nothing."] : ["Nothing was drafted in this step; the target wrote ", name(last), "."];
  }
  if (focus === "target") return targetSentence(tree, name);
  const verdict = nodeVerdict(tree, focus);
  const token = name(tree.tokens[focus]);
  const q = nodeDraft(tree, focus);
  const p = tree.target_logprobs[focus] ?? null;
  const draft = q === null ? `The ${SOURCES[tree.source] ?? "drafter"} proposed it` : `The draft gave it q ${equalsNumber(q)}`;
  if (verdict === "unreached") {
    return [html("b", {}, token, " never reached."), ` ${draft}, but it was not looked at: ${unreachedWhy(lane, tree, focus)}.`];
  }
  const [coin, threshold] = coinOf(tree, focus);
  const behind = nodesBehind(treeChildren(tree), focus);
  const lost = !behind || verdict === "accepted" ? "" : behind === 1 ? ", so the node behind it was never looked at" : `, so the ${behind} nodes behind it were never looked at`;
  const title = verdict === "accepted" ? html("b", { class: "acc" }, "✓ ", token, " accepted.") : html("b", { class: "ref" }, "✕ ", token, " refused.");
  if (coin === null) {
    const chance = p === null ? "" : `, the target gives it p ${equalsNumber(Math.exp(p))}`;
    return [title, ` ${draft}${chance}. `, tree.reasons[focus] ? `It ${tree.reasons[focus]}${lost}.` : ""];
  }
  // After refusals among the siblings p is what they left; the threshold remembers it where it is below 1.
  const before = siblingsTested(tree, focus).filter((other) => tree.order[other] < tree.order[focus]);
  const rule = coinRule(tree, focus);
  const left = before.length > 0 && threshold < 1 && q !== null && rule === "p/q"; // k-SEQ asks the same of every draft
  const target = p === null ? "" : `, the target p ${equalsNumber(left ? threshold * q : Math.exp(p))}`;
  const after = left && p !== null ? [" after refusing ", ...before.slice(-2).flatMap((i, at) => (at ? [" and ", name(tree.tokens[i])] : [name(tree.tokens[i])]))] : [];
  const said = verdict === "accepted"
    ? `. The coin ${coin.toFixed(3)} is below ${threshold < 1 ? `${rule} ${equalsNumber(threshold)}` : `1, and p is not smaller than ${rule === "p/q" ? "q" : "ρ q"}`}, so it stays.`
    : `. The coin ${coin.toFixed(3)} is above ${rule}${lost}.`;
  const shared = /\((\d+) drafts\)/.exec(tree.reasons[focus]);
  return [title, ` ${draft}${target}`, ...after, said, shared ? ` ${shared[1]} drafts go through it, each with a coin of its own; the last one thrown is shown.` : ""];
}

const SOURCES = { lookup: "n-gram lookup", matrix: "token matrix", draft: "drafter" };

/** Nodes tested under the same parent, in the order of their coins. */
function siblingsTested(tree, node) {
  const some = tree.tokens.map((_, i) => i).filter((i) => tree.parents[i] === tree.parents[node] && nodeVerdict(tree, i) !== "unreached");
  return some.sort((a, b) => (tree.order[a] ?? a) - (tree.order[b] ?? b));
}

function targetSentence(tree, name) {
  const chance = tree.added_logprob === null ? "" : `, p ${equalsNumber(Math.exp(tree.added_logprob))}`;
  const law = tree.added_from === "residual" ? "from what the refused drafts left of its law" : "from its own law";
  const count = tree.path.length ? `${tree.path.length} of ${counted(tree.tokens.length, "drafted token")} came before it` : "no draft came before it";
  return [html("b", { class: "tgt" }, "▶ ", name(tree.added), " added."), ` The target took it ${law}${chance}; ${count}.`];
}

/** Why a node was never looked at: an ancestor fell, a sibling won, or the run ended. */
function unreachedWhy(lane, tree, node) {
  for (let at = tree.parents[node]; at >= 0; at = tree.parents[at]) {
    if (tree.verdicts[at] === "refused") return `${pieceShort(pieceOf(lane, tree.tokens[at]))}, before it, was refused`;
  }
  const winner = tree.path.find((other) => tree.parents[other] === tree.parents[node]);
  if (winner !== undefined) return `${pieceShort(pieceOf(lane, tree.tokens[winner]))} had been accepted in its place`;
  const away = tree.parents[node] >= 0 && !tree.path.includes(tree.parents[node]);
  return away ? "the path went another way" : "the run was at its end";
}

/** The gauge: what the coin may be to keep the token, and where it fell. `threshold` and `coin` are from 0 to 1. */
function coinGauge(threshold, coin, width, name = "p/q") {
  const edge = Math.min(1, threshold) * width;
  const pin = coin * width;
  const words = equalsNumber(threshold);
  const text = (content, attributes) => svg("text", attributes, content);
  const label = `Coin ${coin.toFixed(3)} against threshold ${threshold.toFixed(3)}: ${coin <= threshold ? "keep" : "refuse"}`;
  const half = 36 + 8 * name.length; // of the words under the edge
  const under = edge < half ? { x: 0, "text-anchor": "start" } : edge > width - half ? { x: width, "text-anchor": "end" } : { x: edge, "text-anchor": "middle" };
  const left = pin > width * 0.6;
  return svg("svg", { class: "coin", width, height: 60, viewBox: `0 0 ${width} 60`, style: `width:${width}px;height:60px`, role: "img", "aria-label": label },
    svg("rect", { class: "keep", x: 0, y: 20, width: Math.max(2, edge), height: 20 }),
    width - edge > 3 ? svg("rect", { class: "drop", x: edge + 1, y: 20.7, width: width - edge - 1.7, height: 18.6 }) : null,
    edge > 60 ? text("keep", { class: "in", x: 8, y: 34.5 }) : null,
    width - edge > 60 ? text("refuse", { class: "lab out", x: width - 8, y: 34.5, "text-anchor": "end" }) : null,
    svg("path", { class: "pin", d: `M${pin} 14V46` }),
    svg("path", { class: "head", d: `M${pin - 5} 8h10l-5 8z` }),
    text(`coin u = ${coin.toFixed(3)}`, { class: "b lab", x: pin + (left ? -9 : 9), y: 13, "text-anchor": left ? "end" : "start" }),
    text(`${name} ${threshold >= 1 ? "≥ 1" : words}`, { class: "b", y: 56, ...under }),
    edge < half ? null : text("0", { class: "tick", x: 0, y: 56 }),
    edge > width - half ? null : text("1", { class: "tick", x: width, y: 56, "text-anchor": "end" }));
}
