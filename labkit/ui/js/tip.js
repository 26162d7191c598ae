// The card that opens over a token: what else could have stood there.

const TIP_ROWS = 6;

/** One card for the whole page; it opens on hover and focus of anything with a token's key, after a short rest. */
function makeTip(store) {
  const element = html("div", { class: "tl-tip", role: "tooltip", hidden: true });
  let timer = 0;

  function fill(token, lane) {
    const belief = token.belief;
    const title = html("p", { class: "tl-tiptitle" }, html("code", null, pieceGlyphs(token.piece)), html("span", { class: "quiet" }, SOURCE_WORDS[token.source] ?? token.source));
    if (!belief) return element.replaceChildren(title, html("p", { class: "quiet" }, token.prompt ? "given, nothing was believed about it" : "no belief was kept"));
    const numbers = html("p", { class: "num" }, `H ${belief.entropy.toFixed(2)} nats · p ${decimals(Math.exp(belief.logprob))} · rank ${(belief.rank + 1).toLocaleString("en")}`);
    const most = Math.exp(belief.top_logprobs[0] ?? 0);
    const rows = belief.top.slice(0, TIP_ROWS).map((id, rank) => {
      const p = Math.exp(belief.top_logprobs[rank]);
      return html("li", id === token.id ? { class: "on" } : null, html("code", null, pieceGlyphs(lane.pieces[id] ?? `#${id}`)), html("i", { style: `--w:${((p / most) * 100).toFixed(0)}%` }), html("span", { class: "num" }, decimals(p)));
    });
    element.replaceChildren(title, numbers, html("ol", null, ...rows));
  }

  function open(target, token, lane) {
    fill(token, lane);
    element.hidden = false;
    const zoom = store.size === "projector" ? 1.5 : 1;
    const [box, page] = [target.getBoundingClientRect(), store.root.getBoundingClientRect()];
    const width = element.offsetWidth;
    const left = Math.min((box.left - page.left) / zoom, page.width / zoom - width - 8);
    const below = (box.bottom - page.top) / zoom + 6;
    const above = (box.top - page.top) / zoom - element.offsetHeight - 6;
    element.style.left = `${Math.max(8, left)}px`;
    element.style.top = `${below + element.offsetHeight > page.height / zoom && above > 0 ? above : below}px`;
  }

  const close = () => {
    clearTimeout(timer);
    element.hidden = true;
  };

  /** Listen on a strip: hover and focus ring the token everywhere and open the card. */
  function watch(strip, place) {
    const come = (event, rest) => {
      const target = event.target.closest("[data-link]");
      if (!target) return;
      const key = target.dataset.link;
      store.hot(key);
      clearTimeout(timer);
      const lane = store.lanes[place];
      const token = key.startsWith("t") ? lane?.tokens[Number(key.slice(1))] : null;
      if (token) timer = setTimeout(() => target.isConnected && open(target, token, lane), rest);
      else element.hidden = true;
    };
    strip.addEventListener("pointerover", (event) => come(event, 120));
    strip.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && come(event, 120));
    strip.addEventListener("click", close);
    for (const gone of ["pointerleave", "focusout"]) strip.addEventListener(gone, () => (store.hot(null), close()));
  }
  return { element, watch, close };
}
