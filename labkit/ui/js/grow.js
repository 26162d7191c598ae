// How a dynamic tree grew: a slider over its nodes, and beside it the places that were open then, as bars of v.

/** What a step knows of the growth of its tree: { tree, values, open }, or null. */
function growthOf(now) {
  const { values, open } = now?.step.notes ?? {};
  const grew = now?.tree?.tokens.length && Array.isArray(open) && values?.length === now.tree.tokens.length;
  return grew ? { tree: now.tree, values, open } : null;
}

/** The places open when `grown` nodes stood, the best first: { v, parent, node }; `node` is the one drawn there later, or null. */
function openPlaces({ tree, values, open }, grown) {
  const youngest = new Map(); // a place opens with the child before it, or with its parent
  const since = (parent) => youngest.get(parent) ?? parent;
  const places = [];
  tree.parents.forEach((parent, node) => {
    if (node >= grown && since(parent) < grown) places.push({ v: values[node], parent, node });
    youngest.set(parent, node);
  });
  for (const [parent, v] of open) if (since(parent) < grown) places.push({ v, parent, node: null });
  return places.sort((a, b) => b.v - a.v);
}

/** The slider (`control`) and what stands under the tree while it is not at its end (`element`); `apply(grown)` shows so many nodes. */
function growView(store, apply) {
  const slider = html("input", { type: "range", min: 0, step: 1, "aria-label": "Nodes grown" });
  const count = html("output");
  const control = html("span", { class: "tl-knob tl-grow", hidden: true }, html("span", null, "grown"), slider, count);
  const words = html("p", { class: "tl-growing" });
  const bars = html("div", { class: "tl-gauge" });
  const element = html("div", { class: "tl-why", "aria-live": "polite", hidden: true }, words, bars);
  let growth = null;

  function turn() {
    const [grown, size] = [Number(slider.value), growth?.tree.tokens.length ?? 0];
    say(count, `${grown} of ${size}`);
    slider.style.setProperty("--v", `${(100 * grown) / Math.max(1, size)}%`);
    hide(element, grown >= size);
    if (grown < size) {
      const places = openPlaces(growth, grown);
      words.replaceChildren(...growSentence(laneNow(store), growth.tree, grown, places));
      bars.replaceChildren(drawPlaces(places, 360));
    }
    apply(grown);
  }
  slider.addEventListener("input", turn);

  return {
    control,
    element,
    turn,
    /** Another step: its tree will stand whole; `turn` when it is drawn. */
    show(now) {
      growth = growthOf(now);
      hide(control, !growth);
      slider.max = slider.value = String(growth?.tree.tokens.length ?? 0);
    },
  };
}

/** What happens next, with its number. */
function growSentence(lane, tree, grown, places) {
  const next = places.find((place) => place.node === grown) ?? places[0];
  const under = next.parent < 0 ? "the last token" : html("code", {}, pieceShort(pieceOf(lane, tree.tokens[next.parent])));
  return [html("b", {}, `${counted(grown, "node")} grown.`), ` ${counted(places.length, "place")} open; the next is drawn under `, under, `, with v ${equalsNumber(next.v)}.`];
}

/** The open places as bars, the best in the draft's colour. */
function drawPlaces(places, width) {
  const [wide, high, tall] = [24, 40, 21]; // of a place, of the picture, of v = 1
  const shown = places.slice(0, Math.floor(width / wide));
  const label = `Places open: v ${shown.map(({ v }) => v.toFixed(3)).join(", ")}`;
  return svg("svg", { class: "places", width, height: high, viewBox: `0 0 ${width} ${high}`, style: `width:${width}px;height:${high}px`, role: "img", "aria-label": label },
    ...shown.flatMap(({ v }, at) => [
      svg("rect", { class: at ? "place" : "place best", x: at * wide + 2, y: 2 + tall * (1 - v), width: wide - 5, height: Math.max(1, tall * v) }),
      svg("text", { class: "tick", x: at * wide + wide / 2 - 0.5, y: high - 4, "text-anchor": "middle" }, decimals(v, 2)),
    ]));
}
