// Knobs from the schema: sliders, dropdowns and switches, each with its name, range, unit, help and default.

let knobNumber = 0; // ids must be unique in a page that may hold several benches

const SAMPLING_KNOBS = [
  { name: "temperature", label: "Temperature", kind: "float", low: 0, high: 2, step: 0.05, help: "0: greedy; above 1: flatter" },
  { name: "top-k", label: "Top-k", kind: "int", low: 0, high: 100, step: 1, off: 0, help: "keep the k likeliest" },
  { name: "top-p", label: "Top-p", kind: "float", low: 0.01, high: 1, step: 0.01, off: 1, help: "smallest set that holds this mass" },
  { name: "min-p", label: "Min-p", kind: "float", low: 0, high: 0.5, step: 0.01, off: 0, help: "cut below this share of the best" },
  { name: "top-h", label: "Top-H", kind: "float", low: 0.05, high: 1, step: 0.01, off: 1, help: "share of the entropy to keep" },
  { name: "top-h.rule", label: "Top-H rule", kind: "choice", choices: ["paper", "released"], help: "counts once Top-H is on" },
  { name: "eta", label: "Eta", kind: "float", low: 0, high: 0.02, step: 0.0005, off: 0, help: "floor, lower where unsure" },
  { name: "typical", label: "Typical", kind: "float", low: 0.05, high: 1, step: 0.01, off: 1, help: "mass of the least odd tokens" },
];
const FIRST_SAMPLING = ["temperature", "top-k", "top-p", "min-p"]; // of the entropy page, the others are behind "more"
const FIRST_OF_GUEST = ["temperature", "top-h", "top-p", "min-p"]; // where it stands under another bench: a lesson on cuts
const SEED_KNOB = { name: "seed", label: "Seed", kind: "int", low: 0, high: 999, step: 1, help: "same seed, same trace" };
// The leaves of a survey of cache management (P083), in its order, and one it lacks: single numbers left out.
const LEAF_WORDS = {
  whole: "Cache: nothing forgotten", static: "Cache: tokens kept by rule", evict: "Cache: tokens evicted", select: "Cache: tokens selected",
  layers: "Cache: budget by layer", bits: "Cache: fewer bits", elements: "Cache: fewer numbers",
};
const leafPlace = (one) => Object.keys(LEAF_WORDS).indexOf(one.leaf ?? "");
const LENGTH_KNOB = { name: "max_new_tokens", label: "New tokens", kind: "int", low: 8, high: 256, step: 8, help: "where Run stops" };
const COLOUR_KNOB = { name: "colour", label: "Colour the strip by", kind: "choice", choices: ["entropy", "probability", "rank", "source"], help: "the foot of each token repeats it as a length" };
const ROW_KNOBS = 3; // of a method, where the knobs stand in one row
const COLUMN_KNOBS = 5; // and where they stand in a column: what a small screen has room for
const STUDY_KNOBS = 6; // a study has no panel of costs under it, and no method to choose
const COLOUR_WORDS = { entropy: "entropy", probability: "probability of the token", rank: "rank", source: "who wrote it" };

/** A number as its knob shows it: as many decimals as its step has. */
function knobText(knob, value) {
  if (value === knob.off) return "off";
  if (knob.kind === "int") return Number(value).toLocaleString("en");
  const places = Math.min(4, Math.max(0, Math.ceil(-Math.log10(knob.step || 0.01) - 1e-9)));
  return Number(value).toFixed(places);
}

function knobHelp(knob, id) {
  const words = knob.unit && !knob.help.includes(knob.unit) ? `${knob.help} (${knob.unit})` : knob.help;
  return words ? html("small", { id: `${id}-h`, title: words }, words) : null;
}

/** A slider: the number follows at once, `moved` is called while dragging, `settled` on release. */
function sliderKnob(knob, { moved, settled }) {
  const id = `tl-knob-${++knobNumber}`;
  const log = knob.scale === "log" && knob.low > 0;
  const toValue = (place) => {
    if (!log) return place;
    const value = knob.low * (knob.high / knob.low) ** (place / 1000);
    return knob.kind === "int" ? Math.round(value) : Number(value.toPrecision(3));
  };
  const toPlace = (value) => (log ? Math.round((1000 * Math.log(value / knob.low)) / Math.log(knob.high / knob.low)) : value);
  const output = html("output", { for: id });
  const [low, high, step] = log ? [0, 1000, 1] : [knob.low, knob.high, knob.step || (knob.kind === "int" ? 1 : (knob.high - knob.low) / 100)];
  const input = html("input", { id, type: "range", min: low, max: high, step, "aria-describedby": `${id}-h` });
  let value = knob.low;
  const paint = () => {
    const words = knobText(knob, value);
    const unit = knob.unit && words !== "off" ? ` ${knob.unit}` : "";
    output.textContent = words;
    input.setAttribute("aria-valuetext", words + unit);
    input.style.setProperty("--v", `${((Number(input.value) - low) / (high - low || 1)) * 100}%`);
  };
  const read = () => {
    value = toValue(Number(input.value));
    paint();
    return value;
  };
  input.addEventListener("input", () => moved?.(read()));
  input.addEventListener("change", () => settled?.(read()));
  const help = knobHelp(knob, id);
  const element = html("div", { class: "tl-knob", "data-knob": knob.name }, html("label", { for: id, title: knob.help }, knob.label), output, input, help);
  return {
    element,
    set(next) {
      if (next === value && input.dataset.set) return;
      input.dataset.set = "1";
      value = next;
      input.value = String(toPlace(next));
      paint();
    },
  };
}

