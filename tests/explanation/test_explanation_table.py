"""The numbers of an explanation as CSV."""

import csv

import numpy as np
import pytest

from seriatim.errors import OutputError
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.table import rank_by_attention, write_explanation_csv


def explanation_of(**changes):
    fields = {
        "series_uid": "1.2.3", "label": "bleed", "probability": 0.9, "prediction": "bleed", "axis": "space",
        "unit": "mm", "positions": np.array([-2.5, 0.0, 2.5]), "attention": np.array([0.2, 0.7, 0.1]),
        "contributions": np.array([-0.5, 1.25, 0.0]), "slice_scores": {"bleed": np.array([0.1, 0.9, 0.2])},
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
        "series_uid": "1.2.3", "sop_instance_uid": "1.2.3.1", "index": "0", "position": "-2.5", "unit": "mm",
        "attention": "0.2", "rank": "2", "contribution": "-0.5", "score_bleed": "0.1",
    }
    assert [row["rank"] for row in rows] == ["2", "1", "3"]


def test_single_precision_survives(tmp_path):
    attention = np.random.default_rng(0).random(3).astype(np.float32)
    rows = written(explanation_of(attention=attention), tmp_path / "a.csv")
    assert [np.float32(row["attention"]) for row in rows] == attention.tolist()


def test_what_was_not_computed_is_empty(tmp_path):
    rows = written(explanation_of(contributions=None, slice_scores={}), tmp_path / "a.csv")
    assert [row["contribution"] for row in rows] == ["", "", ""]
    assert "score_bleed" not in rows[0]


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)"])
def test_no_text_is_a_formula_and_numbers_stay_numbers(tmp_path, text):
    rows = written(explanation_of(series_uid=text, sop_instance_uids=(text, "1,2", 'a"b')), tmp_path / "a.csv")
    assert rows[0]["series_uid"] == rows[0]["sop_instance_uid"] == f"'{text}"
    assert [row["sop_instance_uid"] for row in rows[1:]] == ["1,2", 'a"b']
    assert float(rows[0]["contribution"]) == -0.5


def test_equal_attention_is_ranked_in_order():
    assert rank_by_attention(np.array([0.25, 0.25, 0.5])).tolist() == [2, 3, 1]


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_explanation_csv(explanation_of(), tmp_path / "none" / "a.csv")
