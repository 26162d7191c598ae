// What a class adds to a page: who sits at it, and the line that offers what the teacher shows.

const VISITOR = "labkit-visitor"; // the browser's own name, the same in all its tabs

/** This browser's name: a random word that says nothing of the person. */
function visitor() {
  try {
    const known = localStorage.getItem(VISITOR);
    if (known) return known;
    const word = Math.random().toString(36).slice(2, 12);
    localStorage.setItem(VISITOR, word);
    return word;
  } catch {
    return "browser without memory"; // its tabs are one visitor, and all like it are the same one
  }
}

/** The dashboard's name, as its title says it. */
function pageName() {
  return document.title.replace(" · Token Lab", "").slice(0, 60) || "a page";
}

/** The line under the transport: the teacher shows a trace; open it, or go back to one's own run. */
function makeTeacher(store) {
  const words = html("p");
  const open = button("Open", () => store.send({ do: "follow" }), { look: "main" });
  const later = button("Not now", () => store.set({ pushed: { ...store.pushed, put: store.pushed.name } }));
  const own = button("Back to mine", () => store.send({ do: "own" }), { look: "main" });
  const element = html("div", { class: "tl-teacher", role: "status", hidden: true }, words, open, later, own);
  return {
    element,
    draw(changes) {
      if (!changes.has("pushed")) return;
      const { name, open: there, put } = store.pushed;
      const offered = Boolean(name) && !(put === name);
      hide(element, !there && !offered);
      say(words, there ? `Your teacher shows ${name ? `“${name}”` : "nothing more"}; your own run is kept.` : `Your teacher shows “${name}”.`);
      hide(open, there);
      hide(later, there);
      hide(own, !there);
    },
  };
}
