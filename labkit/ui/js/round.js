// The strip of one round: a little context, what was drafted with each verdict, and the token the target added.

const ROUND_CONTEXT = 9; // tokens before the round

/** The strip of the current step of lane `place`. */
function makeRound(store, place) {
  const element = html("div", { class: "tl-strip", role: "group", "aria-label": "Tokens of this round", "data-roving": "" });
  let key = "";
  roving(element, (here, pressed) => {
    const all = [...element.querySelectorAll("[data-link]")];
    const at = all.indexOf(here);
    return { ArrowRight: all[at + 1], ArrowLeft: all[at - 1], Home: all[0], End: all.at(-1) }[pressed];
  });

  function token(lane, index, look) {
    const one = lane.tokens[index];
    const chosen = store.selected;
    const pressed = chosen?.kind === "token" && chosen.lane === place && chosen.index === index;
    return html("button", { type: "button", class: `tl-tok ${look}`, tabindex: -1, "data-link": one.key, "data-id": one.id, "aria-pressed": String(pressed), "aria-label": tokenWords(one),
      onclick: () => store.actions.select("token", index, place) }, pieceGlyphs(one.piece));
  }

  function node(lane, tree, index) {
    const [look, word] = tree.verdicts[index] === "refused" ? ["ref", "refused"] : ["gho", "never tested"];
    const piece = lane.pieces[tree.tokens[index]] ?? `#${tree.tokens[index]}`;
    const pressed = store.selected?.kind === "node" && store.selected.lane === place && store.selected.index === index;
    return html("button", { type: "button", class: `tl-tok ${look}`, tabindex: -1, "data-link": `n${index}`, "aria-pressed": String(pressed), "aria-label": `${pieceSpoken(piece)}, ${word}`,
      onclick: () => store.actions.select("node", index, place) }, pieceGlyphs(piece));
  }

  function fill(lane) {
    const now = stepNow(lane);
    const first = now ? now.first : lane.tokens.length;
    const out = [];
    for (let index = Math.max(0, first - ROUND_CONTEXT); index < first; index++) out.push(token(lane, index, SOURCE_CLASS[lane.tokens[index].source] ?? "acc"));
    if (now) {
      const { tree, step } = now;
      const taken = tree ? tree.path.length : 0;
      const inside = step.emitted.map((_, slot) => token(lane, first + slot, slot < taken ? "acc now" : "tgt now"));
      const rest = (tree?.tokens ?? []).map((_, index) => index).filter((index) => !tree.path.includes(index));
      rest.sort((a, b) => (tree.verdicts[a] === "refused" ? 0 : 1) - (tree.verdicts[b] === "refused" ? 0 : 1) || a - b);
      const arrow = html("span", { class: "quiet", "aria-hidden": "true" }, "→");
      out.push(html("span", { class: "tl-round", role: "group", "aria-label": "This round" }, ...inside.slice(0, taken), ...rest.map((index) => node(lane, tree, index)), tree ? arrow : null, ...inside.slice(taken)));
    }
    element.replaceChildren(...out);
    (element.querySelector('[aria-pressed="true"]') ?? element.querySelector("[data-link]"))?.setAttribute("tabindex", "0");
  }

  function draw() {
    const lane = store.lanes[place];
    const next = `${lane.at}/${lane.tokens.length}/${JSON.stringify(store.selected)}/${store.sequence}`;
    if (next !== key) {
      key = next;
      const inside = element.contains(document.activeElement) ? document.activeElement.dataset.link : null;
      fill(lane);
      if (inside) element.querySelector(`[data-link="${inside}"]`)?.focus({ preventScroll: true });
    }
    element.dataset.drawn = `${store.sequence}/${lane.tokens.length}/${lane.at}`;
  }
  return { element, draw };
}
