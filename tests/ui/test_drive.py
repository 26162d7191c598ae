"""The bench's Python side: what the page asks for, what it is told, and that nothing computed is ever lost."""

from __future__ import annotations

import ast
import asyncio
import base64
import gzip
import subprocess
import sys
from functools import wraps

import msgspec
import pytest
from fake_engine import FakeEngine
from made_traces import long_trace

from labkit.errors import LabError
from labkit.trace import Closing, Opening, Step, loads
from labkit.ui import Bench, takeaway


def looped(test):
    """Run an async test in a loop of its own."""

    @wraps(test)
    def run(*args, **named):
        return asyncio.run(test(*args, **named))

    return run


@looped
async def test_nothing_starts_before_the_page_speaks(make, engine):
    page = make(autorun=3)
    await asyncio.sleep(0.02)
    assert page.bench.trace is None and engine.asked == [] and page.heard == []
    page.tell({"do": "open", "view": "v"})
    await page.until(lambda: page.bench.trace and len(page.bench.trace.steps) == 3)
    kinds = [content["kind"] for content, _ in page.heard]
    assert kinds[0] == "snapshot", "the strip must not wait for the engine"
    assert "engine" in kinds


@looped
async def test_step_pulls_exactly_one_step(make, engine):
    page = make()
    for count in (1, 2, 3):
        await page.do("step")
        assert len(page.bench.trace.steps) == count == engine.computed
    assert len(engine.asked) == 1, "three steps are one run"


@looped
async def test_run_goes_to_the_end_and_the_page_gets_every_step_once(make):
    page = make()
    await page.do("run")
    assert page.bench.trace.closing.reason == "length"
    told = [step["emitted"] for news in page.all("lane") for step in news.get("steps", [])]
    assert told == [step.emitted for step in page.bench.trace.steps]
    assert page.all("lane")[-1]["state"] == "done"


@looped
async def test_stop_keeps_what_was_computed_and_step_goes_on_there(make, engine):
    engine.delay = 0.02
    page = make(max_new_tokens=200)
    page.ask_for("run")
    await page.until(lambda: page.bench.trace and len(page.bench.trace.steps) >= 3)
    page.tell({"do": "stop"})
    await page.quiet()
    stopped = [step.emitted for step in page.bench.trace.steps]
    assert len(stopped) < 20 and page.all("lane")[-1]["state"] == "stopped"
    await page.do("step")
    assert [step.emitted for step in page.bench.trace.steps][:-1] == stopped
    assert len(engine.asked) == 1 and engine.computed == len(stopped) + 1, "the step under way was not thrown away"


@looped
async def test_a_second_run_does_not_double_the_first(make, engine):
    engine.delay = 0.005
    page = make()
    for _ in range(4):
        page.ask_for("run")
    await asyncio.sleep(0.02)
    await page.quiet()
    assert len(engine.asked) == 1 and len(page.bench.trace.ids) == 12


@looped
async def test_other_settings_run_again_to_the_same_length(make, engine):
    page = make()
    await page.do("step")
    await page.do("step")
    before = page.bench.trace.ids
    await page.do("again", seed=7)
    assert len(page.bench.trace.ids) == 2 and page.bench.trace.ids != before
    assert page.bench.trace.opening.request.seed == 7


@looped
async def test_a_burst_of_changes_keeps_the_length(make, engine):
    page = make()
    for _ in range(5):
        await page.do("step")
    engine.delay = 0.01
    for seed in (1, 2, 3):
        page.ask_for("again", seed=seed)
        await asyncio.sleep(0.015)
    await page.quiet()
    assert page.bench.trace.opening.request.seed == 3 and len(page.bench.trace.ids) == 5


class Studies(FakeEngine):
    """Answers every request with a study of `length` steps."""

    async def run(self, request, window=1):
        self.asked.append(request)
        yield Opening(request)
        for _ in range(request.knobs.get("length", 3)):
            await asyncio.sleep(self.delay)
            yield Step([])
        yield Closing("done")


@looped
async def test_a_study_whose_knob_is_dragged_comes_as_far_as_it_was(make):
    """However often it is interrupted on the way, and though the last message repeats the one before."""
    engine = Studies()
    page = make("study", method="agreement", engine=engine)
    for _ in range(3):
        await page.do("step", knobs={"length": 9})
    engine.delay = 0.01
    for length in (8, 7, 6, 6):
        page.ask_for("again", knobs={"length": length})
        await asyncio.sleep(0.015)
    await page.quiet()
    assert len(page.bench.trace.steps) == 3 and page.bench.trace.closing is None
    assert [one.knobs["length"] for one in engine.asked] == [9, 8, 7, 6]


