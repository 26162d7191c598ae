// Where the model hesitates: one bar a token, the entropy of the raw law; a cross tick where temperature and cuts leave it.

const MOST_BARS = 3000; // of a longer text each bar stands for several tokens
const FEWER_BARS = 1000; // which are then about so many: one a pixel

/** Panel "Where it hesitates": hover and click are linked to the strip; the ticks follow the knobs live. */
function curveView(store) {
  const element = html("div", { class: "tl-curve" });
  let count = 0;
  let key = "";
  let live = "";
  let chart = null; // { svg, ticks, plan } of the drawing on show
  const redraw = () => {
    const lane = laneNow(store);
    chart = lane?.tokens?.some((token) => token.nats !== undefined) ? drawCurve(store, lane, element.clientWidth || 1000) : null;
    element.replaceChildren(chart ? chart.svg : emptyWords(lane, "No beliefs in this trace."));
    live = "";
    follow();
    element.dataset.drawn = String(++count);
  };
  /** What moves while a knob is dragged or the trace is scrubbed: ticks, the mark of the chosen token, what is later. */
  const follow = () => {
    if (!chart) return;
    const lane = laneNow(store);
    const knobs = JSON.stringify(store.sampling);
    if (knobs !== live) {
      live = knobs;
      chart.ticks.setAttribute("d", chart.thin ? "" : curveTicks(lane, store.sampling, chart.plan));
    }
    const index = tokenInFocus(store);
    const x = chart.plan.x(index) + chart.plan.dx / 2;
    chart.mark.setAttribute("d", index < 0 ? "" : `M${x - 6} ${chart.plan.base + 13}h12l-6 -8z`);
    if (chart.at !== lane.at) {
      chart.at = lane.at;
      for (const bar of chart.bars) bar.classList.toggle("later", lane.tokens[Number(bar.dataset.at)].step >= lane.at);
    }
  };
  whenResized(element, redraw);
  linked(element, store);
  roving(element, (here, key_) => {
    const bars = chart?.bars ?? [];
    const at = bars.indexOf(here);
    return { ArrowRight: bars[at + 1], ArrowLeft: bars[at - 1], Home: bars[0], End: bars.at(-1) }[key_];
  });
  element.addEventListener("click", (event) => {
    const at = event.target.closest("[data-at]")?.dataset.at;
    if (at !== undefined) store.set({ selected: { kind: "token", lane: store.lane ?? 0, index: Number(at) } });
  });
  return {
    title: "Where it hesitates",
    get note() {
      return chart?.thin ? `bars: the highest entropy of ${chart.thin} tokens each` : "bars: entropy of the raw law; cross ticks: after temperature and cuts";
    },
    element,
    draw() {
      const lane = laneNow(store);
      const next = `${store.lane}/${lane?.name}/${lane?.tokens?.length}/${lane?.tokens?.at(-1)?.id}/${lane?.anyOrder && lane.steps.length}/${lane?.tokens?.length <= MOST_BARS && lane.tokens.some((token) => token.law)}`;
      if (next !== key) {
        key = next;
        redraw();
      } else {
        follow();
        element.dataset.drawn = String(++count);
      }
    },
    table() {
      const lane = laneNow(store);
      const tokens = (lane?.tokens ?? []).map((token, i) => ({ token, i })).filter(({ token }) => token.nats !== undefined);
      const rows = tableRows(tokens, tokens.findIndex(({ i }) => i === tokenInFocus(store))).map(({ token, i }) => [i + 1, pieceShown(token.piece), token.belief.entropy.toFixed(3),
        token.law ? entropyAfter(token.law, store.sampling).toFixed(3) : "", Math.exp(token.belief.logprob).toFixed(4), (token.belief.rank ?? 0) + 1]);
      return { columns: ["place", "token", "entropy, nats", "after the knobs, nats", "probability", "rank"], rows };
    },
  };
}

/** The height a bar may have, in nats: a few outliers are broken, so that the rest can be read, unless `all` are to be whole. */
function curveTop(entropies, all = false) {
  const sorted = Float64Array.from(entropies).sort();
  const most = sorted.at(-1) ?? 1;
  if (all) return Math.max(1.2, most);
  const usual = sorted[Math.floor(sorted.length * 0.96)] ?? most;
  const top = most <= usual * 1.6 ? most : usual * 1.15;
  return Math.max(1.2, Math.ceil(top * 5) / 5);
}

