"""Rows of the slice-label table that label nothing are told, once."""

from pathlib import Path

import pytest

from seriatim.training.dataset import PreparedSeries
from seriatim.training.examples import gather_examples
from tiny_runs import make_experiment, read_rows, write_rows


def test_rows_that_fit_no_slice_are_counted(
    tmp_path: Path, head_ct: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = read_rows(head_ct / "slices.csv")
    for row in rows[:2]:
        row.update(series_uid="1.2.9", sop_instance_uid="1.2.9.1" if row is rows[0] else "1.2.9.2")
    table = write_rows(tmp_path / "slices.csv", rows)
    experiment = make_experiment(tmp_path, head_ct, f"data.slice_labels={table}")
    gather_examples(experiment, experiment.task.build(), PreparedSeries(experiment.preprocessing, cache=False).prepare)
    told = [record.getMessage() for record in caplog.records if "slice-label rows" in record.getMessage()]
    assert told == [f"2 of {len(rows)} slice-label rows fit no slice of the manifest's series."]
