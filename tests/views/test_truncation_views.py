"""What each sampler keeps: the bars are the transforms' own sets, the study's lines are its notes."""

from __future__ import annotations

import math

import made_traces
import pytest

from labkit import views
from labkit.errors import TraceError
from labkit.trace import Opening, Request, Setting, Step, Trace
from labkit.views import read, table
from labkit.views.loss_and_variety import at_variety
from labkit.views.truncation import rows, samplers

WRITTEN = [("Top-p 0.9", 1.0, 1.7, 0.8), ("Top-p 0.9", 1.5, 5.1, 0.99), ("Min-p 0.1", 1.0, 1.0, 0.7)]
WRITTEN += [("Min-p 0.1", 1.5, 2.0, 0.9), ("Top-H 0.4", 1.5, 2.2, 0.9), ("Top-H 0.4", 2.0, 3.4, 0.98)]


def test_samplers_are_the_usual_ones_or_those_turned_on():
    found = samplers([Setting("top-p", {"p": 0.5}), Setting("top-h", {"alpha": 0.7, "rule": "released", "cap": 20})])
    named = {one.label: one for one in found}
    assert [one.label for one in found if one.on] == ["Top-p 0.5", "Top-H 0.7, released"]
    assert named["Top-H 0.7, released"].knobs == {"alpha": 0.7, "rule": "released", "cap": 20}
    assert {"Top-k 40", "Min-p 0.1", "Eta 0.002", "Typical 0.9", "Top-H 0.7"} <= set(named)
    assert [one.on for one in samplers([])] == [False] * 7


@pytest.mark.parametrize("temperature", [None, 0.0, 0.3, 2.0])
def test_rows_are_what_the_transforms_keep(plain, temperature):
    torch = pytest.importorskip("torch")
    from labkit.law import Law, entropy
    from labkit.methods import build_law

    index = len(plain.opening.prompt_ids) + 3
    logs = torch.tensor(read.law(read.tokens(plain)[index].belief), dtype=torch.float64)
    heat = plain.opening.request.temperature if temperature is None else temperature
    warm = Law(heat)(logs)
    found = rows(plain, index=index, temperature=temperature)
    assert found[1][5] == pytest.approx(entropy(warm).item(), abs=1e-6)
    for row, one in zip(found[2:], samplers(plain.opening.request.transforms)):
        law = build_law(heat, [Setting(one.cut, one.knobs)])(logs)
        stays = law > 0
        assert (row[0], row[3]) == (one.label, int(stays.sum()))
        assert row[2] - row[1] + 1 == row[3]
        assert row[4] == pytest.approx(warm[stays].sum().item(), abs=1e-9)
        assert row[5] == pytest.approx(entropy(law).item(), abs=1e-6)


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [1, 4, None])
def test_the_bars_are_the_rows(plain, look, upto):
    figure = views.VIEWS["truncation"](plain, upto, theme=look)
    curve, bars = figure.data
    found = rows(plain, upto)
    assert list(bars.y)[::-1] == [row[0] for row in found[2:]]
    assert list(bars.x)[::-1] == [row[3] for row in found[2:]] and list(bars.base)[::-1] == [row[1] for row in found[2:]]
    token = read.tokens(plain, upto)[-1]
    law = sorted(map(math.exp, read.law(token.belief)), reverse=True)
    powers = [p ** (1 / 0.8) for p in law]
    for x, y in zip(curve.x[:-1], curve.y[:-1]):
        assert y == pytest.approx(max(powers[x - 1] / sum(powers), 1e-6), rel=1e-6)
    for shown, row in zip(figure.layout.meta["table"]["rows"], found, strict=True):
        assert list(shown[:4]) == list(row[:4]) and shown[4:] == pytest.approx(row[4:], abs=5e-5)
    assert len(figure.layout.annotations) == len(figure.layout.shapes) == 7
    on = [colour == views.truncation.themes.colours(look)["target"] for colour in bars.marker.color][::-1]
    assert [row[0] for row, lit in zip(found[2:], on) if lit] == ["Top-k 8", "Top-p 0.9"], "those of the run"


