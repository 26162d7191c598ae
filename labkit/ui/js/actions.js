// What a person can do, in one place: buttons, keys and menus all call these.

const REPLAY_PACE = 90; // milliseconds a step when recorded steps are played back
const SETTLE = 150; // milliseconds without another change before the model runs again: arrow keys on a slider come in bursts
const FOLLOW = 60; // milliseconds between two runs while a live knob is dragged

const REQUEST_DEFAULTS = { method: "", prompt: "", ids: null, knobs: {}, temperature: 0, transforms: [], max_new_tokens: 64, seed: 0, target: "", draft: "", keep: [] };

/** A request with its absent fields filled in. */
function wholeRequest(request) {
  return { ...REQUEST_DEFAULTS, ...request };
}

/** Do two requests ask for the same run? */
function sameRequest(a, b) {
  const key = (request) => JSON.stringify(Object.keys(REQUEST_DEFAULTS).map((name) => {
    const value = wholeRequest(request)[name];
    return name === "knobs" ? Object.entries(value).sort() : value;
  }));
  return key(a) === key(b);
}

/** The actions of one page over its store. */
function makeActions(store) {
  let player = 0;
  let settling = 0;
  const lane = () => store.lanes[store.lane];
  const longest = () => Math.max(...store.lanes.map((one) => one.steps.length));
  const at = () => Math.max(...store.lanes.map((one) => one.at));
  const busy = () => Boolean(player) || store.lanes.some((one) => one.state === "running" || one.state === "loading");
  const ended = () => store.lanes.every((one) => one.closing && sameRequest(one.wish, one.request));
  const post = (verb, more = {}) => {
    clearTimeout(settling);
    settling = 0;
    store.stepping = verb === "step";
    store.set({ trouble: null });
    store.send({ do: verb, lane: store.lane, request: lane().wish, ...more });
  };

  function goTo(step) {
    const place = Math.max(0, Math.min(step, longest()));
    for (const one of store.lanes) one.at = Math.min(place, one.steps.length);
    store.set({ lanes: store.lanes, selected: null });
  }

  function halt() {
    clearInterval(player);
    player = 0;
    store.set({ playing: false });
  }

  function replay() {
    player = setInterval(() => {
      goTo(at() + 1);
      if (at() < longest()) return;
      halt();
      if (!ended()) post("run");
    }, REPLAY_PACE);
    store.set({ playing: true });
  }

  return {
    at, longest, busy, ended, goTo,
    waiting: () => Boolean(settling), // a change is still on its way
    dirty: () => !sameRequest(lane().wish, lane().request),
    step() {
      halt();
      if (at() < longest()) goTo(at() + 1);
      else if (!busy() && !ended()) post("step");
    },
    back() {
      if (!busy()) goTo(at() - 1);
    },
    run() {
      if (busy()) return;
      if (at() < longest()) replay();
      else if (!ended()) post("run");
    },
    stop() {
      halt();
      store.send({ do: "stop" });
    },
    stopReplay: halt,
    toStart: () => busy() || goTo(0),
    toEnd: () => busy() || goTo(longest()),
    /** Settings of the lane on show; `rerun` when the method has to run for them, `held` while a knob is still being dragged. */
    wish(change, rerun, held = false) {
      lane().wish = { ...lane().wish, ...change };
      store.set({ lanes: store.lanes, sampling: samplingOf(lane().wish) });
      if (!rerun || (held && settling)) return;
      clearTimeout(settling);
      settling = setTimeout(() => post("again"), held ? FOLLOW : SETTLE);
    },
    again: () => post("again"),
    prompt(text) {
      for (const one of store.lanes) one.wish = { ...one.wish, prompt: text, ids: null };
      post("prompt");
    },
    retry: () => post("retry"),
    show(place) {
      store.set({ lane: place, selected: null, sampling: samplingOf(store.lanes[place].wish), lanes: store.lanes });
    },
    select(kind, index, place = store.lane) {
      const chosen = store.selected;
      const same = chosen && chosen.kind === kind && chosen.index === index && chosen.lane === place;
      if (place !== store.lane) this.show(place);
      store.set({ selected: same ? null : { kind, lane: place, index } });
    },
    /** A second lane that goes another way at token `index`. */
    branch(index, token, place = store.lane) {
      const piece = pieceShown(store.lanes[place].pieces[token] ?? `#${token}`);
      store.send({ do: "branch", lane: place, index, token, name: `branch at ${index + 1}: ${piece}` });
    },
    compare(name, request) {
      store.send({ do: "compare", name, request });
    },
    close() {
      store.send({ do: "close" });
    },
  };
}
