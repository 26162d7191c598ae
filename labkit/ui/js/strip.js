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
  const belief = token.brief;
  const numbers = belief ? `, entropy ${belief.entropy.toFixed(2)} nats, probability ${Math.exp(belief.logprob).toFixed(2)}` : "";
  return `${pieceSpoken(token.piece)}, ${SOURCE_WORDS[token.source] ?? token.source}${numbers}`;
}

const LONG_STRIP = 3000; // tokens; of a longer strip only what is in sight and some more is in the page
const STRIP_PART = 24; // tokens that come and go together, about a row; the next part begins with the next step
const STRIP_MOST = 40; // tokens, where no step ends
const LINES_PART = 16; // the same for tokens laid out as lines, where the next part begins with the next line
const STRIP_AHEAD = 120; // CSS pixels above and below the sight that are in the page too
const ROW_GAP = 6; // CSS pixels
const STRIP_CALM = 100; // ms without scrolling before what lies around the sight is put in too

/**
 * The strip of lane `place`: `lines` lays tokens out as the code they are, otherwise they flow.
 * Buttons are made once; a redraw only changes what differs, so that scrubbing a long trace stays within a frame.
 * A short strip is one part, always there; a long one is cut into parts, and those out of sight are left out.
 */
function makeStrip(store, place, lines) {
  const element = html("div", { class: lines ? "tl-lines" : "tl-strip", role: "group", "aria-label": lines ? "Tokens, line by line" : "Tokens", "data-roving": "" });
  const blank = html("button", { type: "button", tabindex: -1 }); // copied for every token: faster than to write each anew
  const [above, below] = [html("div", { class: "tl-gap" }), html("div", { class: "tl-gap" })];
  let parts = []; // {from, upto, line, breaks, fold, box, built, spans, row, height}; box is null while it is left out
  let whole = true; // one part, without a box of its own
  let shown = [0, 0]; // the parts that are in the page
  let each = 0; // CSS pixels a token takes up of the height
  let sight = 400; // CSS pixels of the strip that are seen at once
  let jumped = false;
  let calm = 0;
  let cutAt = 0; // steps when a long text of any order was cut
  let refused = [];
  let framed = null;
  let opening = null;
  let mark = -1;
  let focus = null; // the button that Tab goes to
  let followed = "";
  let seen = -1;
  let unfolded = false;

  /** Is this token of a long prompt left out? A button for each of eight thousand tokens would take a second. */
  function folded(index, lane) {
    const prompt = lane.opening?.prompt_ids.length ?? 0;
    return !unfolded && prompt > LONG_PROMPT && index >= PROMPT_ENDS[0] && index < prompt - PROMPT_ENDS[1];
  }

  /** How many tokens of the prompt are folded away. */
  function hidden(lane) {
    return folded(PROMPT_ENDS[0], lane) ? lane.opening.prompt_ids.length - PROMPT_ENDS[0] - PROMPT_ENDS[1] : 0;
  }

  function unfold() {
    unfolded = true;
    clear();
    store.set({ selected: store.selected });
  }

  function clear() {
    element.replaceChildren();
    [parts, shown, refused, framed, mark, focus, followed] = [[], [0, 0], [], null, -1, null, ""];
    each = 0;
  }

  const newPart = (from, line, more = {}) => ({ from, upto: from, line, breaks: 0, fold: false, box: null, built: [], spans: new Map(), row: null, height: 0, ...more });

  /** Share all tokens out to parts; what was cut stays as it is. */
  function cut(lane) {
    const { tokens } = lane;
    if (whole) {
      parts[0] ??= newPart(0, 1, { box: element });
      shown = [0, 1];
      parts[0].upto = tokens.length;
      return;
    }
    if (!parts.length) parts.push(newPart(0, 1));
    for (let index = parts.at(-1).upto; index < tokens.length; index++) {
      const [part, token, before] = [parts.at(-1), tokens[index], tokens[index - 1]];
      const size = index - part.from;
      const ends = lines ? before?.piece.includes("\n") : lane.anyOrder || token.prompt || before?.step !== token.step;
      const fold = Boolean(hidden(lane)) && folded(index, lane);
      if (size && (fold !== part.fold || (!fold && (size >= STRIP_MOST || (size >= (lines ? LINES_PART : STRIP_PART) && ends))))) parts.push(newPart(index, part.line + part.breaks, { fold }));
      const here = parts.at(-1);
      here.breaks += lines && token.piece.includes("\n");
      here.upto = index + 1;
    }
  }

  const isIn = (number) => number >= shown[0] && number < shown[1];

  /** The number of the part that token `index` is in. */
  function partOf(index) {
    let [low, high] = [0, parts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (parts[middle].from <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The button of token `index`, where it is in the page. */
  function nodeOf(index) {
    const part = parts[partOf(index)];
    return part?.box ? part.built[index - part.from]?.node : null;
  }

  const indentAfter = (token) => token.piece.split("\n").at(-1).length;

  function newRow(part, indent) {
    const number = html("span", { class: "no", "aria-hidden": "true" }, String(part.line + part.box.childElementCount));
    part.row = html("span", { class: "line" }); // a long line goes on under its own beginning
    part.box.append(html("div", null, number, html("span", { class: "pad", style: `--n:${indent}` }), part.row));
  }

  function foldButton(lane) {
    return button(`… ${hidden(lane).toLocaleString("en")} more tokens …`, unfold, { look: "bare tl-fold" });
  }

  function add(part, token, index, lane) {
    if (folded(index, lane)) {
      if (index === PROMPT_ENDS[0]) (part.row ?? part.box).append(foldButton(lane));
      return part.built.push({ node: null, look: "", token });
    }
    const node = blank.cloneNode();
    node.dataset.link = token.key;
    node.dataset.id = token.id;
    node.setAttribute("aria-label", tokenWords(token));
    node.append(pieceGlyphs(token.piece));
    part.built.push({ node, look: "", token });
    if (lines) {
      const before = whole ? null : lane.tokens[index - 1];
      if (!part.row || before?.piece.includes("\n")) newRow(part, before?.piece.includes("\n") ? indentAfter(before) : 0);
      part.row.append(node);
      if (token.prompt && index === lane.opening.prompt_ids.length - 1) part.row.append(html("span", { class: "tl-seam" }, "prompt ends"));
      if (whole && token.piece.includes("\n")) newRow(part, indentAfter(token));
      return;
    }
    if (token.prompt || lane.anyOrder) return part.box.append(node);
    let span = part.spans.get(token.step);
    if (!span) {
      part.spans.set(token.step, (span = html("span", { class: "tl-one", role: "group" })));
      part.box.append(span);
    }
    span.append(node);
  }

  /** Bring a part that is in the page up to the lane: buttons that are missing, and what has changed of the others. */
  function fillPart(part, lane) {
    if (part.built.length && part.from + part.built.length < part.upto) part.height = 0; // it grows
    for (let index = part.from + part.built.length; index < part.upto; index++) add(part, lane.tokens[index], index, lane);
    part.built.forEach((one, slot) => {
      if (!one.node) return;
      const index = part.from + slot;
      const token = lane.tokens[index];
      if (one.token !== token) fill(one, token);
      const next = look(token, index, lane);
      if (next === one.look) return;
      const [name, foot, pressed] = next.split("|");
      if (one.look.split("|")[0] !== name) one.node.className = name;
      if (foot) one.node.style.setProperty("--h", foot);
      if (!one.look.endsWith(`|${pressed}`)) one.node.setAttribute("aria-pressed", pressed);
      one.look = next;
    });
  }

  /** A mask was filled: its button stays, and says something else. */
  function fill(one, token) {
    one.token = token;
    one.node.dataset.id = token.id;
    one.node.setAttribute("aria-label", tokenWords(token));
    one.node.replaceChildren(pieceGlyphs(token.piece));
  }

  /** How high a part is, or will be about: as high for its tokens as the first parts that were in the page. */
  function heightOf(part) {
    return part.height || (part.upto - part.from) * (each || 3);
  }

  /** Remember how high the parts in the page are. */
  function measure() {
    const here = parts.slice(...shown);
    for (const part of here) part.height ||= part.box.offsetHeight + ROW_GAP;
    if (each) return; // one guess for all that were never there, so that nothing moves when more of them are known
    each = here.reduce((sum, part) => sum + part.height, 0) / here.reduce((sum, part) => sum + part.upto - part.from, 0);
    stretch();
  }

  /** Have the gaps as high as what they stand for. */
  function stretch() {
    const sum = (some) => some.reduce((all, part) => all + heightOf(part), 0);
    for (const [gap, some] of [[above, parts.slice(0, shown[0])], [below, parts.slice(shown[1])]]) gap.style.height = `${Math.max(0, sum(some) - ROW_GAP)}px`;
  }

  /** Have the parts from `first` up to `last` in the page, and no other. */
  function showParts(first, last, lane) {
    const held = element.contains(document.activeElement) && document.activeElement !== element;
    const old = parts.slice(...shown).filter((_, k) => shown[0] + k < first || shown[0] + k >= last);
    shown = [first, last];
    for (const part of old) {
      part.box.remove();
      Object.assign(part, { box: null, built: [], spans: new Map(), row: null });
    }
    let after = above;
    if (!above.isConnected) element.append(above, below);
    for (const part of parts.slice(first, last)) {
      if (!part.box) {
        part.box = html("section", { class: "tl-part" }, lines ? null : html("span", { class: "no", "aria-hidden": "true" }, (part.from + 1).toLocaleString("en")));
        if (part.fold) part.box.append(foldButton(lane));
        else fillPart(part, lane);
        after.after(part.box);
      }
      after = part.box;
    }
    stretch();
    if (held && !element.contains(document.activeElement)) element.focus({ preventScroll: true });
  }

  /** The parts, from and up to, that lie between two heights of the whole strip. */
  function partsIn(top, bottom) {
    let [y, first, last] = [0, parts.length - 1, 0];
    parts.forEach((part, number) => {
      const below = y + heightOf(part);
      if (below > top && y < bottom) [first, last] = [Math.min(first, number), number + 1];
      y = below;
    });
    return [first, Math.max(last, first + 1)];
  }

  /** What is in sight is put in at once, what lies `ahead` of it when the scrolling has come to a rest. */
  function scrolled() {
    if (whole) return;
    windowed(0);
    clearTimeout(calm);
    calm = setTimeout(windowed, STRIP_CALM);
  }

  /** Have the parts in sight in the page, and those `ahead` of it (CSS pixels). */
  function windowed(ahead = STRIP_AHEAD) {
    const lane = store.lanes[place];
    if (whole || !lane || !parts.length || !element.clientHeight) return;
    measure();
    const [first, last] = partsIn(element.scrollTop - ahead, element.scrollTop + element.clientHeight + ahead);
    if (first >= shown[0] && last <= shown[1] && (!ahead || last - first === shown[1] - shown[0])) return;
    showParts(first, last, lane);
    frame(lane);
    rove(lane);
  }

  /** Have token `index` in the page, with as much before and behind it as is seen when it stands in the middle. */
  function reveal(index, lane) {
    const number = partOf(index);
    if (whole || isIn(number)) return;
    let [first, last] = [number, number + 1];
    const own = heightOf(parts[number]);
    const inside = (own * (index - parts[number].from)) / (parts[number].upto - parts[number].from);
    for (let room = sight / 2 + 24 - inside; first > 0 && room > 0; room -= heightOf(parts[first])) first--;
    for (let room = sight / 2 + 24 - own + inside; last < parts.length && room > 0; room -= heightOf(parts[last - 1])) last++;
    showParts(first, last, lane);
    jumped = true;
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
        const seen = token.brief && !later ? paint(token.brief) : { level: 0, foot: 0 };
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
    const span = parts.slice(...shown).map((part) => part.spans.get(lane.at - 1)).find(Boolean);
    if (!span) return;
    framed = span;
    span.className = "tl-round";
    span.setAttribute("aria-label", "This step");
    const tree = stepTree(stepAt(lane));
    if (!tree) return;
    const before = [...span.children];
    tree.tokens.forEach((id, node) => {
      if (tree.verdicts[node] !== "refused") return;
      const slot = tree.parents[node] < 0 ? 0 : tree.path.indexOf(tree.parents[node]) + 1;
      const piece = lane.pieces[id] ?? `#${id}`;
      const chosen = store.selected?.kind === "node" && store.selected.lane === place && store.selected.index === node;
      const one = html("button", { type: "button", class: "tl-tok ref", tabindex: -1, "data-link": `n${node}`, "data-node": node, "aria-pressed": String(chosen), "aria-label": `${pieceSpoken(piece)}, refused` }, pieceGlyphs(piece));
      span.insertBefore(one, before[slot] ?? null);
      refused.push(one);
    });
  }

  /** Bring the strip up to the store; cheap when nothing of its own changed. */
  function draw() {
    const lane = store.lanes[place];
    if (!lane) return;
    const long = lane.tokens.length - hidden(lane) > LONG_STRIP;
    // A new line break moves what is behind it.
    const moved = lines && lane.anyOrder && (long ? cutAt !== lane.steps.length : parts[0]?.built.some((one, index) => one.token !== lane.tokens[index]));
    if (lane.opening !== opening || (parts.at(-1)?.upto ?? 0) > lane.tokens.length || moved || long === whole) {
      clear();
      [opening, whole, cutAt] = [lane.opening, !long, lane.steps.length];
      if (long) element.tabIndex = -1; // takes the focus when the button that has it goes out of sight
    }
    cut(lane);
    mark = store.lanes.length > 1 ? firstDifference(store.lanes) : -1;
    if (long && present(lane) !== followed) reveal(target(lane), lane);
    for (const part of parts.slice(...shown)) if (!(part.fold && !whole)) fillPart(part, lane);
    frame(lane);
    rove(lane);
    element.dataset.drawn = `${store.sequence}/${lane.tokens.length}/${lane.at}`;
  }

  const chosenIn = () => (store.selected?.kind === "token" && store.selected.lane === place ? store.selected.index : -1);
  const isApart = () => mark >= 0 && mark !== seen;

  /** What the strip keeps in sight, as a word that changes with it; of a long strip the chosen token too. */
  function present(lane) {
    return `${lane.at}/${lane.tokens.length}${whole || chosenIn() < 0 ? "" : `/${chosenIn()}`}`;
  }

  /** The token to keep in sight: a new first difference, otherwise the present. */
  function target(lane) {
    return isApart() ? mark : !whole && chosenIn() >= 0 ? Math.min(chosenIn(), lane.tokens.length - 1) : lastShown(lane);
  }

  /** Keep in sight what matters when the strip scrolls in its panel. */
  function follow(lane) {
    const apart = isApart();
    if (!apart && (present(lane) === followed || (mark >= 0 && lane.state === "running"))) return;
    const there = nodeOf(target(lane));
    [followed, seen] = [present(lane), mark];
    sight = element.clientHeight;
    if (jumped) measure(); // before it is scrolled: the gaps may change
    if (!there || element.scrollHeight <= sight) return;
    const [box, own] = [there.getBoundingClientRect(), element.getBoundingClientRect()];
    if (jumped) element.scrollTop += (box.top + box.bottom - own.top - own.bottom) / 2;
    else if (box.bottom > own.bottom - 6) element.scrollTop += box.bottom - own.bottom + 10;
    else if (box.top < own.top + 6) element.scrollTop -= own.top - box.top + 10;
    jumped = false;
  }

  /** One button of the strip is the one that Tab goes to: the chosen token, or the present, or what is in the page. */
  function rove(lane) {
    const active = element.getRootNode().activeElement;
    if (active !== element && element.contains(active)) return;
    const chosen = chosenIn() >= 0 ? chosenIn() : lastShown(lane);
    const there = nodeOf(Math.max(0, Math.min(chosen, lane.tokens.length - 1))) ?? element.querySelector("[data-link]");
    if (there === focus) return;
    focus?.setAttribute("tabindex", "-1");
    there?.setAttribute("tabindex", "0");
    focus = there;
  }

  /** The token before the parts in the page, or behind them. */
  function beyond(way) {
    const index = way < 0 ? parts[shown[0]].from - 1 : parts[shown[1] - 1].upto;
    return index < 0 || index >= store.lanes[place].tokens.length ? undefined : fetched(index);
  }

  /** The button of token `index`, brought into the page if need be. */
  function fetched(index) {
    const lane = store.lanes[place];
    reveal(index, lane);
    jumped = false; // its focus brings it into sight
    frame(lane);
    return nodeOf(index);
  }

  roving(element, (here, key) => {
    const all = [...element.querySelectorAll("[data-link]")];
    const index = all.indexOf(here);
    const way = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[key];
    const there = key === "ArrowUp" || key === "ArrowDown" ? nearestRow(all, here, way) : way && all[index + way];
    if (there || (way && whole)) return there;
    if (way) return beyond(way);
    if (!whole && key === "Home") return fetched(0);
    if (!whole && key === "End") return fetched(store.lanes[place].tokens.length - 1);
    return { Home: all[0], End: all.at(-1) }[key];
  });
  element.addEventListener("click", (event) => {
    const key = event.target.closest("[data-link]")?.dataset.link;
    if (key) store.actions.select(key[0] === "t" ? "token" : "node", Number(key.slice(1)), place);
  });
  element.addEventListener("keydown", (event) => {
    if (event.target !== element || !/^(Arrow|Home|End)/.test(event.key)) return;
    fetched(target(store.lanes[place]))?.focus();
    event.preventDefault();
    event.stopPropagation();
  });
  element.addEventListener("scroll", scrolled, { passive: true });
  whenResized(element, () => {
    if (whole) return;
    for (const part of parts) part.height = 0;
    [each, followed, jumped] = [0, "", true];
    settle();
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

/** The first place where the texts of two lanes differ, -1 when they do not (yet). */
function firstDifference([one, two]) {
  const upto = Math.min(one.tokens.length, two.tokens.length);
  for (let place = 0; place < upto; place++) {
    const [mine, yours] = [one.tokens[place].id, two.tokens[place].id];
    if (mine !== yours && mine !== MASK.id && yours !== MASK.id) return place;
  }
  return -1;
}
