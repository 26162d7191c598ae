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
  return { name, request: null, opening: null, steps: [], closing: null, pieces: {}, tokens: [], sums: newSums(), drafted: false, anyOrder: false, state: "empty", error: null, at: 0, runs: 0 };
}

const SUMMED = ["target_forwards", "target_tokens", "draft_forwards", "draft_tokens", "draft_seconds", "target_seconds", "seconds"];

/** What so many steps cost together and how many tokens they made: of each quantity a list, by the number of steps. */
function newSums() {
  return Object.fromEntries([...SUMMED, "tokens"].map((name) => [name, [0]]));
}

function sumStep(sums, step) {
  for (const name of SUMMED) sums[name].push(sums[name].at(-1) + (step.cost?.[name] ?? 0));
  sums.tokens.push(sums.tokens.at(-1) + (step.emitted?.length ?? 0));
}

/** Put an opening into a lane: its trace begins anew. */
function openLane(lane, opening, buffers) {
  opening.prompt_ids ??= [];
  opening.prompt_beliefs ??= [];
  opening.pieces ??= {};
  Object.assign(lane, { opening, steps: [], closing: null, pieces: { ...opening.pieces }, tokens: [], sums: newSums(), drafted: false, anyOrder: false, at: 0, runs: lane.runs + 1 });
  opening.prompt_ids.forEach((id, place) => {
    const belief = place > 0 ? opening.prompt_beliefs[place - 1] : null;
    lane.tokens.push(new NearToken(lane, place, id, true, -1, place, "prompt", belief ? wholeBelief(belief, buffers) : null));
  });
}

/** A step with its absent fields filled in. */
function wholeStep(step, buffers) {
  for (const name of ["emitted", "sources", "beliefs", "tests"]) step[name] ??= [];
  step.cost ??= {};
  step.notes ??= {};
  for (const belief of step.beliefs) wholeBelief(belief, buffers);
  return step;
}

/** Append one step to a lane. */
function addStep(lane, step, buffers) {
  const place = lane.steps.push(wholeStep(step, buffers)) - 1;
  enterStep(lane, step, place, (index, id, slot, source) => new NearToken(lane, index, id, false, place, slot, source, step.beliefs[slot] ?? null));
}

/** Put the tokens of step `place` where they stand, as `made(index, id, slot, source, place)` makes them, and count its cost. */
function enterStep(lane, step, place, made) {
  Object.assign(lane.pieces, step.pieces);
  sumStep(lane.sums, step);
  lane.drafted ||= Boolean(step.tree);
  const prompt = lane.opening?.prompt_ids.length ?? 0;
  if (step.at && !lane.anyOrder) openMasks(lane, prompt + (lane.opening.request.max_new_tokens ?? REQUEST_DEFAULTS.max_new_tokens));
  step.emitted?.forEach((id, slot) => {
    const index = step.at ? prompt + step.at[slot] : lane.tokens.length;
    lane.tokens[index] = made(index, id, slot, step.sources?.[slot] ?? "target", place);
  });
}

const MASK = { id: -1, piece: "▢" }; // stands at a place that no step has filled

/** A text that is filled in any order begins as masks up to its length. */
function openMasks(lane, length) {
  lane.anyOrder = true;
  while (lane.tokens.length < length) lane.tokens.push(new NearToken(lane, lane.tokens.length, MASK.id, false, Infinity, 0, "mask", null));
}

/** A token where it stands: `step` is the one that made it (-1 = the prompt), `slot` its place there. */
class Token {
  constructor(lane, index, id, prompt, step, slot, source) {
    Object.assign(this, { lane, index, id, prompt, step, slot, source });
  }

  get key() {
    return `t${this.index}`;
  }

  get piece() {
    return this.id === MASK.id ? MASK.piece : this.lane.pieces[this.id] ?? `#${this.id}`;
  }

  get law() {
    return this.belief?.law ?? null;
  }
}

/** A token with its belief at hand. */
class NearToken extends Token {
  constructor(lane, index, id, prompt, step, slot, source, belief) {
    super(lane, index, id, prompt, step, slot, source);
    this.belief = belief;
  }

  get nats() {
    return this.belief?.entropy;
  }
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
  return info ? Boolean(info.drafts) : Boolean(lane?.drafted); // a trace may be of a method that is not here
}
