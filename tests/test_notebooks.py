"""The notebooks run from top to bottom, one after the other, on a small synthetic set."""

from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SMALL = "COUNT, SIZE, EPOCHS = 12, 64, 2"


def read_cells(path: Path) -> list[nbformat.NotebookNode]:
    """The code of a notebook, the small parameters after its own, and before all of it an end to every name."""
    cells = [nbformat.v4.new_code_cell("%reset -f")]
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code":
            cells.append(cell)
            if "parameters" in cell.metadata.get("tags", []):
                cells.append(nbformat.v4.new_code_cell(SMALL))
    return cells


def run_notebooks(cells: dict[str, list[nbformat.NotebookNode]], *, folder: Path) -> dict[str, str]:
    """Execute notebooks in one kernel, which imports once what takes seconds; everything that each printed."""
    notebook = nbformat.v4.new_notebook(cells=[cell for own in cells.values() for cell in own])
    resources = {"metadata": {"path": folder}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    outputs = {name: [output for cell in own for output in cell.outputs] for name, own in cells.items()}
    return {
        name: "".join(output.get("text", "") for output in own if output.output_type == "stream")
        for name, own in outputs.items()
    }


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each notebook printed; 02 and 03 use the model that 01 trained."""
    folder = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERIATIM_NOTEBOOKS", str(folder / "out"))
        patch.setenv("OMP_NUM_THREADS", "1")
        return run_notebooks({path.stem: read_cells(path) for path in sorted(NOTEBOOKS.glob("*.py"))}, folder=folder)


def test_there_are_the_three_that_the_readme_names(printed: dict[str, str]) -> None:
    assert list(printed) == ["01_train", "02_score_folder", "03_read_attention"]


def test_training_leaves_a_run_without_a_patient_in_two_splits(printed: dict[str, str]) -> None:
    assert "patients in two splits: 0" in printed["01_train"]
    assert "model.safetensors" in printed["01_train"]


def test_the_damaged_series_is_refused_and_the_others_are_scored(printed: dict[str, str]) -> None:
    text = printed["02_score_folder"]

    assert '"refused": 1, "failed": 0' in text
    assert "GAP" in text
    assert "left out: readme.txt: not an image" in text


def test_attention_is_set_against_the_truth(printed: dict[str, str]) -> None:
    assert "the most attended slice bleeds in" in printed["03_read_attention"]
    assert "'status': 'explained'" in printed["03_read_attention"]
