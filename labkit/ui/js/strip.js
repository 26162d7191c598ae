// The token strip of one lane: every token a button, whitespace visible, the current step framed, refused drafts inside the frame.

const SOURCE_CLASS = { prompt: "prompt", target: "tgt", mask: "mask" };
const SOURCE_WORDS = { prompt: "prompt", mask: "not filled yet", target: "from the target", draft: "accepted draft", lookup: "accepted, found in the text", matrix: "accepted, from the matrix" };
const FULL_FOOT = 2; // nats that fill a token's foot
const LONG_PROMPT = 900; // tokens; of a longer one these many at its begin and end are shown until somebody asks for all
const PROMPT_ENDS = [40, 160];

/** How a token's quantity looks: class of the ramp, length of its foot (0 to 1), and the words for it. */
const COLOURS = {
  entropy: (belief) => ({ level: entropyClass(belief.entropy), foot: belief.entropy > 0.06 ? belief.entropy / FULL_FOOT : 0 }),
  probability: (belief) => ({ level: entropyClass(-belief.logprob), foot: Math.exp(belief.logprob) }),
  rank: (belief) => ({ level: Math.min(6, belief.rank ? 1 + Math.floor(Math.log2(belief.rank) + 1) : 0), foot: Math.min(1, belief.rank / 20) }),
};

/** Everything about a token in one line, for its name. */
function tokenWords(token) {
  const belief = token.belief;
  const numbers = belief ? `, entropy ${belief.entropy.toFixed(2)} nats, probability ${Math.exp(belief.logprob).toFixed(2)}` : "";
  return `${pieceSpoken(token.piece)}, ${SOURCE_WORDS[token.source] ?? token.source}${numbers}`;
}

/**
 * The strip of lane `place`: `lines` lays tokens out as the code they are, otherwise they flow.
 * Buttons are made once; a redraw only changes what differs, so that scrubbing a long trace stays within a frame.
 */
