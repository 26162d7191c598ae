// A dashboard's own front end. Voila's brings all of JupyterLab, five megabytes, before the first widget stands; a page
// that shows only anywidgets and plain text needs a socket and the few messages below. Any other page gets Voila's.
(() => {
  const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  const status = document.getElementById("loading");
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const CONTROL = "jupyter.widget.control"; // the comm that tells the state of all widgets at once
  const unique = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const session = unique();
  const api = `${config.baseUrl}api/kernels/${config.kernelId}`;
  const PATIENCE = 1200; // seconds of trying to reach a kernel again: as long as the server keeps one without its page
  const ANSWER = 5000; // ms; a question that went into a dead network is asked again
  let socket = null;
  let waiting = []; // what is to be sent as soon as the socket is open
  const comms = new Map(); // comm id -> what to do with its messages
  const models = []; // every widget's way to be told that the line stands again

  /** Voila's own front end, for outputs and formulas that only it can show. */
  function leaveItToVoila() {
    window.removeEventListener("pagehide", goodbye);
    const { styles, scripts } = JSON.parse(document.getElementById("voila-front-end").textContent);
    const make = (name, parts) => Object.assign(document.createElement(name), parts);
    for (const [href, media] of styles) document.head.append(make("link", { rel: "stylesheet", href, media }));
    const listen = window.addEventListener; // Voila starts with the page's load event, which may be over by now
    window.addEventListener = (name, listener, ...rest) => {
      if (name === "load" && document.readyState === "complete") queueMicrotask(() => listener.call(window, new Event(name)));
      else listen.call(window, name, listener, ...rest);
    };
    for (const src of scripts) document.body.append(make("script", { src, async: false }));
  }

  // ---- the kernel's socket. A frame is a table of places (64 bits, little-endian: how many, then each, the end too) and
  // the parts between them: channel, header, parent header, metadata, content, buffers

  const PROTOCOL = "v1.kernel.websocket.jupyter.org";

  function unpack(frame) {
    const view = new DataView(frame);
    const places = Array.from({ length: view.getUint32(0, true) }, (_, at) => view.getUint32(8 * (at + 1), true));
    const part = (at) => new DataView(frame, places[at], places[at + 1] - places[at]);
    const text = (at) => new TextDecoder().decode(part(at));
    const buffers = places.slice(5, -1).map((_, at) => part(at + 5));
    return { header: JSON.parse(text(1)), content: JSON.parse(text(4)), buffers };
  }

  function pack(channel, messages, buffers) {
    const bytes = (one) => new Uint8Array(one.buffer ?? one, one.byteOffset ?? 0, one.byteLength);
    const parts = [channel, ...messages.map((one) => JSON.stringify(one))].map((text) => new TextEncoder().encode(text));
    parts.push(...buffers.map(bytes));
    const places = [8 * (parts.length + 2)];
    for (const part of parts) places.push(places.at(-1) + part.length);
    const frame = new Uint8Array(places.at(-1));
    const view = new DataView(frame.buffer);
    view.setUint32(0, places.length, true);
    places.forEach((place, at) => view.setUint32(8 * (at + 1), place, true));
    parts.forEach((part, at) => frame.set(part, places[at]));
    return frame;
  }

  function tell(kind, content, buffers = [], metadata = {}) {
    const header = { msg_id: unique(), msg_type: kind, session, username: "", version: "5.3", date: new Date().toISOString() };
    const frame = pack("shell", [header, {}, metadata, content], buffers);
    if (socket?.readyState === WebSocket.OPEN) socket.send(frame);
    else waiting.push(frame);
  }

  function connect(deadline) {
    const url = new URL(`${api}/channels?session_id=${session}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    socket = new WebSocket(url, PROTOCOL);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      status.hidden = true;
      for (const frame of waiting.splice(0)) socket.send(frame);
      if (deadline) for (const emit of models) emit("back"); // what was said into the broken line may be lost
      deadline = null;
    };
    socket.onmessage = (event) => {
      const { header, content, buffers } = unpack(event.data);
      if (header.msg_type === "comm_msg") comms.get(content.comm_id)?.(content.data, buffers);
      if (header.msg_type === "status" && ["restarting", "dead"].includes(content.execution_state)) ended();
    };
    socket.onclose = () => lost(deadline ?? performance.now() + 1000 * PATIENCE);
  }

  /** The line broke: the server keeps the kernel's messages for this session, so try again; tell when the kernel is gone. */
  async function lost(deadline) {
    status.hidden = false;
    status.textContent = "The line to the server is broken; trying again";
    const answer = await fetch(api, { cache: "no-store", signal: AbortSignal.timeout(ANSWER) }).catch(() => null);
    const gone = answer?.status === 404 || performance.now() > deadline;
    if (gone) ended();
    else setTimeout(connect, 1000, deadline);
  }

  /** The kernel is gone, or a fresh one stands in its place that knows nothing of this page. */
  function ended() {
    socket.onclose = null;
    socket.close();
    status.hidden = false;
    status.textContent = "This page's session has ended. Reload the page to begin anew.";
  }

  function goodbye(event) {
    // a page that is kept may be come back to
    if (!event.persisted) navigator.sendBeacon(`${config.baseUrl}voila/api/shutdown/${config.kernelId}`);
  }

  // ---- widgets

  function place(state, paths, buffers) {
    paths.forEach((path, at) => {
      const inner = path.slice(0, -1).reduce((one, key) => one[key], state);
      inner[path.at(-1)] = buffers[at];
    });
    return state;
  }

  /** A widget's end of the line, as anywidget's front-end modules know it: https://anywidget.dev/en/afm */
  function makeModel(id, state) {
    const listeners = new Map();
    const changed = new Set();
    const emit = (name, ...args) => [...(listeners.get(name) ?? [])].forEach((listener) => listener(...args));
    models.push(emit);
    comms.set(id, (data, buffers) => {
      if (data.method === "custom") emit("msg:custom", data.content, buffers);
      if (data.method !== "update") return;
      const news = place(data.state, data.buffer_paths ?? [], buffers);
      Object.assign(state, news);
      for (const name of Object.keys(news)) emit(`change:${name}`);
      emit("change");
    });
    return {
      get: (name) => state[name],
      set(name, value) {
        state[name] = value;
        changed.add(name);
      },
      save_changes() {
        const news = Object.fromEntries([...changed].map((name) => [name, state[name]]));
        changed.clear();
        tell("comm_msg", { comm_id: id, data: { method: "update", state: news, buffer_paths: [] } });
      },
      send: (content, _callbacks, buffers = []) => tell("comm_msg", { comm_id: id, data: { method: "custom", content } }, buffers),
      on: (name, listener) => listeners.set(name, [...(listeners.get(name) ?? []), listener]),
      off: (name, listener) => listeners.set(name, (listeners.get(name) ?? []).filter((one) => listener && one !== listener)),
    };
  }

  async function show(id, state, el) {
    const model = makeModel(id, state);
    const url = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
    const module = await import(url);
    URL.revokeObjectURL(url);
    const widget = typeof module.default === "function" ? await module.default() : module.default ?? module;
    if (state._css) document.head.append(Object.assign(document.createElement("style"), { textContent: state._css }));
    await widget.initialize?.({ model });
    await widget.render?.({ model, el });
  }

  /** The places of widgets, or null when something here needs more than this file. */
  function places() {
    const text = document.getElementById("rendered_cells").cloneNode(true);
    text.querySelectorAll("code, script").forEach((one) => one.remove());
    if (/\$|\\\(|\\\[/.test(text.textContent)) return null; // a formula
    const found = [];
    for (const script of document.querySelectorAll('script[type="application/vnd.voila.cell-output+json"]')) {
      const output = JSON.parse(script.textContent);
      if (!output.data?.[VIEW]) return null;
      found.push([script, output.data[VIEW].model_id]);
    }
    return found.map(([script, id]) => {
      const el = Object.assign(document.createElement("div"), { className: "lab-place" });
      script.after(el);
      return [el, id];
    });
  }

  const found = places();
  if (!found) return leaveItToVoila();
  window.addEventListener("pagehide", goodbye);
  const control = unique();
  comms.set(control, (data, buffers) => {
    if (data.method !== "update_states") return;
    comms.delete(control);
    const all = place(data.states, data.buffer_paths ?? [], buffers);
    if (found.some(([, id]) => all[id]?.model_module !== "anywidget")) {
      socket.onclose = null;
      socket.close();
      for (const [el] of found) el.remove();
      return leaveItToVoila();
    }
    for (const [el, id] of found) {
      el.classList.toggle("lab-guest", all[id].state.under); // stands under another bench
      show(id, all[id].state, el).catch((error) => {
        el.textContent = "This part of the page did not start: reload the page.";
        console.error(error);
      }).finally(() => el.classList.remove("lab-place"));
    }
  });
  tell("comm_open", { comm_id: control, target_name: CONTROL, data: {} }, [], { version: "1.0.0" }); // of that protocol
  tell("comm_msg", { comm_id: control, data: { method: "request_states" } });
  connect(null);
})();
