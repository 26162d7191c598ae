"""The two hosts themselves: a widget lives in both, and the pages ask nothing of any other machine."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

PROBE = '''
import anywidget, traitlets
class Probe(anywidget.AnyWidget):
    _esm = """
    function render({ model, el }) {
      const root = document.createElement("div"), button = document.createElement("button");
      root.className = "tl"; button.textContent = "Step";
      button.onclick = () => model.send({ ask: "step" });
      const show = () => { root.dataset.drawn = model.get("steps"); };
      model.on("change:steps", show);
      show(); root.append(button); el.append(root); root.dataset.ready = "";
    }
    export default { render };
    """
    steps = traitlets.Int(0).tag(sync=True)
    def __init__(self):
        super().__init__()
        self.on_msg(lambda *_: setattr(self, "steps", self.steps + 1))
Probe()
'''


def test_widget_answers(page, host, open_notebook, write_notebook):
    """The page reaches the kernel and the kernel the page."""
    write_notebook("probe.ipynb", [PROBE])
    bench = open_notebook(page, host, "probe.ipynb")
    bench.get_by_role("button", name="Step", exact=True).click()
    expect(bench).to_have_attribute("data-drawn", "1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_follows_the_system(page, voila, open_notebook, write_notebook, scheme):
    """Ground and ink change with the system's theme, and the bench may have the whole width."""
    page.emulate_media(color_scheme=scheme)
    write_notebook("probe.ipynb", [PROBE])
    bench = open_notebook(page, "voila", "probe.ipynb")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(245, 245, 241)", "dark": "rgb(19, 21, 25)"}[scheme]
    assert bench.bounding_box()["width"] == 1280
    assert page.evaluate("document.body.dataset.jpThemeLight") == str(scheme == "light").lower()


def test_root_is_the_welcome_page(page, voila):
    """The address that the launcher prints leads to the welcome dashboard."""
    answer = page.request.get(voila, max_redirects=0)
    assert answer.status == 302 and answer.headers["location"].endswith("/voila/render/00_welcome.ipynb")
