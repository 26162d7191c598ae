"""`labkit bench ui`: how quick the pages are, in a real Chromium against Voila on this machine.

Clicks are timed inside the page, from the event to the first task after the paint that shows its effect, polled through
a `MessageChannel` (timers are too coarse, and asking from outside adds milliseconds). A random pause goes before each,
so that they fall anywhere between two frames, as a person's do.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import nbformat
import psutil

from labkit import chromium
from labkit.bench import long
from labkit.errors import LabError
from labkit.host import launch
from labkit.paths import NOTEBOOKS

PROMPT = "def read_config(path):\n    "
PLACES = 121  # behind it for a denoising step over 128 positions
RIBBON = "def to_fahrenheit(celsius):\n    return celsius * 9 / 5 + 32  # 학교, שלום, 1234567\n"
RIBBON_LETTERS = 1_824  # of it, repeated: 2,000 bytes
LOADS = 5  # page loads for each figure; a load takes seconds
LIVE = ("temperature", "top-k", "top-p", "min-p", "top-h", "eta", "typical")  # knobs that redraw stored laws
HEAVY = ("torch", "numpy", "pandas")  # what must not be in a dashboard's kernel

# `done` is looked at once a task; once it holds, the next animation frame paints it, and the task behind that frame ends the time
TIMER = """
window.timed = async (act, done) => {
  watched = true; // looking for arrivals in every frame would cost a part of what is timed
  await new Promise(go => setTimeout(go, 20 + 40 * Math.random()));
  return new Promise((ok, failed) => {
    const { port1, port2 } = new MessageChannel(), start = performance.now();
    let painted = false;
    port1.onmessage = () => {
      const spent = performance.now() - start;
      if (painted) ok(spent);
      else if (done()) requestAnimationFrame(() => { painted = true; port2.postMessage(0); });
      else if (spent > 10000) failed(new Error("nothing happened"));
      else port2.postMessage(0);
    };
    act(); port2.postMessage(0);
  });
};
window.arrivals = {};
let watched = false;
const arrived = (name, there) => { if (!(name in arrivals) && there) arrivals[name] = performance.now(); };
const look = () => {
  const bench = document.querySelector(".tl[data-ready]");
  if (bench) {
    arrived("controls", true);
    arrived("strip", bench.querySelector(".tl-lane [data-id]"));
    const charts = [...bench.querySelectorAll(".tl-chart")].filter(one => !one.closest("[hidden]"));
    arrived("charts", charts.length && charts.every(one => one.dataset.drawn && one.dataset.drawn !== "error"));
  }
  if (!watched) requestAnimationFrame(look);
};
look();
"""
CAME = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter(one => !/plotly/.test(one.name)).reduce((sum, one) => sum + one.transferSize, 0)"""  # bytes by HTTP
RECORDED = """() => {
  const { steps, state } = document.querySelector(".tl").dataset;
  return Number(steps) > 10 && !["running", "loading"].includes(state);
}"""
SCRUB = """async many => {
  const bench = document.querySelector(".tl"), all = [...bench.querySelectorAll(".tl-time button")];
  const steps = all.filter(one => Number(one.dataset.step) >= 0), times = [];
  let last = null;
  while (times.length < many) {
    const one = steps[Math.floor(Math.random() * steps.length)];
    if (one.dataset.step === last) continue;
    last = one.dataset.step;
    const before = bench.dataset.at, after = String(Number(last) + 1);
    if (before !== after) times.push(await timed(() => one.click(), () => bench.dataset.at === after));
  }
  return times;
}"""
KNOB = """async ([name, many]) => {
  const input = document.querySelector(`.tl [data-knob="${name}"] input`), law = document.querySelector(".tl-dist");
  const [low, high] = [Number(input.min), Number(input.max)], times = [];
  while (times.length < many) {
    const before = law.dataset.drawn, was = input.value;
    const turn = () => {
      input.value = low + Math.random() * (high - low);
      if (input.value === was) input.stepUp();
      input.dispatchEvent(new Event("input", { bubbles: true }));
    };
    times.push(await timed(turn, () => law.dataset.drawn !== before));
  }
  return times;
}"""
STEP = """async many => {
  const bench = document.querySelector(".tl"), times = [];
  const button = [...bench.querySelectorAll("button")].find(one => one.textContent.trim() === "Step");
  const quiet = () => !["running", "loading"].includes(bench.dataset.state);
  while (times.length < many && bench.dataset.state !== "done") {
    const before = Number(bench.dataset.at);
    const spent = await timed(() => button.click(), () => Number(bench.dataset.at) > before || bench.dataset.state === "done");
    if (Number(bench.dataset.at) > before) times.push(spent); // else the text had ended there
    while (!quiet()) await new Promise(go => setTimeout(go, 5));
  }
  return times;
}"""
STOP = """async many => {
  const bench = document.querySelector(".tl"), times = [];
  const named = name => [...bench.querySelectorAll("button")].find(one => one.textContent.trim() === name);
  while (times.length < many && bench.dataset.state !== "done") {
    const before = Number(bench.dataset.steps);
    await timed(() => named("Run").click(), () => Number(bench.dataset.steps) > before + 5);
    times.push(await timed(() => named("Stop").click(), () => bench.dataset.state !== "running"));
  }
  return times;
}"""

