// plotly charts: figures come from the kernel as JSON, the library once a page, the looks from the style sheet's tokens.

const PLOTLY = Symbol.for("labkit.plotly"); // page-wide: the promise is the lock, however many benches and charts ask
const CALM = 150; // ms without another step before a chart follows: plotly takes a frame and more, and must not hold up a scrub

/** plotly.js, pulled from the kernel on the first chart's request; a failure leaves the way free for another try. */
function plotlyOnce(store) {
  globalThis[PLOTLY] ??= store.ask({ ask: "plotly" }).then(async ({ buffers }) => {
    const packed = buffers[0];
    const text = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
    script.remove();
    if (!window.Plotly) throw new Error("The chart library did not start: reload the page.");
    return window.Plotly;
  }).catch((error) => {
    globalThis[PLOTLY] = undefined;
    throw error;
  });
  return globalThis[PLOTLY];
}

/** A plotly template made of the bench's tokens as they stand now, so that light and dark follow the page. */
function chartTemplate(element) {
  const style = getComputedStyle(element);
  const token = (name) => style.getPropertyValue(`--tl-${name}`).trim();
  const axis = { gridcolor: token("line"), linecolor: token("edge"), zerolinecolor: token("edge"), tickcolor: token("edge"), tickfont: { size: 12, color: token("ink-3") }, title: { font: { size: 12, color: token("ink-2") } }, automargin: true, zeroline: false };
  return {
    layout: {
      font: { family: token("ui"), size: 12, color: token("ink-2") },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      colorway: ["draft", "target", "refuse", "here", "e4", "e5"].map(token),
      xaxis: axis, yaxis: axis,
      margin: { l: 44, r: 8, t: 8, b: 36 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 1, xanchor: "right", font: { size: 12 } },
      hoverlabel: { bgcolor: token("paper"), bordercolor: token("edge"), font: { family: token("ui"), size: 12, color: token("ink") } },
    },
  };
}

/**
 * A panel with the figure that the pure view `name` makes of the lane on show, redrawn when the lane, its step or the theme
 * changes. `words` is the sentence under it.
 */
function chartView(store, name, title, { words = "", height = 232, table } = {}) {
  const plot = html("div", { class: "tl-plot", style: `height:${height}px`, role: "img", "aria-label": `${title} The numbers are in the table.` });
  const element = html("div", { class: "tl-chart" }, plot, html("p", { class: "quiet tl-chartwords" }, words));
  let figure = null;
  let library = null;
  let asked = "";
  let size = "";
  let busy = false;
  let count = 0;
  let later = 0;
  const key = () => {
    const lane = laneNow(store);
    return lane?.steps?.length ? [store.lane, lane.name, lane.at, lane.steps[lane.at - 1]?.emitted, store.theme].join("/") : "";
  };

  async function paint() {
    size = store.size;
    const { data, layout } = structuredClone(figure);
    // The panel has the title already; the figure's own is for files.
    Object.assign(layout, { template: chartTemplate(element), title: undefined, autosize: true, height, width: plot.clientWidth || undefined });
    await library.react(plot, data, layout, { displayModeBar: false, responsive: false });
    element.dataset.drawn = String(++count);
  }

  async function update() {
    if (busy) return; // one question at a time: the newest state is asked for when the answer is in
    busy = true;
    try {
      while (key() && key() !== asked) {
        const wanted = key();
        const lane = store.lane ?? 0;
        const question = { ask: "figure", name, args: { lane, upto: laneNow(store).at, theme: store.theme } };
        const [answer, drawer] = await Promise.all([store.ask(question), library ?? plotlyOnce(store)]);
        figure = JSON.parse(answer.figure);
        library = drawer;
        asked = wanted;
        plot.querySelector(".tl-none")?.remove();
        await paint();
      }
    } catch (error) {
      asked = key(); // said once; the next step tries again
      if (library) library.purge(plot);
      plot.replaceChildren(html("p", { class: "quiet tl-none" }, error.message));
      element.dataset.drawn = "error";
    } finally {
      busy = false;
    }
  }

  whenResized(plot, (width) => figure && library && library.relayout(plot, { width }));
  plot.append(emptyWords(laneNow(store), "Nothing to draw yet."));
  return {
    title,
    element,
    draw() {
      if (!key()) return;
      clearTimeout(later);
      if (key() !== asked && !figure) update();
      else if (key() !== asked) later = setTimeout(update, CALM);
      else if (figure && library && size !== store.size) paint();
    },
    table: table ?? (() => figureTable(figure)),
    close() {
      clearTimeout(later);
      library?.purge(plot);
    },
  };
}

/** Any figure's numbers as a table: x as its axis names it, one column a trace, and the ends of whiskers where there are some. */
function figureTable(figure) {
  const traces = (figure?.data ?? []).filter((trace) => Array.isArray(trace.y));
  const xs = (trace) => trace.x ?? trace.y.map((_, i) => i);
  const axis = figure?.layout?.xaxis ?? {};
  const name = (x) => String(axis.ticktext?.[axis.tickvals?.indexOf(x)] ?? x).replace(/<br>/g, ", ");
  const cell = (x) => (typeof x === "number" && !Number.isInteger(x) ? x.toFixed(4) : x ?? "");
  const columns = [[axis.title?.text ?? "position", name]];
  for (const trace of traces) {
    const at = (x) => xs(trace).indexOf(x);
    columns.push([trace.name ?? "y", (x) => cell(trace.y[at(x)])]);
    const whisker = trace.error_y;
    if (whisker?.array) columns.push(["low", (x) => cell(trace.y[at(x)] - whisker.arrayminus[at(x)])], ["high", (x) => cell(trace.y[at(x)] + whisker.array[at(x)])]);
  }
  const places = [...new Set(traces.flatMap(xs))];
  return { columns: columns.map(([title]) => title), rows: places.map((x) => columns.map(([, read]) => read(x))) };
}

/** Acceptance by position, joined with the entropy there: why is it low here? */
function byPositionView(store) {
  return chartView(store, "acceptance", "Why is acceptance low early?", {
    words: "Where the draft is unsure it is refused; rounds that get far are the easy ones. Whiskers: 95 % Wilson.", height: 196,
  });
}
