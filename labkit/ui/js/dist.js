// What came next? The law one token was drawn from: raw, and after temperature and cuts; what was cut stays in sight.

const DIST_ROWS = 10;

/** Panel "What came next?": bars for the likeliest tokens, where each cut falls, the token drawn, and the branch button. */
function distView(store) {
  const head = html("p", { class: "quiet tl-disthead" });
  const chart = html("div", { class: "tl-distchart" });
  const branch = html("button", { class: "tl-btn", type: "button", "data-lm-suppress-shortcuts": "true", onclick: () => store.branch?.(branch.place, branch.token) });
  const foot = html("div", { class: "tl-distfoot" }, branch);
  const element = html("div", { class: "tl-dist" }, head, chart, foot);
  let picked = null; // the token a person chose in the rows, to branch with; forgotten when another place is on show
  let place = "";
  let key = "";
  let count = 0;
  roving(chart, nextInColumn(chart));
  linked(chart, store);
  const redraw = () => {
    const wide = chart.clientWidth || 336; // before anything is changed: measuring afterwards costs a layout
    const seen = lookAt(store);
    hide(foot, !seen?.law);
    hide(head, !seen);
    if (!seen) {
      chart.replaceChildren(emptyWords(laneNow(store), "The first token of a prompt stands on nothing, so there is no law to show."));
    } else {
      head.replaceChildren(...distHead(seen));
      const other = seen.rows.find((row) => row.id === picked) ?? seen.rows.find((row) => row.id !== seen.token.id);
      chart.replaceChildren(drawDist(seen, wide, other, pick));
      hide(branch, !other || !store.branch);
      if (other) {
        branch.replaceChildren("Branch here with ", html("code", {}, pieceCut(other.piece, 16)));
        [branch.place, branch.token] = [seen.index, other.id];
      }
    }
    element.dataset.drawn = String(++count);
  };
  const pick = (id) => {
    picked = id;
    redraw();
    chart.querySelector(`[data-token="${id}"]`)?.focus({ preventScroll: true });
  };
  // The law behind a prompt token is not part of the trace: it is asked for when somebody looks.
  const fetchLaw = async (lane, index) => {
    const token = lane?.tokens?.[index];
    if (!token?.prompt || !token.belief || token.law || token.belief.asked) return;
    token.belief.asked = true;
    const ids = lane.tokens.slice(0, index).map((one) => one.id);
    const answer = await store.ask({ ask: "next", ids, laws: true, target: lane.opening.target }).catch(() => null); // raw bars stay
    if (!answer?.buffers?.length) return;
    Object.defineProperty(token.belief, "law", { value: decodeLaw(answer.buffers[0]), enumerable: true });
    Object.assign(lane.pieces, { ...answer.pieces, ...lane.pieces });
    store.set({});
    redraw();
  };
  whenResized(chart, redraw);
  return {
    title: "What came next?",
    element,
    draw() {
      const lane = laneNow(store);
      const index = tokenInFocus(store);
      const here = `${store.lane}/${lane?.name}/${index}/${lane?.tokens?.[index]?.id}`;
      if (here !== place) [place, picked] = [here, null];
      const next = `${here}/${JSON.stringify(store.sampling)}/${lane?.tokens?.[index]?.law ? 1 : 0}`;
      if (next !== key) {
        key = next;
        redraw();
        fetchLaw(lane, index);
      }
    },
    table() {
      const columns = ["rank", "token", "raw", "after", "cut by"];
      const seen = lookAt(store, 50);
      const rows = seen?.rows.map((row) => [row.rank + 1, pieceShown(row.piece), row.raw.toFixed(4), row.after === null ? "" : row.after.toFixed(4), row.cut ?? ""]) ?? [];
      return { columns, rows };
    },
  };
}

/** The law of the token in focus as rows, best first; without a stored law the likeliest tokens of its belief, raw only. */
function lookAt(store, most = DIST_ROWS) {
  const lane = laneNow(store);
  const index = tokenInFocus(store);
  const token = lane?.tokens?.[index];
  if (!token?.belief && !token?.law) return null;
  const before = lane.tokens.slice(Math.max(0, index - 4), index).map((one) => one.piece).join("");
  if (!token.law) {
    const { top = [], top_logprobs: logs = [] } = token.belief;
    const rows = top.slice(0, most).map((id, rank) => ({ id, rank, piece: pieceOf(lane, id), raw: Math.exp(logs[rank]), after: null, cut: null }));
    const rest = 1 - rows.reduce((sum, row) => sum + row.raw, 0);
    return { index, token, before, rows, rest, law: null, cuts: [], size: lane.opening?.vocabulary ?? 0, entropyBefore: token.belief.entropy };
  }
  const law = applySampling(token.law, store.sampling);
  const row = (rank) => {
    const id = law.order[rank];
    const cut = law.cuts.find((one) => rank >= one.at || rank < one.from);
    return { id, rank, piece: pieceOf(lane, id), raw: law.before(rank), after: law.after[rank] ?? 0, cut: cut?.name ?? null };
  };
  const rows = Array.from({ length: Math.min(most, law.order.length) }, (_, rank) => row(rank));
  if (!rows.some((one) => one.id === token.id)) {
    const rank = law.order.indexOf(token.id); // drawn from far down: shown all the same, in the last row
    if (rank >= 0) rows[rows.length - 1] = row(rank);
  }
  const rest = Math.max(0, 1 - rows.reduce((sum, one) => sum + one.raw, 0));
  const restAfter = Math.max(0, 1 - rows.reduce((sum, one) => sum + one.after, 0));
  return { index, token, before, rows, rest, restAfter, law, cuts: law.cuts, size: law.order.length, entropyBefore: law.entropyBefore };
}

