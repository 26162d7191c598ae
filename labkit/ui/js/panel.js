// A panel round a view: its title, the sentence beside it, its table, and what it says when it is empty or something went wrong.

/** A title row: heading, note, and what stands at its end. */
function titleRow(title, note, ...end) {
  return html("div", { class: "tl-top" }, html("h2", null, title), note, end.length ? html("span", { class: "end" }, ...end) : null);
}

/** A coloured sample with its meaning. */
function legendKey(look, words) {
  return html("span", { class: "tl-key" }, html("span", { class: `sw ${look}`, "aria-hidden": "true" }), words);
}

const MOST_ROWS = 2000; // of a table; the page would stand still over more

/** Of too many rows those round number `place`; all of them are in the CSV file. */
function tableRows(rows, place) {
  const first = Math.max(0, Math.min(place - MOST_ROWS / 2, rows.length - MOST_ROWS));
  return rows.slice(first, first + MOST_ROWS);
}

/** The same numbers as rows: a table behind every picture. */
function drawTable({ columns, rows }, caption) {
  const head = html("tr", null, ...columns.map((name) => html("th", { scope: "col" }, String(name))));
  const body = rows.map((row) => html("tr", null, ...row.map((cell) => html("td", null, String(cell ?? "")))));
  return html("div", { class: "tl-table", tabindex: 0, role: "region", "aria-label": `${caption}, as a table` },
    html("table", null, html("caption", { class: "sr" }, caption), html("thead", null, head), html("tbody", null, ...body)));
}

/** A pale shape of what will be there. */
function paleShape() {
  const block = (x, y, width) => svg("rect", { x, y, width, height: 16, rx: 4 });
  return svg("svg", { class: "tl-shade", viewBox: "0 0 150 70", "aria-hidden": "true" }, block(0, 26, 34), block(52, 6, 40), block(52, 46, 30), block(106, 6, 44));
}

/** The error that belongs into `panel`: the page's own, else a lane's; null when all is well. */
function troubleIn(store, panel) {
  return store.trouble?.panel === panel ? store.trouble : store.lanes.map((lane) => lane.error).find((one) => one?.panel === panel) ?? null;
}

/** One sentence and one button, where the trouble is. */
function errorNote(store, error) {
  const mend = button(error.action === "close" ? "Close" : "Retry", () => (error.action === "close" ? store.set({ trouble: null }) : store.actions.retry()));
  return html("div", { class: "tl-error", role: "alert" }, html("p", null, error.text), mend);
}

/** Bring a panel's error up to the store; true when it is a new one. An unchanged page is not touched. */
function showTrouble(store, box, panel) {
  const error = troubleIn(store, panel);
  if (box.shown === error) return false;
  box.shown = error;
  box.replaceChildren(...(error ? [errorNote(store, error)] : []));
  return Boolean(error);
}

/** Set a text, unless it is there already: every change costs the page a layout. */
function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/** Set an attribute, unless it is there already. */
function mark(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Hide an element or show it; setting what is set already would cost a look-up of styles. */
function hide(element, yes) {
  if (element.hidden !== yes) element.hidden = yes;
}

/** The panel of a view; `area` is its place in the layout, `hero` panels say what to do while there is nothing. */
function makePanel(store, view, area, { hero = false, extra = [] } = {}) {
  const note = html("p");
  const table = linkButton("as a table", () => showTable(!shown));
  const top = titleRow(view.title, note, ...extra, view.legend ?? null, table);
  const heading = top.querySelector("h2");
  const still = html("div", { class: "tl-say" });
  const trouble = html("div");
  const body = html("div", { class: "tl-body" }, view.element);
  const element = html("section", { class: `tl-panel a-${area}`, "aria-label": view.title }, top, trouble, still, body);
  let shown = false;
  let drawnTable = null;
  let said = "";

  function showTable(yes) {
    shown = yes;
    table.textContent = yes ? "as a picture" : "as a table";
    drawnTable?.remove();
    drawnTable = yes ? drawTable(view.table(), view.title) : null;
    if (yes) body.append(drawnTable);
    hide(view.element, yes);
  }

  function state() {
    const lane = store.lanes[store.lane];
    if (lane.steps.length || (lane.tokens.length && !hero)) return "ready";
    return lane.state === "loading" || lane.state === "running" ? "loading" : "empty";
  }

  function draw(changes) {
    const now = state();
    const wrong = troubleIn(store, hero ? "hero" : area);
    showTrouble(store, trouble, hero ? "hero" : area);
    mark(element, "data-state", wrong ? "error" : now);
    mark(element, "aria-busy", String(now === "loading"));
    const quiet = now !== "ready" && hero;
    hide(body, quiet);
    hide(still, !quiet || Boolean(wrong && now === "empty"));
    const read = store.lanes[store.lane].read;
    const words = read === undefined ? "The model is starting; the rest of the page keeps working." : `Reading the trace: ${Math.round(100 * read)} %.`;
    if (quiet && said !== `${now} ${words}`) {
      said = `${now} ${words}`;
      if (now === "loading") still.replaceChildren(paleShape(), html("p", null, words), button("Stop", store.actions.stop));
      else still.replaceChildren(paleShape(), html("p", null, "Nothing here yet: press Step, or open a saved trace."), button("First step", store.actions.step, { look: "main", glyph: "step" }));
    }
    if (!quiet) {
      view.draw(changes);
      if (shown && changes.size) showTable(true);
    }
    say(note, view.note ?? "");
    say(heading, view.title);
  }
  return { element, draw, view, svg: () => view.element.querySelector("svg[role=group]") ?? view.element.querySelector("svg") };
}
