// The boundary ribbon: one text, cut by many segmenters, line under line. All rows of a line hold the same letters in the same
// face, so that equal bytes stand above each other whatever the script; only the colours behind them differ.

const FACE = 15; // CSS pixels of the ribbon's letters
const MOST_SEGMENTERS = 12;
const TINTS = 4; // colours that tokens take in turn
const HELP = { // what a column of the table means
  "different": "how many different tokens the text needs",
  "vocabulary": "how many tokens there are to choose from",
  "Rényi": "Rényi efficiency of the tokens' frequencies: 1 = all used alike",
  "% valid": "of the different tokens: names, keywords and parts of names of Python (P093)",
  "% pure": "of the different tokens: one part of such a name, nothing fused, nothing cut (P093)",
  "F1 against": "precision and recall of the inner boundaries against the reference's",
  "ms": "time to cut this text, on the engine",
};
const EXAMPLES = {
  "code": 'def to_fahrenheit(celsius):\n    return celsius * 9 / 5 + 32\n\nfor getattr_name in ["HTTPServer", "is_valid_id"]:\n    print(f"{getattr_name!r}: {len(getattr_name):>4}")',
  "numbers": "1234567 + 89012 = 1323579\n3.14159265358979 1e-12 0xdeadbeef 2026-11-21 1,234,567.89",
  "five languages": "The children are playing in the school garden.\nLapset leikkivät koulun puutarhassa.\nДети играют в школьном саду.\n아이들이 학교 정원에서 놀고 있어요.\n孩子们在学校的花园里玩。",
  "right to left": "الأطفال يلعبون في حديقة المدرسة.\nהילדים משחקים בגינת בית הספר, 3 פעמים ביום.",
  "emoji and marks": "👨‍👩‍👧 🇫🇮 ❤️‍🔥 e\u0301 = é? Z̷a̷l̷g̷o ﷽ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
};

/** The code points of a text with where each begins in its UTF-8; one more at the end. */
function codePoints(text) {
  const letters = [...text];
  const at = new Uint32Array(letters.length + 1);
  letters.forEach((letter, k) => {
    const code = letter.codePointAt(0);
    at[k + 1] = at[k] + (code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);
  });
  return { letters, at };
}

/** A letter as it stands in the ribbon: what is no mark on paper gets one. */
function letterShown(letter) {
  if (letter === "\n") return "↵";
  if (letter === "\t") return "⇥";
  const code = letter.codePointAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f || (code >= 0x80 && code < 0xa0)) return "␡";
  if (/[\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff]/.test(letter)) return "◌"; // unseen signs that would turn the line round
  return letter;
}

const RTL = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const STRONG = /[A-Za-z\u00aa-\u02b8\u0370-\u058f\u0900-\u1fff\u2c00-\ud7ff\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

/** Lines that fit into `room` pixels: first and last code point, and the direction of the paragraph each belongs to. */
function breakLines({ letters }, room, ruler) {
  const text = letters.join("");
  const clusters = new Intl.Segmenter(undefined, { granularity: "grapheme" });
  const lines = [];
  let place = 0;
  for (const paragraph of text.split(/(?<=\n)/)) {
    const direction = RTL.test(STRONG.exec(paragraph)?.[0] ?? "") ? "rtl" : "ltr";
    let from = place, width = 0;
    for (const { segment } of clusters.segment(paragraph)) {
      const wide = ruler([...segment].map(letterShown).join(""));
      const size = [...segment].length;
      if (width + wide > room && place > from) {
        lines.push({ from, to: place, direction });
        [from, width] = [place, 0];
      }
      width += wide;
      place += size;
    }
    if (place > from) lines.push({ from, to: place, direction });
  }
  return lines;
}

/** The spans of one row within one line: runs of whole letters with their token, and letters that tokens cut through. */
function spansOf({ at }, starts, line) {
  const spans = [];
  let token = 0;
  // the last token that begins at or before the line's first byte
  for (let low = 0, high = starts.length; low < high;) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= at[line.from]) [token, low] = [middle, middle + 1];
    else high = middle;
  }
  for (let k = line.from; k < line.to; k++) {
    while (token + 1 < starts.length && starts[token + 1] <= at[k]) token++;
    let parts = 1;
    while (token + parts < starts.length && starts[token + parts] < at[k + 1]) parts++;
    const last = spans.at(-1);
    if (last && last.token === token && last.parts === 1 && parts === 1) last.to = k + 1;
    else spans.push({ from: k, to: k + 1, token, parts, begins: starts[token] >= at[k] });
  }
  return spans;
}

