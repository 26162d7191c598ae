// The transport: step, back, run, stop, and the timeline, which is the scrubber.

const MOST_CELLS = 1000; // of a longer trace each cell stands for several tokens, or steps
const FEWER_CELLS = 500; // which are then at most so many
const VERDICT_CELL = { accepted: "", refused: "r", unreached: "g" };

/** The bar under the head. On the entropy page the timeline has one cell a token, elsewhere one button a step. */
function makeTransport(store, menus) {
  const actions = store.actions;
  const tokens = store.page === "entropy";
  const start = button("", actions.toStart, { glyph: "start", "aria-label": "To the start", title: "To the start (Home)" });
  const back = button("", actions.back, { glyph: "back", "aria-label": "One step back", title: "Back (left arrow)" });
  const step = button("Step", actions.step, { look: "main", glyph: "step", title: "Step (right arrow)" });
  const run = button("Run", actions.run, { glyph: "run", title: "Run (space)" });
  const stop = button("Stop", actions.stop, { glyph: "stop", title: "Stop (Esc)" });
  const end = button("", actions.toEnd, { glyph: "end", "aria-label": "To the end", title: "To the end (End)" });
  const time = html("div", { class: "tl-time", role: "group", "aria-label": tokens ? "Tokens of this trace" : "Steps of this trace" });
  const at = html("span", { class: "tl-at", role: "status" });
  const group = (...all) => html("span", { class: "tl-group" }, ...all);
  const element = html("div", { class: "tl-bar", role: "toolbar", "aria-label": "Transport" }, group(start, back), step, group(run, stop, end), time, at, ...menus);
  let cells = [];
  let opening = null;
  let steps = -1;
  let known = 0;
  let each = 1; // tokens, or steps, of a cell
  let here = null;
  let later = 0;

  time.addEventListener("click", (event) => {
    const one = event.target.closest("button");
    if (!one || store.actions.busy()) return;
    if (one.dataset.token === undefined) return actions.goTo(Number(one.dataset.step) + 1);
    const token = store.lanes[store.lane].tokens[Number(one.dataset.token)];
    if (!token.prompt) actions.goTo(token.step + 1);
    store.set({ selected: { kind: "token", lane: store.lane, index: Number(one.dataset.token) } });
  });

  function tokenCell(token, index) {
    const words = `token ${index + 1}, ${pieceSpoken(token.piece)}`;
    const level = token.belief ? entropyClass(token.belief.entropy) : 0;
    return html("button", { type: "button", tabindex: -1, style: "--n:1", "data-token": index, "data-step": token.step, "data-link": token.key, "aria-label": words, title: words }, html("i", { class: `e e${level}` }));
  }

  function stepCell(step_, place, lane) {
    const tree = stepTree(step_);
    const taken = step_.emitted.length;
    const last = lane.pieces[step_.emitted.at(-1)] ?? "";
    if (!taken) {
      const name = `Step ${place + 1}`;
      return html("button", { type: "button", tabindex: -1, style: "--n:1", "data-step": place, "aria-label": name, title: name }, html("i", store.page === "study" ? null : { class: "g" }));
    }
    const words = tree
      ? `Step ${place + 1}: ${tree.path.length} of ${tree.tokens.length} accepted${tree.added === null ? "" : `, then ${pieceSpoken(last)} from the target`}`
      : `Step ${place + 1}: ${counted(taken, "token")}, ${pieceSpoken(last)}`;
    const marks = step_.emitted.map((_, slot) => html("i", (step_.sources[slot] ?? "target") === "target" ? { class: "t" } : null));
    if (store.page === "acceptance" && tree) {
      const rest = tree.tokens.map((_, node) => tree.verdicts[node]).filter((verdict) => verdict !== "accepted");
      marks.splice(tree.path.length, 0, ...rest.map((verdict) => html("i", { class: VERDICT_CELL[verdict] ?? "g" })));
    }
    return html("button", { type: "button", tabindex: -1, style: `--n:${marks.length}`, "data-step": place, "aria-label": words, title: words }, ...marks);
  }

  /** One cell for the tokens, or steps, from `from` up to `upto`; it leads to the first of them. */
  function manyCell(from, upto, lane) {
    const prompt = lane.opening.prompt_ids.length;
    const { tokens: made } = lane.sums;
    const inside = lane.tokens.slice(...(tokens ? [from, upto] : [prompt + made[from], prompt + made[upto]]));
    const believed = inside.filter((token) => token.nats !== undefined);
    const nats = believed.reduce((sum, token) => sum + token.nats, 0) / Math.max(1, believed.length);
    const step = tokens ? inside[0].step : from;
    const words = tokens ? `tokens ${from + 1} to ${upto}, entropy ${nats.toFixed(2)} nats on average` : `Steps ${from + 1} to ${upto}: ${counted(made[upto] - made[from], "token")}`;
    const byTarget = inside.filter((token) => token.source === "target").length * 2 > inside.length;
    return html("button", { type: "button", tabindex: -1, style: "--n:1", "data-token": tokens ? from : undefined, "data-step": step, "aria-label": words, title: words },
      html("i", { class: tokens ? `e e${entropyClass(nats)}` : byTarget ? "t" : null }));
  }

  function grow(lane) {
    const all = tokens ? lane.tokens : lane.steps;
    const wanted = all.length > MOST_CELLS ? 2 ** Math.ceil(Math.log2(all.length / FEWER_CELLS)) : 1;
    if (lane.opening !== opening || known > all.length || wanted !== each) {
      time.replaceChildren();
      [cells, opening, known, here, later, each] = [[], lane.opening, 0, null, 0, wanted];
    }
    if (each > 1 && known < all.length && known % each) {
      cells.pop().remove(); // it stands for more now
      known -= known % each;
    }
    while (known < all.length) {
      const upto = Math.min(all.length, known + each);
      cells.push(each > 1 ? manyCell(known, upto, lane) : tokens ? tokenCell(all[known], known) : stepCell(all.at(known), known, lane));
      known = upto;
    }
    time.append(...cells.slice(time.childElementCount));
    const fine = tokens || store.page === "study" ? cells.length : lane.tokens.length;
    time.classList.toggle("fine", fine > 48);
    time.classList.toggle("finest", fine > 160); // no room is left between them
  }

  function place(lane) {
    const current = Math.floor((tokens ? tokenInFocus(store) : lane.at - 1) / each);
    // Only the cells between the old and the new place change: a scrub touches few nodes, however long the trace.
    const edge = Math.ceil((tokens ? lastShown(lane) + 1 : lane.at) / each);
    const [from, to] = [Math.min(edge, later), Math.max(edge, later)];
    for (let k = from; k < Math.max(to, cells.length); k++) cells[k]?.classList.toggle("later", k >= edge);
    later = edge;
    if (cells[current] === here) return;
    here?.removeAttribute("aria-current");
    here?.setAttribute("tabindex", "-1");
    here = cells[current] ?? null;
    here?.setAttribute("aria-current", "step");
    (here ?? cells[0])?.setAttribute("tabindex", "0");
  }

  function draw() {
    const lane = store.lanes[store.lane];
    const busy = actions.busy();
    const number = actions.at();
    const most = actions.longest();
    grow(lane);
    place(lane);
    const count = tokens ? lane.tokens.length : lane.steps.length;
    const current = tokens ? (count ? tokenInFocus(store) + 1 : 0) : lane.at;
    at.replaceChildren(html("b", { class: "num" }, `${tokens ? "token" : "step"} ${current}`), ` of ${count}`);
    // A disabled button would lose the focus under a finger that goes on pressing it.
    const off = (one, yes) => mark(one, "aria-disabled", String(yes));
    off(start, busy || number === 0);
    off(back, busy || number === 0);
    off(step, busy || (number === most && actions.ended()));
    off(run, busy || (number === most && actions.ended()));
    off(stop, !busy);
    off(end, busy || number === most);
    steps = most;
  }

  return { element, draw, steps: () => steps };
}
