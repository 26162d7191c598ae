// What the page is looking at: the lane on show, its current step, the chosen node or token.

/** The lane that panels show; its steps may still be empty. */
function laneNow(store) {
  return store.lanes[store.lane ?? 0];
}

/** The step that a lane is at; null before the first. */
function stepAt(lane) {
  return lane?.at > 0 ? lane.steps.at(lane.at - 1) : null;
}

/**
 * The current step of a lane: { step, tree, added, number (from 1), first }; null before the first. `first` is the index of its
 * first token. The tree's own `added` is empty when the run was long enough without it; `added` is what the target chose.
 */
function stepNow(lane) {
  const step = stepAt(lane);
  if (!step) return null;
  const prompt = lane.opening?.prompt_ids?.length ?? 0;
  const first = step.at ? prompt + (step.at[0] ?? 0) : prompt + lane.sums.tokens[lane.at - 1];
  const whole = stepTree(step);
  const tree = whole && step.emitted.length <= whole.path.length ? { ...whole, added: null } : whole;
  return { step, tree, added: whole?.added ?? null, number: lane.at, first };
}

/** The text of token `id` in a lane; a token the trace never mentions shows its number. */
function pieceOf(lane, id) {
  return lane.pieces?.[id] ?? `#${id}`;
}

/** The node of the current tree that the page talks about: the chosen one, else the last refused, else the last accepted; null = none. */
function nodeInFocus(store, now) {
  const tree = now?.tree;
  if (!tree) return null;
  const chosen = store.selected;
  if (chosen && chosen.lane === (store.lane ?? 0)) {
    if (chosen.kind === "node" && chosen.index >= 0 && chosen.index < tree.tokens.length) return chosen.index;
    if (chosen.kind === "token") {
      const slot = chosen.index - now.first;
      if (slot >= 0 && slot < tree.path.length) return tree.path[slot];
      if (slot === tree.path.length && now.step.emitted.length > slot) return "target";
    }
  }
  return tellingNode(tree);
}

/** The node a step is about when nobody has chosen one: where it was refused, else how far it came. */
function tellingNode(tree) {
  const refused = tree.tokens.map((_, node) => node).filter((node) => tree.verdicts[node] === "refused");
  refused.sort((a, b) => (tree.order[a] ?? a) - (tree.order[b] ?? b));
  return refused.at(-1) ?? tree.path.at(-1) ?? null;
}

/** The index in `lane.tokens` of the token the page talks about: the chosen one, else the last one shown; -1 = none. */
function tokenInFocus(store) {
  const lane = laneNow(store);
  if (!lane?.tokens?.length) return -1;
  const chosen = store.selected;
  if (chosen?.kind === "token" && chosen.lane === (store.lane ?? 0) && chosen.index < lane.tokens.length) return chosen.index;
  return lastShown(lane);
}

/** The index of the last token that is not "later". */
function lastShown(lane) {
  if (!lane.anyOrder) return Math.min(lane.tokens.length, Math.max(1, (lane.opening?.prompt_ids.length ?? 0) + lane.sums.tokens[lane.at])) - 1;
  let last = lane.tokens.length - 1;
  while (last > 0 && lane.tokens[last].step >= lane.at) last--;
  return last;
}

/** The link key of node `node`: the committed token's when the node was accepted, else its own. */
function nodeLink(now, node) {
  const slot = now.tree.path.indexOf(node);
  return slot >= 0 ? `t${now.first + slot}` : `n${node}`;
}

/** Choose a node; an accepted one is chosen as the token it became, so that strip and tree ring together. */
function chooseNode(store, now, node) {
  const slot = node === "target" ? now.tree.path.length : now.tree.path.indexOf(node);
  const lane = store.lane ?? 0;
  store.set({ selected: slot >= 0 ? { kind: "token", lane, index: now.first + slot } : { kind: "node", lane, index: node } });
}

/** Hover and keyboard focus inside `element` ring every element of the bench with the same key. */
function linked(element, store) {
  const come = (event) => store.hot(event.target.closest("[data-link]")?.dataset.link ?? null);
  element.addEventListener("pointerover", come);
  element.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && come(event));
  for (const gone of ["pointerleave", "focusout"]) element.addEventListener(gone, () => store.hot(null));
}

/** The panel's sentence when there is nothing to draw yet. */
function emptyWords(lane, words) {
  return html("p", { class: "quiet tl-none" }, lane?.steps?.length ? words : "Nothing here yet: press Step, or open a saved trace.");
}