/** The tokens of a row: distinct starts in bytes, with the number of each token beside it. */
function wholeCut(answer) {
  const starts = [], ids = [];
  answer.starts.forEach((start, k) => {
    if (starts.length && starts.at(-1) === start) [starts[starts.length - 1], ids[ids.length - 1]] = [start, answer.ids[k]]; // a mark of no width
    else starts.push(start), ids.push(answer.ids[k]);
  });
  return { ...answer, tokens: answer.starts.length, starts, ids };
}

/** Precision, recall and F1 of inner boundaries against a reference's; no boundary anywhere is a perfect match. */
function agreement(starts, reference) {
  const wanted = new Set(reference);
  wanted.delete(0);
  const found = new Set(starts);
  found.delete(0);
  let hits = 0;
  for (const start of found) hits += wanted.has(start) ? 1 : 0;
  const precision = found.size ? hits / found.size : 1, recall = wanted.size ? hits / wanted.size : 1;
  return { precision, recall, f1: hits ? (2 * precision * recall) / (precision + recall) : found.size || wanted.size ? 0 : 1 };
}

function renderRibbon({ model, el }) {
  const leave = new AbortController();
  const { signal } = leave;
  const line = makeLine(model, Math.random().toString(36).slice(2));
  const root = html("div", { class: "tl", tabindex: -1, role: "region", "aria-label": "Boundary ribbon", "data-lm-suppress-shortcuts": "true" });
  const models = html("span", { class: "models" });
  let head = null;
  const looks = makeLooks(root, (patch) => (patch.theme && head?.showTheme(patch.theme), patch.size && layOut()), signal);
  head = drawHead("boundaries", looks, models);
  head.showTheme(root.dataset.theme);

  const state = { text: "", points: codePoints(""), lines: [], rows: [], kinds: [], models: [], reference: null, row: null, token: null };
  const text = html("textarea", { class: "tl-ribbontext", rows: 2, spellcheck: "false", "aria-label": "Text to cut", dir: "auto" });
  const weight = html("span", { class: "quiet num" });
  const samples = html("select", { "aria-label": "Examples" }, html("option", { value: "" }, "examples …"), ...Object.keys(EXAMPLES).map((name) => html("option", null, name)));
  const alarm = html("div", { class: "tl-error", role: "alert", hidden: true });
  const writing = html("section", { class: "tl-panel a-text", "aria-label": "Text" }, titleRow("A text", weight, samples), text);
  const blocks = html("div", { class: "tl-ribbon", tabindex: 0, role: "group", "aria-label": "The text, cut by every segmenter: arrow keys walk over the tokens of the chosen row" });
  const only = html("input", { type: "checkbox", id: "tl-only" });
  const legend = html("label", { class: "tl-check", for: "tl-only", title: "Colour only tokens that begin or end where the reference does not" }, only, " only what differs from the reference");
  const ribbon = html("section", { class: "tl-panel a-ribbon", "aria-label": "Where each one cuts" }, titleRow("Where does each one cut?", html("p", null, "Equal bytes stand above each other; a new colour is a new token."), legend), alarm, blocks);
  const more = html("select", { "aria-label": "Add a row" });
  const numbers = html("div", { class: "tl-table tl-cuts" });
  const table = html("section", { class: "tl-panel a-numbers", "aria-label": "In numbers" }, titleRow("What is a cut worth?", html("p", null, "Click a name to turn its knobs, click a token to take it apart."), more), numbers);
  const detail = html("div", { class: "tl-undo", "aria-live": "polite" });
  const knobBox = html("div", { class: "tl-knobbox" });
  const rowTitle = html("h2"), rowWords = html("p", { class: "quiet" });
  const side = html("section", { class: "tl-panel a-side tl-knobs", "aria-label": "The chosen row" }, html("div", { class: "tl-top" }, rowTitle), rowWords, knobBox, detail);
  root.append(head.element, html("div", { class: "tl-page lay-ribbon" }, writing, ribbon, table, side));
  el.append(root);

  // ---------------------------------------------------------------- what a row is

  const kind = (row) => state.kinds.find((one) => one.name === row.name);
  const label = (row) => {
    const told = (kind(row)?.knobs ?? []).filter((knob) => knob.name in row.knobs).map((knob) => knobText(knob, row.knobs[knob.name]));
    return [row.target || (kind(row)?.title ?? row.name), ...told].join(" ");
  };
  const trouble = (words) => {
    hide(alarm, !words);
    if (words) alarm.replaceChildren(html("p", null, words), button("Retry", () => everything()));
  };

  /** Ask where rows cut a text; of answers that come late only the newest counts. */
  async function ask(rows, text = state.text) {
    const wish = {};
    for (const row of rows) row.wish = wish;
    let cuts;
    try {
      ({ cuts } = await line.ask({ ask: "cuts", text, rows: rows.map((row) => ({ name: row.name, knobs: row.knobs, target: row.target ?? "" })) }));
    } catch (error) {
      cuts = rows.map(() => ({ error: error.message }));
    }
    rows.forEach((row, k) => {
      if (row.wish !== wish) return;
      row.error = cuts[k].error ?? ""; // what was cut before stays
      if (!row.error) row.fresh = { ...wholeCut(cuts[k]), of: text };
      if (!row.error && text === state.text) row.cut = row.fresh;
    });
    if (text === state.text || rows.some((row) => row.error)) later();
  }

  /** One question at a time: while `thing` is being asked about, further wishes wait and become one. */
  async function inTurn(thing, work) {
    if (thing.busy) return void (thing.stale = true);
    thing.busy = true;
    do {
      thing.stale = false;
      await work();
    } while (thing.stale);
    thing.busy = false;
  }

  /** Another text: the old one stays on the screen until every row knows where it cuts the new one. */
  async function everything() {
    const wanted = text.value, rows = [...state.rows, state.reference];
    await ask(rows, wanted);
    if (text.value !== wanted || rows.every((row) => row.error)) return;
    Object.assign(state, { text: wanted, points: codePoints(wanted), token: null });
    for (const row of rows) row.cut = row.fresh?.of === wanted ? row.fresh : null;
    later();
  }

  let drawing = 0;
  function later() {
    drawing ||= requestAnimationFrame(() => {
      drawing = 0;
      draw();
    });
  }

  // ---------------------------------------------------------------- drawing

  const unseen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) fillBlock(entry.target);
  }, { root: blocks, rootMargin: "200px" });

  function layOut() {
    if (!state.text || !blocks.clientWidth) return;
    state.lines = breakLines(state.points, blocks.clientWidth - 148, textRuler(blocks, FACE));
  }

  function draw() {
    if (!state.reference) return; // nothing has been asked yet
    const began = performance.now();
    const ready = state.rows.filter((row) => row.cut);
    const wrong = [...state.rows, state.reference].find((row) => row.error);
    trouble(wrong ? `${label(wrong)}: ${wrong.error}` : "");
    if (!ready.length) return;
    layOut();
    unseen.disconnect();
    const tall = 20 * state.rows.length + 12;
    state.drawn = state.lines.map((one) => {
      const block = html("div", { class: "tl-block", style: `min-height:${tall}px` });
      block.line = one;
      return block;
    });
    blocks.replaceChildren(...state.drawn);
    const seen = Math.ceil(blocks.clientHeight / tall) + 1;
    const first = Math.floor(blocks.scrollTop / tall);
    for (const block of state.drawn.slice(first, first + seen)) fillBlock(block);
    for (const block of state.drawn) unseen.observe(block);
    drawNumbers();
    drawSide();
    say(weight, `${state.points.at.at(-1).toLocaleString("en")} bytes · ${counted(state.points.letters.length, "character")}`);
    void blocks.offsetHeight;
    root.dataset.drawn = (performance.now() - began).toFixed(1);
    root.dataset.rows = ready.length;
    root.dataset.bytes = state.points.at.at(-1);
    root.dataset.ready = "1";
  }

  function fillBlock(block) {
    if (block.childElementCount) return;
    const reference = new Set(state.reference.cut?.starts ?? []);
    block.append(...state.rows.map((row, place) => {
      const name = button(label(row), () => choose(place), { look: "bare tl-rowname", tabindex: -1, title: label(row) });
      const cells = html("div", { class: "tl-cells", dir: block.line.direction, "data-row": place });
      if (row.cut) cells.append(...spansOf(state.points, row.cut.starts, block.line).map((span) => drawSpan(row, place, span, reference)));
      return html("div", { class: `tl-row${place === state.row ? " on" : ""}` }, name, cells);
    }));
  }

  function drawSpan(row, place, span, reference) {
    const { starts } = row.cut;
    const node = document.createElement("span");
    node.textContent = state.points.letters.slice(span.from, span.to).map(letterShown).join("");
    const odd = !reference.has(starts[span.token]) || !reference.has(starts[span.token + 1] ?? state.points.at.at(-1));
    let look = only.checked && !odd ? "" : `t${span.token % TINTS}`;
    if (span.parts > 1) {
      look = "cut";
      node.style.setProperty("--parts", span.parts);
    }
    if (span.begins && span.token) look += only.checked && !reference.has(starts[span.token]) ? " b x" : " b";
    if (place === state.row && state.token !== null && state.token >= span.token && state.token < span.token + span.parts) look += " on";
    node.className = look;
    node.dataset.k = span.token;
    if (span.parts > 1) node.dataset.parts = span.parts;
    return node;
  }

  function drawNumbers() {
    const reference = state.reference.cut?.starts ?? [];
    const refers = html("select", { "aria-label": "Reference" }, ...state.kinds.map((one) => html("option", { value: one.name, selected: one.name === state.reference.name }, one.title)));
    refers.addEventListener("change", () => {
      state.reference = { name: refers.value, knobs: {}, cut: null };
      ask([state.reference]);
    });
    const names = ["", "tokens", "bytes a token", "different", "vocabulary", "Rényi", "% valid", "% pure", "F1 against", "ms", ""];
    const heads = names.map((name) => html("th", { scope: "col", title: HELP[name] }, name, name === "F1 against" ? refers : null));
    const body = state.rows.map((row, place) => {
      const pick = button(label(row), () => choose(place), { look: "bare tl-rowname", "aria-pressed": String(place === state.row) });
      const drop = linkButton("×", () => remove(place), { title: "take this row away", "aria-label": `Remove ${label(row)}` });
      const { cut } = row;
      const cells = cut ? [cut.tokens.toLocaleString("en"), cut.tokens ? (cut.bytes / cut.tokens).toFixed(2) : "–", cut.types.toLocaleString("en"), cut.size ? cut.size.toLocaleString("en") : "open", cut.renyi.toFixed(3), (100 * cut.valid).toFixed(0), (100 * cut.pure).toFixed(0), agreement(cut.starts, reference).f1.toFixed(3), (1000 * cut.seconds).toFixed(1)] : Array(9).fill("…");
      return html("tr", { class: place === state.row ? "on" : null }, html("td", null, pick), ...cells.map((cell) => html("td", { class: "num" }, cell)), html("td", null, state.rows.length > 1 ? drop : ""));
    });
    numbers.replaceChildren(html("table", null, html("caption", { class: "sr" }, "Every row in numbers"), html("thead", null, html("tr", null, ...heads)), html("tbody", null, ...body)));
    more.replaceChildren(html("option", { value: "" }, "add a row …"), ...state.kinds.map((one) => html("option", { value: one.name }, one.title)));
    more.disabled = state.rows.length >= MOST_SEGMENTERS;
  }

  let built = "";
  let setters = [];
  function drawSide() {
    const row = state.rows[state.row];
    if (!row) return;
    const info = kind(row);
    say(rowTitle, info?.title ?? row.name);
    say(rowWords, [info?.summary ?? "", info?.paper ?? ""].filter(Boolean).join(" · "));
    const key = `${state.row}/${row.name}`;
    if (key !== built) {
      built = key;
      setters = [];
      knobBox.replaceChildren(...(row.name === "model" && state.models.length > 1 ? [modelKnob(row)] : []), ...(info?.knobs ?? []).map((given) => {
        const knob = { unit: "", help: "", choices: [], scale: "linear", ...given };
        const put = (value) => {
          if (row.knobs[knob.name] === value) return;
          row.knobs = { ...row.knobs, [knob.name]: value };
          state.token = null;
          inTurn(row, () => ask([row]));
        };
        const made = makeKnob(knob, { moved: put, settled: put });
        setters.push(() => made.set(row.knobs[knob.name] ?? knob.default));
        return made.element;
      }));
    }
    for (const set of setters) set();
    drawDetail(row);
  }

  /** Whose tokenizer: any model that the engine offers. */
  function modelKnob(row) {
    const knob = { name: "target", label: "Model", help: "whose tokenizer cuts", unit: "", choices: state.models.map((one) => one.name) };
    const made = choiceKnob(knob, { settled: (name) => {
      Object.assign(row, { target: name });
      state.token = null;
      ask([row]);
    } });
    setters.push(() => made.set(row.target || state.models.find((one) => one.default)?.name || ""));
    return made.element;
  }

  async function drawDetail(row) {
    const { cut } = row;
    if (state.token === null || !cut) return detail.replaceChildren(html("p", { class: "quiet" }, "Click a token to take it apart."));
    const k = state.token;
    const from = cut.starts[k], to = cut.starts[k + 1] ?? cut.bytes;
    const data = new TextEncoder().encode(state.text).slice(from, to);
    const hex = [...data].map((byte) => byte.toString(16).padStart(2, "0"));
    const shown = pieceShown(new TextDecoder().decode(data));
    const facts = html("dl", { class: "tl-facts" }, ...[["token", `${k + 1} of ${cut.starts.length}`], ["number", cut.ids[k] || "open vocabulary"], ["bytes", `${from}–${to - 1}: ${hex.slice(0, 16).join(" ")}${hex.length > 16 ? " …" : ""}`]].flatMap(([name, words]) => [html("dt", null, name), html("dd", { class: "num" }, words)]));
    const tree = html("div", { class: "tl-split" });
    detail.replaceChildren(html("p", { class: "tl-tiptitle" }, html("code", null, shown)), facts, tree);
    try {
      const { split } = await line.ask({ ask: "undo", piece: hex.join(""), name: row.name, knobs: row.knobs, target: row.target ?? "" });
      if (split.halves.length) tree.append(html("p", { class: "quiet" }, "Its merges, undone; the number is the merge's place among those learned."), drawSplit(split));
      else tree.append(html("p", { class: "quiet" }, data.length > 1 ? "No merge made this token: it was found whole." : "One byte: nothing to undo."));
    } catch (error) {
      tree.append(html("p", { class: "quiet" }, error.message));
    }
  }

  function drawSplit(split) {
    const here = html("span", { class: `tl-node${split.halves.length ? "" : " leaf"}` }, html("code", null, pieceShown(split.text)), split.halves.length ? html("small", null, `#${(split.rank + 1).toLocaleString("en")}`) : null);
    return html("div", { class: "tl-splits" }, here, split.halves.length ? html("div", { class: "tl-halves" }, ...split.halves.map(drawSplit)) : null);
  }

  // ---------------------------------------------------------------- what a person does

  /** The spans drawn in a row, in reading order; only blocks near the screen are filled. */
  const spansIn = (place) => blocks.querySelectorAll(`[data-row="${place}"] > span`);

  function mark(place, token, yes) {
    for (const span of spansIn(place)) {
      const k = Number(span.dataset.k);
      if (token >= k && token < k + Number(span.dataset.parts ?? 1)) span.classList.toggle("on", yes);
    }
  }

  function choose(place, token = null) {
    if (state.token !== null) mark(state.row, state.token, false);
    if (place !== state.row) for (const box of blocks.querySelectorAll(".tl-row")) box.classList.toggle("on", Number(box.lastChild.dataset.row) === place);
    Object.assign(state, { row: place, token });
    if (token !== null) mark(place, token, true);
    drawNumbers();
    drawSide();
  }

  function remove(place) {
    state.rows.splice(place, 1);
    Object.assign(state, { row: 0, token: null });
    built = "";
    later();
  }

  blocks.addEventListener("click", (event) => {
    const span = event.target.closest("span[data-k]");
    if (!span) return;
    const place = Number(span.parentNode.dataset.row);
    const [first, parts] = [Number(span.dataset.k), Number(span.dataset.parts ?? 1)];
    const again = place === state.row && state.token >= first && state.token < first + parts; // a letter cut into parts: the next one
    choose(place, again ? first + ((state.token - first + 1) % parts) : first);
  });
  blocks.addEventListener("keydown", (event) => {
    const count = state.rows[state.row]?.cut?.starts.length ?? 0;
    const turn = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const walk = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!count || !(turn || walk)) return;
    if (turn) choose((state.row + turn + state.rows.length) % state.rows.length, null);
    else choose(state.row, Math.max(0, Math.min(count - 1, (state.token ?? -walk) + walk)));
    event.preventDefault();
    event.stopPropagation();
  });
  text.addEventListener("input", () => inTurn(text, everything));
  samples.addEventListener("change", () => {
    if (!samples.value) return;
    text.value = EXAMPLES[samples.value];
    samples.value = "";
    everything();
  });
  more.addEventListener("change", () => {
    if (!more.value) return;
    const row = { name: more.value, knobs: {}, cut: null, error: "" };
    state.rows.push(row);
    Object.assign(state, { row: state.rows.length - 1, token: null });
    ask([row]);
  });
  only.addEventListener("change", later);
  const resized = whenResized(blocks, later);
  signal.addEventListener("abort", () => resized.disconnect());
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"), { signal });

  const listen = (message, buffers) => {
    if (message?.kind === "answer") line.answer(message.id, JSON.parse(new TextDecoder().decode(buffers[0])), []);
  };
  model.on("msg:custom", listen);

  /** The text and the rows this ribbon was made with, then what there is to choose. */
  async function begin() {
    trouble("");
    try {
      const [start, { segmenters, models: offered }] = await Promise.all([line.ask({ ask: "start" }), line.ask({ ask: "segmenters" })]);
      Object.assign(state, { kinds: segmenters, models: offered.filter((one) => (one.role ?? "target") === "target") });
      say(models, state.models.find((one) => one.default)?.name ?? "");
      state.rows = start.rows.filter((row) => kind(row)).map((row) => ({ ...row, cut: null, error: "" }));
      state.reference = { name: start.reference, knobs: {}, cut: null };
      state.row = 0;
      text.value = start.text;
      await everything();
    } catch (error) {
      hide(alarm, false);
      alarm.replaceChildren(html("p", null, error.message), button("Retry", begin));
    }
  }
  begin();
  return () => {
    leave.abort();
    unseen.disconnect();
    model.off("msg:custom", listen);
  };
}

export default { render: renderRibbon };
