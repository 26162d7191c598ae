// Where the nodes of a draft tree stand: plain arithmetic, no page. labkit/views/layout.py does the same for files; a test compares them.
//   Column = depth. Siblings are stacked by q, likeliest on top. A parent sits on the row of its first child, so a straight
//   line is what the draft believed most. Each leaf opens a row; a row with a tested node is taller, it must hold the reason.
//   The target's own token is the last child of the path's end. Big trees fold what was never reached into one pill.

const TREE = { low: 25, tall: 43, top: 27, left: 4, room: 8, columns: 10, narrowest: 104, pill: 30, most: 64, rows: 24 };

/** q of a node in the row it was drawn from, or null when no draft law stands behind it. */
function nodeDraft(tree, node) {
  const logprob = tree.draft_logprobs[node];
  return logprob === null || logprob === undefined ? null : Math.exp(logprob);
}

/** q of every node under the draft's whole law: a row that siblings were drawn from without replacement is what the elder ones left. */
function draftShares(tree) {
  const left = new Map();
  return tree.tokens.map((_, node) => {
    const q = nodeDraft(tree, node);
    if (q === null || tree.kind !== "without_replacement") return q;
    const rest = left.get(tree.parents[node]) ?? 1;
    left.set(tree.parents[node], rest * (1 - q));
    return rest * q;
  });
}

/** "accepted", "refused" or "unreached"; before the verdicts are in, every node is unreached. */
function nodeVerdict(tree, node) {
  return tree.verdicts[node] ?? "unreached";
}

/** Children of every node, likeliest first (as proposed where there is no q); index 0 is the root, node i is at i + 1. */
function treeChildren(tree, shares = draftShares(tree)) {
  const children = Array.from({ length: tree.tokens.length + 1 }, () => []);
  tree.parents.forEach((parent, node) => children[parent + 1].push(node));
  const q = (node) => shares[node] ?? -1;
  for (const group of children) group.sort((a, b) => q(b) - q(a) || a - b);
  return children;
}

/** How many nodes hang under `node`, itself not counted. */
function nodesBehind(children, node) {
  return children[node + 1].reduce((sum, child) => sum + 1 + nodesBehind(children, child), 0);
}

/** What a big tree may fold, most rows saved first: under each reached node everything below it that was never reached. */
function foldableGroups(tree, children, open) {
  const leaves = (node) => children[node + 1].reduce((sum, child) => sum + leaves(child), 0) || 1;
  const groups = [];
  children.forEach((group, at) => {
    const parent = at - 1;
    if (open.has(parent) || (parent >= 0 && nodeVerdict(tree, parent) === "unreached")) return;
    const away = group.filter((child) => nodeVerdict(tree, child) === "unreached");
    const count = away.reduce((sum, child) => sum + 1 + nodesBehind(children, child), 0);
    const saved = away.reduce((sum, child) => sum + leaves(child), 0) - 1;
    if (count > 1) groups.push({ id: `f${parent}`, parent, away, count, saved });
  });
  return groups.sort((a, b) => b.saved - a.saved || b.count - a.count);
}

/**
 * Lay a tree out for `width` CSS pixels. `measure(text)` is the width of a token's text; `names(id)` is that text. Over 64
 * nodes or 24 rows all that was never reached is folded, except under nodes in `open`; a smaller tree folds group by group
 * until it is no taller than `tallest` pixels.
 * Returns { nodes: Map(id -> {x, y, w, depth, parent, fold?}), inner, shares, height, width, columns, step }; ids: -1 the root, 0… the
 * nodes, "f3" a fold, "target" the token the target added. y is a middle line, x a left edge, `step` the width of a column.
 */
function layoutTree(tree, width, names, measure, open = new Set(), tallest = Infinity) {
  const shares = draftShares(tree);
  const children = treeChildren(tree, shares);
  const groups = foldableGroups(tree, children, open);
  const leaves = children.filter((group, at) => at > 0 && group.length === 0).length;
  let folded = tree.tokens.length > TREE.most || leaves > TREE.rows ? groups.length : 0;
  let plan = arrangeTree(tree, children, groups.slice(0, folded));
  while (plan.height > tallest && folded < groups.length) plan = arrangeTree(tree, children, groups.slice(0, ++folded));

  // the root's, one for every depth that is drawn, and one for the target's own
  const columns = [...plan.nodes].reduce((most, [id, spot]) => (id === "target" ? most : Math.max(most, spot.depth)), 0) + 2;
  const step = Math.max(TREE.narrowest, (width - TREE.room) / Math.max(2, Math.min(columns, TREE.columns)));
  for (const [id, spot] of plan.nodes) {
    const text = spot.fold ? `+ ${spot.fold.count} nodes` : names(id);
    spot.x = TREE.left + spot.depth * step;
    spot.w = Math.min(Math.max(TREE.pill, measure(text) + 16), step - 16);
  }
  const inner = new Set([...plan.nodes.values()].map((spot) => spot.parent)); // who has something drawn behind it
  return { ...plan, inner, shares, width: Math.max(width, columns * step + TREE.room), columns, step };
}

/** Rows and heights, with the groups in `folds` drawn as one pill each. */
function arrangeTree(tree, children, folds) {
  const shown = [...children];
  for (const { id, parent, away } of folds) shown[parent + 1] = [...children[parent + 1].filter((child) => !away.includes(child)), id];
  const byId = new Map(folds.map((fold) => [fold.id, fold]));
  const end = tree.path.at(-1) ?? -1;
  const nodes = new Map();
  const rows = []; // heights
  const row = new Map();
  const place = (id, parent, depth) => {
    const below = typeof id === "number" ? [...shown[id + 1]] : [];
    if (id === end && tree.added !== null && tree.added !== undefined) below.push("target");
    for (const child of below) place(child, id, depth + 1);
    row.set(id, below.length ? row.get(below[0]) : rows.push(TREE.low) - 1);
    const tested = id === "target" || id === -1 || (typeof id === "number" && nodeVerdict(tree, id) !== "unreached");
    if (tested) rows[row.get(id)] = TREE.tall;
    nodes.set(id, { parent, depth, fold: byId.get(id) });
  };
  place(-1, null, 0);
  const tops = [];
  const height = rows.reduce((sum, high, at) => ((tops[at] = sum), sum + high), TREE.top) + 2;
  for (const [id, spot] of nodes) spot.y = tops[row.get(id)] + 14;
  return { nodes, height };
}

/** The path of an edge: a cubic from the parent's right side to the child's left, control points at 55 % of the gap. */
function treeEdge(from, to) {
  const x = from.x + from.w;
  const bend = Math.max(24, (to.x - x) * 0.55);
  const at = (n) => n.toFixed(1);
  return `M${at(x)} ${at(from.y)}C${at(x + bend)} ${at(from.y)} ${at(to.x - bend)} ${at(to.y)} ${at(to.x)} ${at(to.y)}`;
}

/** The width of an edge in pixels; an edge without a draft law is as thin as the target's. */
function edgeWidth(q) {
  return q === null ? 2.5 : 1.5 + 15 * q;
}