function distHead(seen) {
  const shown = pieceShown(seen.before);
  const context = html("code", {}, shown.length > 22 ? `…${shown.slice(-21)}` : shown);
  const size = seen.size.toLocaleString("en");
  const sum = seen.law
    ? `H ${seen.entropyBefore.toFixed(2)} → ${seen.law.entropyAfter.toFixed(2)} nats, ${seen.law.kept.toLocaleString("en")} of ${size} kept`
    : `H ${seen.entropyBefore.toFixed(2)} nats; this trace keeps no whole laws`;
  return ["after ", context, html("br"), html("span", { class: "num" }, sum)];
}

function cutWords(cut) {
  return cut.name === "temperature" ? "temperature 0 keeps one" : `${cut.name} ${cut.value} stops here`;
}

function drawDist(seen, width, other, pick) {
  const { rows, token } = seen;
  const x0 = 82;
  const [xRaw, xAfter] = [width - 76, width - 24];
  const barWidth = xRaw - x0 - 54;
  const height = 23;
  const most = Math.max(...rows.map((row) => Math.max(row.raw, row.after ?? 0)), 0.05);
  const out = [];
  const words = (x, y, content, attributes) => out.push(svg("text", { x, y, ...attributes }, content));
  words(xRaw, 10, "raw", { class: "tick", "text-anchor": "end" });
  if (seen.law) words(xAfter, 10, "after", { class: "tick", "text-anchor": "end" });
  let y = 16;
  // Later cuts leave fewer tokens, so their lines come first from above.
  const lines = [...seen.cuts].reverse();
  const starts = seen.cuts.filter((cut) => cut.from);
  const line = (said) => {
    out.push(svg("path", { class: "cutline", d: `M0 ${y + 5}H${width}` }));
    words(x0 + 4, y + 18, said, { class: "strong" });
    y += 21;
  };
  for (const row of rows) {
    if (starts.length && row.rank >= starts[0].from) line(`${starts[0].name} ${starts.shift().value} starts here`);
    while (lines.length && row.rank >= lines[0].at) line(cutWords(lines.shift()));
    const drawn = row.id === token.id;
    const label = `${pieceSpoken(row.piece)}: raw ${row.raw.toFixed(3)}${row.after === null ? "" : row.cut ? `, cut by ${row.cut}` : `, after ${row.after.toFixed(3)}`}${drawn ? ", drawn" : ""}`;
    const x = (mass) => (mass / most) * barWidth;
    out.push(svg("g", { class: "row", role: "button", tabindex: row === other || (!other && drawn) ? 0 : -1, "aria-label": label, "aria-pressed": String(row === other), "data-link": drawn ? `t${seen.index}` : `d${row.id}`, "data-token": row.id, "data-lm-suppress-shortcuts": "true", onclick: () => pick(row.id) },
      svg("title", {}, label),
      svg("rect", { class: drawn ? "rowhot on" : "rowhot", x: -4, y, width: width + 8, height, rx: 4 }),
      row.cut ? svg("rect", { class: "cutrow", x: x0, y: y + 5, width: barWidth, height: height - 10, opacity: 0.45 }) : null,
      svg("rect", { class: "rawfill", x: x0, y: y + 3.5, width: Math.max(1.5, x(row.raw)).toFixed(1), height: height - 7 }),
      row.after ? svg("rect", { class: "p-solid", x: x0, y: y + 8, width: Math.max(1, x(row.after)).toFixed(1), height: height - 16 }) : null,
      svg("text", { class: drawn ? "code heavy" : "code", x: x0 - 8, y: y + 16.5, "text-anchor": "end" }, pieceCut(row.piece, 9)),
      svg("text", { class: "tick", x: xRaw, y: y + 16.5, "text-anchor": "end" }, row.raw.toFixed(3)),
      row.after === null ? null : svg("text", { class: row.cut ? "tick" : "strong", x: xAfter, y: y + 16.5, "text-anchor": "end" }, row.cut ? "cut" : row.after.toFixed(3)),
      drawn ? svg("path", { class: "drawnmark", d: `M${width - 15} ${y + 11.5}l6 -6 6 6 -6 6z` }) : null));
    y += height;
  }
  const others = seen.size - rows.length;
  if (others > 0) {
    words(x0 - 8, y + 16, `${others.toLocaleString("en")} more`, { class: "tick", "text-anchor": "end" });
    words(xRaw, y + 16, seen.rest.toFixed(3), { class: "tick", "text-anchor": "end" });
    const left = seen.law ? (seen.law.after.length > rows.length ? seen.restAfter.toFixed(3) : "cut") : "";
    words(xAfter, y + 16, left, { class: "tick", "text-anchor": "end" });
    if (lines.length) words(x0 + 4, y + 16, lines.map((cut) => `${cut.name}: ${(cut.at - cut.from).toLocaleString("en")} stay`).join(" · "), { class: "tick" });
    y += height;
  }
  return svg("svg", { width, height: y + 2, viewBox: `0 0 ${width} ${y + 2}`, style: `width:${width}px;height:${y + 2}px`, role: "group", "aria-label": "Next-token distribution, raw and after the transforms" }, ...out);
}
