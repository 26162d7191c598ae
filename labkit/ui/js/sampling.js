// Temperature and cuts over a stored law, in the page: no forward pass, no round trip. `labkit/views/cuts.py` has the same.
// All cuts of the lab keep a run of ranks of the sorted law, so one sort per law serves every setting of the knobs.

const sortedLaws = new WeakMap(); // law -> its order, made once

/** A law sorted once: `order` token ids, best first (ties by id); `gaps` ln p - ln p(best), same order; its entropy in nats. */
function sortedLaw(law) {
  let sorted = sortedLaws.get(law);
  if (sorted) return sorted;
  const size = law.length;
  // ln p is never positive, so its bits, read as an unsigned number, grow as it falls; the id in the low digits breaks ties.
  const values = new Float32Array(law);
  const bits = new Uint32Array(values.buffer);
  const keys = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    if (values[i] >= 0) values[i] = -0; // rounding may lift a sure token a hair above 0
    keys[i] = bits[i] * 0x100000 + i;
  }
  keys.sort();
  const order = new Uint32Array(size);
  const gaps = new Float32Array(size);
  for (let r = 0; r < size; r++) {
    const high = Math.floor(keys[r] / 0x100000);
    order[r] = keys[r] - high * 0x100000;
    gaps[r] = values[order[r]] - values[order[0]];
  }
  sorted = { order, gaps, weights: new Float32Array(size), temperature: null, seen: 0 };
  sortedLaws.set(law, sorted);
  sorted.entropy = keepRun(sorted, 1, {}).entropy;
  return sorted;
}

/** Weights relative to the best token at one temperature, kept while only the cuts move. */
function weigh(sorted, temperature) {
  if (sorted.temperature === temperature) return sorted.weights;
  const { gaps, weights } = sorted;
  let r = 0;
  for (; r < gaps.length; r++) {
    const x = gaps[r] / temperature;
    if (x < -45) break; // less than 3e-20 of the best: nothing behind it can be seen or drawn
    weights[r] = Math.exp(x);
  }
  sorted.seen = r;
  weights.fill(0, r);
  sorted.temperature = temperature;
  return weights;
}

/** Over the ranks [first, last): their weight in all, and their mean gap to the best, in nats at this temperature. */
function weighRun(sorted, temperature, first, last) {
  const { gaps, weights } = sorted;
  let total = 0;
  let lean = 0;
  for (let r = first; r < Math.min(last, sorted.seen); r++) {
    total += weights[r];
    lean += weights[r] * gaps[r];
  }
  return { total, mean: lean / temperature / total, get entropy() { return Math.max(0, Math.log(this.total) - this.mean); } };
}

/** Top-H (P148): the likeliest tokens while their entropy stays within `alpha` of that of the first `size`. */
function topH(sorted, temperature, size, alpha, rule) {
  const { gaps, weights, seen } = sorted;
  const whole = weighRun(sorted, temperature, 0, size);
  const [bound, shift] = [alpha * whole.entropy, Math.log(whole.total)];
  let mass = 0;
  let lean = 0;
  for (let r = 0; r < size; r++) {
    mass += r < seen ? weights[r] : 0;
    lean += r < seen ? (weights[r] * gaps[r]) / temperature : 0;
    const spread = rule === "released" ? (mass * shift - lean) / whole.total : Math.log(mass) - lean / mass;
    if (r && spread > bound) return r;
  }
  return size;
}

/** Typical sampling: the run [first, last) of the first `size` ranks whose surprise is nearest to the entropy and holds `share`. */
function typicalRun(sorted, temperature, size, share) {
  const { gaps, weights, seen } = sorted;
  const { total, mean } = weighRun(sorted, temperature, 0, size);
  const away = (r) => (r < 0 || r >= size ? Infinity : Math.abs(gaps[r] / temperature - mean)); // = |-ln p - H|
  let first = 0;
  while (away(first + 1) <= away(first)) first++;
  let last = first;
  let held = 0;
  let limit = 0;
  for (let next = away(first); next < Infinity && (held < share * total || next <= limit); next = Math.min(away(first - 1), away(last))) {
    limit = Math.max(limit, next);
    const r = away(last) <= away(first - 1) ? last++ : --first;
    held += r < seen ? weights[r] : 0;
  }
  return [first, last];
}