@looped
async def test_a_study_that_was_at_its_end_is_run_to_its_end(make):
    engine = Studies()
    page = make("study", method="agreement", engine=engine)
    await page.do("run")
    assert len(page.bench.trace.steps) == 3
    engine.delay = 0.01
    for length in (5, 7, 7):
        page.ask_for("again", knobs={"length": length})
        await asyncio.sleep(0.025)
    await page.quiet()
    assert len(page.bench.trace.steps) == 7 and page.bench.trace.closing.reason == "done"


@looped
async def test_a_bad_knob_says_one_sentence_and_loses_nothing(make):
    page = make("draft_trees", method="chain")
    await page.do("step")
    before = page.bench.trace
    await page.do("again", knobs={"length": 99})
    error = page.all("lane")[-1]["error"]
    assert error["panel"] == "knobs" and "99" in error["text"] and "from 1 to 6" in error["text"]
    assert page.bench.trace is before
    await page.do("step", knobs={})
    assert page.all("lane")[-1]["error"] is None and len(page.bench.trace.steps) == 2


@looped
async def test_an_empty_prompt_is_told_where_it_is_typed(make):
    page = make()
    await page.do("step")
    await page.do("prompt", prompt="  ", ids=None)
    assert page.all("lane")[-1]["error"]["panel"] == "prompt"
    assert len(page.bench.trace.steps) == 1
    await page.do("prompt", prompt="four five", ids=None)
    assert page.bench.trace.opening.prompt_ids and page.all("lane")[-1]["error"] is None


@looped
async def test_an_engine_that_goes_away_keeps_the_trace_and_is_taken_up_again(make, engine):
    page = make()
    for _ in range(3):
        await page.do("step")
    engine.gone = True
    await page.do("step")
    lane = page.all("lane")[-1]
    assert lane["state"] == "error" and "went away" in lane["error"]["text"] and page.all("health")[-1]["error"]
    before = page.bench.trace.ids
    engine.gone = False
    await page.do("retry")
    assert page.bench.trace.ids[:3] == before and len(page.bench.trace.ids) == 4
    assert page.all("lane")[-1]["error"] is None and "error" not in page.all("health")[-1]


@looped
async def test_the_watch_notices_within_three_seconds_that_the_engine_is_gone_and_back(make, engine):
    page = make()
    page.tell({"do": "open", "view": "v"})
    await page.until(lambda: page.all("engine"))
    engine.gone = True
    await page.until(lambda: page.all("health")[-1].get("error"))
    engine.gone = False
    await page.until(lambda: not page.all("health")[-1].get("error"))


@looped
async def test_an_engine_that_answers_otherwise_is_not_believed(make, engine):
    page = make()
    await page.do("step")
    await page.bench._drive.lanes[0].drop()
    page.bench.trace.steps[0].emitted = [5 if page.bench.trace.steps[0].emitted != [5] else 4]
    await page.do("step")
    assert "differently at step 1" in page.all("lane")[-1]["error"]["text"]
    await page.do("retry")
    assert page.all("lane")[-1]["error"] is None, "Retry runs it from the start"


@looped
async def test_compare_runs_a_second_lane_as_far_as_the_first(make):
    page = make("draft_trees", method="chain")
    await page.do("run")
    first = page.bench.trace
    await page.do("compare", method="plain", knobs={})
    assert page.bench.trace is first
    assert len(page.bench.compare.ids) == len(first.ids) and page.bench.compare.opening.request.method == "plain"
    page.tell({"do": "close"})
    await page.until(lambda: page.bench.compare is None)


@looped
async def test_step_moves_both_lanes(make):
    page = make()
    await page.do("step")
    await page.do("compare", seed=9)
    await page.do("step")
    assert (len(page.bench.trace.steps), len(page.bench.compare.steps)) == (2, 2)


@looped
async def test_branch_shares_the_prefix_and_takes_the_chosen_token(make):
    page = make()
    await page.do("run")
    whole = page.bench.trace.opening.prompt_ids + page.bench.trace.ids
    page.tell({"do": "branch", "lane": 0, "index": 5, "token": 2, "name": "b"})
    await asyncio.sleep(0)
    await page.quiet()
    assert page.bench.compare.opening.prompt_ids == [*whole[:5], 2]
    assert len(page.bench.compare.opening.prompt_ids + page.bench.compare.ids) == len(whole)