/** A dropdown; `words` names the choices for people. */
function choiceKnob(knob, { settled }, words = {}) {
  const id = `tl-knob-${++knobNumber}`;
  const option = (one) => html("option", { value: one }, words[one] ?? one);
  const groups = Object.entries(Object.groupBy(knob.choices, (one) => knob.groups?.[one] ?? ""));
  const select = html("select", { id, "aria-describedby": `${id}-h` }, ...groups.flatMap(([name, all]) => (name ? html("optgroup", { label: name }, ...all.map(option)) : all.map(option))));
  select.addEventListener("change", () => settled(select.value));
  const element = html("div", { class: "tl-knob", "data-knob": knob.name }, html("label", { for: id, title: knob.help }, knob.label), html("span"), select, knobHelp(knob, id));
  return { element, set: (value) => select.value !== value && (select.value = value) };
}

/** A switch. */
function switchKnob(knob, { settled }) {
  const id = `tl-knob-${++knobNumber}`;
  const box = html("input", { id, type: "checkbox", role: "switch", "aria-describedby": `${id}-h` });
  box.addEventListener("change", () => settled(box.checked));
  const element = html("div", { class: "tl-knob", "data-knob": knob.name }, html("label", { for: id, title: knob.help }, knob.label), box, knobHelp(knob, id));
  return { element, set: (value) => (box.checked = Boolean(value)) };
}

/** The knob for a schema entry, whatever its kind. */
function makeKnob(knob, on, words) {
  return knob.kind === "choice" ? choiceKnob(knob, on, words) : knob.kind === "bool" ? switchKnob(knob, on) : sliderKnob(knob, on);
}

