"""The page's script and styles, joined from plain files, so that nothing has to be built and nothing comes from a network."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

COMMENTS = re.compile(r"^ *(?://[^\n]*|/\*\*.*?\*/ *)$", re.DOTALL | re.MULTILINE)  # on lines of their own only
HERE = Path(__file__).parent
ENTRANCES = ("bench", "ribbon", "teacher_page", "welcome")  # the files that end in `export default`, one a widget
NEEDS = {  # of the bench's files
    "ribbon": ("knobs", "line", "looks", "marks", "panel"),
    "teacher_page": ("line", "looks", "marks", "panel"),
    "welcome": ("marks", "looks"),
}
OWN = {"ribbon": "65-ribbon", "teacher_page": "76-teacher", "welcome": "75-welcome"}  # style sheets that one widget alone needs
LOADER = """
const packed = Uint8Array.from(atob("{packed}"), (letter) => letter.charCodeAt(0));
const text = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
const address = URL.createObjectURL(new Blob([text], {{ type: "text/javascript" }}));
const {{ default: widget }} = await import(address);
URL.revokeObjectURL(address);
export default widget;
"""

# A second bench of a page takes the script of the first; one that stands alone gets it from its kernel.
GUEST = """
const KEY = Symbol.for("labkit.bench");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
function fetched(model) {
  return new Promise((done) => {
    const id = Math.random().toString(36).slice(2);
    const listen = async (message, [, script]) => {
      if (message?.id !== id) return;
      model.off("msg:custom", listen);
      const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
      done((await import(address)).default);
      URL.revokeObjectURL(address);
    };
    model.on("msg:custom", listen);
    model.send({ ask: "module", id });
  });
}
export default {
  async render({ model, el }) {
    for (let tries = 0; tries < 100 && !globalThis[KEY] && !model.get("alone"); tries++) await pause(30);
    globalThis[KEY] ??= fetched(model);
    return (await globalThis[KEY]).render({ model, el });
  },
};
"""


# The style sheet travels with the script, where it is packed; a newer script of the same page brings the newer one.
DRESS = """
{{
  const sheet = document.getElementById("{id}") ?? document.head.appendChild(document.createElement("style"));
  Object.assign(sheet, {{ id: "{id}", textContent: {css} }});
}}
"""


def module(entrance: str) -> str:
    """What the page gets: `script(entrance)` and its styles, packed to two fifths of their size."""
    sheets = {"labkit-css": styles(), **({f"labkit-css-{entrance}": styles(entrance)} if entrance in OWN else {})}
    whole = "".join(DRESS.format(id=id, css=json.dumps(css)) for id, css in sheets.items()) + script(entrance)
    return LOADER.format(packed=base64.b64encode(gzip.compress(whole.encode(), mtime=0)).decode())


def script(entrance: str) -> str:
    """One ES module: all shared files of `js/` in alphabetical order, then `entrance`; without comments and indents."""
    files = sorted(path for path in (HERE / "js").glob("*.js") if path.stem not in ENTRANCES)
    if entrance in NEEDS:
        files = [path for path in files if path.stem in NEEDS[entrance]]
    whole = "\n".join(path.read_text(encoding="utf-8") for path in [*files, HERE / "js" / f"{entrance}.js"])
    return _lean(COMMENTS.sub("", whole))


def styles(entrance: str = "") -> str:
    """One style sheet, without comments and indents: what all pages share of `css/`, in the order of the numbers that the names
    begin with; or what `entrance` has of its own."""
    files = sorted((HERE / "css").glob(f"{OWN.get(entrance, '*')}.css"))
    files = [path for path in files if entrance or path.stem not in OWN.values()]
    whole = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return _lean(re.sub(r"/\*.*?\*/", "", whole, flags=re.DOTALL))


def _lean(text: str) -> str:
    """Lines without indents, no empty ones: a fifth less for every page. No line of ours may depend on them."""
    return "\n".join(line for line in map(str.strip, text.splitlines()) if line) + "\n"
