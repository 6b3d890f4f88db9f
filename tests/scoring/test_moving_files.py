"""Files that vanish or change under a running batch: a row says so, no other changes, the next run mends it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from stub_batch import read_tables

from seriatim.scoring import score
from seriatim.scoring.options import Options
from seriatim.scoring.pipeline import Resources
from seriatim.series import Prediction
from seriatim.trained import Scorer, load_scorer
from tiny_runs import read_rows

ONE_AT_A_TIME = Resources(workers=1, threads=1, memory_bytes=1)


@pytest.fixture(scope="module")
def scorer(tiny_run: Path) -> Scorer:
    return load_scorer(tiny_run)


@pytest.fixture
def archive(tmp_path: Path, head_ct: Path) -> Path:
    for number, row in enumerate(read_rows(head_ct / "labels.csv")[:8]):
        shutil.copytree(head_ct / row["path"], tmp_path / "archive" / str(number))
    return tmp_path / "archive"


def test_files_that_vanish_or_change_while_others_are_scored(tmp_path: Path, archive: Path, scorer: Scorer) -> None:
    options = Options(seconds=False, resources=ONE_AT_A_TIME)
    score(archive, model=scorer, output=tmp_path / "whole", options=options)
    whole = {row["path"]: row for row in read_rows(tmp_path / "whole" / "scores.csv")}
    away, changed, emptied = archive / "5", archive / "6", archive / "7"

    def disturb(done: int, _: int, __: Prediction) -> None:
        if done == 1:
            away.rename(tmp_path / "away")
            file = min(changed.iterdir())
            (tmp_path / "file").write_bytes(file.read_bytes())
            content = bytearray(file.read_bytes())
            content[-2:] = b"\x11\x01"
            file.write_bytes(content)
            shutil.copytree(emptied, tmp_path / "emptied")
            max(emptied.iterdir()).write_bytes(b"")

    score(archive, model=scorer, output=tmp_path / "out", options=options, report=disturb)
    rows = {row["path"]: row for row in read_rows(tmp_path / "out" / "scores.csv")}
    assert rows.keys() == whole.keys()
    for folder in (away, changed, emptied):
        row = rows.pop(str(folder))
        assert row["status"] == "failed", row
        assert "/" not in row["reason"]  # no path but in its own column
    assert rows == {path: whole[path] for path in rows}
    (tmp_path / "away").rename(away)
    min(changed.iterdir()).write_bytes((tmp_path / "file").read_bytes())
    shutil.rmtree(emptied)
    (tmp_path / "emptied").rename(emptied)
    asked: list[str] = []
    score(archive, model=scorer, output=tmp_path / "out", options=options,
          report=lambda _, __, one: asked.append(one.path.name))
    assert sorted(asked) == ["5", "6", "7"]
    assert read_tables(tmp_path / "out") == read_tables(tmp_path / "whole")