TYPE = """async many => {
  const ribbon = document.querySelector(".tl"), text = ribbon.querySelector("textarea"), times = [];
  while (times.length < many) {
    const last = text.value.at(-1) === "x" ? "" : "x", bytes = String(Number(ribbon.dataset.bytes) + (last ? 1 : -1));
    const write = () => {
      text.value = last ? text.value + last : text.value.slice(0, -1);
      text.dispatchEvent(new Event("input"));
    };
    times.push(await timed(write, () => ribbon.dataset.bytes === bytes && ribbon.dataset.rows === "8"));
  }
  return times;
}"""


class Measured(msgspec.Struct):
    """One thing that was measured: all its values, and the budget that its `judged` ("median", "p95") must keep."""

    name: str
    unit: str
    values: list[float]
    budget: float | None = None
    judged: str = "median"

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        """The value that 95 of 100 stay under."""
        return sorted(self.values)[min(len(self.values) - 1, int(0.95 * len(self.values)))]

    @property
    def met(self) -> bool:
        """Whether the budget is kept; true when there is none."""
        return self.budget is None or getattr(self, self.judged) <= self.budget

    def row(self) -> dict:
        """For JSON."""
        fields = ("name", "unit", "budget", "judged", "median", "p95", "met", "values")
        return {field: getattr(self, field) for field in fields}

    def cells(self) -> list[str]:
        """For a table."""
        spread = f"{self.median:,.3g}" if len(self.values) == 1 else f"{self.median:,.3g} / {self.p95:,.3g}"
        budget = "" if self.budget is None else f"{self.budget:g} {self.unit} ({self.judged})"
        return [self.name, f"{spread} {self.unit}", str(len(self.values)), budget, "met" if self.met else "MISSED"]


def chromium_path(*first: str) -> str:
    """Chromium as `chromium.find` has it. Raises `LabError` when there is none."""
    found = chromium.find(*first)
    if found is None:
        raise LabError("No Chromium was found: install the distribution's package, or set LABKIT_CHROMIUM to its path.")
    return found


