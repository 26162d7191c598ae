"""Three files that must agree on what is installed: pyproject.toml, requirements.lock, environment.yml."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from labkit import paths

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA_NAMES = {"pytorch": "torch", "python-kaleido": "kaleido"}  # conda-forge's name: the registry's name


def _declared(*groups: list[str]) -> dict[str, Requirement]:
    wanted = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(requirement.name): requirement for requirement in wanted}


def _pins() -> dict[str, str]:
    """What the lock installs on this machine."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = [line.partition(";") for line in lines if line and not line.startswith("#")]
    here = [pin.strip().split("==") for pin, _, marker in pinned if not marker or Marker(marker).evaluate()]
    return {canonicalize_name(name): version for name, version in here}


def test_environment_agrees_with_pyproject():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = [Requirement(line) for line in listed if isinstance(line, str)]
    found = {canonicalize_name(CONDA_NAMES.get(item.name, item.name)): item.specifier for item in conda}
    assert str(found.pop("python")) == PROJECT["requires-python"]
    found.pop("pip")
    declared = _declared(PROJECT["dependencies"], EXTRAS["notebook"], EXTRAS["export"])
    assert found == {name: requirement.specifier for name, requirement in declared.items()}


def test_pins_lie_in_the_ranges():
    pins = _pins()
    for name, requirement in _declared(PROJECT["dependencies"], *EXTRAS.values()).items():
        if requirement.marker and not requirement.marker.evaluate():
            continue
        assert requirement.specifier.contains(pins[name]), f"{name} {pins[name]} is not in {requirement.specifier}"
    assert pins["torch"] == "2.13.0"
    assert {"hatchling", "editables"} <= pins.keys()  # the in-place install builds without asking for anything more


def test_pins_name_no_place():
    for name, version in _pins().items():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", f"{name}=={version}"), name


def test_the_pinned_versions_are_the_tested_ones():
    """Every pin is installed as it is written, or the tests prove nothing about the lock."""
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("these tests run in an environment that make did not build")
    different = {
        name: (importlib.metadata.version(name), pin)
        for name, pin in _pins().items()
        if importlib.metadata.version(name).partition("+")[0] != pin
    }
    assert different == {}


def test_everything_imported_is_declared():
    """No module of the package leans on something that only happens to be there."""
    own = importlib.metadata.packages_distributions()
    declared = set(_declared(PROJECT["dependencies"], *EXTRAS.values()))
    for file in sorted((ROOT / "labkit").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"labkit"}:
                distributions = {canonicalize_name(name) for name in own.get(top, [top])}
                assert distributions & declared, f"{file.relative_to(ROOT)} imports {top}"


def test_data_files_are_found():
    assert (paths.DATA / "papers.toml").is_file()
    assert (paths.DATA / "models" / "target" / "model.safetensors").is_file()
    assert (paths.PACKAGE / "host" / "jupyter" / "voila" / "templates" / "labkit" / "index.html.j2").is_file()


def test_a_wheel_carries_its_data(monkeypatch, tmp_path):
    """Inside an installed package the folders have other names; `paths` finds those first."""
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "labkit")
    (tmp_path / "labkit" / "_data").mkdir(parents=True)
    assert paths._folder("data") == tmp_path / "labkit" / "_data"
    assert paths._folder("notebooks") == tmp_path / "notebooks"
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert included["force-include"] == {"data": "labkit/_data", "notebooks": "labkit/_notebooks"}


def test_command_is_installed():
    scripts = importlib.metadata.entry_points(group="console_scripts", name="labkit")
    if not scripts:
        pytest.skip("the package itself is not installed here")
    assert [script.value for script in scripts] == ["labkit.cli:main"]
