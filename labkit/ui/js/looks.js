// How the page looks: icons, patterns, the head with its navigation, theme and size.

const ICONS = {
  start: "M2 2h2v10H2zM12 2v10L5 7z", back: "M11 2v10L3 7z", step: "M3 2l7 5-7 5zM10.5 2h2v10h-2z", run: "M3 2l9 5-9 5z",
  stop: "M3 3h8v8H3z", end: "M10 2h2v10h-2zM2 2l7 5-7 5z", close: "M3.4 2L7 5.6 10.6 2 12 3.4 8.4 7l3.6 3.6-1.4 1.4L7 8.4 3.4 12 2 10.6 5.6 7 2 3.4z",
};

/** A small picture for a button; the button's own name says what it does. */
function icon(name) {
  return svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/** A button: `look` is "main", "bare", "slot" or nothing. */
function button(words, click, { look = "", glyph = null, ...attributes } = {}) {
  return html("button", { type: "button", class: `tl-btn ${look}`, onclick: click, ...attributes }, glyph && icon(glyph), words);
}

/** A button that looks like a link. */
function linkButton(words, click, attributes = {}) {
  return html("button", { type: "button", class: "tl-link", onclick: click, ...attributes }, words);
}

/** The wordmark's picture: a tree with one branch kept and one refused. */
function markPicture() {
  return svg("svg", { viewBox: "0 0 26 18", "aria-hidden": "true", style: "overflow:visible" },
    svg("path", { d: "M3 9h6c4 0 3-6 8-6h5M9 9c4 0 3 6 8 6h2", fill: "none", stroke: "currentColor", "stroke-width": 2.2 }),
    svg("circle", { cx: 3, cy: 9, r: 2.6, fill: "currentColor" }),
    svg("rect", { x: 20, y: 0.4, width: 5.4, height: 5.4, rx: 1.2, fill: "var(--tl-draft)" }),
    svg("rect", { x: 18.5, y: 12.6, width: 5, height: 5, rx: 1.2, fill: "none", stroke: "var(--tl-refuse)", "stroke-width": 1.4, "stroke-dasharray": "2 1.3" }));
}

/** Hatches and dots that all pictures share: a verdict is a shape first. */
function patterns() {
  const pattern = (id, size, turn, ...marks) => svg("pattern", { id, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: turn ? `rotate(${turn})` : null }, ...marks);
  const ground = (name, size) => svg("rect", { width: size, height: size, class: name });
  return svg("svg", { class: "sr", "aria-hidden": "true" }, svg("defs", null,
    pattern("hatch-ref", 7, 45, ground("pat-ref-bg", 7), svg("path", { d: "M0 0v7", class: "pat-ref" })),
    pattern("hatch-q", 5, 45, ground("pat-q-bg", 5), svg("path", { d: "M0 0v5", class: "pat-q" })),
    pattern("dots-p", 5, 0, ground("pat-p-bg", 5), svg("circle", { cx: 2.5, cy: 2.5, r: 1.2, class: "pat-p" })),
    pattern("hatch-cut", 6, -45, svg("path", { d: "M0 0v6", class: "pat-cut" }))));
}

const THEME_WORDS = { sampling: "Sampling", speculative: "Speculative decoding", attention: "Attention and cache", tokenization: "Token boundaries", diffusion: "Diffusion", visual: "Visual tokens", reduction: "Token reduction" };

/** The themes and their pages: name, file, title. The head shows the pages of the theme one is in, and the way to the others. */
const THEMES = [
  ["Sampling", [["entropy", "01_entropy.ipynb", "Entropy"], ["constraints", "06_constraints.ipynb", "Constraints"]]],
  ["Speculative", [["draft_trees", "02_draft_trees.ipynb", "Draft trees"], ["acceptance", "03_acceptance.ipynb", "Acceptance"], ["when_to_draft", "04_when_to_draft.ipynb", "When to draft"], ["timelines", "05_batches_and_timelines.ipynb", "Timelines"]]],
  ["Attention", [["attention", "08_attention_sparsity.ipynb", "Sparsity"], ["cache", "09_kv_cache.ipynb", "KV cache"], ["serving", "10_serving.ipynb", "Serving"]]],
  ["Boundaries", [["boundaries", "11_token_boundaries.ipynb", "Ribbon"], ["bytes", "12_bytes_and_bias.ipynb", "Bytes and bias"], ["languages", "13_languages_and_numbers.ipynb", "Languages"]]],
  ["Diffusion", [["diffusion", "16_diffusion.ipynb", "Any order"], ["parallelism", "17_parallelism_costs.ipynb", "What parallelism costs"]]],
  ["Sweeps", [["sweep", "18_sweep.ipynb", "Settings compared"]]],
];
const NARROW = 1120; // CSS pixels; below it the knobs become a row

/** Which host holds the page: "voila" serves it as a dashboard, anything else is a notebook. */
function hostName() {
  return document.body.dataset.voila ? "voila" : "lab";
}

/** Keep `data-theme`, `data-size` and `data-host` of the root as host, system and switches say; returns the two setters. */
function makeLooks(root, told, signal) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const host = hostName();
  let chosen = null;
  const hosts = () => (host === "lab" && document.body.dataset.jpThemeLight ? document.body.dataset.jpThemeLight === "false" : dark.matches);
  const settle = () => {
    const theme = chosen ?? (hosts() ? "dark" : "light");
    // a notebook's neutrals and faces come from the host, as long as nobody has chosen otherwise with our switch
    root.dataset.host = host === "lab" && !chosen ? "jupyter" : "own";
    if (host === "voila") document.documentElement.dataset.labTheme = theme; // the ground around the bench
    if (root.dataset.theme !== theme) told({ theme: (root.dataset.theme = theme) });
  };
  root.dataset.in = host;
  root.dataset.size = "desk";
  dark.addEventListener("change", settle, { signal });
  const watch = new MutationObserver(settle);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  signal.addEventListener("abort", () => watch.disconnect());
  settle();
  // Layouts ask the cell's width, not the window's. A class does what a container query would, for half the style work.
  const wide = new ResizeObserver(() => root.toggleAttribute("data-narrow", root.clientWidth > 0 && root.clientWidth <= NARROW));
  wide.observe(root);
  signal.addEventListener("abort", () => wide.disconnect());
  // All benches of a page look alike, whichever has the switches.
  document.addEventListener("labkit-looks", ({ detail: { theme, size } }) => {
    if (theme) chosen = theme;
    settle();
    if (size) told({ size: (root.dataset.size = size) });
  }, { signal });
  const tell = (detail) => document.dispatchEvent(new CustomEvent("labkit-looks", { detail }));
  return { theme: (theme) => tell({ theme }), size: (size) => tell({ size }) };
}

