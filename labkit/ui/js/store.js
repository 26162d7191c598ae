// What the page knows: lanes with their traces, what is selected, how the knobs stand. Views read it; the shell writes it.

let halves; // float16 bits -> number, made at the first law

/** ln p over the whole vocabulary from little-endian float16 bytes. */
function decodeLaw(bytes) {
  if (!halves) {
    halves = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits++) {
      const power = (bits >> 10) & 31;
      const part = bits & 1023;
      const size = power === 31 ? (part ? NaN : Infinity) : power ? 2 ** (power - 15) * (1 + part / 1024) : (2 ** -14 * part) / 1024;
      halves[bits] = bits & 0x8000 ? -size : size;
    }
  }
  const whole = bytes.byteOffset % 2 ? bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) : null;
  const raw = whole ? new Uint16Array(whole) : new Uint16Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength >> 1);
  return Float32Array.from(raw, (bits) => halves[bits]);
}

const TREE_LISTS = ["tokens", "parents", "draft_logprobs", "draft_entropies", "target_logprobs", "target_entropies",
  "verdicts", "reasons", "coins", "thresholds", "order", "path"];

/** The tree of a step with its absent fields filled in, or null. */
function stepTree(step) {
  const tree = step?.tree;
  if (!tree) return null;
  if (!tree.whole) {
    for (const name of TREE_LISTS) tree[name] ??= [];
    tree.kind ??= "deterministic";
    tree.source ??= "draft";
    tree.added ??= null;
    tree.added_logprob ??= null;
    tree.added_from ??= "";
    tree.whole = true;
  }
  return tree;
}

/** A belief with its absent fields filled in; its law is decoded when somebody looks at it. */
function wholeBelief(belief, buffers) {
  belief.top ??= [];
  belief.top_logprobs ??= [];
  const bytes = typeof belief.law === "number" ? buffers[belief.law] : null;
  let law = null;
  Object.defineProperty(belief, "law", { get: () => (law ??= bytes ? decodeLaw(bytes) : null), enumerable: true, configurable: true });
  return belief;
}

/** An empty lane. */
function makeLane(name) {
  return { name, request: null, opening: null, steps: [], closing: null, pieces: {}, tokens: [], anyOrder: false, state: "empty", error: null, at: 0, runs: 0 };
}

/** Put an opening into a lane: its trace begins anew. */
function openLane(lane, opening, buffers) {
  opening.prompt_ids ??= [];
  opening.prompt_beliefs ??= [];
  opening.pieces ??= {};
  Object.assign(lane, { opening, steps: [], closing: null, pieces: { ...opening.pieces }, tokens: [], anyOrder: false, at: 0, runs: lane.runs + 1 });
  opening.prompt_ids.forEach((id, place) => {
    const belief = place > 0 ? opening.prompt_beliefs[place - 1] : null;
    lane.tokens.push(makeToken(lane, place, id, true, -1, place, "prompt", belief ? wholeBelief(belief, buffers) : null));
  });
}

/** Append one step to a lane. */
function addStep(lane, step, buffers) {
  Object.assign(lane.pieces, step.pieces);
  for (const name of ["emitted", "sources", "beliefs", "tests"]) step[name] ??= [];
  step.cost ??= {};
  step.notes ??= {};
  const place = lane.steps.push(step) - 1;
  const prompt = lane.opening?.prompt_ids.length ?? 0;
  if (step.at && !lane.anyOrder) openMasks(lane, prompt + (lane.opening.request.max_new_tokens ?? REQUEST_DEFAULTS.max_new_tokens));
  step.emitted.forEach((id, slot) => {
    const belief = step.beliefs[slot] ? wholeBelief(step.beliefs[slot], buffers) : null;
    const index = step.at ? prompt + step.at[slot] : lane.tokens.length;
    lane.tokens[index] = makeToken(lane, index, id, false, place, slot, step.sources[slot] ?? "target", belief);
  });
}

const MASK = { id: -1, piece: "▢" }; // stands at a place that no step has filled

/** A text that is filled in any order begins as masks up to its length. */
function openMasks(lane, length) {
  lane.anyOrder = true;
  while (lane.tokens.length < length) lane.tokens.push({ ...makeToken(lane, lane.tokens.length, MASK.id, false, Infinity, 0, "mask", null), piece: MASK.piece });
}

