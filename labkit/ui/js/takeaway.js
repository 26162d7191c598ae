// Take away: the trace, the picture, the page, the numbers, and the code that makes it again. All of it made in the page.

const LARGEST_TRACE = 256 * 2 ** 20; // bytes; the kernel reads no more
const PART = 4 * 2 ** 20; // bytes of one message: servers refuse longer ones

/** Give the person a file. */
function download(name, parts, type) {
  const address = URL.createObjectURL(new Blob(parts, { type }));
  const link = html("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

/** One cell of a CSV file. */
function csvCell(value) {
  const text = String(value ?? "");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const CSV_PART = 4000; // tokens written before the page is given a moment

/**
 * Every token with what was believed about it; texts are quoted as JSON, so that no program takes one for a formula.
 * In parts of a file; `told(share)` hears how far it is.
 */
async function tokensCsv(store, told) {
  const names = ["lane", "place", "step", "source", "id", "text", "entropy_nats", "probability", "rank", "alternatives"];
  const line = (row) => row.map(csvCell).join(",");
  const all = store.lanes.flatMap((lane, k) => lane.tokens.map((token, place) => [k, lane, token, place]).filter(([, , token]) => token.id !== MASK.id));
  const row = ([k, lane, token, place]) => {
    const belief = token.belief;
    const others = belief?.top.map((id, i) => [lane.pieces[id] ?? `#${id}`, Number(Math.exp(belief.top_logprobs[i]).toPrecision(6))]);
    return line([k + 1, place + 1, token.prompt ? "" : token.step + 1, token.source, token.id, JSON.stringify(token.piece), belief?.entropy, belief ? Math.exp(belief.logprob) : "", belief ? belief.rank + 1 : "", others ? JSON.stringify(others) : ""]);
  };
  const parts = [line(names)];
  for (let done = 0; done < all.length; done += CSV_PART) {
    if (done) await new Promise((go) => setTimeout(go));
    told(done / all.length);
    parts.push(`\r\n${all.slice(done, done + CSV_PART).map(row).join("\r\n")}`);
  }
  return parts;
}

const SVG_STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "opacity", "font-family", "font-size", "font-weight", "text-anchor", "text-decoration-line", "paint-order", "visibility", "display"];

/** A picture as a file of its own: computed styles written into it, patterns taken along, the ground under it. */
function standaloneSvg(picture, root) {
  const box = picture.getBoundingClientRect();
  const copy = picture.cloneNode(true);
  const inline = (from, to) => {
    const style = getComputedStyle(from);
    to.setAttribute("style", SVG_STYLES.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
    for (const name of ["class", "tabindex", "role"]) to.removeAttribute(name);
    [...from.children].forEach((child, i) => inline(child, to.children[i]));
  };
  inline(picture, copy);
  const shared = root.querySelector("svg.sr defs");
  const defs = shared.cloneNode(true);
  inline(shared, defs);
  defs.removeAttribute("style");
  const [width, height] = [Math.ceil(box.width), Math.ceil(box.height)];
  if (!copy.getAttribute("viewBox")) copy.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const [x, y, w, h] = copy.getAttribute("viewBox").split(/[ ,]+/).map(Number);
  const ground = svg("rect", { x, y, width: w, height: h, fill: getComputedStyle(root).getPropertyValue("--tl-paper").trim() });
  copy.prepend(defs, ground);
  for (const [name, value] of Object.entries({ xmlns: SVG_NAMESPACE, width, height })) copy.setAttribute(name, value);
  return new XMLSerializer().serializeToString(copy);
}

/** The same picture in points, at twice its size. */
async function standalonePng(picture, root) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standaloneSvg(picture, root))}`;
  await image.decode();
  const canvas = html("canvas", { width: image.width * 2, height: image.height * 2 });
  const context = canvas.getContext("2d");
  context.scale(2, 2);
  context.drawImage(image, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

/** The page as it stands, without its script: text and pictures that open anywhere. */
function standalonePage(root, css) {
  const copy = root.cloneNode(true);
  for (const one of copy.querySelectorAll(".tl-bar, .tl-nav, .tl-head .tl-group, .tl-tip, .tl-say, [hidden]")) one.remove();
  const title = html("title", null, `Token Lab: ${document.title}`);
  const charset = html("meta", { charset: "utf-8" });
  const style = html("style", null, css);
  const page = html("html", { lang: "en" }, html("head", null, charset, title, style), html("body", { style: "margin:0" }, copy));
  return `<!doctype html>\n${page.outerHTML}`;
}

/** The menu "Take away…". `pictures()` lists what can be saved as [title, svg element]. */
function makeTakeaway(store, pictures, css) {
  const name = (end) => `${store.page.replace("_", "-")}-${end}`;
  const trouble = html("div");
  const file = html("input", { type: "file", accept: ".json,.gz,application/json,application/gzip", class: "sr", tabindex: -1, "aria-label": "Trace file" });
  const which = html("select", { "aria-label": "Which picture" });
  const code = html("textarea", { readonly: true, rows: 8, "aria-label": "Code that makes this again", hidden: true, spellcheck: "false" });
  const said = html("p", { class: "quiet", role: "status" });

  const guarded = (work) => async () => {
    said.textContent = "";
    try {
      await work();
      store.set({ trouble: null });
    } catch (error) {
      store.set({ trouble: { text: error.message, panel: "take", action: "close" } });
    }
  };
  const picture = () => pictures()[Number(which.value)]?.[1] ?? pictures()[0]?.[1];
  const items = {
    save: guarded(async () => {
      const { buffers: [saved] } = await store.ask({ ask: "save", lane: store.lane });
      const packed = new Uint8Array(saved.buffer ?? saved, saved.byteOffset ?? 0, 1)[0] === 0x1f; // as gzip begins, and no JSON
      download(name(packed ? "trace.json.gz" : "trace.json"), [saved], packed ? "application/gzip" : "application/json");
    }),
    svg: guarded(async () => download(name("picture.svg"), [standaloneSvg(picture(), store.root)], "image/svg+xml")),
    png: guarded(async () => download(name("picture.png"), [await standalonePng(picture(), store.root)], "image/png")),
    page: guarded(async () => download(name("page.html"), [standalonePage(store.root, css)], "text/html")),
    csv: guarded(async () => {
      const parts = await tokensCsv(store, (share) => share && say(said, `Writing the tokens: ${Math.round(100 * share)} %.`));
      say(said, "");
      download(name("tokens.csv"), ["\ufeff", ...parts], "text/csv");
    }),
    code: guarded(async () => {
      const answer = await store.ask({ ask: "code", lane: store.lane });
      code.value = answer.code;
      code.hidden = false;
      code.focus();
      code.select();
      await navigator.clipboard?.writeText(answer.code).then(() => (said.textContent = "Copied."), () => (said.textContent = "Press Ctrl+C to copy it."));
    }),
  };

  async function load() {
    const chosen = file.files[0];
    file.value = "";
    if (!chosen) return;
    if (chosen.size > LARGEST_TRACE) throw new Error(`The file has ${chosen.size.toLocaleString("en")} bytes, more than the ${LARGEST_TRACE.toLocaleString("en")} allowed: choose a trace saved by the lab.`);
    const data = await chosen.arrayBuffer();
    if (chosen.size > PART) say(said, `Opening ${chosen.name}, ${(chosen.size / 1e6).toFixed(0)} MB …`);
    const of = Math.max(1, Math.ceil(data.byteLength / PART));
    const id = `${store.view}-${Date.now()}`;
    for (let part = 0; part < of; part++) store.send({ do: "load", file: id, part, of }, [data.slice(part * PART, (part + 1) * PART)]);
  }
  file.addEventListener("change", () => {
    store.set({ trouble: null });
    guarded(load)();
  });

  const line = (title, ...inner) => html("div", { class: "tl-menuline", role: "group", "aria-label": title }, html("span", null, title), ...inner);
  const small = (words, click, attributes = {}) => button(words, click, attributes);
  const menu = makeMenu("Take away…", [
    line("Trace", small("Save", items.save, { "aria-label": "Save the trace" }), small("Open…", () => file.click(), { "aria-label": "Open a saved trace" }), file),
    line("Picture", which, small("SVG", items.svg, { "aria-label": "Save the picture as SVG" }), small("PNG", items.png, { "aria-label": "Save the picture as PNG" })),
    line("Page", small("HTML", items.page, { "aria-label": "Save the page as HTML" })),
    line("Tokens", small("CSV", items.csv, { "aria-label": "Save the tokens as CSV" })),
    line("Code", small("Copy a cell", items.code, { "aria-label": "Copy the code that makes this again" })),
    code, said, trouble,
  ], () => {
    which.replaceChildren(...pictures().map(([title], place) => html("option", { value: place }, title)));
  });

  let opening = null;
  function draw() {
    const now = store.lanes[0].opening;
    if (now !== opening || troubleIn(store, "take")) say(said, "");
    opening = now;
    if (showTrouble(store, trouble, "take")) menu.open(true);
  }
  return { element: menu.element, draw };
}

/** A button that opens a small sheet under it; Escape and a click elsewhere close it. */
function makeMenu(words, content, opened) {
  const toggle = button(words, () => open(sheet.hidden), { "aria-expanded": "false", "aria-haspopup": "true" });
  const sheet = html("div", { class: "tl-menu", role: "group", "aria-label": words.replace("…", ""), hidden: true }, ...content);
  const element = html("div", { class: "tl-menubox" }, toggle, sheet);
  function open(yes) {
    if (sheet.hidden === !yes) return;
    sheet.hidden = !yes;
    toggle.setAttribute("aria-expanded", String(yes));
    if (yes) opened?.(sheet);
  }
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || sheet.hidden) return;
    open(false);
    toggle.focus();
    event.stopPropagation();
  });
  element.addEventListener("focusout", (event) => event.relatedTarget && !element.contains(event.relatedTarget) && open(false));
  return { element, sheet, open };
}

/** The menu "Compare…": a second lane with another method or other settings on the same prompt. */
function makeCompare(store) {
  const list = html("div", { class: "tl-menulist" });
  const menu = makeMenu("Compare…", [html("p", { class: "quiet" }, "A second lane on the same prompt:"), list], () => {
    const wish = store.lanes[0].wish;
    const go = (name, change) => button(name, () => {
      menu.open(false);
      store.actions.compare(change.seed === undefined ? "second" : name, { ...wish, ...change });
    }, { look: "bare" });
    const methods = (store.engine?.methods ?? []).filter((one) => one.name !== wish.method && !one.study);
    list.replaceChildren(...methods.map((one) => go(one.title, { method: one.name, knobs: {} })), go("same method, next seed", { seed: (wish.seed + 1) % 1000 }),
      go(wish.temperature > 0 ? "same method, greedy" : "same method, temperature 0.8", { temperature: wish.temperature > 0 ? 0 : 0.8 }));
    if (store.lanes.length > 1) list.append(button("close the second lane", () => (menu.open(false), store.actions.close()), { look: "bare" }));
  });
  return menu;
}
