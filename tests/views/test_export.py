"""Files: whole pages without a network, and pictures drawn by the machine's own Chromium."""

import html
import re

import made_traces
import pytest

from labkit import chromium, figures, views
from labkit.errors import LabError
from labkit.trace import loads
from labkit.views import export, theme
from labkit.views.text import shown


def test_page_is_whole(trees, tmp_path):
    path = export.write(views.VIEWS["block_efficiency"](trees), tmp_path / "figure.html", "dark")
    page = path.read_text(encoding="utf-8")
    assert len(page) > 1_000_000 and "Plotly.newPlot" in page  # plotly.js itself is inside
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert theme.DARK["paper"] in page


def test_hostile_text_stays_text_in_a_page(plain, tmp_path):
    page = export.write(views.VIEWS["strip"](plain), tmp_path / "strip.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "alert(1)</script>" not in page


@pytest.mark.skipif(chromium.find() is None, reason="no browser on this machine")
def test_pictures_hold_the_figure(plain, tmp_path):
    plain = loads(plain.dumps())
    plain.opening.prompt_ids = list(range(len(plain.opening.prompt_ids)))
    plain.opening.pieces |= dict(enumerate(made_traces.HOSTILE))
    figure = views.VIEWS["strip"](plain)
    drawn = export.write(figure, tmp_path / "strip.svg").read_text(encoding="utf-8")
    words = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", drawn)]
    for text in made_traces.HOSTILE[:6]:
        assert shown(text) in words  # every character as it is
    assert "<img" not in drawn and "<script" not in drawn and "javascript" not in re.sub(r">[^<]*<", "><", drawn)
    picture = export.write(figure, tmp_path / "strip.png", "dark").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 5_000


def test_clear_words_when_it_cannot_be(trees, tmp_path, monkeypatch):
    figure = views.VIEWS["cost"](trees)
    with pytest.raises(LabError, match=r"\.html, \.png, \.svg"):
        export.write(figure, tmp_path / "figure.pdf")
    with pytest.raises(LabError, match="cannot be written"):
        export.write(figure, tmp_path / "no" / "such" / "figure.html")
    monkeypatch.setenv("LABKIT_CHROMIUM", "/nowhere/chromium")
    with pytest.raises(LabError, match="LABKIT_CHROMIUM"):
        export.write(figure, tmp_path / "figure.png")
    monkeypatch.delenv("LABKIT_CHROMIUM")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="needs Chromium"):
        export.write(figure, tmp_path / "figure.svg")


def test_a_saved_trace_becomes_a_file(trees, tmp_path):
    trees.save(tmp_path / "run.json")
    figure = figures.draw(tmp_path / "run.json", "draft_tree", 3)
    assert (
        figure.to_json() == views.VIEWS["draft_tree"](trees, 3).to_json() != views.VIEWS["draft_tree"](trees).to_json()
    )
    with pytest.raises(LabError, match="from 0 to 6"):
        figures.draw(tmp_path / "run.json", "draft_tree", 7)
    with pytest.raises(LabError, match="choose one of"):
        figures.draw(tmp_path / "run.json", "pie")
