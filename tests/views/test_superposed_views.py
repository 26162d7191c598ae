"""Superposed decoding's charts: what they show is what the notes say."""

from __future__ import annotations

import math

import made_traces
import pytest

from labkit import views
from labkit.trace import Opening, Request, Step, Trace
from labkit.views import strands_super, table, theme
from labkit.views.text import escaped, shown

PROMPT = [0, 1, 2]


def note(tokens, parents, weights, **more) -> Step:
    steps = [{"parents": p, "weights": w} for p, w in zip(parents, weights)]
    notes = {"done": len(tokens), "of": 3, "tokens": [PROMPT, *tokens], "steps": steps, "count": 3, "forwards": len(tokens)}
    return Step(emitted=[], notes=notes | more)


@pytest.fixture(scope="module")
def written() -> Trace:
    """Three steps of three drafts, hostile tokens among them; the first draft's line is lost at the last step."""
    tokens, parents = [[17, 18, 21], [3, 4, 19], [20, 6, 7]], [[0, 0, 0], [0, 2, 1], [1, 2, 1]]
    weights = [[0.5, 0.3, 0.2], [0.8, 0.15, 0.05], [0.6, 0.3, 0.1]]
    logprobs = [[-0.1, -2.5, -0.01], [-0.2, -1.0, -5.0], [-0.1, -2.5, -3.0]]
    opening = Opening(request=Request(method="superposed"), prompt_ids=PROMPT, pieces=made_traces.pieces())
    frames = [note(tokens[:n], parents, weights[:n]) for n in (1, 2)] + [note(tokens, parents, weights, logprobs=logprobs)]
    return Trace(opening, frames)


def test_drafts_are_followed_up_to_their_first_token(written):
    found = [strands_super.strands(step.notes) for step in written.steps]
    assert found == [[[17], [18], [21]], [[17, 3], [21, 4], [18, 19]], [[21, 4, 20], [18, 19, 6], [21, 4, 7]]]


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [1, 2, None])
def test_shares_and_drafts_are_the_notes(written, upto, look):
    notes = (written.steps[-1] if upto is None else written.steps[upto - 1]).notes
    figure, ink = views.VIEWS["strands_super"](written, upto, theme=look), theme.colours(look)
    bars = [part for part in figure.data if part.type == "bar"]
    assert [list(bar.y) for bar in bars] == [[step["weights"][rank] for step in notes["steps"]] for rank in range(3)]
    assert [bar.marker.color for bar in bars] == [ink["draft"], ink["target"], ink["e4"]]
    names = made_traces.pieces()
    strands = strands_super.strands(notes)
    cells = {(x, y): text for part in figure.data if part.type == "scatter" for x, y, text in zip(part.x, part.y, part.text)}
    assert len(cells) == 3 * len(strands[0])
    for draft, strand in enumerate(strands, 1):
        for place, token in enumerate(strand, 1):
            assert escaped(shown(names[token]))[:3] in cells[place, draft]
    fills = {(shape.x0 + 0.47, round(shape.y0 + 0.42)): shape.fillcolor for shape in figure.layout.shapes}
    own = notes.get("logprobs")
    for draft, place in ((d, p) for d in range(3) for p in range(len(strands[0]))):
        level = theme.entropy_class(-own[draft][place]) if own else 0
        assert fills[place + 1, draft + 1] == ink[f"e{level}"]
    assert figure.layout.meta["words"].startswith(f"{len(notes['steps'])} forwards with the prompt's for 3 drafts")
    assert ("to the model alone" in figure.layout.meta["words"]) == bool(own)
    rows = table.table("strands_super", written, upto).rows
    assert [row[3] for row in rows[:: len(strands[0])]] == notes["steps"][-1]["weights"]
    assert [row[4] for row in rows] == ([x for line in own for x in line] if own else [None] * len(rows))


def test_hostile_tokens_stay_text(written):
    text = views.VIEWS["strands_super"](written).to_json()
    assert "<script" not in text and "<img" not in text and "$x^2$" not in text


@pytest.fixture(scope="module")
def compared() -> Trace:
    frames, calls = [], {"superposed, n-grams": 3.0, "superposed, no n-grams": 3.0, "separate runs": 5.0}
    for done in (1, 2):
        runs = [
            {"name": name, "loss": [0.1 * done, 0.5, at + 1.0], "best": 0.3 + at, "forwards": calls[name], "drafts": 2.0}
            for at, name in enumerate(calls)
        ]
        likeness = [[[1.0, 1.0], [0.97, 0.9], [0.95, 0.8 / done]], [[0.99, 0.98], [0.9, 0.91], [0.92, 0.93]]]
        more = {"count": 2, "runs": runs, "likeness": likeness, "first": [0.7, 0.5]}
        frames.append(Step([], notes={"done": done, "of": 2} | more))
    return Trace(Opening(request=Request(method="superposed-check")), frames)


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [1, None])
def test_perplexities_and_forwards_are_the_notes(compared, upto, look):
    notes = compared.steps[-1 if upto is None else upto - 1].notes
    figure = views.VIEWS["superposed_perplexity"](compared, upto, theme=look)
    for run, line, bar in zip(notes["runs"], figure.data[0::2], figure.data[1::2], strict=True):
        assert line.name == run["name"] == bar.x[0] and bar.y[0] == run["forwards"]
        assert list(line.y) == pytest.approx([math.exp(loss) for loss in run["loss"]])
        mean, best = math.exp(sum(run["loss"]) / 3), math.exp(run["best"])
        assert f"{run['name']} {mean:.2f} (best draft {best:.2f})" in figure.layout.meta["words"]
    assert f"{notes['done']} text" in figure.layout.meta["words"]


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [1, None])
def test_cosines_are_the_notes(compared, upto, look):
    superposed, alone = compared.steps[-1 if upto is None else upto - 1].notes["likeness"]
    figure = views.VIEWS["linearity"](compared, upto, theme=look)
    heat, *texts, mix, first = figure.data
    assert [list(line) for line in heat.z] == superposed and heat.zmin == min(0.9, superposed[2][1])
    cells = {(y, x): text for part in texts for x, y, text in zip(part.x, part.y, part.text)}
    assert cells == {(y, x + 1): f"{value:.2f}".lstrip("0") for y, line in enumerate(superposed) for x, value in enumerate(line)}
    assert list(mix.y) == pytest.approx([sum(line) / 2 for line in superposed])
    assert list(first.y) == pytest.approx([sum(line) / 2 for line in alone])
    assert "weighs 60% of a mix" in figure.layout.meta["words"]


@pytest.mark.parametrize("name", ["strands_super", "superposed_perplexity", "linearity"])
def test_nothing_yet_is_drawn_too(written, compared, name):
    for trace in (written, compared):
        figure = views.VIEWS[name](trace, 0)
        assert figure.layout.title.text and not figure.data and not table.table(name, trace, 0).rows