@looped
async def test_a_branch_at_no_token_is_refused_in_one_sentence(make):
    page = make()
    await page.do("step")
    page.tell({"do": "branch", "lane": 0, "index": 500, "token": 2})
    await page.until(lambda: page.all("error"))
    assert "500" in page.all("error")[0]["text"] and page.bench.compare is None


@looped
async def test_a_saved_trace_opens_again_and_goes_on(make, engine):
    page = make(max_new_tokens=6)
    for _ in range(4):
        await page.do("step")
    _, (saved,) = await page.answer(ask="save", lane=0)
    assert loads(saved) == page.bench.trace
    other = make("entropy")
    half = len(saved) // 2
    other.tell({"do": "load", "file": "f", "part": 0, "of": 2}, saved[:half])
    other.tell({"do": "load", "file": "f", "part": 1, "of": 2}, saved[half:])
    await other.until(lambda: other.all("snapshot"))
    assert other.bench.trace == page.bench.trace
    await other.do("run")
    assert len(other.bench.trace.ids) == 6 and other.bench.trace.ids[:4] == page.bench.trace.ids


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b'{"schema": 99}', b"\xff\xfe", b'{"opening": 3}', b"[" * 100_000]
)
def test_a_broken_file_is_refused_and_the_trace_stays(make, broken):
    @looped
    async def go():
        page = make()
        await page.do("step")
        before = page.bench.trace
        page.tell({"do": "load", "file": "f", "part": 0, "of": 1}, broken)
        await page.until(lambda: page.all("error"))
        error = page.all("error")[0]
        assert error["panel"] == "take" and error["text"].count("\n") == 0 and "Traceback" not in error["text"]
        assert page.bench.trace is before

    go()


@looped
async def test_laws_travel_as_bytes_and_not_as_text(make):
    page = make()
    page.ask_for("step")
    await page.until(lambda: page.bench.trace and page.bench.trace.steps)
    await page.quiet()
    for content, buffers in page.heard:
        if content["kind"] != "lane":
            continue
        assert b"AAAA" not in buffers[0]
    laws = [law for content, buffers in page.heard for law in buffers[1:]]
    beliefs = page.bench.trace.opening.prompt_beliefs + page.bench.trace.steps[0].beliefs
    assert laws == [belief.law for belief in beliefs]


@looped
async def test_the_code_cell_makes_the_same_trace_again(make, engine):
    page = make(temperature=0.7, top_k=3, top_h={"alpha": 0.4, "rule": "released"}, seed=5)
    for _ in range(3):
        await page.do("step")
    answer, _ = await page.answer(ask="code", lane=0)
    (call,) = [node for node in ast.walk(ast.parse(answer["code"])) if isinstance(node, ast.Call)]
    settings = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    again = getattr(Bench, call.func.attr)(engine=engine, **settings)
    assert again._drive.lanes[0].request == page.bench._drive.lanes[0].request
    assert again._drive.autorun == 3


@looped
async def test_quick_presses_of_step_add_up(make, engine):
    engine.delay = 0.01
    page = make()
    for _ in range(3):
        page.ask_for("step")
    await asyncio.sleep(0)
    await page.quiet()
    assert len(page.bench.trace.steps) == 3


@looped
async def test_a_second_view_of_the_page_does_not_stop_a_run(make, engine):
    engine.delay = 0.005
    page = make()
    page.ask_for("run")
    await page.until(lambda: page.bench.trace and page.bench.trace.steps)
    page.tell({"do": "open", "view": "another"})
    await page.quiet()
    assert page.bench.trace.closing and page.all("snapshot")


@looped
async def test_questions_are_answered_while_a_run_goes_on(make, engine):
    engine.delay = 0.02
    page = make(max_new_tokens=100)
    page.ask_for("run")
    await page.until(lambda: page.bench.trace)
    answer, _ = await page.answer(ask="tokens", text="one two")
    assert answer["ids"] == [0, 1] and page.bench._drive.jobs
    page.tell({"do": "stop"})
    await page.quiet()


@looped
async def test_nonsense_from_a_page_is_answered_or_ignored_and_never_runs(make, engine):
    page = make()
    for message in (
        {"do": "__init__"},
        {"do": 3},
        "text",
        {"ask": "passwd", "id": 1},
        {"do": "step", "request": {"method": 5}},
        {"do": "load"},
    ):
        page.tell(message)
    await page.until(lambda: page.all("answer") and page.all("error"))
    await page.quiet()
    assert engine.asked == [] and "does not know" in page.all("answer")[0]["error"]