function makeToken(lane, index, id, prompt, step, slot, source, belief) {
  const token = { key: `t${index}`, id, prompt, step, slot, source, belief };
  Object.defineProperty(token, "piece", { get: () => lane.pieces[id] ?? `#${id}`, enumerable: true, configurable: true });
  Object.defineProperty(token, "law", { get: () => belief?.law ?? null, enumerable: true });
  return token;
}

/** The cuts in their order: the knob that turns each, where it is off (it leaves the law alone), and what more it may be told. */
const CUTS = {
  "top-h": { knob: "alpha", off: 1, more: { rule: "paper", cap: 0 } }, // before any other cut, as its paper has it
  "top-k": { knob: "k", off: 0 },
  "top-p": { knob: "p", off: 1 },
  "min-p": { knob: "p", off: 0 },
  eta: { knob: "epsilon", off: 0, more: { rule: "eta" } },
  typical: { knob: "mass", off: 1 },
};

/** The sampling knobs as a request has them: by the name of the cut, what more it is told by "cut.knob". */
function samplingOf(request) {
  const sampling = { temperature: request?.temperature ?? 0 };
  for (const [name, { knob, off, more = {} }] of Object.entries(CUTS)) {
    const told = request?.transforms?.find((one) => one.name === name)?.knobs ?? {};
    sampling[name] = told[knob] ?? off;
    for (const [key, preset] of Object.entries(more)) sampling[`${name}.${key}`] = told[key] ?? preset;
  }
  return sampling;
}

/** A request with other sampling knobs; transforms that are no cuts stay where they are. */
function withSampling(request, sampling) {
  const others = (request.transforms ?? []).filter(({ name }) => !(name in CUTS));
  const cuts = Object.entries(CUTS).filter(([name, { off }]) => sampling[name] !== off).map(([name, { knob, more = {} }]) => {
    const told = Object.entries(more).map(([key, preset]) => [key, sampling[`${name}.${key}`] ?? preset]).filter(([key, value]) => value !== more[key]);
    return { name, knobs: { [knob]: sampling[name], ...Object.fromEntries(told) } };
  });
  return { ...request, temperature: sampling.temperature, transforms: [...cuts, ...others] };
}

const FRAME = 15; // milliseconds; a little under a frame of a usual screen

/** The store of one page; `model` is the widget's end of the line to the kernel. */
function makeStore(model) {
  const view = Math.random().toString(36).slice(2);
  const listeners = new Set();
  let changed = new Set();
  let waits = false;
  let drawn = 0;
  const store = {
    view, page: model.get("page"), root: null, lanes: [makeLane("first")], lane: 0, selected: null, sampling: samplingOf(null), colour: "entropy",
    theme: "light", size: "desk", host: "voila", engine: null, health: {}, sequence: 0, ...makeLine(model, view),
    set(patch) {
      for (const [name, value] of Object.entries(patch)) {
        store[name] = value;
        changed.add(name);
      }
      if (waits) return;
      waits = true;
      // The first change of a frame is drawn at once, so that it is ready when the frame comes; what follows waits for the next one.
      if (performance.now() - drawn > FRAME) queueMicrotask(store.flush);
      else requestAnimationFrame(store.flush);
    },
    flush() {
      waits = false;
      drawn = performance.now();
      const names = changed;
      changed = new Set();
      if (names.size) for (const listener of [...listeners]) listener(names);
      void store.root?.offsetHeight; // laid out now, while the screen's next frame is waited for, and not within it
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    hot(key) {
      for (const old of store.root.querySelectorAll(".hot")) old.classList.remove("hot");
      if (key) for (const one of store.root.querySelectorAll(`[data-link="${CSS.escape(key)}"]`)) one.classList.add("hot");
    },
  };
  return store;
}

/** Does the method of a lane propose tokens before the target looks? */
function laneDrafts(store, lane) {
  const name = lane?.opening?.request?.method ?? lane?.wish?.method;
  const info = store.engine?.methods.find((one) => one.name === name);
  return info ? Boolean(info.drafts) : Boolean(lane?.steps?.some((step) => step.tree)); // a trace may be of a method that is not here
}
