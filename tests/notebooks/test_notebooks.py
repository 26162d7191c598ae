"""The shipped notebooks: clean in the repository, and each runs from top to bottom with the engine in this process."""

from __future__ import annotations

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from labkit.host.launch import environment
from labkit.paths import NOTEBOOKS

SHIPPED = sorted(NOTEBOOKS.glob("*.ipynb"))
PATIENCE = 120  # seconds a cell


@pytest.fixture(params=SHIPPED, ids=[path.stem for path in SHIPPED])
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_notebooks_are_there():
    assert {path.name[:2] for path in SHIPPED} >= {"00", "01", "02", "03"}


def test_clean(notebook):
    """No outputs, no counts, no widget state: those grow by megabytes and show somebody's machine."""
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.get("title"), "a dashboard's tab needs a title: metadata.title"
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert set(cell.metadata) <= {"tags", "jupyter"}, cell.metadata


def test_starts_with_a_heading_and_explains(notebook):
    """A lesson: words before the first code."""
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


@pytest.fixture(scope="session")
def kernel():
    """One kernel for all notebooks: what they import and the models are read once."""
    manager = KernelManager(kernel_name="python3")
    with pytest.MonkeyPatch.context() as patch:  # it is the spec beside our template that is to be found
        for name, value in environment("here").items():
            patch.setenv(name, value)
        manager.start_kernel(cwd=str(NOTEBOOKS))
    yield manager
    manager.shutdown_kernel(now=True)


def test_runs(notebook, kernel):
    """Every cell runs, says nothing on standard error, and shows a widget's plain text at the least."""
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))  # no name of another notebook helps this one
    NotebookClient(notebook, km=kernel, timeout=PATIENCE).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in outputs)
