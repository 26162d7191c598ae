// Small words shared by the shell and all views: making nodes, showing a token's text, saying a number.
// Token text is untrusted: it enters the page through text nodes only, never as markup.

// JupyterLab's shortcuts stay quiet only where the element in focus itself says so
const FOCUSABLE = new Set(["a", "button", "input", "select", "textarea", "summary"]);
const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

function fillNode(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  if (FOCUSABLE.has(node.localName) || attributes?.tabindex !== undefined) node.setAttribute("data-lm-suppress-shortcuts", "true");
  for (const child of children) if (child !== null && child !== undefined && child !== "") node.append(child);
  return node;
}

/** An HTML element; attributes named `on…` are listeners, children are nodes or plain text. */
function html(tag, attributes, ...children) {
  return fillNode(document.createElement(tag), attributes, children);
}

/** An SVG element; the same words as `html`. */
function svg(tag, attributes, ...children) {
  return fillNode(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

/** A token's text with its whitespace visible. Other control characters get their Unicode picture. */
function pieceShown(text) {
  return text.replace(/\r/g, "␍").replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "·")
    .replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The same, with a long indent counted and not drawn. */
function pieceShort(text) {
  const spaces = text.split(" ").length - 1;
  if (/^\n* {5,}$/.test(text)) return `${"↵".repeat(text.length - spaces)}·×${spaces}`;
  return pieceShown(text);
}

/** The same, cut to `room` characters. */
function pieceCut(text, room) {
  const letters = [...pieceShort(text)];
  return letters.length <= room ? letters.join("") : `${letters.slice(0, Math.max(1, room - 1)).join("")}…`;
}

/** A token's text as a screen reader should say it. */
function pieceSpoken(text) {
  const lead = /^[\n ]*/.exec(text)[0];
  const words = pieceShown(text.slice(lead.length)).replace(/·/g, " ").trim();
  const spaces = lead.split(" ").length - 1;
  const before = lead.includes("\n") ? `new line${spaces ? `, ${spaces} spaces` : ""}` : lead ? "space" : "";
  return [before, words].filter(Boolean).join(" ") || "empty";
}

/** A token's text as nodes, whitespace in quiet glyphs. */
function pieceGlyphs(text) {
  const whole = document.createDocumentFragment();
  for (const part of pieceShown(text).match(/[↵·⇥]+|[^↵·⇥]+/g) ?? []) {
    whole.append(/^[↵·⇥]/.test(part) ? html("span", { class: "ws" }, part) : part);
  }
  return whole;
}

/** A probability without its leading zero: .130, 1.00. */
function decimals(x, places = 3) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  return x < 0.9995 ? x.toFixed(places).replace(/^0/, "") : "1.00";
}

/** "= 0.130", or "< 0.001" for what would read as nothing. */
function equalsNumber(x) {
  return x >= 0.0005 || x === 0 ? `= ${x.toFixed(3)}` : "< 0.001";
}

const ENTROPY_EDGES = [0.1, 0.4, 0.8, 1.2, 2, 3]; // nats; the classes e0 … e6 of the colour ramp

/** The class of an entropy in nats, 0 (sure) to 6 (3 nats and more). */
function entropyClass(nats) {
  const at = ENTROPY_EDGES.findIndex((edge) => nats < edge);
  return at < 0 ? 6 : at;
}

/** "1 node", "3 nodes". */
function counted(n, noun) {
  return `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
}

const widthsByFace = new Map();
let widthContext;

/** A ruler: `ruler(text)` is its width in CSS pixels in a face of the bench, "--tl-code" or "--tl-ui". One style look-up a ruler. */
function textRuler(element, size, face = "--tl-code", weight = 400) {
  const family = getComputedStyle(element).getPropertyValue(face) || "monospace";
  const font = `${weight} ${size}px ${family}`;
  let widths = widthsByFace.get(font);
  if (!widths) widthsByFace.set(font, (widths = new Map()));
  return (text) => {
    let width = widths.get(text);
    if (width === undefined) {
      widthContext ??= document.createElement("canvas").getContext("2d");
      widthContext.font = font;
      if (widths.size > 20000) widths.clear(); // a long session meets many words
      widths.set(text, (width = widthContext.measureText(text).width));
    }
    return width;
  };
}

/** Call `redraw` when the width of `element` changes, or its height too (`both`); unseen elements (width 0) wait. */
function whenResized(element, redraw, both = false) {
  let last = "";
  const observer = new ResizeObserver(() => {
    const width = element.clientWidth;
    const now = both ? `${width}/${element.clientHeight}` : String(width);
    if (width && now !== last) {
      last = now;
      redraw(width);
    }
  });
  observer.observe(element);
  return observer;
}

/** Arrow keys inside one group of buttons: the focus roves, Tab leaves. `next(element, key)` says where to. */
function roving(box, next) {
  box.addEventListener("keydown", (event) => {
    const here = event.target.closest("[data-link], [data-fold]");
    if (!here || !box.contains(here) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter") {
      here.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    } else {
      const there = next(here, event.key);
      if (!there) return;
      for (const other of box.querySelectorAll('[tabindex="0"]')) other.setAttribute("tabindex", "-1");
      there.setAttribute("tabindex", "0");
      there.focus({ preventScroll: false });
    }
    event.preventDefault();
    event.stopPropagation();
  });
}

/** The roving of a list of rows: up and down, first and last. */
function nextInColumn(box) {
  return (here, key) => {
    const all = [...box.querySelectorAll("g.row[data-link]")];
    const at = all.indexOf(here);
    return { ArrowDown: all[at + 1], ArrowUp: all[at - 1], Home: all[0], End: all.at(-1) }[key];
  };
}