/** The head: wordmark, themes, who answers, and the two switches of the looks. */
function drawHead(page, looks, models) {
  const here = (name, file) => (name === page || location.pathname.endsWith(file) ? "page" : null);
  const link = ([name, file, title]) => html("a", { href: file, "aria-current": here(name, file) }, title);
  const links = THEMES.map(([theme, pages]) => {
    if (!pages.some(([name, file]) => here(name, file))) return html("a", { href: pages[0][1] }, theme);
    return html("span", { class: "tl-theme", role: "group", "aria-label": theme }, html("b", null, theme), ...pages.map(link));
  });
  const flip = (words, on, off, set) => {
    const one = button(words, () => {
      const yes = one.getAttribute("aria-pressed") !== "true";
      one.setAttribute("aria-pressed", String(yes));
      set(yes ? on : off);
    }, { "aria-pressed": "false" });
    return one;
  };
  const dark = flip("Dark", "dark", "light", looks.theme);
  const large = flip("Projector", "projector", "desk", looks.size);
  const mark = html("h1", { class: "tl-mark" }, markPicture(), "Token Lab");
  const nav = html("nav", { class: "tl-nav", "aria-label": "Themes" }, ...links);
  if (hostName() === "voila" && page !== "welcome") {
    mark.replaceChildren(html("a", { href: "00_welcome.ipynb", "aria-label": "Token Lab, welcome page" }, markPicture(), "Token Lab"));
  }
  const element = html("header", { class: "tl-head" }, mark, nav, models, html("span", { class: "tl-group", role: "group", "aria-label": "Looks" }, dark, large));
  return { element, showTheme: (theme) => dark.getAttribute("aria-pressed") !== String(theme === "dark") && dark.setAttribute("aria-pressed", String(theme === "dark")) };
}
