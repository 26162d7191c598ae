"""The two hosts themselves: a widget lives in both, and the pages ask nothing of any other machine."""

from __future__ import annotations

import nbformat
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


def test_own_front_end_is_light(page, open_notebook, write_notebook):
    """A page of our widgets asks for two files, not for all of JupyterLab."""
    write_notebook("probe.ipynb", [PROBE])
    open_notebook(page, "voila", "probe.ipynb")
    assert page.evaluate("performance.getEntriesByType('resource').filter(one => one.name.includes('voila.js')).length") == 0
    assert page.evaluate("performance.getEntriesByType('resource').reduce((sum, one) => sum + one.transferSize, 0)") < 50_000


def test_traits_and_buffers_cross_both_ways(page, host, open_notebook, write_notebook):
    """The page's model is a whole one: initial bytes, `set` and `save_changes`, updates, messages with buffers."""
    code = """
import anywidget, traitlets
class Echo(anywidget.AnyWidget):
    _esm = '''
    export default () => ({ render({ model, el }) {
      const root = el.appendChild(document.createElement("div")), told = [];
      root.className = "tl"; root.textContent = "echo"; root.dataset.ready = "";
      const text = (view) => new TextDecoder().decode(view);
      const show = () => { root.dataset.told = told.join(" "); };
      model.on("change:answer", () => { told.push(`answer=${text(model.get("answer"))}`); show(); });
      model.on("msg:custom", (content, buffers) => { told.push(`${content.said}=${text(buffers[0])}`); show(); });
      told.push(`first=${text(model.get("first"))}`);
      model.set("question", 20); model.save_changes();
      model.send({ please: "echo" }, undefined, [new TextEncoder().encode("caf\\u00e9"), new Uint8Array([33]).buffer]);
    } });
    '''
    first = traitlets.Bytes(b"bytes").tag(sync=True)
    question = traitlets.Int(0).tag(sync=True)
    answer = traitlets.Bytes(b"").tag(sync=True)
    def __init__(self):
        super().__init__()
        self.observe(lambda change: setattr(self, "answer", str(change.new + 1).encode()), "question")
        self.on_msg(lambda _, content, parts: self.send({"said": content["please"]}, [b"".join(map(bytes, parts))]))
Echo()
"""
    write_notebook("echo.ipynb", [code])
    bench = open_notebook(page, host, "echo.ipynb")
    expect(bench).to_have_attribute("data-told", "first=bytes answer=21 echo=caf\u00e9!")


def test_other_widgets_get_voilas_front_end(page, open_notebook, write_notebook):
    """Somebody's own notebook with ordinary widgets works beside the lab's pages."""
    write_notebook("mixed.ipynb", [PROBE, "import ipywidgets\nipywidgets.IntText(description='many', value=7)"])
    bench = open_notebook(page, "voila", "mixed.ipynb")
    expect(page.get_by_label("many", exact=True)).to_have_value("7")
    bench.get_by_role("button", name="Step", exact=True).click()
    expect(bench).to_have_attribute("data-drawn", "1")


def test_formulas_get_voilas_front_end(page, voila, served):
    """Formulas are drawn, without a network."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [nbformat.v4.new_markdown_cell("The law is $p(x) = e^{z_x} / Z$ here.")]
    nbformat.write(notebook, served / "formula.ipynb")
    page.goto(f"{voila}voila/render/formula.ipynb")
    expect(page.locator("mjx-container")).to_have_count(1)


def test_ended_session_is_said(page, voila, open_notebook, write_notebook):
    """When the kernel dies the page says so instead of falling silent; the widgets stay to be read."""
    write_notebook("mortal.ipynb", [PROBE.replace('setattr(self, "steps", self.steps + 1)', '__import__("os")._exit(1)')])
    bench = open_notebook(page, "voila", "mortal.ipynb")
    bench.get_by_role("button", name="Step", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("session has ended", timeout=20_000)
    expect(bench).to_be_visible()


def test_closing_the_page_ends_its_kernel(page, new_page, voila, open_notebook, write_notebook):
    """A visitor who leaves takes the kernel along; culling is for those whose machine went to sleep."""
    write_notebook("probe.ipynb", [PROBE])
    open_notebook(page, "voila", "probe.ipynb")
    kernel = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    address = f"{voila}api/kernels/{kernel}"
    other = new_page()
    assert page.request.get(address).status == 200
    page.close(run_before_unload=True)
    for _ in range(100):
        if other.request.get(address).status == 404:
            break
        other.wait_for_timeout(100)
    assert other.request.get(address).status == 404
