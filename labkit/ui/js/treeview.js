// The draft tree of the current step, drawn in CSS pixels for the width there is.

/** Panel "Draft tree": the nodes, their verdicts, the coins; arrows walk it, Enter chooses. */
function treeView(store) {
  const scroll = html("div", { class: "tl-treescroll" });
  const coin = coinView(store);
  const why = html("div", null, coin.element);
  const grow = growView(store, showGrown);
  const element = html("div", { class: "tl-treepart" }, html("div", { class: "tl-tree" }, scroll), why, grow.element);
  const box = element.firstChild;
  const open = new Set(); // folds a person has opened in this step
  let drawn = "";
  let count = 0;
  let tallest = 92;
  let fresh = false; // another tree than the one that was measured last
  let laid = 0; // the height that the panel was told to keep
  let seen = { lane: -1, at: -1, when: 0 };
  roving(scroll, (here, key) => nextInTree(scroll, here, key));
  linked(scroll, store);
  whenResized(scroll, () => redraw(false));

  function redraw(play) {
    const lane = laneNow(store);
    const now = stepNow(lane);
    if (!now?.tree) {
      scroll.replaceChildren(emptyWords(lane, "This step drafted nothing: the target wrote its token alone."));
      view.note = "";
    } else {
      const focus = nodeInFocus(store, now);
      const kept = scroll.contains(document.activeElement) ? document.activeElement.dataset.id : null;
      scroll.replaceChildren(drawTree(store, lane, now, focus, scroll, open, unfold));
      tallest = Math.max(tallest, Number(scroll.firstChild.getAttribute("height")));
      if (kept) scroll.querySelector(`[data-id="${kept}"]`)?.focus({ preventScroll: true });
      view.note = treeNote(lane, now);
    }
    grow.turn();
    if (tallest !== laid) scroll.style.setProperty("--tl-tallest", `${(laid = tallest)}px`); // the panel keeps its height, so that nothing below it jumps
    box.classList.toggle("play", play);
    element.dataset.drawn = String(++count);
  }

  /** Show the first `grown` nodes alone; what was decided later is hidden with the others. */
  function showGrown(grown) {
    if (!why.hidden && !grow.element.hidden) grow.element.style.minHeight = `${coin.element.offsetHeight}px`; // one takes the other's place, nothing jumps
    hide(why, !grow.element.hidden);
    for (const part of scroll.querySelectorAll("[data-since]")) part.classList.toggle("ungrown", why.hidden && Number(part.dataset.since) >= grown);
    if (why.hidden) box.classList.remove("play");
  }

  /** A tree larger than its place opens on what survived: the end of the path, and the token the target added. */
  function showEnd() {
    const bottom = Math.max(0, ...[...scroll.querySelectorAll(".acc, .tgt")].map((node) => Number(node.dataset.y) || 0));
    const end = scroll.querySelector("g.tgt .box, g.acc .box");
    scroll.scrollTop = Math.max(0, bottom + 40 - scroll.clientHeight);
    if (end) scroll.scrollLeft = Math.max(0, end.getBBox().x + end.getBBox().width + 40 - scroll.clientWidth);
  }

  function unfold(parent) {
    open.add(parent);
    redraw(false);
    scroll.querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
  }

  const view = {
    title: "Draft tree",
    note: "",
    legend: grow.control,
    element,
    draw(changes) {
      const lane = laneNow(store);
      const now = stepNow(lane);
      const key = `${store.lane}/${lane?.name}/${lane?.at}/${now?.step.emitted}/${lane?.opening?.target}`;
      const when = performance.now();
      if (key !== drawn) {
        open.clear();
        if (seen.trace !== lane?.opening) tallest = 92;
        // One step forward is shown happening; scrubbing, holding a key and running fast are not slowed down by it.
        const stepped = seen.lane === store.lane && lane?.at === seen.at + 1 && when - seen.when > 200;
        seen = { lane: store.lane, at: lane?.at, trace: lane?.opening, when };
        drawn = key;
        grow.show(now);
        redraw(stepped);
        fresh = true;
      } else if (!changes || changes.has?.("selected")) {
        box.classList.remove("play");
        markChosen(scroll, nodeInFocus(store, now));
        element.dataset.drawn = String(++count);
      }
      coin.draw(changes);
    },
    /** When all is drawn: measuring between two changes costs a layout. */
    settle() {
      if (fresh && (scroll.scrollHeight > scroll.clientHeight || scroll.scrollWidth > scroll.clientWidth)) showEnd();
      fresh = false;
    },
    table: () => treeTable(store),
  };
  return view;
}

