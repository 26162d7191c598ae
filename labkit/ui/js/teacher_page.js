// The teacher's page: who is here, how busy the engine is, and what everybody is shown.

const EVERY = 2000; // milliseconds between two looks
const PAST = 90; // looks that the curve holds: three minutes
const LARGEST = 3 * 2 ** 20; // bytes of a trace that is shown to all
const COLUMNS = ["visitor", "page", "here for", "last step", "runs", "steps"];

/** A span of time in the largest unit that says enough. */
function sayTime(seconds) {
  if (seconds === null) return "none yet";
  if (seconds < 5) return "now";
  return seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** One figure with its name and a line below it. */
function makeTile(name) {
  const figure = html("b", { class: "num" }, "…");
  const words = html("span", { class: "quiet" });
  return {
    element: html("div", { class: "tl-panel tl-tile" }, html("span", null, name), figure, words),
    show(number, more = "") {
      say(figure, number);
      say(words, more);
    },
  };
}

/** Steps a second over the last minutes. */
function makePast() {
  const line = svg("path", { fill: "none", stroke: "var(--tl-draft)", "stroke-width": 2, "vector-effect": "non-scaling-stroke" });
  const picture = svg("svg", { viewBox: `0 0 ${PAST - 1} 40`, preserveAspectRatio: "none", role: "img", "aria-label": "Steps a second over the last three minutes" }, line);
  const words = html("p", { class: "quiet num" });
  const rates = [];
  return {
    element: html("section", { class: "tl-panel tl-past", "aria-label": "Steps a second" }, html("div", { class: "tl-top" }, html("h2", null, "Steps a second"), words), picture),
    add(rate) {
      rates.push(rate);
      if (rates.length > PAST) rates.shift();
      const top = Math.max(...rates, 1);
      line.setAttribute("d", rates.map((one, i) => `${i ? "L" : "M"}${PAST - rates.length + i} ${39 - 37 * (one / top)}`).join(""));
      say(words, `now ${rate.toFixed(1)}, at most ${top.toFixed(1)} in the last three minutes`);
    },
  };
}

/** Choose a saved trace, name it, show it to everybody; take it back. */
function makePush(ask) {
  const file = html("input", { type: "file", accept: ".json,.trace,application/json", id: "tl-trace" });
  const name = html("input", { type: "text", id: "tl-tracename", maxlength: 80, placeholder: "what it is called on their pages" });
  const once = html("input", { type: "checkbox", id: "tl-once" });
  const words = html("p", { role: "status" });
  const trouble = html("div", { class: "tl-error", role: "alert", hidden: true });
  const push = async (trace) => {
    hide(trouble, true);
    try {
      await ask({ ask: "push", name: name.value, at_once: once.checked }, trace ? [trace] : []);
    } catch (error) {
      trouble.replaceChildren(html("p", null, error.message));
      hide(trouble, false);
    }
  };
  const show = button("Show it to everyone", async () => {
    const chosen = file.files[0];
    const wrong = !chosen ? "No trace is chosen: save one on a bench (Take away, Save trace) and choose its file here."
      : chosen.size > LARGEST ? `The file has ${chosen.size.toLocaleString("en")} bytes, at most ${LARGEST.toLocaleString("en")} can be shown to all: save a shorter run.` : "";
    if (wrong) {
      trouble.replaceChildren(html("p", null, wrong));
      hide(trouble, false);
    } else await push(await chosen.arrayBuffer());
  }, { look: "main" });
  const back = button("Take it back", () => push(null));
  file.addEventListener("change", () => {
    if (file.files[0]) name.value = file.files[0].name.replace(/\.[a-z]+$/i, "").slice(0, 80);
  });
  const field = (words, id, input) => html("label", { for: id }, html("span", null, words), input);
  return {
    element: html("section", { class: "tl-panel tl-push", "aria-label": "Show a trace to everyone" },
      html("div", { class: "tl-top" }, html("h2", null, "Show a trace to everyone")),
      html("p", { class: "quiet" }, "Each bench offers it in a line under its buttons; a student's own run is kept and one click away."),
      field("Trace", "tl-trace", file), field("Name", "tl-tracename", name),
      html("label", { class: "tl-check", for: "tl-once" }, once, " open it at once, without asking"), trouble, html("div", { class: "tl-group" }, show, back), words),
    draw(shown) {
      say(words, shown ? `Everybody is shown “${shown}”.` : "Nothing is shown.");
      hide(back, !shown);
    },
  };
}

function renderTeacher({ model, el }) {
  const leave = new AbortController();
  const { signal } = leave;
  const line = makeLine(model, Math.random().toString(36).slice(2));
  const root = html("div", { class: "tl", tabindex: -1, role: "region", "aria-label": "Teacher's page", "data-lm-suppress-shortcuts": "true" });
  let head = null;
  const looks = makeLooks(root, (patch) => patch.theme && head?.showTheme(patch.theme), signal);
  head = drawHead("teacher", looks, html("span", { class: "models" }, "for the teacher"));
  head.showTheme(root.dataset.theme);
  let key = new URLSearchParams(location.hash.slice(1)).get("key") ?? "";
  const ask = async (message, buffers = []) => {
    const told = await line.ask({ ...message, key }, 30, buffers);
    look();
    return told;
  };
  const tiles = Object.fromEntries(["visitors", "pages", "waiting", "memory"].map((name, i) => [name, makeTile(["visitors", "pages", "steps waiting for their turn", "memory of the engine"][i])]));
  const past = makePast();
  const push = makePush(ask);
  const body = html("tbody");
  const table = html("section", { class: "tl-panel tl-present", "aria-label": "Who is here" }, html("div", { class: "tl-top" }, html("h2", null, "Who is here"), html("p", { class: "quiet" }, "A visitor is a browser; nobody's name is asked for.")),
    html("div", { class: "tl-table", tabindex: 0, role: "region", "aria-label": "Visitors" }, html("table", null, html("caption", { class: "sr" }, "Visitors"), html("thead", null, html("tr", null, ...COLUMNS.map((name) => html("th", { scope: "col" }, name)))), body)));
  const alarm = html("div", { class: "tl-error tl-alarm", role: "alert", hidden: true });
  const word = html("input", { type: "password", id: "tl-key", "aria-label": "The teacher's key", autocomplete: "current-password" });
  const enter = html("form", { class: "tl-group", onsubmit: (event) => { event.preventDefault(); key = word.value; look(); } }, word, html("button", { class: "tl-btn main" }, "Enter"));
  root.append(head.element, alarm, html("div", { class: "tl-page lay-teacher" }, ...Object.values(tiles).map((tile) => tile.element), past.element, push.element, table));
  el.append(root);
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"), { signal });

  let before = null;
  function draw(told) {
    const people = new Set(told.visitors.map((one) => one.number)).size;
    tiles.visitors.show(String(people));
    tiles.pages.show(String(told.visitors.length), `of ${told.most} the engine takes`);
    tiles.waiting.show(String(told.waiting), `${told.runs} runs are open`);
    tiles.memory.show(`${Math.round(told.resident / 1e6)} MB`);
    if (before) past.add(Math.max(0, (told.steps - before.steps) / (told.seconds - before.seconds)));
    before = told;
    push.draw(told.shown);
    const rows = told.visitors.map((one, i) => {
      const again = told.visitors[i - 1]?.number === one.number;
      const cells = [again ? "" : one.number, one.page, sayTime(60 * one.minutes), sayTime(one.quiet), one.runs, one.steps];
      return html("tr", null, ...cells.map((cell) => html("td", { class: typeof cell === "number" ? "num" : null }, String(cell))));
    });
    body.replaceChildren(...(rows.length ? rows : [html("tr", null, html("td", { colspan: COLUMNS.length, class: "quiet" }, "nobody yet"))]));
  }

  let asking = false;
  async function look() {
    if (asking) return;
    asking = true;
    try {
      draw(await line.ask({ ask: "present", key }, 30));
      hide(alarm, true);
    } catch (error) {
      const locked = error.message.includes("key");
      if (alarm.hidden || alarm.said !== error.message) alarm.replaceChildren(html("p", null, error.message), ...(locked ? [enter] : []));
      alarm.said = error.message;
      hide(alarm, false);
    }
    asking = false;
    root.dataset.ready = "1";
  }

  const listen = (message, [data, ...rest]) => message.kind === "answer" && line.answer(message.id, JSON.parse(new TextDecoder().decode(data)), rest);
  model.on("msg:custom", listen);
  look();
  const clock = setInterval(look, EVERY);
  return () => {
    leave.abort();
    clearInterval(clock);
    model.off("msg:custom", listen);
  };
}

export default { render: renderTeacher };