function drawCurve(store, lane, width) {
  const tokens = lane.tokens;
  const [left, top, base, height] = [30, 15, 110, 148];
  const dx = (width - left - 4) / Math.max(tokens.length, 24);
  const thin = tokens.length > MOST_BARS ? Math.ceil(tokens.length / FEWER_BARS) : 1; // tokens of a bar, which is as high as the highest and leads there
  const told = (place) => tokens[place].nats ?? -1;
  const most = curveTop(tokens.filter((token) => token.nats !== undefined).map((token) => token.nats), thin > 1);
  const plan = { dx, base, x: (i) => left + i * dx, y: (nats) => base - (Math.min(nats, most) / most) * (base - top) };
  const back = [];
  const stride = most > 6 ? 2 : most > 2.9 ? 1 : 0.5;
  for (let nats = 0; nats <= most + 1e-9; nats += most > 1.9 ? Math.max(1, stride) : stride) {
    back.push(svg("path", { class: nats ? "grid" : "axis", d: `M${left} ${plan.y(nats).toFixed(1)}H${width}` }));
    back.push(svg("text", { class: "tick", x: left - 8, y: plan.y(nats) + 4, "text-anchor": "end" }, String(nats)));
  }
  const bars = [];
  const front = [];
  const barOf = (i, from, wide) => {
    const nats = tokens[i].nats;
    const x = plan.x(from);
    const label = `${thin > 1 ? `token ${i + 1}, ` : ""}${pieceSpoken(tokens[i].piece)}: ${nats.toFixed(2)} nats`;
    bars.push(svg("g", { class: `curvebar e${entropyClass(nats)}`, role: "button", tabindex: -1, "aria-label": label, "data-link": `t${i}`, "data-at": i, "data-lm-suppress-shortcuts": "true" },
      svg("title", {}, label),
      svg("rect", { class: "hit", x: x.toFixed(1), y: top - 12, width: wide.toFixed(1), height: base - top + 16 }),
      svg("rect", { class: "bar-e", x: (x + Math.min(1, wide * 0.1)).toFixed(1), y: plan.y(nats).toFixed(1), width: Math.max(0.8, wide - Math.min(2, wide * 0.2)).toFixed(1), height: Math.max(1.2, base - plan.y(nats)).toFixed(1) })));
    if (nats > most) {
      front.push(svg("path", { class: "break", d: `M${(x - 1).toFixed(1)} ${top + 9}l${(wide + 2).toFixed(1)} -5` }));
      front.push(svg("text", { class: "strong", x: (x + wide / 2).toFixed(1), y: top - 3, "text-anchor": "middle" }, nats.toFixed(1)));
    }
  };
  for (let from = 0; from < tokens.length; from += thin) {
    let highest = from;
    for (let i = from + 1; i < Math.min(from + thin, tokens.length); i++) if (told(i) > told(highest)) highest = i;
    if (told(highest) >= 0) barOf(highest, from, dx * thin);
  }
  let line = "";
  let start = left;
  if (thin === 1) tokens.forEach((token, i) => {
    const x = plan.x(i);
    line += token.piece;
    if (token.piece.includes("\n") || i === tokens.length - 1) {
      const end = x + dx;
      if (i < tokens.length - 1) back.push(svg("path", { class: "grid", d: `M${end.toFixed(1)} ${top}V${base + 30}` }));
      const room = Math.floor((end - start - 6) / 6.2);
      const words = pieceShown(line.trim()).replace(/[·↵⇥]+/g, " ");
      if (room > 2 && words) front.push(svg("text", { class: "tick", x: (start + 4).toFixed(1), y: base + 29 }, words.length > room ? `${words.slice(0, room - 1)}…` : words));
      [line, start] = ["", end];
    }
  });
  bars[0]?.setAttribute("tabindex", "0");
  const ticks = svg("path", { class: "afterticks" });
  const mark = svg("path", { class: "head" });
  const whole = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, style: `width:${width}px;height:${height}px`, role: "group", "aria-label": "Entropy by token position" }, ...back, ...bars, ticks, mark, ...front);
  return { svg: whole, ticks, mark, bars, plan, at: null, thin: thin > 1 ? thin : 0 };
}

/** One path for all ticks: a flat bar at the entropy that temperature and cuts leave. */
function curveTicks(lane, sampling, plan) {
  let path = "";
  lane.tokens.forEach((token, i) => {
    if (!token.law) return;
    const nats = entropyAfter(token.law, sampling);
    if (nats > 0.02) path += `M${plan.x(i).toFixed(1)} ${(plan.y(nats) - 1.7).toFixed(1)}h${plan.dx.toFixed(1)}v3.4h${(-plan.dx).toFixed(1)}z`;
  });
  return path;
}