function treeNote(lane, now) {
  const { tree } = now;
  const added = tree.added === null ? "" : ", 1 added by the target";
  if (!tree.tokens.length) return `step ${now.number}: nothing drafted${added}`;
  const lossy = lane.opening?.lossless === false ? " · lossy" : "";
  return `step ${now.number}: ${tree.path.length} of ${counted(tree.tokens.length, "drafted token")} accepted${added}${lossy}`;
}

function drawTree(store, lane, now, focus, face, open, unfold) {
  const { tree } = now;
  const width = face.clientWidth || 800;
  const name = (id) => {
    if (id === -1) return pieceOf(lane, lane.tokens[now.first - 1]?.id ?? -1);
    return pieceOf(lane, id === "target" ? tree.added : tree.tokens[id]);
  };
  const ruler = textRuler(face, 13, "--tl-code", 600);
  const tallest = parseFloat(getComputedStyle(face).maxHeight) || Infinity; // the room a page has; what a click opened may scroll
  const plan = layoutTree(tree, width, name, (text) => ruler(pieceShort(text)), open, tallest);
  plan.ruler = textRuler(face, 12, "--tl-ui", 550);
  const parts = [];
  for (let depth = 0; depth < plan.columns; depth++) {
    const x = TREE.left + depth * plan.step;
    parts.push(svg("text", { class: "col", x, y: 11 }, depth ? `+${depth}` : "last token"));
    if (depth) parts.push(svg("path", { class: "guide", d: `M${x.toFixed(1)} 20V${plan.height}` }));
  }
  const ids = [...plan.nodes.keys()].filter((id) => id !== -1);
  const state = (id) => (id === "target" ? "tgt" : typeof id === "string" ? "gho" : { accepted: "acc", refused: "ref" }[nodeVerdict(tree, id)] ?? "gho");
  const depthMost = Math.max(...ids.map((id) => plan.nodes.get(id).depth));
  const late = (id) => `--d:${plan.nodes.get(id).depth};--v:${depthMost * 90 + 120 + (typeof id === "number" ? (tree.order[id] ?? 0) : tree.path.length) * 120}ms`;
  const layer = { gho: 0, ref: 1, acc: 2, tgt: 3 };
  for (const id of [...ids].sort((a, b) => layer[state(a)] - layer[state(b)])) {
    const spot = plan.nodes.get(id);
    const q = typeof id === "number" ? plan.shares[id] : null;
    const d = treeEdge(plan.nodes.get(spot.parent), spot);
    const both = { d, style: late(id), "data-since": bornAt(tree, plan, id) };
    parts.push(svg("path", { class: `edge ${state(id)}`, "stroke-width": edgeWidth(q).toFixed(1), ...both }));
    if (state(id) === "ref") parts.push(svg("path", { class: "edge refline", "stroke-width": 1.8, ...both }));
  }
  const numbers = coinNumbers(tree);
  parts.push(drawNode(store, now, -1, plan, name(-1), "root", focus, "--d:0;--v:0ms"));
  for (const id of ids) {
    if (plan.nodes.get(id).fold) parts.push(drawFold(id, tree, plan, unfold));
    else parts.push(drawNode(store, now, id, plan, name(id), state(id), focus, late(id), numbers[id]));
  }
  const tally = { acc: 0, ref: 0, gho: 0 };
  tree.tokens.forEach((_, node) => tally[state(node)]++);
  const label = `Draft tree of step ${now.number}: ${counted(tree.tokens.length, "node")}, ${tally.acc} accepted, ${tally.ref} refused, ${tally.gho} never reached`;
  return svg("svg", { width: plan.width, height: plan.height, viewBox: `0 0 ${plan.width} ${plan.height}`, style: `width:${plan.width}px;height:${plan.height}px`, role: "group", "aria-label": label, "data-roving": true }, ...parts);
}

