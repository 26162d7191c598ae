// One page: head, transport, strips, knobs and views in the layout of its theme; messages from the kernel go into the store.

/** The panels of each page, in the order in which they are read. */
const LAYOUTS = {
  // Under another bench the charts of the method stand where the entropies are; the first bench of a page has no room for them.
  entropy: { look: "lay-ent", live: true, own: "guest", views: (store) => [makePanel(store, distView(store), "dist", { hero: true }), ...(store.guest ? [] : [makePanel(store, curveView(store), "curve")])] },
  draft_trees: { look: "lay-tree", live: false, views: (store) => [makePanel(store, treeView(store), "tree", { hero: true }), makePanel(store, costView(store), "cost")] },
  decode: { look: "lay-dec", live: false, charts: true, views: (store) => [makePanel(store, costView(store), "cost")] },
  study: { look: "lay-study", live: false, charts: true, views: () => [] },
  acceptance: { look: "lay-acc", live: false, charts: true, views: (store) => [makePanel(store, verifyView(store), "verify", { hero: true }), makePanel(store, byPositionView(store), "bypos"), makePanel(store, checkView(store), "check")] },
};

const LOOKING = 400; // milliseconds
const ENGINE = Symbol.for("labkit.engine"); // what it offers, told once a page: { key, fields }

/** What the engine says of itself, with the fields that the wire leaves out at their defaults. */
function wholeEngine({ methods, transforms, models, status }) {
  const knobs = (list) => list.map((knob) => ({ unit: "", help: "", choices: [], live: false, scale: "linear", ...knob }));
  const whole = (one, more) => ({ paper: "", summary: "", ...more, ...one, knobs: knobs(one.knobs ?? []) });
  return {
    methods: methods.map((one) => whole(one, { lossless: true, drafts: "", charts: [], study: false })),
    transforms: transforms.map((one) => whole(one)),
    models: models.map((one) => ({ role: "target", parameters: 0, default: false, ...one })),
    status: { device: "cpu", target: "", draft: "", ...status },
  };
}

/** What the kernel says, put into the store. */
function hear(store, kind, fields, buffers) {
  const follow = (lane, place) => {
    const end = lane.at === lane.steps.length;
    const was = lane.opening;
    if (fields.request) lane.request = wholeRequest(fields.request);
    if (fields.request && (!lane.wish || place !== store.lane || !(store.actions.busy() || store.actions.waiting()))) lane.wish = lane.request;
    lane.first ??= lane.request;
    if (fields.opening) openLane(lane, fields.opening, buffers);
    if (fields.steps?.length && fields.first !== lane.steps.length) return store.send({ do: "open", view: store.view });
    for (const step of fields.steps ?? []) addStep(lane, step, buffers);
    lane.closing = fields.closing ?? (fields.opening ? null : lane.closing);
    Object.assign(lane, { name: fields.name, state: fields.state, error: fields.error });
    if (end || was !== lane.opening) lane.at = lane.steps.length;
  };
  store.sequence += 1;
  if (kind === "snapshot") {
    if (fields.view && fields.view !== store.view) return;
    const lanes = fields.lanes.map((news) => {
      const lane = makeLane(news.name);
      const own = buffers.slice(news.laws);
      Object.assign(lane, { state: news.state, error: news.error, request: wholeRequest(news.request) });
      lane.wish = lane.first = lane.request;
      if (news.opening) openLane(lane, news.opening, own);
      lane.closing = news.closing ?? null;
      const fill = () => {
        for (const step of news.steps ?? []) addStep(lane, step, own);
        lane.at = lane.steps.length;
        return lane;
      };
      return news.far ? readLong(store, lane, news.far, fill) : fill();
    });
    store.set({ lanes, lane: 0, selected: null, sampling: samplingOf(lanes[0].wish), trouble: null, plain: null, ready: true });
  } else if (kind === "lane") {
    const place = fields.lane;
    store.lanes[place] ??= makeLane(fields.name);
    follow(store.lanes[place], place);
    store.set({ lanes: store.lanes, ...(fields.request && place === store.lane ? { sampling: samplingOf(store.lanes[place].wish) } : {}) });
  } else if (kind === "close") {
    store.set({ lanes: store.lanes.slice(0, 1), lane: 0, selected: null, sampling: samplingOf(store.lanes[0].wish) });
  } else if (kind === "engine") {
    if (fields.methods) globalThis[ENGINE] = { key: fields.key, fields };
    const offered = fields.methods ? fields : { ...globalThis[ENGINE].fields, status: fields.status };
    store.set({ engine: { ...wholeEngine(offered), count: (store.engine?.count ?? 0) + 1 } });
  }
  else if (kind === "health") store.set({ health: fields });
  else if (kind === "pushed") store.set({ pushed: { ...store.pushed, ...fields } });
  else if (kind === "plain") store.set({ plain: fields });
  else if (kind === "error") store.set({ trouble: { action: "close", ...fields } });
}

