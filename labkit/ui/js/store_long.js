// A long trace: its steps stay text, block behind block, and a block is read when somebody looks at a step in it.

const NEAR_BLOCKS = 6; // blocks kept read: what a person goes to and fro between

/** Steps that are read when they are asked for; it has as much of an array as the page needs. */
class FarSteps {
  constructor() {
    Object.assign(this, { length: 0, blocks: [], near: new Map(), tail: [] });
  }

  /** A block of `count` steps as bytes of JSON; returns the steps. */
  add(bytes, count) {
    this.blocks.push({ bytes, first: this.length });
    this.length += count;
    return JSON.parse(new TextDecoder().decode(bytes));
  }

  /** A step behind the blocks, as `Array.push`. */
  push(step) {
    this.tail.push(step);
    return ++this.length;
  }

  at(place) {
    const { blocks } = this;
    const far = this.length - this.tail.length;
    if (place >= far || place < 0) return this.tail[place - far];
    let [low, high] = [0, blocks.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (blocks[middle].first <= place) low = middle;
      else high = middle - 1;
    }
    return this.read(low)[place - blocks[low].first];
  }

  read(number) {
    const { near } = this;
    let steps = near.get(number);
    if (steps) return steps;
    steps = JSON.parse(new TextDecoder().decode(this.blocks[number].bytes));
    for (const step of steps) wholeStep(step, []);
    if (near.size >= NEAR_BLOCKS) near.delete(near.keys().next().value);
    near.set(number, steps);
    return steps;
  }
}

/** A token whose belief is in a block; its entropy alone is at hand. */
class FarToken extends Token {
  constructor(lane, index, id, step, slot, source, nats) {
    super(lane, index, id, false, step, slot, source);
    this.nats = nats;
  }

  get belief() {
    return this.lane.steps.at(this.step).beliefs[this.slot] ?? null;
  }
}

/** Put a block of `count` steps, as bytes of JSON, behind the steps of a lane. */
function addBlock(lane, bytes, count) {
  let place = lane.steps.length;
  for (const step of lane.steps.add(bytes, count)) {
    enterStep(lane, step, place++, (index, id, slot, source, number) => new FarToken(lane, index, id, number, slot, source, step.beliefs?.[slot]?.entropy));
  }
}

/** Fetch the `total` packed steps of lane `place` into `lane`; `told(share)` hears how far it is and says whether to go on. */
async function fetchSteps(store, place, lane, total, told) {
  lane.steps = new FarSteps();
  const ask = (first) => store.ask({ ask: "blocks", lane: place, first });
  let coming = ask(0);
  for (let block = 0; lane.steps.length < total; ) {
    const { counts, buffers } = await coming;
    block += counts.length;
    const more = lane.steps.length + counts.reduce((sum, count) => sum + count, 0) < total;
    if (more) coming = ask(block); // on its way while these are read
    const opened = await Promise.all(buffers.map(unpackedBytes));
    opened.forEach((bytes, k) => addBlock(lane, bytes, counts[k]));
    if (!told(lane.steps.length / total)) return false;
  }
  return true;
}