function drawNode(store, now, id, plan, text, state, focus, style, badge) {
  const { x, y, w } = plan.nodes.get(id);
  const { tree } = now;
  const slot = id === "target" ? tree.path.length : tree.path.indexOf(id);
  const link = id === -1 ? `t${now.first - 1}` : slot >= 0 ? `t${now.first + slot}` : `n${id}`;
  const label = nodeLabel(tree, id, text);
  const box = { acc: 24, ref: 24, gho: 21, root: 24, tgt: 26 }[state];
  const room = Math.max(2, Math.floor((w - 16) / 7.6));
  // A reason may run on below the next column when nothing of this row stands there.
  const wide = plan.step * (state === "ref" && !plan.inner.has(id) ? 1.9 : 1) - (badge ? 12 : 4);
  const why = nodeWhy(tree, id).find((words) => plan.ruler(words) <= wide) ?? "";
  const chosen = id === focus;
  const choose = () => (id === -1 ? store.set({ selected: { kind: "token", lane: store.lane ?? 0, index: now.first - 1 } }) : chooseNode(store, now, id));
  const at = (n) => n.toFixed(1);
  return svg("g", { class: `node ${state}`, role: "button", tabindex: chosen ? 0 : -1, "aria-label": label, "aria-pressed": String(chosen), "data-link": link, ...nodeData(tree, plan, id), "data-lm-suppress-shortcuts": "true", style, onclick: choose },
    svg("title", {}, label),
    svg("rect", { class: "ring", x: at(x - 4), y: at(y - 16), width: at(w + (state === "tgt" ? 14 : 8)), height: 32, rx: 9 }),
    state === "tgt"
      ? svg("path", { class: "box", d: `M${at(x)} ${y - 13}H${at(x + w - 2)}L${at(x + w + 7)} ${y}L${at(x + w - 2)} ${y + 13}H${at(x)}z` })
      : svg("rect", { class: "box", x: at(x), y: y - box / 2, width: at(w), height: box, rx: state === "root" ? 3 : 6 }),
    svg("text", { class: "code", x: at(x + 8), y: y + 4.5 }, pieceCut(text, room)),
    badge ? svg("circle", { class: "badge late", cx: at(x), cy: y - 12, r: 8 }) : null,
    badge ? svg("text", { class: "badgeno late", x: at(x), y: y - 8, "text-anchor": "middle" }, String(badge)) : null,
    why ? svg("text", { class: "why late", x: at(x + (badge ? 9 : 1)), y: y + 27 }, why) : null,
    state === "gho" && plan.shares[id] !== null ? svg("text", { class: "q", x: at(x + w + 6), y: y + 4 }, decimals(plan.shares[id], 2)) : null);
}

/** The place of a node in the order in which the tree grew; a fold came with its first node, the target's token behind all. */
function bornAt(tree, plan, id) {
  if (id === "target") return tree.tokens.length;
  return typeof id === "number" ? id : Math.min(...plan.nodes.get(id).fold.away);
}

/** What the arrows and the slider of growth need to know about a node. */
function nodeData(tree, plan, id) {
  const { parent, depth, y } = plan.nodes.get(id);
  return { "data-id": id, "data-parent": parent, "data-depth": depth, "data-y": y, "data-since": bornAt(tree, plan, id) };
}

function drawFold(id, tree, plan, unfold) {
  const { x, y, w, fold } = plan.nodes.get(id);
  const words = `+ ${fold.count} nodes`;
  const label = `${fold.count} nodes never reached: open`;
  return svg("g", { class: "node gho fold", role: "button", tabindex: -1, "aria-label": label, "aria-expanded": "false", "data-fold": id, ...nodeData(tree, plan, id), "data-lm-suppress-shortcuts": "true", onclick: () => unfold(fold.parent) },
    svg("title", {}, label),
    svg("rect", { class: "ring", x: x - 4, y: y - 16, width: w + 8, height: 32, rx: 9 }),
    svg("rect", { class: "box", x, y: y - 10.5, width: w, height: 21, rx: 10 }),
    svg("text", { x: x + 8, y: y + 4.5 }, words));
}

/** The order of the coins among siblings, from 1; a lone coin needs no number. */
function coinNumbers(tree) {
  const groups = new Map();
  tree.tokens.forEach((_, node) => {
    if (nodeVerdict(tree, node) === "unreached") return;
    if (!groups.has(tree.parents[node])) groups.set(tree.parents[node], []);
    groups.get(tree.parents[node]).push(node);
  });
  const numbers = [];
  for (const group of groups.values()) {
    if (group.length < 2) continue;
    group.sort((a, b) => (tree.order[a] ?? a) - (tree.order[b] ?? b)).forEach((node, at) => (numbers[node] = at + 1));
  }
  return numbers;
}

/** The verifiers' reasons in the room that a column has; the sentence and the tooltip say them whole. */
const SHORT_REASONS = { "is what the target drew": "drawn", "is not what the target drew": "not drawn", "is the likeliest": "best", "is not the likeliest": "not best" };

