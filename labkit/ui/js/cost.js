// What the run cost beside plain decoding: counts and seconds, never one without the other.

const BEHIND = 30; // ms; the step itself is seen first, in a frame of its own

/** Panel "Cost": block efficiency, calls, tokens fed, seconds, and one honest sentence. Only the steps on show are counted. */
function costView(store) {
  const element = html("div", { class: "tl-cost", role: "group", "aria-label": "Cost beside plain decoding" });
  let count = 0;
  let key = "";
  let later = 0;
  const redraw = () => {
    element.replaceChildren(...drawCost(store, laneNow(store)));
    element.dataset.drawn = String(++count);
  };
  return {
    title: "Cost",
    element,
    draw() {
      const lane = laneNow(store);
      const next = JSON.stringify([store.lane, lane?.name, lane?.at, lane?.steps?.length, plainCost(store), store.plain?.seconds_of?.length, lane?.opening?.request?.method]);
      if (next === key) return;
      key = next;
      clearTimeout(later);
      if (!count) redraw();
      else later = setTimeout(redraw, BEHIND);
    },
    table() {
      const [mine, plain] = [costNow(store), plainCost(store)];
      return { columns: ["", "this run", "plain"], rows: COST_ROWS.map(([name, read, , say]) => [name, mine ? say(read(mine)) : "", plain ? say(read(plain)) : "not yet measured"]) };
    },
  };
}

const COST_ROWS = [
  ["Target calls", (c) => c.target_forwards, "calls", (x) => x.toLocaleString("en")],
  ["Target tokens fed", (c) => c.target_tokens, "tokens", (x) => x.toLocaleString("en")],
  ["Draft calls", (c) => c.draft_forwards, "calls", (x) => x.toLocaleString("en")],
  ["Wall clock", (c) => c.seconds, "ms", (x) => saySeconds(x)],
];

function saySeconds(x) {
  return x >= 10 ? `${x.toFixed(1)} s` : x >= 1 ? `${x.toFixed(2)} s` : `${(x * 1000).toFixed(x < 0.01 ? 1 : 0)} ms`;
}

/** The cost of the steps on show: the sums of the trace's counts, and the new tokens they made. */
function laneCost(lane, upto = lane?.at ?? 0) {
  if (!lane?.steps?.length || !upto) return null;
  return Object.fromEntries(Object.entries(sumsOf(lane)).map(([name, sums]) => [name, sums[upto]]));
}

/** The sums of a lane, or of a plain run that the kernel sent. */
function sumsOf(run) {
  if (run.sums) return run.sums;
  run.sums = newSums();
  for (const step of run.steps) sumStep(run.sums, step);
  return run.sums;
}

/** The same for the lane on show, with the seconds of the run repeated in silence, once that is known for these steps. */
function costNow(store) {
  const lane = laneNow(store);
  const sum = laneCost(lane);
  const quiet = store.lane ? null : store.plain?.seconds_of;
  if (!sum || !quiet || quiet.length < lane.at || !sameRequest(store.plain.of, lane.opening.request)) return sum;
  return { ...sum, seconds: quiet.slice(0, lane.at).reduce((all, one) => all + one, 0) };
}

/**
 * The measured plain run, counted up to the same number of tokens: a second lane that decodes plainly, or `store.plain`,
 * what the shell obtained from the engine (the emitted tokens and costs of its steps); null until then.
 */
function plainCost(store) {
  const mine = laneCost(laneNow(store));
  const lane = store.lanes.find((other, k) => k !== (store.lane ?? 0) && other?.opening?.request?.method === "plain" && other.steps.length);
  const plain = lane ?? store.plain ?? null;
  if (!plain || !mine) return null;
  const upto = sumsOf(plain).tokens.findIndex((made) => made >= mine.tokens);
  return upto < 0 ? null : laneCost(plain, upto);
}

function drawCost(store, lane) {
  const mine = costNow(store);
  if (!mine) return [emptyWords(lane, "The run has not begun: press Step.")];
  const plain = lane.opening?.request?.method === "plain" ? null : plainCost(store);
  const self = lane.opening?.request?.method === "plain";
  const perCall = mine.target_forwards ? mine.tokens / mine.target_forwards : 0;
  const big = html("div", { class: "tl-costbig" }, html("div", { class: "big num" }, perCall.toFixed(2)), html("div", { class: "unit" }, "tokens per", html("br"), "target call"));
  const pairs = COST_ROWS.map(([name, read, , say]) => {
    const [a, b] = [read(mine), plain ? read(plain) : null];
    const most = Math.max(a, b ?? 0) || 1;
    const bar = (value, kind) => html("span", { class: `m${kind}${value ? "" : " zero"}`, style: `--w:${((100 * (value ?? 0)) / most).toFixed(1)}` });
    return html("dl", {}, html("dt", {}, name),
      html("dd", {}, html("span", {}, self ? "plain" : "this run"), html("span", { class: "t" }, bar(a, "")), html("span", { class: "num" }, say(a))),
      self ? null : html("dd", {}, html("span", {}, "plain"), html("span", { class: "t" }, bar(b, " plain")), html("span", { class: "num" }, b === null ? "–" : say(b))));
  });
  return [big, ...pairs, html("p", { class: "tl-note" }, costSentence(mine, plain, self, laneDrafts(store, lane)))];
}

/** One honest sentence: what was saved, what it cost, whether the clock agrees. */
function costSentence(mine, plain, self, drafts) {
  if (self) return `${counted(mine.tokens, "token")}, one target call each: this is the measure for every other method.`;
  if (!plain) return "Plain decoding of the same length: not yet measured.";
  const calls = plain.target_forwards / Math.max(1, mine.target_forwards);
  const time = mine.seconds / plain.seconds;
  if (!drafts || calls < 0.995) return `${(1 / calls).toFixed(2)} × the target calls of plain decoding, ${time.toFixed(2)} × its time.`;
  const saved = calls >= 1.005 ? `${calls.toFixed(1)} × fewer target calls` : "No target call saved";
  const draftTime = mine.draft_seconds > 0 ? `: ${counted(mine.draft_forwards, "draft call")} took ${saySeconds(mine.draft_seconds)}` : "";
  if (time > 1.02) return `${saved}, yet ${time.toFixed(2)} × the time${draftTime}. Try fewer drafts a step.`;
  if (time < 0.98) return `${saved} and ${(1 / time).toFixed(2)} × faster by the clock${mine.draft_forwards ? draftTime.replace(":", ", though") : ""}.`;
  return `${saved}, and the same time by the clock${draftTime}.`;
}
