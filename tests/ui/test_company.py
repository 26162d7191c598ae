"""A bench among others: what the teacher shows comes to it, and never costs a student's own run."""

from __future__ import annotations

import asyncio

from fake_engine import FakeEngine
from test_drive import looped

from labkit.errors import EngineError
from labkit.trace import Opening, Request, Step, Trace

SHOWN = Trace(Opening(Request(method="plain", prompt="shown"), [1], pieces={1: "a", 2: "b"}), [Step([2]), Step([1])])


def show(engine: FakeEngine, number: int, name: str = "greedy", at_once: bool = False, trace: Trace | None = SHOWN) -> None:
    """What the teacher does: the engine's status counts up, and it answers what is shown."""
    status, look = type(engine).status, type(engine).look

    async def counted():
        found = await status(engine)
        found.pushed = number if trace else 0
        return found

    async def answered(what, **question):
        if what == "pushed":
            return {"number": number, "name": name, "trace": trace.dumps() if trace else b"", "at_once": at_once}
        return await look(engine, what, **question)

    engine.status, engine.look = counted, answered


async def opened(make, **settings):
    page = make(**settings)
    page.tell({"do": "open", "view": "v", "who": "anna", "from": "Entropy"})
    await page.until(lambda: page.all("engine"))
    return page


async def offered(make, engine):
    """A page with a step of its own that the teacher's trace is offered to; and its own trace."""
    page = await opened(make)
    await page.do("step")
    own = page.bench.trace
    show(engine, 1)
    await page.until(lambda: page.all("pushed"))
    return page, own


@looped
async def test_the_page_says_who_it_is(make, engine):
    await opened(make)
    assert engine.introduced == ("anna", "Entropy")


@looped
async def test_what_is_shown_is_offered_and_opens_on_demand(make, engine):
    page, own = await offered(make, engine)
    assert page.all("pushed") == [{"name": "greedy", "open": False}] and page.bench.trace is own
    await page.do("follow")
    assert page.bench.trace.ids == SHOWN.ids and page.all("pushed")[-1] == {"open": True}
    await page.do("own")
    assert page.bench.trace is own and page.all("pushed")[-1] == {"open": False}
    await page.do("step")
    assert len(own.steps) == 2, "the run goes on where it was left"


@looped
async def test_news_from_the_teacher_stops_no_run(make, engine):
    page = await opened(make, max_new_tokens=300)
    engine.delay = 0.02
    page.ask_for("run")
    show(engine, 1)
    await page.until(lambda: page.all("pushed"))
    before = len(page.bench.trace.steps)
    await page.until(lambda: len(page.bench.trace.steps) > before + 3)


@looped
async def test_shown_at_once_it_opens_and_one_s_own_run_is_kept(make, engine):
    page = await opened(make, max_new_tokens=300)
    engine.delay = 0.02
    page.ask_for("run")
    await page.until(lambda: page.bench.trace and len(page.bench.trace.steps) > 2)
    own = page.bench.trace
    show(engine, 1, at_once=True)
    await page.until(lambda: page.bench.trace is not own)
    assert page.bench.trace.ids == SHOWN.ids
    kept = len(own.steps)
    await page.do("own")
    assert page.bench.trace is own and len(own.steps) == kept > 2


@looped
async def test_a_second_trace_takes_the_place_of_the_first_and_not_of_one_s_own(make, engine):
    page, own = await offered(make, engine)
    await page.do("follow")
    show(engine, 2, "sampled")
    await page.until(lambda: page.all("pushed")[-1].get("name") == "sampled")
    await page.do("follow")
    await page.do("own")
    assert page.bench.trace is own


@looped
async def test_what_was_taken_back_cannot_be_opened(make, engine):
    page = await opened(make)
    show(engine, 1)
    await page.until(lambda: page.all("pushed"))
    show(engine, 1, trace=None)
    await page.until(lambda: page.all("pushed")[-1]["name"] == "")
    await page.do("follow")
    assert "shows nothing any more" in page.all("error")[-1]["text"]


@looped
async def test_an_engine_that_goes_away_in_between_is_asked_again(make, engine):
    page = await opened(make)
    show(engine, 1)
    answer, tries = engine.look, []

    async def broken_once(what, **question):
        tries.append(what)
        if len(tries) == 1:
            raise EngineError("The engine went away.")
        return await answer(what, **question)

    engine.look = broken_once
    await page.until(lambda: page.all("pushed"))
    assert tries == ["pushed", "pushed"]


@looped
async def test_all_benches_of_a_kernel_look_once_and_the_first_shows(make, engine):
    first = await opened(make)
    second = make()
    second.bench._drive.audience = False  # as a bench under another one has it
    second.tell({"do": "open", "view": "w"})
    await second.until(lambda: second.all("engine"))
    show(engine, 1)
    asked, status = [], engine.status

    async def counted():
        asked.append(1)
        return await status()

    engine.status = counted
    await first.until(lambda: first.all("pushed"))
    assert not second.all("pushed")
    await asyncio.sleep(1.7)
    assert len(asked) <= 3, "one watch a kernel, however many benches"