def measure(repeats: int, say: Callable[[str], None]) -> list[Measured]:
    """Measure everything; `repeats` times what takes milliseconds. `say` is told what is under way."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, launch.Family() as family, sync_playwright() as playwright:
        served = Path(folder)
        methods = _fill(served)
        engine = start_engine(family)
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        house = _House(family, engine, served, browser)
        found: list[Measured] = []
        say("loading pages, cold")
        found += house.loads("cold", 0, (1.8, 2.8))
        say("loading pages, kernels warm")
        found += house.loads("kernel warm", 1, (1.2, 2.3))
        url, voila = house.voila(0)
        say("scrubbing")
        for page in ("entropy", "draft_trees", "acceptance"):
            with house.page(f"{url}voila/render/recorded_{page}.ipynb") as tab:
                tab.wait_for_function(RECORDED, timeout=60_000)
                found.append(Measured(f"scrub a trace, {page}", "ms", tab.evaluate(SCRUB, repeats), 20, "p95"))
                for knob in LIVE if page == "entropy" else ():
                    times = tab.evaluate(KNOB, [knob, repeats])
                    found.append(Measured(f"turn {knob} over stored laws", "ms", times, 50, "p95"))
        for method, budget in methods.items():
            say(f"stepping, {method}")
            with house.page(f"{url}voila/render/step_{method}.ipynb") as tab:
                found.append(Measured(f"one step, {method}", "ms", tab.evaluate(STEP, repeats), budget, "p95"))
        say("stopping")
        with house.page(f"{url}voila/render/long.ipynb") as tab:
            found.append(Measured("Stop", "ms", tab.evaluate(STOP, max(5, repeats // 4)), 200, "p95"))
        say("typing into the ribbon")
        with house.page(f"{url}voila/render/ribbon.ipynb") as tab:
            tab.wait_for_selector(".tl[data-rows='8']", timeout=60_000)
            found.append(Measured("type into a ribbon, 2,000 bytes x 8", "ms", tab.evaluate(TYPE, repeats), 100, "p95"))
        for method, page in long.KINDS.items():
            say(f"opening a trace of {long.TOKENS:,} tokens, {method}")
            found += house.long_trace(url, voila, page, long.record(Path(folder), method, PROMPT), repeats)
        say("weighing kernels")
        found += house.weights(url, voila)
        browser.close()
        return found


class _House:
    """The engine, one browser, and Voilas over one folder."""

    def __init__(self, family: launch.Family, engine: str, served: Path, browser):
        self.family, self.engine, self.served, self.browser = family, engine, served, browser

    def voila(self, pool: int) -> tuple[str, psutil.Process]:
        """Start one; its address and process."""
        port = launch.free_port()
        command = launch.dashboards_command(self.served, port, pool)
        child = self.family.start(command, launch.environment(self.engine), sys.stderr)
        url = f"http://127.0.0.1:{port}/"
        launch.wait(lambda: launch.answers(url), child, "Voila")
        return url, psutil.Process(child.pid)

    @contextmanager
    def page(self, url: str) -> Iterator:
        """A fresh page with a ready bench."""
        context = self.browser.new_context(viewport={"width": 1280, "height": 800})
        context.add_init_script(TIMER)
        tab = context.new_page()
        tab.weight = []
        tab.on("websocket", lambda socket: socket.on("framereceived", lambda data: tab.weight.append(len(data))))
        tab.goto(url, wait_until="commit")
        tab.wait_for_selector(".tl[data-ready]", timeout=60_000)
        yield tab
        context.close()

    def loads(self, how: str, pool: int, budgets: tuple[float, float]) -> list[Measured]:
        """Page loads: until the strip and the controls stand, until the charts are drawn, and how much came."""
        url, voila = self.voila(pool)
        spent: dict[str, list[float]] = {"strip": [], "charts": []}
        weights = []
        for _ in range(LOADS):
            for name in ("01_entropy", "03_acceptance"):
                settle(voila)
                with self.page(f"{url}voila/render/{name}.ipynb") as tab:
                    last = "charts" if name == "03_acceptance" else "strip"
                    tab.wait_for_function(f"'{last}' in arrivals", timeout=60_000)
                    arrivals = tab.evaluate("arrivals")
                    spent["strip"].append(max(arrivals["controls"], arrivals["strip"]) / 1000)
                    if last == "charts":
                        spent["charts"].append(arrivals["charts"] / 1000)
                    weights.append((tab.evaluate(CAME) + sum(tab.weight)) / 1000)
        voila.terminate()
        rows = [
            Measured(f"strip and controls usable, {how}", "s", spent["strip"], budgets[0]),
            Measured(f"charts drawn, {how}", "s", spent["charts"], budgets[1]),
        ]
        weight = Measured("page and messages besides the chart library", "kB", weights, 300, "p95")
        return [*rows, weight] if pool else rows

    def long_trace(self, url: str, voila: psutil.Process, page: str, file: Path, repeats: int) -> list[Measured]:
        """A page with a long trace in it: until it stands, scrubbing, its numbers as a file, the kernel's memory."""
        others = set(voila.children())
        with self.page(f"{url}voila/render/empty_{page}.ipynb") as tab:
            kernel = next(iter(set(voila.children()) - others))
            spent = long.open_file(tab, file)
            times = tab.evaluate(SCRUB, repeats)
            written = long.write_csv(tab)
            memory = kernel.memory_info().rss / 1e6
        what = f"{long.TOKENS:,} tokens, {page}"
        return [
            Measured(f"open a trace of {what}, {file.stat().st_size / 1e6:.0f} MB", "s", [spent]),
            Measured(f"scrub {what}", "ms", times, 20, "p95"),
            Measured(f"write the CSV file of {what}", "s", [written]),
            Measured(f"memory of the kernel with {what}", "MB", [memory], 150),
        ]

    def weights(self, url: str, voila: psutil.Process) -> list[Measured]:
        """The kernel of a page whose charts are drawn, with an engine server: memory, and what is loaded into it."""
        others = set(voila.children())
        with self.page(f"{url}voila/render/03_acceptance.ipynb") as tab:
            tab.wait_for_function("'charts' in arrivals", timeout=60_000)
            kernel = next(iter(set(voila.children()) - others))
            mapped = " ".join(area.path for area in kernel.memory_maps())
            heavy = [name for name in HEAVY if f"/{name}/" in mapped]
            memory = kernel.memory_info().rss / 1e6
        return [
            Measured("memory of a dashboard's kernel", "MB", [memory], 90),
            Measured(f"of {', '.join(HEAVY)} loaded there", "packages", [len(heavy)], 0),
        ]


