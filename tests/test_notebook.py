"""The analysts' notebook runs from top to bottom on the lake of a pipeline, and is kept without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "analyst.ipynb"


def test_the_notebook_is_kept_without_outputs():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert {cell.execution_count for cell in cells} == {None}


@pytest.mark.slow
def test_the_notebook_answers_every_question_on_a_real_lake(demo_home, tmp_path, monkeypatch):
    monkeypatch.setenv("SHELFMARK_HOME", str(demo_home))
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # A cell with Spark's first query takes seconds; minutes only where the machine does much else.
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()

    shown = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        assert not [output for output in cell.outputs if output.output_type == "error"]
        texts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
        assert texts, f"shows nothing: {cell.source}"
        # A frame without rows would be a question without an answer.
        assert not any(text.startswith("Empty DataFrame") for text in texts), cell.source
        shown[cell.source] = "\n".join(texts)

    def answer(word):
        (text,) = [text for source, text in shown.items() if word in source]
        return text

    assert "silver.catalogue" in answer("TABLES.values()")
    assert "macro_f1" in answer("figures.round")
    assert "confidence" in answer("doubtful = sql")
    assert "True" in answer("silver.duplicates")  # the survivor is among them
    assert "evaluate" in answer("lake.log()")
    assert "_at_first_ingest" in answer("then.merge")
