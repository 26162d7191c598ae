// The panel of strips: one lane or two, the prompt, and the branch at a chosen token.

const STRIP_TITLE = { entropy: "Entropy, token by token", draft_trees: "Tokens", decode: "Tokens", acceptance: "Round" };

/** The ramp of the entropy classes. */
function rampLegend() {
  const words = ["0", ...ENTROPY_EDGES.map((edge) => String(edge).replace(/^0/, ""))];
  const cells = words.map((word, level) => html("i", { class: `e${level}` }, level === 6 ? `${word}+` : word));
  return html("span", { class: "tl-ramp" }, "sure", html("span", null, ...cells), "unsure, nats");
}

/** The head of a lane when there are two: which one the panels show, how it goes, what it cost. */
function makeLaneHead(store, place) {
  const show = html("button", { type: "button", class: "tl-lanename", onclick: () => store.actions.show(place) });
  const sums = html("span", { class: "quiet num" });
  const close = place ? button("", () => store.actions.close(), { look: "bare", glyph: "close", "aria-label": "Close the second lane", title: "Close the second lane" }) : null;
  const element = html("div", { class: "tl-lanehead" }, show, sums, close);
  function draw() {
    const lane = store.lanes[place];
    const title = store.engine?.methods.find((one) => one.name === lane.request?.method)?.title ?? lane.request?.method ?? "";
    show.textContent = `${place + 1}  ${title}${lane.name !== "first" && lane.name !== "second" ? ` · ${lane.name}` : ""}`;
    show.setAttribute("aria-pressed", String(store.lane === place));
    const cost = laneCost(lane);
    const words = cost ? `${counted(cost.tokens, "token")} · ${counted(cost.target_forwards, "target call")} · ${saySeconds(cost.seconds)}` : lane.state;
    const mark = place ? firstDifference(store.lanes) : -1;
    sums.textContent = place && cost ? `${words} · ${mark < 0 ? "no difference so far" : `first difference at token ${mark + 1}`}` : words;
  }
  return { element, draw };
}

/** The prompt: one line until it is opened, then a text area with its tokens counted; nothing typed is lost on an error. */
function makePrompt(store) {
  const id = `tl-prompt-${store.view}`;
  const words = html("span", { class: "quiet num" });
  const area = html("textarea", { id, rows: 4, spellcheck: "false", autocomplete: "off", "aria-describedby": `${id}-n` });
  const count = html("span", { class: "quiet num", id: `${id}-n`, role: "status" });
  const use = button("Use this prompt", () => commit(), { look: "main" });
  const drop = button("Cancel", () => open(false), { look: "bare" });
  const toggle = linkButton("edit the prompt", () => open(form.hidden), { "aria-expanded": "false" });
  const trouble = html("div");
  const form = html("div", { class: "tl-prompt", hidden: true }, html("label", { for: id }, "Prompt"), area, html("div", { class: "tl-promptfoot" }, use, drop, count));
  let timer = 0;

  const textOf = (lane) => (lane.wish?.ids ? lane.tokens.filter((token) => token.prompt).map((token) => token.piece).join("") : lane.wish?.prompt ?? "");

  function open(yes) {
    form.hidden = !yes;
    toggle.setAttribute("aria-expanded", String(yes));
    if (!yes) return toggle.focus();
    area.value = textOf(store.lanes[0]);
    counting();
    area.focus();
  }

  function commit() {
    store.actions.prompt(area.value);
    open(false);
  }

  async function counting() {
    const text = area.value;
    try {
      const answer = await store.ask({ ask: "tokens", text, target: store.lanes[0].wish?.target ?? "" }, 20);
      if (text === area.value) count.textContent = counted(answer.ids?.length ?? answer.tokens?.length ?? 0, "token");
    } catch (error) {
      count.textContent = error.message;
    }
  }

  area.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(counting, 200);
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) commit();
    if (event.key === "Escape") open(false);
    event.stopPropagation();
  });

  function draw() {
    const prompt = store.lanes[0].opening?.prompt_ids.length;
    say(words, prompt ? `prompt ${counted(prompt, "token")}` : "");
    if (showTrouble(store, trouble, "prompt") && form.hidden) open(true);
  }
  return { form, trouble, head: html("span", { class: "tl-prompthead" }, words, toggle), draw };
}

