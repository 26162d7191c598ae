"""The catalogue: 185 papers, whole and unique; "works" is computed from what is registered."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import msgspec
import pytest

from labkit import catalog
from labkit.engine.protocol import MethodInfo
from labkit.errors import LabError

THEMES = {"sampling", "speculative", "attention", "tokenization", "diffusion", "visual", "reduction"}


def test_all_papers_are_there():
    papers = catalog.papers()
    assert list(papers) == [f"P{number:03d}" for number in range(1, 186)]
    assert len({paper.title for paper in papers.values()}) == 185
    for paper in papers.values():
        assert paper.theme in THEMES, paper
        assert paper.title.strip() == paper.title != "", paper
        assert paper.name.strip() == paper.name != "", paper
        assert 2017 <= paper.year <= 2026, paper
        assert paper.code == "" or paper.code.startswith("https://"), paper


def test_working_is_computed():
    registered = [
        SimpleNamespace(name="token-recycling", paper="P025"),
        SimpleNamespace(name="hot", paper="P025"),
        SimpleNamespace(name="plain", paper=""),
    ]
    assert catalog.working(registered) == {"P025": ["token-recycling", "hot"]}


def test_unknown_paper_is_refused():
    with pytest.raises(LabError, match="'P999'.*papers.toml"):
        catalog.working([SimpleNamespace(name="odd", paper="P999")])


def test_registered_methods_name_papers_of_their_theme():
    from labkit.methods import all_methods, all_studies, all_transforms, method_info

    catalog.working([*all_methods().values(), *all_studies().values(), *all_transforms().values()])
    for method in all_methods().values():
        info = method_info(method)
        assert info.paper == "" or catalog.papers()[info.paper].theme == info.theme, info.name


def test_what_every_method_says_of_itself_travels():
    """A knob called like one of a method's own facts (`drafts`, `title`) would hide it: nobody could read the engine's list."""
    from labkit.methods import all_methods, all_studies, method_info

    infos = [method_info(cls) for cls in (all_methods() | all_studies()).values()]
    assert [info.name for info in msgspec.json.decode(msgspec.json.encode(infos), type=list[MethodInfo])] == [
        info.name for info in infos
    ]


@pytest.mark.parametrize("text", ["[[paper]]\nid = 'P001'", "not toml [", "[[paper]]\nid = 1\n"])
def test_malformed_file_is_one_sentence(tmp_path, monkeypatch, text):
    (tmp_path / "papers.toml").write_text(text)
    monkeypatch.setattr(catalog, "DATA", tmp_path)
    catalog.papers.cache_clear()
    try:
        with pytest.raises(LabError, match="malformed"):
            catalog.papers()
    finally:
        catalog.papers.cache_clear()


def test_catalogue_needs_no_torch():
    code = "import sys; from labkit import catalog; catalog.papers(); print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
