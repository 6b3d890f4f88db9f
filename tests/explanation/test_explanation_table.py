"""The numbers of an explanation as CSV."""

import csv

import numpy as np
import pytest

from seriatim.errors import OutputError
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.table import rank_slices, write_explanation_csv


def explanation_of(**changes):
    fields = {
        "series_uid": "1.2.3", "label": "bleed", "probability": 0.9, "prediction": "bleed", "axis": "space",
        "unit": "mm", "positions": np.array([-2.5, 0.0, 2.5]), "attention": np.array([0.2, 0.7, 0.1]),
        "attributions": {"attention": np.array([0.2, 0.7, 0.1]), "leave_out": np.array([-0.5, 1.25, 0.0])},
        "slice_scores": {"bleed": np.array([0.1, 0.9, 0.2])},
        "sop_instance_uids": ("1.2.3.1", "1.2.3.2", "1.2.3.3"), "top": (1,),
        "images": np.zeros((1, 4, 4), dtype=np.uint8),
    }
    return Explanation(**{**fields, **changes})


def written(explanation, path):
    write_explanation_csv(explanation, path)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_row_per_slice_in_order(tmp_path):
    rows = written(explanation_of(), tmp_path / "a.csv")
    assert [row["index"] for row in rows] == ["0", "1", "2"]
    assert rows[0] == {
        "series_uid": "1.2.3", "sop_instance_uid": "1.2.3.1", "frame": "", "index": "0", "position": "-2.5",
        "unit": "mm", "attention": "0.2", "rank": "2", "score_bleed": "0.1", "leave_out": "-0.5",
    }
    assert [row["rank"] for row in rows] == ["2", "1", "3"]


def test_single_precision_survives(tmp_path):
    attention = np.random.default_rng(0).random(3).astype(np.float32)
    rows = written(explanation_of(attention=attention), tmp_path / "a.csv")
    assert [np.float32(row["attention"]) for row in rows] == attention.tolist()


def test_what_was_not_computed_is_empty(tmp_path):
    rows = written(explanation_of(attributions={}, slice_scores={}), tmp_path / "a.csv")
    assert not {"score_bleed", "leave_out"} & set(rows[0])


def test_frames_classes_and_the_rank_of_what_is_shown(tmp_path):
    by_class = np.array([[1.0, 0.1], [2.0, 0.2], [3.0, 0.3]])
    explanation = explanation_of(
        attributions={"leave_out": by_class}, shown_attribution="leave_out", classes=("bleed", "a,b"),
        frames=(None, 4, 5), slice_scores={},
    )  # fmt: skip
    rows = written(explanation, tmp_path / "a.csv")
    assert [row["leave_out_bleed"] for row in rows] == ["1", "2", "3"]
    assert [row["leave_out_a,b"] for row in rows] == ["0.1", "0.2", "0.3"]
    assert [row["rank"] for row in rows] == ["3", "2", "1"]
    assert [row["frame"] for row in rows] == ["", "4", "5"]


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)"])
def test_no_text_is_a_formula_and_numbers_stay_numbers(tmp_path, text):
    rows = written(explanation_of(series_uid=text, sop_instance_uids=(text, "1,2", 'a"b')), tmp_path / "a.csv")
    assert rows[0]["series_uid"] == rows[0]["sop_instance_uid"] == f"'{text}"
    assert [row["sop_instance_uid"] for row in rows[1:]] == ["1,2", 'a"b']
    assert float(rows[0]["leave_out"]) == -0.5


def test_equal_attention_is_ranked_in_order():
    assert rank_slices(np.array([0.25, 0.25, 0.5])).tolist() == [2, 3, 1]


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_explanation_csv(explanation_of(), tmp_path / "none" / "a.csv")