/** "Branch here with …" for the chosen token: any of the alternatives the trace knows. */
function makeBranch(store) {
  const id = `tl-branch-${store.view}`;
  const select = html("select", { id });
  const label = html("label", { for: id });
  const go = button("Branch", () => store.actions.branch(Number(go.dataset.at), Number(select.value)));
  const element = html("span", { class: "tl-branch", hidden: true }, label, select, go);
  let key = "";

  function draw() {
    const chosen = store.selected;
    const lane = store.lanes[store.lane];
    const token = chosen?.kind === "token" && chosen.lane === store.lane ? lane.tokens[chosen.index] : null;
    const others = token?.belief && !lane.anyOrder ? token.belief.top.filter((one) => one !== token.id) : [];
    hide(element, !others.length || chosen.index === 0);
    const next = element.hidden ? "" : `${store.lane}/${chosen.index}/${token.id}/${others}`;
    if (next === key) return;
    key = next;
    if (element.hidden) return;
    go.dataset.at = chosen.index;
    label.replaceChildren("Instead of ", html("code", null, pieceCut(token.piece, 16)), " branch here with");
    const chance = (one) => decimals(Math.exp(token.belief.top_logprobs[token.belief.top.indexOf(one)]));
    select.replaceChildren(...others.map((one) => html("option", { value: one }, `${pieceCut(lane.pieces[one] ?? `#${one}`, 24)}   ${chance(one)}`)));
  }
  return { element, draw };
}

/** The panel with strips, prompt and branch. */
function makeLanes(store, tip) {
  const page = store.page;
  const prompt = makePrompt(store);
  const branch = makeBranch(store);
  const legends = page === "entropy" ? [rampLegend()] : [legendKey("acc", "accepted"), legendKey("ref", "refused"), legendKey("gho", page === "acceptance" ? "never tested" : "never reached"), legendKey("tgt", "from the target"), legendKey("tgt", "filled in"), legendKey("mask", "not yet")];
  const top = titleRow(STRIP_TITLE[page], prompt.head, page === "entropy" ? null : branch.element, ...legends); // there the bars have the button
  const title = top.querySelector("h2");
  const rows = html("div", { class: "tl-lanes" });
  const element = html("section", { class: `tl-panel ${page === "acceptance" ? "a-chain" : "a-strip"}`, "aria-label": STRIP_TITLE[page] }, top, prompt.trouble, prompt.form, rows);
  let lanes = [];

  function add(place) {
    const head = makeLaneHead(store, place);
    const strip = page === "acceptance" ? makeRound(store, place) : makeStrip(store, place, page === "entropy");
    tip.watch(strip.element, place);
    const row = html("div", { class: "tl-lane", "data-lane": place }, head.element, strip.element);
    rows.append(row);
    return { row, head, strip };
  }

  function draw(changes) {
    while (lanes.length < store.lanes.length) lanes.push(add(lanes.length));
    while (lanes.length > store.lanes.length) lanes.pop().row.remove();
    rows.classList.toggle("two", lanes.length > 1);
    for (const one of lanes) {
      one.strip.draw(changes);
      hide(one.head.element, lanes.length < 2);
      if (lanes.length > 1) one.head.draw();
    }
    if (page === "acceptance") say(title, `Round ${store.lanes[store.lane].at || ""}`);
    if (page !== "entropy") {
      const drafts = store.lanes.some((lane) => laneDrafts(store, lane));
      for (const key of legends.slice(0, 3)) hide(key, !drafts); // nothing is drafted, so nothing is accepted or refused
      const anyOrder = store.lanes.every((lane) => lane.anyOrder); // another model than the target fills such a text
      hide(legends[3], anyOrder);
      for (const key of legends.slice(4)) hide(key, !store.lanes.some((lane) => lane.anyOrder));
    }
    prompt.draw();
    branch.draw();
  }
  const settle = () => lanes.forEach((one) => one.strip.settle?.());
  return { element, draw, settle };
}

/** In place of strips: what a study asks, and how far it is. */
function makeProgress(store) {
  const title = html("h2");
  const summary = html("p");
  const bar = html("progress", { class: "tl-progress", max: 1, value: 0, "aria-label": "How far the study is" });
  const count = html("span", { class: "quiet num" });
  const trouble = html("div");
  const go = button("Run", () => store.actions.run(), { look: "main", glyph: "run" });
  const top = html("div", { class: "tl-top" }, title, summary, html("span", { class: "end tl-far" }, bar, count, go));
  const element = html("section", { class: "tl-panel a-strip", "aria-label": "Study" }, top, trouble);
  function draw() {
    const lane = store.lanes[store.lane];
    const info = store.engine?.methods.find((one) => one.name === (lane.wish ?? lane.request)?.method);
    const notes = stepAt(lane)?.notes ?? {};
    say(title, info?.title ?? "Study");
    say(summary, info?.summary ?? "");
    bar.max = notes.of ?? 1;
    bar.value = lane.closing && lane.at === lane.steps.length ? bar.max : notes.done ?? 0;
    say(count, notes.of ? `${notes.done} of ${notes.of}` : lane.steps.length ? counted(lane.steps.length, "step") : "");
    hide(bar, !lane.steps.length);
    hide(go, Boolean(lane.steps.length) || store.actions.busy());
    showTrouble(store, trouble, "hero");
  }
  return { element, draw, settle() {} };
}