def test_it_follows_the_page(plain):
    """The chosen token and the knobs as they stand now come as options; the run's own when they do not."""
    figure = views.VIEWS["truncation"](plain)
    assert figure.layout.meta["follows"] == ["index", "temperature", "transforms"]
    last = len(read.tokens(plain)) - 1
    cuts = [{"name": "top-k", "knobs": {"k": 8}}, {"name": "top-p", "knobs": {"p": 0.9}}]
    same = {"index": last, "temperature": 0.8, "transforms": cuts}
    assert views.VIEWS["truncation"](plain, **same).to_json() == figure.to_json()
    cuts = [{"name": "top-h", "knobs": {"alpha": 0.2}}]
    other = views.VIEWS["truncation"](plain, index=last - 1, temperature=1.5, transforms=cuts)
    assert "Top-H 0.2" in other.data[1].y and other.to_json() != figure.to_json()
    with pytest.raises(TraceError, match="Token 99 is not in this trace"):
        views.VIEWS["truncation"](plain, index=99)
    with pytest.raises(TraceError, match="keeps no belief for token 0"):
        views.VIEWS["truncation"](plain, index=0)


def test_without_laws_it_says_so():
    trace = made_traces.plain_trace(laws=False)
    figure = views.VIEWS["truncation"](trace)
    assert "keeps no whole laws, so no cut can be placed" in figure.layout.meta["words"]
    assert len(figure.data) == 1 and figure.data[0].y[0] == pytest.approx(math.exp(read.tokens(trace)[-1].belief.top_logprobs[0]))
    assert [row[0] for row in rows(trace)] == ["raw"]
    assert rows(trace, 0) == [] and not views.VIEWS["truncation"](trace, 0).data


@pytest.fixture
def study():
    """Two frames; the second has read more and written."""
    trace = Trace(Opening(Request(method="truncations"), [1], charts=["kept_sizes", "loss_and_variety"]))
    for entropy, counts in (([0.1, 2.5], [3, 4]), ([0.1, 2.4, 5.0], [6, 8, 2])):
        samplers = [
            {"name": name, "kept": [1.0 + size * x for x in entropy], "lost": [0.1 * x for x in entropy]}
            for size, name in enumerate(("Top-k 40", "Top-p 0.9", "Min-p 0.1", "Eta 0.002", "Typical 0.9", "Top-H 0.4"))
        ]
        written = [
            {"name": name, "temperature": heat, "texts": 2, "loss": loss, "variety": variety}
            for name, heat, loss, variety in (WRITTEN if len(counts) > 2 else [])
        ]
        notes = {"done": 1, "of": 2, "temperature": 1.0, "entropy": entropy, "counts": counts, "samplers": samplers}
        trace.add(Step([], notes=notes | {"written": written}))
    return trace


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("upto", [0, 1, 2])
def test_the_studys_lines_are_its_notes(study, look, upto):
    sizes = views.VIEWS["kept_sizes"](study, upto, theme=look)
    texts = views.VIEWS["loss_and_variety"](study, upto, theme=look)
    if not upto:
        assert not sizes.data and not texts.data
        return
    notes = study.steps[upto - 1].notes
    assert len(sizes.data) == 2 * len(notes["samplers"])
    for line in sizes.data:
        (mine,) = [one for one in notes["samplers"] if one["name"] == line.name]
        assert list(line.x) == notes["entropy"]
        assert list(line.y) == mine["lost" if line.yaxis == "y2" else "kept"]
    assert f"{sum(notes['counts'])} laws" in sizes.layout.meta["words"]
    for line in texts.data:
        mine = [one for one in notes["written"] if one["name"] == line.name]
        assert list(line.x) == [one["variety"] for one in mine] and list(line.y) == [one["loss"] for one in mine]
        assert list(line.text) == [f"{one['temperature']:g}" for one in mine]
    assert sum(len(line.x) for line in texts.data) == len(notes["written"])
    assert len({(line.line.dash, line.marker.symbol) for line in sizes.data}) == len(notes["samplers"]), "not by colour alone"
    assert len(table.table("kept_sizes", study, upto).rows) == len(notes["samplers"]) * len(notes["entropy"])
    assert len(table.table("loss_and_variety", study, upto).rows) == len(notes["written"])


def test_losses_are_compared_at_equal_variety(study):
    words = [views.VIEWS["loss_and_variety"](study, upto).layout.meta["words"] for upto in (1, 2)]
    assert words[0].startswith("Numbers at the marks are temperatures")
    where = "Where Min-p 0.1 stands at temperature 1.5 (variety 0.900)"
    assert words[1] == f"{where} it loses 2.00 nats a token, Top-p 0.9 3.49, Top-H 0.4 2.20."
    found = table.table("loss_and_variety", study).rows
    assert at_variety(found, "Top-p 0.9", 0.8) == 1.7 and at_variety(found, "Top-p 0.9", 0.99) == 5.1
    assert at_variety(found, "Top-p 0.9", 0.895) == pytest.approx((1.7 + 5.1) / 2)
    assert at_variety(found, "Top-p 0.9", 0.7) is None