function makeStrip(store, place, lines) {
  const element = html("div", { class: lines ? "tl-lines" : "tl-strip", role: "group", "aria-label": lines ? "Tokens, line by line" : "Tokens", "data-roving": "" });
  let built = []; // {node, look, token}
  let steps = []; // the span round each step's tokens (flowing strips only)
  let refused = [];
  let framed = null;
  let opening = null;
  let row = null;
  let mark = -1;
  let focus = 0;
  let followed = "";
  let seen = -1;
  let unfolded = false;

  /** Is this token of a long prompt left out? A button for each of eight thousand tokens would take a second. */
  function folded(index, lane) {
    const prompt = lane.opening?.prompt_ids.length ?? 0;
    return !unfolded && prompt > LONG_PROMPT && index >= PROMPT_ENDS[0] && index < prompt - PROMPT_ENDS[1];
  }

  function unfold() {
    unfolded = true;
    clear();
    store.set({ selected: store.selected });
  }

  function clear() {
    element.replaceChildren();
    [built, steps, refused, framed, row, mark, focus] = [[], [], [], null, null, -1, 0];
  }

  function newRow(indent) {
    const number = html("span", { class: "no", "aria-hidden": "true" }, String(element.childElementCount + 1));
    row = html("span", { class: "line" }); // a long line goes on under its own beginning
    element.append(html("div", null, number, html("span", { class: "pad", style: `--n:${indent}` }), row));
  }

  function add(token, index, lane) {
    if (folded(index, lane)) {
      if (index === PROMPT_ENDS[0]) {
        const many = lane.opening.prompt_ids.length - PROMPT_ENDS[0] - PROMPT_ENDS[1];
        (row ?? element).append(button(`… ${many.toLocaleString("en")} more tokens …`, unfold, { look: "bare tl-fold" }));
      }
      return built.push({ node: null, look: "", token });
    }
    const node = html("button", { type: "button", tabindex: index ? -1 : 0, "data-link": token.key, "data-id": token.id, "aria-label": tokenWords(token) }, pieceGlyphs(token.piece));
    node.addEventListener("click", () => store.actions.select("token", index, place));
    built.push({ node, look: "", token });
    if (lines) {
      if (!row) newRow(0);
      row.append(node);
      if (token.prompt && index === lane.opening.prompt_ids.length - 1) row.append(html("span", { class: "tl-seam" }, "prompt ends"));
      if (token.piece.includes("\n")) newRow(token.piece.split("\n").at(-1).length);
      return;
    }
    if (token.prompt || lane.anyOrder) return element.append(node);
    if (!steps[token.step]) element.append((steps[token.step] = html("span", { class: "tl-one", role: "group" })));
    steps[token.step].append(node);
  }

  /** A mask was filled: its button stays, and says something else. */
  function fill(one, token) {
    one.token = token;
    one.node.dataset.id = token.id;
    one.node.setAttribute("aria-label", tokenWords(token));
    one.node.replaceChildren(pieceGlyphs(token.piece));
  }

  function look(token, index, lane) {
    const chosen = store.selected;
    const pressed = chosen?.kind === "token" && chosen.lane === place && chosen.index === index;
    const later = token.step >= lane.at;
    const now = !token.prompt && token.step === lane.at - 1;
    let name = SOURCE_CLASS[token.source] ?? "acc";
    let foot = null;
    if (lines) {
      const paint = COLOURS[store.colour];
      if (paint) {
        const seen = token.belief && !later ? paint(token.belief) : { level: 0, foot: 0 };
        name = `e${seen.level}`;
        foot = `${Math.round(Math.min(1, seen.foot) * 100)}%`;
      }
      name = `${paint ? "tl-ent" : "tl-tok big"} ${name}`;
    } else name = `tl-tok ${lane.anyOrder && later ? "mask" : name}`;
    return `${name}${now ? " now" : ""}${later ? " later" : ""}${index === mark ? " differs" : ""}|${foot ?? ""}|${pressed}`;
  }

  function frame(lane) {
    for (const node of refused.splice(0)) node.remove();
    if (framed) Object.assign(framed, { className: "tl-one" }).removeAttribute("aria-label");
    framed = null;
    if (lines || lane.at < 1) return;
    const span = steps[lane.at - 1];
    if (!span) return;
    framed = span;
    span.className = "tl-round";
    span.setAttribute("aria-label", "This step");
    const tree = stepTree(lane.steps[lane.at - 1]);
    if (!tree) return;
    const before = [...span.children];
    tree.tokens.forEach((id, node) => {
      if (tree.verdicts[node] !== "refused") return;
      const slot = tree.parents[node] < 0 ? 0 : tree.path.indexOf(tree.parents[node]) + 1;
      const piece = lane.pieces[id] ?? `#${id}`;
      const one = html("button", { type: "button", class: "tl-tok ref", tabindex: -1, "data-link": `n${node}`, "data-node": node, "aria-label": `${pieceSpoken(piece)}, refused` }, pieceGlyphs(piece));
      one.addEventListener("click", () => store.actions.select("node", node, place));
      span.insertBefore(one, before[slot] ?? null);
      refused.push(one);
    });
  }

  /** Bring the strip up to the store; cheap when nothing of its own changed. */
  function draw() {
    const lane = store.lanes[place];
    if (!lane) return;
    const moved = lines && lane.anyOrder && built.some((one, index) => one.token !== lane.tokens[index]); // a new line break moves what is behind
    if (lane.opening !== opening || built.length > lane.tokens.length || moved) {
      clear();
      opening = lane.opening;
    }
    while (built.length < lane.tokens.length) add(lane.tokens[built.length], built.length, lane);
    mark = store.lanes.length > 1 ? firstDifference(store.lanes) : -1;
    lane.tokens.forEach((token, index) => {
      const one = built[index];
      if (!one.node) return;
      if (one.token !== token) fill(one, token);
      const next = look(token, index, lane);
      if (next === one.look) return;
      const [name, foot, pressed] = next.split("|");
      if (one.look.split("|")[0] !== name) one.node.className = name;
      if (foot) one.node.style.setProperty("--h", foot);
      if (!one.look.endsWith(`|${pressed}`)) one.node.setAttribute("aria-pressed", pressed);
      one.look = next;
    });
    frame(lane);
    for (const node of refused) node.setAttribute("aria-pressed", String(store.selected?.kind === "node" && store.selected.lane === place && store.selected.index === Number(node.dataset.node)));
    rove(lane);
    element.dataset.drawn = `${store.sequence}/${lane.tokens.length}/${lane.at}`;
  }

  /** Keep in sight what matters when the strip scrolls in its panel: a new first difference, otherwise the present. */
  function follow(lane) {
    const apart = mark >= 0 && mark !== seen;
    const present = `${lane.at}/${built.length}`;
    if (!apart && (present === followed || (mark >= 0 && lane.state === "running"))) return;
    [followed, seen] = [present, mark];
    const there = built[apart ? mark : lastShown(lane)]?.node;
    if (!there || element.scrollHeight <= element.clientHeight) return;
    const [box, own] = [there.getBoundingClientRect(), element.getBoundingClientRect()];
    if (box.bottom > own.bottom - 6) element.scrollTop += box.bottom - own.bottom + 10;
    else if (box.top < own.top + 6) element.scrollTop -= own.top - box.top + 10;
  }

  function rove(lane) {
    const chosen = store.selected?.kind === "token" && store.selected.lane === place ? store.selected.index : lastShown(lane);
    const there = Math.max(0, Math.min(chosen, built.length - 1));
    if (there === focus || element.contains(element.getRootNode().activeElement)) return;
    built[focus]?.node?.setAttribute("tabindex", "-1");
    built[there]?.node?.setAttribute("tabindex", "0");
    focus = there;
  }

  roving(element, (here, key) => {
    const all = [...element.querySelectorAll("[data-link]")];
    const index = all.indexOf(here);
    if (key === "ArrowUp" || key === "ArrowDown") return nearestRow(all, here, key === "ArrowDown" ? 1 : -1);
    return { ArrowRight: all[index + 1], ArrowLeft: all[index - 1], Home: all[0], End: all.at(-1) }[key];
  });
  /** To be called when everything is drawn: it measures, and measuring between two changes costs a layout each. */
  function settle() {
    if (store.lanes[place]) follow(store.lanes[place]);
  }
  return { element, draw, settle };
}

/** The button straight above or below `here`, as it is laid out now. */
function nearestRow(all, here, way) {
  const home = here.getBoundingClientRect();
  const middle = home.left + home.width / 2;
  let best = null;
  for (const other of all) {
    const box = other.getBoundingClientRect();
    const down = (box.top - home.top) * way;
    if (down < 4) continue;
    const far = down * 1000 + Math.abs(box.left + box.width / 2 - middle);
    if (!best || far < best.far) best = { other, far };
  }
  return best?.other;
}

/** The index of the last token that is not "later". */
function lastShown(lane) {
  let last = lane.tokens.length - 1;
  while (last > 0 && lane.tokens[last].step >= lane.at) last--;
  return last;
}

/** The first place where the texts of two lanes differ, -1 when they do not (yet). */
function firstDifference([one, two]) {
  const upto = Math.min(one.tokens.length, two.tokens.length);
  for (let place = 0; place < upto; place++) {
    const [mine, yours] = [one.tokens[place].id, two.tokens[place].id];
    if (mine !== yours && mine !== MASK.id && yours !== MASK.id) return place;
  }
  return -1;
}