/** The clause under a tested node, longest first: its coin and threshold, else the verifier's own reason and p. */
function nodeWhy(tree, id) {
  if (id === "target") return [tree.added_logprob === null ? "target adds" : `target adds, p ${decimals(Math.exp(tree.added_logprob), 2)}`, "target"];
  if (id === -1 || nodeVerdict(tree, id) === "unreached") return [];
  const mark = nodeVerdict(tree, id) === "accepted" ? "✓" : "✕";
  const [coin, threshold] = [tree.coins[id] ?? null, tree.thresholds[id] ?? null];
  if (coin !== null && threshold !== null) return [`${mark} u ${decimals(coin)} ${mark === "✓" ? "≤" : ">"} ${decimals(threshold)}`, `${mark} u ${decimals(coin)}`, mark];
  const p = tree.target_logprobs[id] ?? null;
  const chance = p === null ? "" : `p ${decimals(Math.exp(p))}`;
  const reason = SHORT_REASONS[tree.reasons[id]] ?? tree.reasons[id] ?? "";
  return [[reason, chance].filter(Boolean).join(", "), chance || reason, ""].map((words) => `${mark} ${words}`.trim());
}

/** One node in words: the tooltip and the accessible name come from here. */
function nodeLabel(tree, id, text) {
  const name = pieceSpoken(text);
  if (id === -1) return `last committed token, ${name}`;
  if (id === "target") {
    const from = tree.added_from === "residual" ? ", drawn from the residual" : "";
    return `${name}: added by the target${tree.added_logprob === null ? "" : `, probability ${Math.exp(tree.added_logprob).toFixed(3)}`}${from}`;
  }
  const parts = [nodeVerdict(tree, id).replace("unreached", "never reached")];
  const number = (word, logs) => (logs[id] === null || logs[id] === undefined ? [] : [`${word} ${Math.exp(logs[id]).toFixed(3)}`]);
  parts.push(...number("draft", tree.draft_logprobs), ...number("target", tree.target_logprobs));
  if ((tree.coins[id] ?? null) !== null) parts.push(`coin ${tree.coins[id].toFixed(3)}`);
  if ((tree.thresholds[id] ?? null) !== null) parts.push(`threshold ${tree.thresholds[id].toFixed(3)}`);
  if (tree.reasons[id]) parts.push(tree.reasons[id]);
  return `${name}: ${parts.join(", ")}`;
}

function markChosen(scroll, focus) {
  for (const node of scroll.querySelectorAll("g.node")) {
    const chosen = node.dataset.id === String(focus);
    if (node.getAttribute("aria-pressed") !== String(chosen) && !node.dataset.fold) node.setAttribute("aria-pressed", String(chosen));
    if (chosen) {
      for (const other of scroll.querySelectorAll('[tabindex="0"]')) other.setAttribute("tabindex", "-1");
      node.setAttribute("tabindex", "0");
    }
  }
}

/** Arrows in the tree: left to the parent, right to the first child, up and down to the next node of the same column. */
function nextInTree(box, here, key) {
  const nodes = [...box.querySelectorAll("g.node")];
  const height = (node) => Number(node.dataset.y);
  const { id, parent, depth } = here.dataset;
  const inOrder = (some) => some.sort((a, b) => height(a) - height(b));
  if (key === "ArrowLeft") return nodes.find((node) => node.dataset.id === parent);
  if (key === "ArrowRight") return inOrder(nodes.filter((node) => node.dataset.parent === id))[0];
  const column = inOrder(nodes.filter((node) => node.dataset.depth === depth));
  const at = column.indexOf(here);
  return { ArrowUp: column[at - 1], ArrowDown: column[at + 1], Home: nodes.find((node) => node.dataset.id === "-1"), End: nodes.find((node) => node.dataset.id === "target") }[key];
}

function treeTable(store) {
  const lane = laneNow(store);
  const tree = stepNow(lane)?.tree;
  const columns = ["node", "token", "parent", "verdict", "reason", "draft probability", "target probability", "coin", "threshold", "coin order"];
  const chance = (x) => (x === null || x === undefined ? "" : Math.exp(x).toFixed(4));
  const number = (x) => (x === null || x === undefined ? "" : x.toFixed(4));
  const rows = (tree?.tokens ?? []).map((token, i) => [i, pieceShown(pieceOf(lane, token)), tree.parents[i] < 0 ? "last token" : tree.parents[i],
    nodeVerdict(tree, i), tree.reasons[i] ?? "", chance(tree.draft_logprobs[i]), chance(tree.target_logprobs[i]), number(tree.coins[i]),
    number(tree.thresholds[i]), tree.order[i] === null || tree.order[i] === undefined ? "" : tree.order[i] + 1]);
  if (tree && tree.added !== null) rows.push(["target", pieceShown(pieceOf(lane, tree.added)), tree.path.at(-1) ?? "last token", "added", tree.added_from, "", chance(tree.added_logprob), "", "", ""]);
  return { columns, rows };
}
