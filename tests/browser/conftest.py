"""Real pages in a real Chromium, in both hosts, with the network refused.

    def test_step(page, host, open_notebook):  # runs twice: host is "voila", then "lab"
        bench = open_notebook(page, host, "01_entropy.ipynb")  # a Locator of the page's first `.tl[data-ready]`
        bench.get_by_role("button", name="Step", exact=True).click()
        expect(bench.locator(".strip")).to_have_attribute("data-drawn", "1")

- Only one host: `@pytest.mark.parametrize("host", ["voila"])`.
- A notebook of the test's own: `write_notebook("probe.ipynb", [code, code])` puts it beside the shipped ones, then
  `open_notebook(page, host, "probe.ipynb")`.
- `page` is a fresh page, 1280 x 800, light, and nothing is stored for it. At the end of the test the console must be clean
  and nothing may have been asked of any other machine; a test that provokes an error on purpose empties `page.complaints`
  itself.
- Another size or theme: `page.set_viewport_size({...})`, `page.emulate_media(color_scheme="dark")`.
- Two pages at once, or a download: `new_page()` gives more pages of the same kind.
- Wait on `data-*` attributes with `expect`, never on time; take roles with `exact=True` (JupyterLab has a "Run" too).
- Servers start when they are first needed and live until the end: one engine, one Voila, one JupyterLab.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from playwright.sync_api import sync_playwright

from labkit.bench.ui import chromium_path
from labkit.chromium import HEADLESS
from labkit.host import launch
from labkit.paths import NOTEBOOKS

TOKEN = "test"
VIEWPORT = {"width": 1280, "height": 800}
PATIENCE = 60_000  # milliseconds until a wait in the page gives up
# ipywidgets' own extension says the first two in Voila, about itself; JupyterLab the last, of a slow machine
ALLOWED = re.compile(r"Unsatisfied version|No satisfying version|Plugin \S+ is taking too long to activate")


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests, the headless build where there is one; it cannot resolve any name but this machine's."""
    rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(HEADLESS), args=["--no-sandbox", rules])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Path:
    """The folder that both hosts serve: copies of the shipped notebooks, and what tests add."""
    folder = tmp_path_factory.mktemp("notebooks")
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(notebook, folder)
    return folder


@pytest.fixture(scope="session")
def family():
    """All servers of the session; none outlives it, however it ends."""
    with launch.Family() as family:
        yield family


@pytest.fixture(scope="session")
def engine(family) -> str:
    """The address of one engine server, "127.0.0.1:port"."""
    port = launch.free_port()
    child = family.start(launch.engine_command(port), launch.environment(""))
    launch.wait(lambda: launch.listens(port), child, "The engine", 120)
    return f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def voila(family, engine, served) -> str:
    """Voila's address. No kernels are kept warm: a test should not depend on which one it got."""
    port = launch.free_port()
    child = family.start(launch.dashboards_command(served, port, 0), launch.environment(engine))
    url = f"http://127.0.0.1:{port}/"
    launch.wait(lambda: launch.answers(url), child, "Voila")
    return url


@pytest.fixture(scope="session")
def lab(family, engine, served, tmp_path_factory) -> str:
    """JupyterLab's address; `window.jupyterapp` is there, and its own settings start empty."""
    port = launch.free_port()
    environment = launch.environment(engine)
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(tmp_path_factory.mktemp("settings"))
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(tmp_path_factory.mktemp("workspaces"))
    command = [*launch.jupyterlab_command(served, port, TOKEN), "--LabApp.expose_app_in_browser=True"]
    child = family.start(command, environment, subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    launch.wait(lambda: launch.answers(url), child, "JupyterLab")
    return url


@pytest.fixture(params=["voila", "lab"])
def host(request) -> str:
    """Where the notebook is opened."""
    return request.param


@pytest.fixture(scope="session")
def profile(chromium):
    """The usual profile, for pages that ask for nothing special: it keeps files, so that JupyterLab is read once."""
    return _profile(chromium)


def _profile(chromium, **options):
    context = chromium.new_context(**{"viewport": VIEWPORT, "color_scheme": "light", **options})
    context.set_default_timeout(PATIENCE)
    return context


@pytest.fixture
def new_page(chromium, profile):
    """Makes pages; asserts a clean console, and that no other machine was asked, at the end."""
    pages = []

    def make(**options):
        page = (_profile(chromium, **options) if options else profile).new_page()
        page.complaints = []

        def watch(request):  # routes would do it too, but each file would wait for them, and none would be kept
            asked = urlsplit(request.url)
            if asked.scheme in ("http", "https", "ws", "wss") and asked.hostname not in ("127.0.0.1", "localhost"):
                page.complaints.append(f"asked for {request.url}")

        def listen(message):
            if message.type in ("error", "warning") and not ALLOWED.match(message.text):
                page.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

        page.on("request", watch)
        page.on("console", listen)
        page.on("pageerror", lambda error: page.complaints.append(f"uncaught: {error}"))
        pages.append(page)
        return page

    yield make
    complaints = [complaint for page in pages for complaint in page.complaints]
    for page in pages:
        if page.context is not profile:
            page.context.close()
        elif not page.is_closed():
            forget(page)
            page.close()
    assert complaints == []


def forget(page) -> None:
    """Take back what the page stored in the profile, but for the files it read."""
    where = urlsplit(page.url)
    if where.scheme == "http":
        asked = {"origin": f"http://{where.netloc}", "storageTypes": "cookies,local_storage,indexeddb,service_workers"}
        page.context.new_cdp_session(page).send("Storage.clearDataForOrigin", asked)


@pytest.fixture
def page(new_page):
    """One fresh page."""
    return new_page()


@pytest.fixture
def write_notebook(served):
    """Puts a notebook of the test's own beside the shipped ones; strings are code cells."""

    def write(name: str, cells: list[str]) -> None:
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(notebook, served / name)

    return write


@pytest.fixture
def open_notebook(request):
    """Opens a notebook in a host, runs it, and returns the first bench as a Locator once it is ready.

    JupyterLab keeps a kernel when its page is closed, and each is a visitor of the engine: they are ended with the test.
    """

    def open_it(page, host: str, name: str, ready: str = ".tl[data-ready]"):
        url = request.getfixturevalue(host)
        if host == "voila":
            page.goto(f"{url}voila/render/{name}")
        else:
            page.goto(f"{url}doc/tree/{name}?reset&token={TOKEN}")
            page.wait_for_function("""() => {
                const context = window.jupyterapp?.shell?.currentWidget?.sessionContext;
                return context?.isReady && context.session?.kernel?.connectionStatus === "connected";
            }""")  # not until it says it is idle: that word is lost now and then, and what is asked of it waits anyway
            page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        bench = page.locator(ready).first
        bench.wait_for()
        return bench

    yield open_it
    if "lab" in request.fixturenames or request.node.funcargs.get("host") == "lab":
        end_kernels(request.getfixturevalue("lab"))


def end_kernels(lab: str) -> None:
    """End every session of the JupyterLab at this address."""

    def ask(path: str, method: str = "GET"):
        asked = urllib.request.Request(f"{lab}api/{path}", method=method, headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(asked) as answer:
            return answer.read()

    for session in json.loads(ask("sessions")):
        ask(f"sessions/{session['id']}", "DELETE")
