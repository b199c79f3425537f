"""The notebook of docs/ runs from the first cell to the last, and what it prints and draws is right."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    check = "float(made.isfinite().all()), sum(losses[:100]) / sum(losses[-100:]), float(made.std())"
    notebook.cells.append(nbformat.v4.new_code_cell(check))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = next(output["text"] for output in outputs if output["output_type"] == "stream")
    mean, variance, kurtosis = map(float, re.findall(r"-?\d+\.\d+", printed))
    assert (abs(mean) < 0.02, abs(variance - 1) < 0.05, kurtosis) == (True, True, 3.0)  # Laplace's excess kurtosis is 3
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    finite, gain, spread = map(float, re.findall(r"\d+\.\d+", outputs[-1]["data"]["text/plain"]))
    assert finite == 1.0
    assert gain > 1.5  # the loss has fallen
    assert 0.7 < spread < 1.3  # as the data, whose deviation is 1


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")