/** Which ranks survive, [first, last); the weight they share, their entropy, and where each cut fell. */
function keepRun(sorted, temperature, sampling) {
  const cuts = [];
  if (temperature <= 0) return { first: 0, last: 1, total: 1, entropy: 0, cuts: [{ name: "temperature", value: 0, from: 0, at: 1 }] };
  const weights = weigh(sorted, temperature);
  const size = sorted.gaps.length;
  let [first, last] = [0, size];
  const cut = (name, [from, at]) => {
    if (at - from < last - first) cuts.push({ name, value: sampling[name], from, at });
    [first, last] = [from, at];
  };
  const set = (name) => (sampling[name] ?? CUTS[name].off) !== CUTS[name].off;
  if (set("top-h")) cut("top-h", [0, topH(sorted, temperature, Math.min(size, sampling["top-h.cap"] || size), sampling["top-h"], sampling["top-h.rule"])]);
  if (set("top-k")) cut("top-k", [0, Math.min(last, sampling["top-k"])]);
  if (set("top-p")) {
    const { total } = weighRun(sorted, temperature, 0, last);
    let mass = 0;
    let r = 0;
    while (r < Math.min(last, sorted.seen) && (r === 0 || mass < sampling["top-p"] * total)) mass += weights[r++];
    if (mass >= sampling["top-p"] * total * (1 - 1e-12)) cut("top-p", [0, r]);
  }
  if (set("min-p")) cut("min-p", [0, atLeast(sorted, last, sampling["min-p"])]); // the best token's weight is 1: its share is the measure
  if (set("eta")) {
    const { total, entropy } = weighRun(sorted, temperature, 0, last);
    const epsilon = sampling.eta;
    cut("eta", [0, atLeast(sorted, last, total * (sampling["eta.rule"] === "epsilon" ? epsilon : Math.min(epsilon, Math.sqrt(epsilon) * Math.exp(-entropy))))]);
  }
  if (set("typical")) cut("typical", typicalRun(sorted, temperature, last, sampling.typical));
  const { total, entropy } = weighRun(sorted, temperature, first, last);
  return { first, last, total, entropy, cuts };
}

/** How many of the first `last` ranks weigh at least `floor`; the best one always does. */
function atLeast(sorted, last, floor) {
  let r = 1;
  while (r < Math.min(last, sorted.seen) && sorted.weights[r] >= floor) r++;
  return r;
}

/** The entropy after temperature and cuts, in nats; `law` is ln p over the whole vocabulary. */
function entropyAfter(law, sampling) {
  return keepRun(sortedLaw(law), sampling.temperature ?? 1, sampling).entropy;
}

/**
 * A law under the knobs, in the order of the engine: temperature, then the cuts of `CUTS`, each on what the one before left.
 * `order` is sorted best first; the `kept` ranks from `first` on stay; `after` holds the probabilities up to the last of them (0 =
 * cut); `before(rank)` the raw ones; `cuts` says which knob keeps which ranks, [from, at). Temperature 0 keeps the best token alone.
 */
function applySampling(law, sampling) {
  const sorted = sortedLaw(law);
  const temperature = sampling.temperature ?? 1;
  const { first, last, total, entropy, cuts } = keepRun(sorted, temperature, sampling);
  const after = new Float32Array(last);
  if (temperature <= 0) after[0] = 1;
  else for (let r = first; r < Math.min(last, sorted.seen); r++) after[r] = sorted.weights[r] / total;
  const before = (rank) => Math.exp(law[sorted.order[rank]]);
  return { first, kept: last - first, order: sorted.order, after, before, entropyBefore: sorted.entropy, entropyAfter: entropy, cuts };
}
