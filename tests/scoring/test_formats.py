"""The tables as CSV, JSON lines and Parquet: the same values, typed where the format has types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stub_batch import Stub

from seriatim.errors import ConfigError
from seriatim.scoring import run as batch_run
from seriatim.scoring import score
from seriatim.scoring.columns import Columns
from seriatim.scoring.options import Options
from seriatim.scoring.sinks import parse_formats
from seriatim.scoring.tables import write_tables
from seriatim.series import Prediction, Skipped
from seriatim.trained import Scorer, load_scorer
from tiny_runs import read_rows


@pytest.fixture(scope="module")
def scorer(tiny_run: Path) -> Scorer:
    return load_scorer(tiny_run)


def as_csv(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


@pytest.fixture
def written(tmp_path: Path, head_ct: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    monkeypatch.setattr(batch_run, "predict_all", Stub())
    score(head_ct, model=scorer, output=tmp_path, options=Options(formats=("csv", "jsonl", "parquet"), seconds=False))
    return tmp_path


@pytest.mark.parametrize("table", ["scores", "slices", "skipped"])
def test_all_formats_hold_the_same(written: Path, table: str) -> None:
    from pyarrow import parquet

    rows = read_rows(written / f"{table}.csv")
    lines = [json.loads(line) for line in (written / f"{table}.jsonl").read_text().splitlines()]
    assert parquet.read_table(written / f"{table}.parquet").to_pylist() == lines
    assert [list(line) for line in lines] == [list(row) for row in rows]
    for row, line in zip(rows, lines, strict=True):
        for name, cell in row.items():
            if name == "distance" and cell:
                assert float(cell) == line[name]
            else:
                assert cell == as_csv(line[name]), name


def test_columns_have_types(written: Path) -> None:
    from pyarrow import parquet

    types = {field.name: str(field.type) for field in parquet.read_schema(written / "scores.parquet")}
    assert types["slices"] == "int64"
    assert types["probability_bleed"] == types["seconds"] == "double"
    assert types["reason"] == "string"
    assert parquet.read_table(written / "scores.parquet")["seconds"].null_count == 12


def test_tables_of_another_format_do_not_stay_behind(
    written: Path, head_ct: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(head_ct, model=scorer, output=written, options=Options(formats=("jsonl",)))
    assert {path.name for path in written.glob("s*.*")} == {
        "scores.jsonl", "slices.jsonl", "skipped.jsonl", "state.sqlite", "state.lock",
    }  # fmt: skip


def test_events_of_an_anomaly_model_do_not_stay_behind(tmp_path: Path, scorer: Scorer) -> None:
    (tmp_path / "events.csv").write_text("series_uid\n1.2.3\n")
    write_tables(tmp_path, Columns.of(scorer), predictions=[], skipped=[])
    assert {path.name for path in tmp_path.iterdir()} == {"scores.csv", "slices.csv", "skipped.csv"}


def test_hostile_texts_are_told_as_they_are_or_made_harmless(tmp_path: Path, scorer: Scorer) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    from pyarrow import parquet

    name = "=cmd()\udcff\x1b[2J.dcm"
    one = Prediction(study_uid="1", series_uid="2", path=Path(name), modality="@X", status="refused", reason="+1\n2")
    write_tables(tmp_path, Columns.of(scorer), predictions=[one], skipped=[Skipped(path=Path(name), reason="-")],
                 formats=("csv", "jsonl", "parquet"))
    (row,) = read_rows(tmp_path / "scores.csv")
    assert row["path"].startswith("'=cmd()\\xff\\x1b")
    assert row["reason"] == "'+1 2"
    line = json.loads((tmp_path / "scores.jsonl").read_text())
    assert (line["path"], line["modality"], line["reason"]) == (name, "@X", "+1\n2")
    assert "\x1b" not in (tmp_path / "scores.jsonl").read_text()
    (found,) = parquet.read_table(tmp_path / "scores.parquet").to_pylist()
    assert found["path"] == "=cmd()\\xff\\x1b[2J.dcm"


def test_unknown_formats_are_told() -> None:
    assert parse_formats("jsonl, csv") == ("csv", "jsonl")
    for text in ("", "csv,xml", "csv,csv,x"):
        with pytest.raises(ConfigError, match="Give one or more of csv, jsonl, parquet"):
            parse_formats(text)