/** An empty lane that stands for `lane` while its `total` packed steps are fetched; `fill` puts in what comes behind them. */
function readLong(store, lane, total, fill) {
  const stand = { ...makeLane(lane.name), request: lane.request, wish: lane.wish, first: lane.first, state: "loading", read: 0 };
  const here = () => store.lanes.includes(stand);
  const told = (share) => {
    stand.read = share;
    if (here()) store.set({ lanes: store.lanes });
    return here();
  };
  const failed = (error) => {
    Object.assign(stand, { state: "empty", read: undefined });
    store.set({ lanes: store.lanes, trouble: { text: error.message, panel: "take", action: "close" } });
  };
  // Asked for when the lanes are in the store: their places are the kernel's.
  queueMicrotask(() => fetchSteps(store, store.lanes.indexOf(stand), lane, total, told).then((whole) => {
    if (!whole) return;
    fill();
    store.set({ lanes: store.lanes.map((one) => (one === stand ? lane : one)) });
  }).catch(failed));
  return stand;
}

/** What is in a gzipped buffer. */
async function unpackedBytes(buffer) {
  return new Uint8Array(await new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

/** The text in a gzipped buffer. */
async function unpacked(buffer) {
  return new TextDecoder().decode(await unpackedBytes(buffer));
}

/** Ask for what there is; further benches of a page wait until the first has been told what the engine offers. */
async function open(store, alone) {
  for (let tries = 0; store.guest && !alone && !globalThis[ENGINE] && tries < 60; tries++) await new Promise((done) => setTimeout(done, 50));
  store.send({ do: "open", view: store.view, knows: globalThis[ENGINE]?.key ?? "", who: visitor(), from: pageName() });
}

/** Keys that drive the transport when nothing in focus wants them for itself. */
function listenToKeys(store, root, signal) {
  const keys = (event) => {
    const inside = root.contains(event.target);
    if (!inside && (store.guest || !(store.host === "voila" && event.target === document.body))) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const field = event.target.closest?.("input, textarea, select");
    if (field || (event.target.closest?.("[data-roving], .tl-table, .tl-menu") && event.key !== "Escape")) return;
    const { actions } = store;
    const pressable = event.target.closest?.("button, a, summary, [role=button]");
    const does = { ArrowRight: actions.step, ArrowLeft: actions.back, Escape: actions.stop, Home: actions.toStart, End: actions.toEnd }[event.key]
      ?? (event.key === " " && !pressable ? (actions.busy() ? actions.stop : actions.run) : null);
    if (!does) return;
    does();
    event.preventDefault();
  };
  document.addEventListener("keydown", keys, { signal });
  // Lab looks at the attribute of the element that has the focus, and of no other (T22): whatever a view made gets it here.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"), { signal });
}

/** The line that says which models answer, or that nobody does. */
function drawModels(store, box, alarm) {
  const { engine, health } = store;
  const status = engine?.status;
  const opening = store.lanes[store.lane].opening;
  const parts = [opening?.target || status?.target, opening ? opening.draft : status?.draft, opening?.device ?? status?.device].filter(Boolean);
  say(box, parts.join(" · "));
  mark(box, "title", status ? `engine: ${status.where}` : "");
  hide(alarm, !health.error);
  if (health.error && alarm.shown !== health) alarm.replaceChildren(html("p", null, health.error), button("Retry", () => store.actions.retry()));
  alarm.shown = health;
}

function render({ model, el }) {
  const leave = new AbortController();
  const { signal } = leave;
  const store = makeStore(model);
  const layout = LAYOUTS[store.page];
  const root = html("div", { class: "tl", tabindex: -1, "data-lm-suppress-shortcuts": "true", role: "region", "aria-label": "Token Lab bench" });
  store.root = root;
  store.host = hostName();
  store.guest = Boolean(model.get("under")); // stands on a page under another bench: no head, no keys but its own
  store.trouble = null;
  store.lanes[0].wish = null;
  store.actions = makeActions(store);
  store.branch = (index, token) => store.actions.branch(index, token);
  const looks = makeLooks(root, (patch) => store.set(patch), signal);
  const models = html("span", { class: "models" });
  const head = drawHead(store.page, looks, models);
  const alarm = html("div", { class: "tl-error tl-alarm", role: "alert", hidden: true });
  const teacher = makeTeacher(store);
  const tip = makeTip(store);
  const compare = makeCompare(store);
  const views = layout.views(store);
  const own = ownCharts(store, layout.own !== "guest" || store.guest);
  const pictures = () => [...views, ...own.panels].filter((panel) => panel.svg()).map((panel) => [panel.view.title, panel.svg()]);
  const takeaway = makeTakeaway(store, pictures, model.get("_css"));
  const transport = makeTransport(store, store.page === "study" ? [takeaway.element] : [compare.element, takeaway.element]);
  const lanes = store.page === "study" ? makeProgress(store) : makeLanes(store, tip);
  const knobs = makeKnobs(store, layout.live);
  const page = html("div", { class: `tl-page ${layout.look}` }, lanes.element, knobs.element, ...views.map((panel) => panel.element), own.element);
  root.append(patterns(), ...(store.guest ? [] : [head.element]), transport.element, alarm, teacher.element, page, tip.element);
  el.append(root);

  const parts = [...views, own, transport, lanes, knobs, takeaway]; // views measure their place first, while nothing has been changed yet
  let fetching = 0;
  /** The chart library, once it will be needed: behind the strip, or while a page without a text is looked at. */
  const fetchPlotly = () => {
    const written = store.lanes[0].tokens.length > 0;
    if (fetching === Infinity || !(layout.charts || !own.element.hidden) || (fetching && !written) || (store.guest && !written)) return;
    clearTimeout(fetching);
    if (written && store.stepping) return; // the charts ask for it themselves, once the steps are over
    const later = setTimeout(() => plotlyOnce(store).catch(() => {}), written ? 0 : LOOKING);
    fetching = written ? Infinity : later;
  };
  const draw = (changes) => {
    if (!store.ready) return;
    if (!store.guest) head.showTheme(store.theme);
    for (const part of parts) part.draw(changes);
    lanes.settle();
    for (const panel of views) panel.view.settle?.();
    fetchPlotly();
    drawModels(store, models, alarm);
    teacher.draw(changes);
    const lane = store.lanes[store.lane];
    const told = {
      ready: "1", state: store.actions.busy() ? "running" : lane.error ? "error" : lane.state, at: lane.at, steps: lane.steps.length, seq: store.sequence,
      lanes: store.lanes.length, engine: store.health.error ? "gone" : store.engine ? "here" : "asked",
    };
    for (const [name, value] of Object.entries(told)) mark(root, `data-${name}`, String(value));
  };
  const unsubscribe = store.subscribe(draw);
  listenToKeys(store, root, signal);
  const listen = async (message, buffers) => {
    const [first, ...rest] = buffers ?? [];
    if (!first || !message?.kind) return;
    const fields = JSON.parse(message.packed ? await unpacked(first) : new TextDecoder().decode(first));
    if (message.kind === "answer") store.answer(message.id, fields, rest);
    else hear(store, message.kind, fields, rest);
  };
  const again = () => open(store, true);
  model.on("msg:custom", listen);
  model.on("back", again); // a dashboard's page says so when its broken line stands again
  open(store, model.get("alone"));
  return () => {
    leave.abort();
    unsubscribe();
    model.off("msg:custom", listen);
    model.off("back", again);
    store.actions.stopReplay();
    for (const panel of [...views, ...own.panels]) panel.view.close?.();
  };
}

globalThis[Symbol.for("labkit.bench")] ??= Promise.resolve({ render }); // for further benches of this page
export default { render };
