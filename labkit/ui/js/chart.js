// plotly charts: figures come from the kernel as JSON, the library once a page, the looks from the style sheet's tokens.

const [PLOTLY, WHOLE] = ["labkit.plotly", "labkit.plotly.whole"].map(Symbol.for); // page-wide: the promise is the lock, whoever asks
const CARTESIAN = ["scatter", "bar", "heatmap", "box", "violin", "histogram", "histogram2d", "contour", "image", "pie"]; // a small plotly's
const CALM = 150; // ms without another step before a chart follows: plotly takes a frame and more, and must not hold up a scrub
const YIELD = 3; // and so many times as long as the last figure took to come: on a busy machine steps go before charts

/** plotly.js from a dashboard's own server, which the browser may have kept since the last page. */
function plotlyServed(address) {
  return new Promise((loaded, failed) => {
    document.head.append(Object.assign(document.createElement("script"), { src: address, onload: loaded, onerror: failed }));
  });
}

/** plotly.js pulled from the kernel, where no server of ours has it. */
async function plotlyAsked(store, whole) {
  const { buffers } = await store.ask({ ask: "plotly", whole });
  const script = document.createElement("script");
  script.textContent = await unpacked(buffers[0]);
  document.head.append(script);
  script.remove();
}

/** plotly.js, on the first chart's request: its cartesian part, or the `whole`. A failure leaves the way free for another try. */
function plotlyOnce(store, whole = false) {
  const address = document.body.dataset.plotly, shared = whole ? WHOLE : PLOTLY;
  const asked = () => plotlyAsked(store, whole);
  const coming = () => (address ? plotlyServed(`${address}${whole ? "-whole" : ""}.js`).catch(asked) : asked());
  globalThis[shared] ??= coming().then(() => {
    if (!window.Plotly) throw new Error("The chart library did not start: reload the page.");
    return window.Plotly;
  }).catch((error) => {
    globalThis[shared] = undefined;
    throw error;
  });
  return globalThis[shared];
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
 * changes. `name` may be a function of the lane. Heading, sentence and height are the figure's own (its title and `meta`)
 * unless they are given here. A figure with `meta.sized` sets lines of text: it is made anew for the width there is.
 */
function chartView(store, name, title = "", { words = "", height = 0, table } = {}) {
  const plot = html("div", { class: "tl-plot", role: "img" });
  const said = html("p", { class: "quiet tl-chartwords" }, words);
  const element = html("div", { class: "tl-chart" }, plot, said);
  let figure = null;
  let library = null;
  let asked = "";
  let size = "";
  let busy = false;
  let count = 0;
  let later = 0;
  let spent = 0; // ms from the last question to its figure
  const calm = () => Math.max(CALM, YIELD * spent);
  let resized = 0;
  let wide = 0; // remembered: asking for it between two changes costs a layout
  let fitted = [0, 0]; // the width and height that the figure was painted for
  const sized = () => (drawn === nameNow() && figure?.layout?.meta?.sized ? wide : 0);
  const nameNow = () => (typeof name === "function" ? name(laneNow(store)) : name);
  // What a figure follows besides the steps, named in its `meta.follows`: it is asked for again with these as options.
  const FOLLOWED = { index: () => tokenInFocus(store), temperature: () => store.sampling.temperature, transforms: () => laneNow(store).wish.transforms };
  let drawn = ""; // the view that `figure` is of
  const followed = () => Object.fromEntries(((drawn === nameNow() && figure?.layout?.meta?.follows) || []).map((one) => [one, FOLLOWED[one]()]));
  const key = () => {
    const lane = laneNow(store);
    return lane?.steps?.length && nameNow() ? [nameNow(), store.lane, lane.name, lane.runs, lane.at, lane.opening?.request?.seed, stepAt(lane)?.emitted, store.theme, sized(), JSON.stringify(followed())].join("/") : "";
  };
  const tall = () => height || figure?.layout?.meta?.height || (figure ? 232 : 140);

  /** What the panel has room for beside its neighbours, where that is more. A figure laid out in pixels keeps its own height. */
  const high = () => (figure?.layout?.meta?.sized ? tall() : Math.max(tall(), plot.clientHeight));

  function dress() {
    plot.style.height = `${tall()}px`;
    plot.style.flexGrow = figure?.layout?.meta?.sized ? "0" : "";
    mark(plot, "aria-label", `${view.title} The numbers are in the table.`);
  }

  async function paint() {
    size = store.size;
    const { data, layout } = structuredClone(figure);
    if (!title) view.title = layout.title?.text ?? nameNow() ?? "";
    if (!words) say(said, layout.meta?.words ?? "");
    view.wide = Boolean(layout.meta?.wide);
    dress();
    // The panel has the title already; the figure's own is for files.
    fitted = [plot.clientWidth, high()];
    Object.assign(layout, { template: chartTemplate(element), title: undefined, autosize: true, height: fitted[1], width: fitted[0] || undefined });
    await library.react(plot, data, layout, { displayModeBar: false, responsive: false });
    element.dataset.drawn = String(++count);
    view.painted?.();
  }

  async function update() {
    if (busy) return; // one question at a time: the newest state is asked for when the answer is in
    busy = true;
    try {
      while (key() && key() !== asked) {
        const wanted = key();
        const lane = store.lane ?? 0;
        const room = sized() ? { width: sized() } : {};
        const question = { ask: "figure", name: nameNow(), args: { lane, upto: laneNow(store).at, theme: store.theme, ...room, ...followed() } };
        const start = performance.now();
        const coming = store.ask(question).finally(() => (spent = performance.now() - start));
        const [answer, drawer] = await Promise.all([coming, library ?? plotlyOnce(store)]);
        [figure, drawn] = [JSON.parse(answer.figure), question.name];
        const beyond = figure.data.some(({ type = "scatter" }) => !CARTESIAN.includes(type));
        const able = beyond ? await plotlyOnce(store, true) : drawer;
        if (library && library !== able) library.purge(plot);
        library = able;
        asked = wanted;
        plot.querySelector(".tl-none")?.remove();
        await paint();
        if (store.actions.busy()) await new Promise((done) => setTimeout(done, calm())); // a run goes on: leave it the machine
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

  whenResized(plot, (width) => {
    wide = width;
    if (sized()) update();
    else if (figure && library) {
      clearTimeout(resized);
      resized = setTimeout(() => {
        if (plot.clientWidth === fitted[0] && high() === fitted[1]) return;
        library.purge(plot); // drawn over, the figure would keep the margin that its legend needed before
        paint();
      }, CALM);
    }
  }, true); // a neighbour that is drawn later may leave it less height than it had
  plot.append(store.page === "study" ? html("p", { class: "quiet tl-none" }, "Nothing here yet: press Run.") : emptyWords(laneNow(store), "Nothing to draw yet."));
  const view = {
    title,
    element,
    draw() {
      if (!key()) return;
      if (key() !== asked && (store.stepping || (figure && !store.actions.busy()))) {
        clearTimeout(later);
        later = setTimeout(update, calm());
      } else if (key() !== asked) update();
      else if (figure && library && size !== store.size) paint();
    },
    table: table ?? (() => figureTable(figure)),
    close() {
      clearTimeout(later);
      clearTimeout(resized);
      library?.purge(plot);
    },
  };
  dress();
  return view;
}

const OWN = 4; // panels for the charts that a method brings along

/** The panels for the charts that the method on show brings along; those it does not fill are hidden. */
function ownCharts(store, shown) {
  const box = html("div", { class: "tl-own a-own" });
  // Plain decoding's own chart is of stored laws, which the entropy page alone keeps.
  const lawless = () => laneNow(store).wish?.method === "plain" && store.page !== "entropy";
  const names = () => !shown || lawless() ? [] : laneNow(store).opening?.charts ?? store.engine?.methods.find((one) => one.name === laneNow(store).wish?.method)?.charts ?? [];
  const panels = Array.from({ length: OWN }, (_, place) => {
    const panel = makePanel(store, chartView(store, () => names()[place]), "chart");
    panel.view.painted = () => {
      panel.draw(new Set(["figure"])); // its table, where that is on show, is of the new figure too
      panel.element.toggleAttribute("data-wide", panel.view.wide); // `meta.wide`: all columns
    };
    return panel;
  });
  box.append(...panels.map((panel) => panel.element));
  function draw(changes) {
    hide(box, !names().length);
    box.parentElement?.classList.toggle("with-own", !box.hidden);
    mark(box, "data-charts", String(names().length));
    panels.forEach((panel, place) => {
      hide(panel.element, place >= names().length);
      if (!panel.element.hidden) panel.draw(changes);
    });
  }
  return { element: box, draw, panels };
}

/** Any figure's numbers as a table, its own where it brings one (`meta.table`): x as its axis names it, one column a trace, and the ends of whiskers where there are some. */
function figureTable(figure) {
  if (figure?.layout?.meta?.table) return figure.layout.meta.table;
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
