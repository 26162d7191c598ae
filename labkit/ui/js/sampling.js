// Temperature and cuts over a stored law, in the page: no forward pass, no round trip.
// All cuts of the lab keep a prefix of the sorted law, so one sort per law serves every setting of the knobs.

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
  sorted.entropy = keepPrefix(sorted, 1, {}).entropy;
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

/** How many of the best tokens survive, the mass they share, their entropy, and where each cut fell. */
function keepPrefix(sorted, temperature, sampling) {
  const cuts = [];
  const size = sorted.gaps.length;
  if (temperature <= 0) return { kept: 1, total: 1, entropy: 0, cuts: [{ name: "temperature", value: 0, at: 1 }] };
  const weights = weigh(sorted, temperature);
  let kept = size;
  const topK = sampling["top-k"] ?? 0;
  if (topK > 0 && topK < kept) cuts.push({ name: "top-k", value: topK, at: (kept = topK) });
  let seen = Math.min(kept, sorted.seen);
  let total = 0;
  for (let r = 0; r < seen; r++) total += weights[r];
  const topP = sampling["top-p"] ?? 1;
  if (topP < 1) {
    let mass = 0;
    let r = 0;
    while (r < seen && (r === 0 || mass < topP * total)) mass += weights[r++];
    if (r < kept && mass >= topP * total * (1 - 1e-12)) {
      cuts.push({ name: "top-p", value: topP, at: (kept = r) });
      total = mass;
    }
  }
  const minP = sampling["min-p"] ?? 0;
  if (minP > 0) {
    let low = 1;
    seen = Math.min(kept, sorted.seen);
    while (low < seen && weights[low] >= minP) low++; // the best token's weight is 1: its share is the measure
    if (low < kept) {
      cuts.push({ name: "min-p", value: minP, at: (kept = low) });
      total = 0;
      for (let r = 0; r < kept; r++) total += weights[r];
    }
  }
  seen = Math.min(kept, sorted.seen);
  let lean = 0; // sum of w · ln w: with it the entropy needs no logarithm per token
  for (let r = 0; r < seen; r++) lean += weights[r] * sorted.gaps[r];
  return { kept, total, entropy: Math.max(0, Math.log(total) - lean / temperature / total), cuts };
}

/** The entropy after temperature and cuts, in nats; `law` is ln p over the whole vocabulary. */
function entropyAfter(law, sampling) {
  return keepPrefix(sortedLaw(law), sampling.temperature ?? 1, sampling).entropy;
}

/**
 * A law under the knobs, in the order of the engine: temperature, top-k, top-p, min-p, each on what the one before left.
 * `order` is sorted best first; `after` holds the probabilities of the first `kept` of them; `before(rank)` the raw ones;
 * `cuts` says which knob stops where: `at` tokens are left behind it. Temperature 0 keeps the best token alone.
 */
function applySampling(law, sampling) {
  const sorted = sortedLaw(law);
  const temperature = sampling.temperature ?? 1;
  const { kept, total, entropy, cuts } = keepPrefix(sorted, temperature, sampling);
  const after = new Float32Array(kept);
  if (temperature <= 0) after[0] = 1;
  else for (let r = 0; r < Math.min(kept, sorted.seen); r++) after[r] = sorted.weights[r] / total;
  const before = (rank) => Math.exp(law[sorted.order[rank]]);
  return { kept, order: sorted.order, after, before, entropyBefore: sorted.entropy, entropyAfter: entropy, cuts };
}