@looped
async def test_plain_decoding_is_measured_beside_a_drafting_run(make, engine):
    page = make("draft_trees", method="chain")
    await page.do("run")
    await page.until(lambda: page.all("plain"))
    plain = page.all("plain")[-1]
    assert plain["tokens"] == 12 and [step["cost"]["target_forwards"] for step in plain["steps"]] == [1] * 12
    assert all(step["cost"]["seconds"] > 0 and len(step["emitted"]) == 1 for step in plain["steps"])
    assert plain["of"]["method"] == "chain", "the run itself is measured in the same silence"
    assert len(plain["seconds_of"]) == len(page.bench.trace.steps) and sum(plain["seconds_of"]) > 0
    before = len(engine.asked)
    await page.do("step")
    await page.quiet()
    assert len(engine.asked) == before, "nothing new: nothing to measure"


@looped
async def test_a_run_that_answers_otherwise_is_not_its_measure(make, engine):
    page = make("draft_trees", method="chain")
    page.ask_for("run")
    await page.until(lambda: page.bench.trace and page.bench.trace.closing)
    page.bench._drive.lanes[0].trace.steps[0].emitted[0] += 1  # as after a hot start
    await page.until(lambda: page.all("plain"))
    assert "seconds_of" not in page.all("plain")[-1] and page.all("plain")[-1]["tokens"] == 12


def test_an_unknown_page_is_refused():
    with pytest.raises(LabError, match="nowhere"):
        Bench("nowhere")
    with pytest.raises(LabError, match="labkit studies"):
        Bench("study")


@looped
async def test_a_guest_gets_the_script_from_its_kernel(make, engine):
    """A second bench of a page is light; alone, it asks for the whole script, which brings the styles."""
    assert len(Bench.study("agreement")._esm) < 2_000 < len(Bench._esm)
    assert not Bench.study("agreement").alone, "another bench was made before it"
    page = make()
    _, (loader,) = await page.answer(ask="module")
    packed = loader.decode().split('"')[1]
    script = gzip.decompress(base64.b64decode(packed)).decode()
    assert "export default" in script and ".tl-panel {" in script and "labkit-css" in script


@looped
async def test_what_the_engine_offers_is_told_once_a_page(make, engine):
    page = make()
    page.tell({"do": "open"})
    await page.until(lambda: page.all("engine"))
    first = page.all("engine")[-1]
    assert first["methods"] and first["models"] and first["status"]
    page.tell({"do": "open", "knows": first["key"]})
    await page.until(lambda: len(page.all("engine")) == 2)
    assert set(page.all("engine")[-1]) == {"status", "key"}


def test_the_code_of_a_study_names_it():
    bench = Bench.study("agreement", knobs={"texts": 6})
    text = takeaway.code("study", bench._drive.lanes[0].request, 2)
    assert "Bench.study(" in text and "method='agreement'" in text and "'texts': 6" in text


def test_the_page_needs_no_torch_numpy_or_pandas():
    heavy = {"torch", "numpy", "pandas", "transformers"}
    code = f"import sys; from labkit.ui import Bench, Welcome; Bench(); Welcome(); print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_benches_of_a_kernel_are_one_visitor():
    """Each connection counts as a visitor of the engine, and a page has many benches."""
    first, second = (Bench.entropy("x = 1", method=method) for method in ("plain", "lookup"))
    assert first._drive.engine is second._drive.engine


@looped
async def test_a_long_trace_goes_to_the_page_in_packed_blocks(make):
    """The page is told how many steps there are and fetches them as they are packed; saved again it is the same file."""
    made = long_trace(6000)
    page = make("entropy")
    page.tell({"do": "load", "file": "f", "part": 0, "of": 1}, made.pack())
    await page.until(lambda: page.all("snapshot"))
    (lane,) = page.all("snapshot")[-1]["lanes"]
    assert lane["far"] == 6000 and lane["steps"] == [] and lane["state"] == "done"
    steps, first = [], 0
    while len(steps) < 6000:
        answer, blocks = await page.answer(ask="blocks", lane=0, first=first)
        assert len(answer["counts"]) == len(blocks)
        for count, block in zip(answer["counts"], blocks):
            found = msgspec.json.decode(gzip.decompress(block), type=list[Step])
            assert len(found) == count
            steps += found
        first += len(blocks)
    assert steps == made.steps
    _, (saved,) = await page.answer(ask="save", lane=0)
    assert loads(saved).steps == made.steps
    for wrong in (first, -1, 10**9):
        answer, _ = await page.answer(ask="blocks", lane=0, first=wrong)
        assert "reload the page" in answer["error"]