def settle(voila: psutil.Process) -> None:
    """Wait until Voila's kernels have nothing to do: warm ones are ready, left ones are quiet."""
    quiet = 0
    while quiet < 3:
        before = {kernel.pid: sum(kernel.cpu_times()[:2]) for kernel in voila.children()}
        time.sleep(0.5)
        after = {kernel.pid: sum(kernel.cpu_times()[:2]) for kernel in voila.children()}
        busy = sum(spent - before.get(pid, 0) for pid, spent in after.items())
        quiet = quiet + 1 if busy < 0.1 and before.keys() == after.keys() else 0


def start_engine(family: launch.Family) -> str:
    """An engine with its models in memory."""
    port = launch.free_port()
    child = family.start(launch.engine_command(port), launch.environment(""), sys.stderr)  # JSON is on standard output

    def loaded() -> bool:
        if not launch.listens(port):
            return False
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(msgspec.json.decode(answer.read())["models"])

    launch.wait(loaded, child, "The engine", 120)
    return f"127.0.0.1:{port}"


def _fill(served: Path) -> dict[str, float]:
    """Put the shipped notebooks and the ones to measure with into `served`; each method's budget for a step, in milliseconds."""
    from labkit.diffusion.ground import Unmask
    from labkit.methods import all_methods  # asked of the registry: a new method is measured without a word here

    for notebook in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(notebook, served)
    methods = {name: method for name, method in sorted(all_methods().items()) if name != "pg-td"}  # it ends after too few steps
    denoise = {name for name, method in methods.items() if issubclass(method, Unmask)}
    cells = {}
    for name in methods:
        tokens = PLACES if name in denoise else 256
        cells[f"step_{name}"] = f"Bench.draft_trees({PROMPT!r}, method={name!r}, max_new_tokens={tokens})"
    cells["long"] = f"Bench.draft_trees({PROMPT!r}, method='plain', max_new_tokens=1000)"
    for page in ("entropy", "draft_trees", "acceptance"):
        settings = "temperature=0.8, seed=1, max_new_tokens=96, autorun=200"
        cells[f"recorded_{page}"] = f"Bench.{page}({PROMPT!r}, {settings})"
        cells[f"empty_{page}"] = f"Bench.{page}({PROMPT!r})"
    cells["ribbon"] = f"Ribbon({(RIBBON * 40)[:RIBBON_LETTERS]!r})"
    for name, code in cells.items():
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        notebook.cells = [nbformat.v4.new_code_cell(f"from labkit.ui import Bench, Ribbon\n{code}")]
        nbformat.write(notebook, served / f"{name}.ipynb")
    return {name: 150 if name in denoise else 100 for name in methods}