/** The panel of knobs of the lane on show, built from what the engine says there is. */
function makeKnobs(store, live) {
  const title = html("h2");
  const paper = html("p", { class: "quiet" });
  const reset = linkButton("reset", resetAll);
  const trouble = html("div");
  const box = html("div", { class: "tl-knobbox" });
  const redraw = button("Redraw the text with these", () => store.actions.again(), { look: "redraw", hidden: true });
  const element = html("section", { class: "tl-panel tl-knobs a-knobs", "aria-label": "Knobs" }, html("div", { class: "tl-top" }, title, paper), trouble, box, redraw, html("div", { class: "tl-knobfoot" }, reset));
  let setters = [];
  let built = "";

  const lane = () => store.lanes[store.lane];
  const method = () => store.engine?.methods.find((one) => one.name === lane().wish?.method);

  function put(knob, read, write, rerun = true, words) {
    const made = makeKnob(knob, {
      moved: rerun && !knob.live ? null : (value) => write(value, rerun, true),
      settled: (value) => write(value, rerun),
    }, words);
    setters.push(() => made.set(read()));
    return made.element;
  }

  const ofRequest = (knob, rerun = true, words) => put(knob, () => lane().wish[knob.name], (value, run) => store.actions.wish({ [knob.name]: value }, run), rerun, words);
  const ofMethod = (knob) => put(knob, () => lane().wish.knobs[knob.name] ?? knob.default, (value, run, held) => store.actions.wish({ knobs: { ...lane().wish.knobs, [knob.name]: value } }, run, held));
  const ofSampling = (knob, rerun) => put(knob, () => store.sampling[knob.name], (value, run) => store.actions.wish(withSampling(lane().wish, { ...store.sampling, [knob.name]: value }), run), rerun);

  function picker(role, label, help) {
    const models = store.engine?.models.filter((one) => one.role === role) ?? [];
    if (models.length < 2) return null;
    const words = Object.fromEntries(models.map((one) => [one.name, one.parameters ? `${one.name} · ${sayCount(one.parameters)}` : one.name]));
    const preset = models.find((one) => one.default)?.name ?? "";
    const knob = { name: role, label, kind: "choice", choices: models.map((one) => one.name), help };
    return put(knob, () => lane().wish[role] || preset, (value) => store.actions.wish({ [role]: value }, true), true, words);
  }

  function methodPicker() {
    const methods = store.engine?.methods.filter((one) => !one.study && (store.page !== "acceptance" || one.drafts)) ?? [];
    if (methods.length < 2) return null;
    const themes = [...new Set(methods.map((one) => one.theme))];
    methods.sort((a, b) => themes.indexOf(a.theme) - themes.indexOf(b.theme) || leafPlace(a) - leafPlace(b));
    const words = Object.fromEntries(methods.map((one) => [one.name, one.lossless ? one.title : `${one.title} (${one.theme === "speculative" ? "lossy" : "another law"})`]));
    const knob = { name: "method", label: "Method", kind: "choice", choices: methods.map((one) => one.name), groups: Object.fromEntries(methods.map((one) => [one.name, LEAF_WORDS[one.leaf] ?? THEME_WORDS[one.theme] ?? one.theme])), help: "" };
    return put(knob, () => lane().wish.method, (name) => store.actions.wish({ method: name, knobs: {} }, true), true, words);
  }

  function build() {
    setters = [];
    const [temperature, ...cuts] = SAMPLING_KNOBS;
    const models = () => [picker("target", "Target", "the model that decides"), picker("draft", "Draft", "the small model that guesses")];
    const more = (...inner) => html("details", { class: "tl-more" }, html("summary", null, "more"), html("div", { class: "tl-knobbox" }, ...inner));
    if (store.page === "entropy") {
      const order = store.guest ? FIRST_OF_GUEST : FIRST_SAMPLING;
      const [first, rest] = [true, false].map((front) => SAMPLING_KNOBS.filter(({ name }) => order.includes(name) === front).map((knob) => ofSampling(knob, false)));
      const colour = put(COLOUR_KNOB, () => store.colour, (value) => store.set({ colour: value }), false, COLOUR_WORDS);
      box.replaceChildren(...first, colour, ofRequest(SEED_KNOB), more(...[...rest, methodPicker(), ...(method()?.knobs.map(ofMethod) ?? []), ofRequest(LENGTH_KNOB), ...models()].filter(Boolean)));
    } else if (store.page === "study") {
      const knobs = method()?.knobs.map(ofMethod) ?? [];
      const rest = [...knobs.slice(STUDY_KNOBS), ofRequest(SEED_KNOB), ...models()];
      box.replaceChildren(...knobs.slice(0, STUDY_KNOBS), ofSampling(temperature, true), more(...rest.filter(Boolean)));
    } else {
      // The acceptance page has its knobs in one row, the others in a column: what fits stays there, the rest is behind "more".
      const row = store.page === "acceptance";
      const knobs = method()?.knobs ?? [];
      const ranked = row ? [...knobs].sort((a, b) => (b.kind === "choice") - (a.kind === "choice")) : knobs;
      const front = new Set(ranked.slice(0, row ? ROW_KNOBS : COLUMN_KNOBS));
      const crowded = row || knobs.length > 3;
      const first = [methodPicker(), ...knobs.filter((knob) => front.has(knob)).map(ofMethod), ofSampling(temperature, true), crowded ? null : ofRequest(SEED_KNOB)];
      const rest = [...knobs.filter((knob) => !front.has(knob)).map(ofMethod), crowded ? ofRequest(SEED_KNOB) : null, ofRequest(LENGTH_KNOB), ...cuts.map((knob) => ofSampling(knob, true)), ...models()];
      box.replaceChildren(...first.filter(Boolean), more(...rest.filter(Boolean)));
    }
  }

  function resetAll() {
    const old = lane().first ?? lane().wish;
    store.actions.wish({ knobs: old.knobs, temperature: old.temperature, transforms: old.transforms, seed: old.seed, max_new_tokens: old.max_new_tokens }, store.page !== "entropy" || old.seed !== lane().wish.seed);
  }

  function draw(changes) {
    if (!lane().wish) return;
    if (!["engine", "lanes", "lane", "sampling", "colour", "trouble"].some((name) => changes.has(name))) return;
    box.classList.toggle("dense", (method()?.knobs.length ?? 0) > 3);
    const key = `${store.engine?.count}/${store.lane}/${lane().wish.method}`;
    if (key !== built) {
      built = key;
      build();
    }
    for (const set of setters) set();
    const info = method();
    say(title, live ? "Sampling" : store.page === "study" ? "Knobs" : info?.title ?? "Knobs");
    mark(title, "title", info?.summary ?? "");
    say(paper, live ? "" : info?.paper ?? "");
    showTrouble(store, trouble, "knobs");
    mark(element, "data-state", troubleIn(store, "knobs") ? "error" : "ready");
    hide(redraw, !(lane().steps.length && store.actions.dirty() && !store.actions.busy()));
  }
  return { element, draw };
}

/** 7,012,352 → "7.0 M". */
function sayCount(n) {
  return n >= 1e9 ? `${(n / 1e9).toFixed(1)} B` : n >= 1e6 ? `${(n / 1e6).toFixed(1)} M` : n >= 1e3 ? `${(n / 1e3).toFixed(0)} k` : String(n);
}
