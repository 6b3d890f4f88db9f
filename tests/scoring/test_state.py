"""What is done is not done again, what changed is; the tables are those of one undisturbed run."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from stub_batch import Stub, read_tables, stub_prediction

from seriatim.errors import OutputError
from seriatim.io import find_series
from seriatim.io.discover import find_many
from seriatim.scoring import run as batch_run
from seriatim.scoring import score
from seriatim.scoring.options import Options
from seriatim.scoring.state import STATE, State
from seriatim.scoring.state_rows import pack_prediction, unpack_prediction
from seriatim.series import Code, Prediction
from seriatim.trained import Scorer, load_scorer
from tiny_runs import read_rows

PLAIN = Options(seconds=False)


@pytest.fixture(scope="module")
def scorer(tiny_run: Path) -> Scorer:
    return load_scorer(tiny_run)


@pytest.fixture
def archive(tmp_path: Path, head_ct: Path) -> Path:
    """Three series to change, old enough to be known by their times."""
    folder = tmp_path / "archive"
    for row in read_rows(head_ct / "labels.csv")[:3]:
        shutil.copytree(head_ct / row["path"], folder / row["series_uid"][-6:])
    grow_old(folder)
    return folder


def grow_old(folder: Path) -> None:
    """Times of an hour ago; the time of the last change of the inode is the system's to set."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 3600,) * 2)


def run(monkeypatch: pytest.MonkeyPatch, data: Path, scorer: Scorer, output: Path, *,
        stub: Stub | None = None, **options: object) -> tuple[list[str], dict[str, object]]:
    """Score with a stub; the series UIDs that it was asked for, and the summary."""
    stub = stub or Stub()
    monkeypatch.setattr(batch_run, "predict_all", stub)
    summary = score(data, model=scorer, output=output, **{"options": PLAIN, **options})
    return stub.asked, summary


def same_but(one: Prediction, other: Prediction) -> None:
    for field in fields(Prediction):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            assert left.tobytes() == right.tobytes()
        elif isinstance(left, dict) and any(isinstance(value, np.ndarray) for value in left.values()):
            assert list(left) == list(right)
            assert all(left[name].tobytes() == right[name].tobytes() for name in left)
        else:
            assert left == right, field.name


def test_a_prediction_comes_back_to_the_bit(head_ct: Path) -> None:
    for series in find_series(head_ct).series:
        found = stub_prediction(series)
        same_but(found, unpack_prediction(pack_prediction(found)))
    odd = Prediction(
        study_uid="1", series_uid="2", path=Path("a\udcff b"), modality="US", status="scored", volume="=x",
        probabilities={"ä\udcff": 0.1 + 0.2}, slices=2, sop_instance_uids=("3", "3"), frames=(0, None),
        positions=np.array([0.0, 1e-300]), attention=np.array([1, 0], dtype=np.float32),
        slice_details={"z": np.array([math.nan, -math.inf])}, events=((0, 1, 0, 1 / 3),), duration_s=0.1,
    )
    same_but(odd, unpack_prediction(pack_prediction(odd)))
    assert math.isnan(unpack_prediction(pack_prediction(odd)).slice_details["z"][0])


def test_what_is_done_is_not_done_again(
    tmp_path: Path, head_ct: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, whole = run(monkeypatch, head_ct, scorer, tmp_path / "whole")
    assert len(asked) == 12
    count = iter(range(5))
    first, stopped = run(monkeypatch, head_ct, scorer, tmp_path / "out", stop=lambda: next(count, None) is None)
    assert stopped["ended"] == "stopped"
    assert (len(first), stopped["pending"]) == (5, 7)
    rows = read_rows(tmp_path / "out" / "scores.csv")
    assert [row["series_uid"] for row in rows] == first  # of the tables of what is done
    failed = {row["series_uid"] for row in rows if row["status"] == "failed"}
    second, finished = run(monkeypatch, head_ct, scorer, tmp_path / "out", stub=Stub(backwards=True))
    assert set(second) == (set(asked) - set(first)) | failed  # what failed is tried again
    assert finished["ended"] == "finished"
    assert finished["counts"] == whole["counts"]
    assert read_tables(tmp_path / "out") == read_tables(tmp_path / "whole")
    third, _ = run(monkeypatch, head_ct, scorer, tmp_path / "out")
    assert set(third) <= {row["series_uid"] for row in read_rows(tmp_path / "out" / "scores.csv")
                          if row["status"] == "failed"}
    assert read_tables(tmp_path / "out") == read_tables(tmp_path / "whole")


def test_seconds_are_kept_or_left_empty(
    tmp_path: Path, head_ct: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, head_ct, scorer, tmp_path, options=Options())
    before = [row["seconds"] for row in read_rows(tmp_path / "scores.csv")]
    run(monkeypatch, head_ct, scorer, tmp_path, options=Options())
    assert [row["seconds"] for row in read_rows(tmp_path / "scores.csv")] == before
    assert all(before)
    run(monkeypatch, head_ct, scorer, tmp_path)
    assert {row["seconds"] for row in read_rows(tmp_path / "scores.csv")} == {""}


@pytest.mark.parametrize("check", ["times", "content"])
def test_only_what_changed_is_scored_again(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    monkeypatch.setattr("seriatim.io.stamps.YOUNG_NS", 0)
    options = Options(check=check)
    names = {path.name for path in archive.iterdir()}
    asked, _ = run(monkeypatch, archive, scorer, tmp_path / "out", options=options)
    done = {uid for uid in asked if stubbed(archive, uid).status != "failed"}
    changed = next(path for path in sorted(archive.iterdir()) if any(uid.endswith(path.name) for uid in done))
    file = sorted(changed.iterdir())[4]
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)  # the same size, and then the same time of change
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    again, _ = run(monkeypatch, archive, scorer, tmp_path / "out", options=options)
    assert {uid[-6:] for uid in again} & {uid[-6:] for uid in done} == {changed.name}
    (archive / "notes.txt").write_text("no series changes")
    again, summary = run(monkeypatch, archive, scorer, tmp_path / "out", options=options)
    assert not done & set(again)
    assert summary["counts"]["files_skipped"] == 1
    assert len(names) == 3


def stubbed(archive: Path, uid: str) -> Prediction:
    return stub_prediction(next(one for one in find_series(archive).series if one.series_uid == uid))


def test_a_copy_with_other_times_is_known_by_its_content(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = run(monkeypatch, archive, scorer, tmp_path / "out", options=Options(check="content"))
    shutil.copytree(archive, tmp_path / "other" / "archive")
    again, _ = run(monkeypatch, tmp_path / "other" / "archive", scorer, tmp_path / "out",
                   options=Options(check="content"))
    assert all(stubbed(archive, uid).status == "failed" for uid in again)
    rows = read_rows(tmp_path / "out" / "scores.csv")
    assert all(row["path"].startswith(str(tmp_path / "other")) for row in rows)  # the tables tell where they lie now
    assert len(rows) == len(asked)


def test_files_that_just_changed_are_known_by_their_bytes(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change within one tick of a coarse clock leaves size and time as they are."""
    asked, _ = run(monkeypatch, archive, scorer, tmp_path / "out")
    database = sqlite3.connect(tmp_path / "out" / STATE)
    stamps = [stamp for (stamp,) in database.execute("SELECT stamp FROM series")]
    assert len(stamps) == len(asked)
    assert all(stamp.startswith("content:") for stamp in stamps)  # the fixture copied them a moment ago
    monkeypatch.setattr("seriatim.io.stamps.YOUNG_NS", 0)
    again, _ = run(monkeypatch, archive, scorer, tmp_path / "out")
    assert all(stubbed(archive, uid).status == "failed" for uid in again)
    stamps = [stamp for (stamp,) in database.execute("SELECT stamp FROM series")]
    assert all(stamp.startswith("times:") for stamp in stamps)
    database.close()


def test_another_model_or_other_settings_score_again(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = run(monkeypatch, archive, scorer, tmp_path / "out")
    assert len(run(monkeypatch, archive, scorer, tmp_path / "out", outside="note")[0]) == len(first)
    monkeypatch.setattr("seriatim.scoring.provenance.version", lambda name: "99.0")
    assert len(run(monkeypatch, archive, scorer, tmp_path / "out", outside="note")[0]) == len(first)
    with_gap = next(archive.iterdir())
    sorted(with_gap.iterdir())[6].unlink()
    run(monkeypatch, archive, scorer, tmp_path / "out", outside="note")
    kept, _ = run(monkeypatch, archive, scorer, tmp_path / "out", outside="note", actions={Code.GAP: "keep"})
    certain = {uid for uid in kept if stubbed(archive, uid).status != "failed"}
    assert {uid[-6:] for uid in certain} <= {with_gap.name}  # what an action changes is one series


def test_a_damaged_neighbour_is_seen(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finding that comes from another file makes the series another, though its own files are as they were."""
    run(monkeypatch, archive, scorer, tmp_path / "out")
    uid = next(one.series_uid for one in find_series(archive).series if stub_prediction(one).status != "failed")
    (archive / uid[-6:] / "IM99.dcm").write_bytes(b"")
    facts = {one.series_uid: one.findings for one in find_series(archive).series}
    again, _ = run(monkeypatch, archive, scorer, tmp_path / "out")
    assert (uid in again) == bool(facts[uid])


def test_what_is_gone_leaves_the_tables_and_comes_back(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = run(monkeypatch, archive, scorer, tmp_path / "out")
    whole = read_tables(tmp_path / "out")
    away = next(archive / uid[-6:] for uid in asked if stubbed(archive, uid).status == "scored")
    away.rename(tmp_path / "away")
    again, summary = run(monkeypatch, archive, scorer, tmp_path / "out")
    assert summary["gone"] == 1
    assert summary["counts"]["discovered"] == len(asked) - 1 == len(read_rows(tmp_path / "out" / "scores.csv"))
    _, kept = run(monkeypatch, archive, scorer, tmp_path / "out", options=Options(seconds=False, gone="keep"))
    assert len(read_rows(tmp_path / "out" / "scores.csv")) == len(asked)
    assert kept["gone"] == 1
    (tmp_path / "away").rename(away)
    again, _ = run(monkeypatch, archive, scorer, tmp_path / "out")
    assert not any(uid.endswith(away.name) for uid in again)
    assert read_tables(tmp_path / "out") == whole
    away.rename(archive / "elsewhere")  # found in another place: not gone
    _, summary = run(monkeypatch, archive, scorer, tmp_path / "out", options=Options(seconds=False, gone="keep"))
    assert summary["gone"] == 0
    assert len(read_rows(tmp_path / "out" / "scores.csv")) == len(asked)


def test_a_part_of_the_folder_does_not_drop_the_rest(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = run(monkeypatch, archive, scorer, tmp_path / "out")
    whole = read_tables(tmp_path / "out")
    part = archive / asked[0][-6:]
    with pytest.raises(OutputError, match=r"holds 2 series of .*archive that are there.*give another --output"):
        run(monkeypatch, part, scorer, tmp_path / "out")
    assert read_tables(tmp_path / "out") == whole
    again, summary = run(monkeypatch, archive, scorer, tmp_path / "out")
    assert set(again) == {uid for uid in asked if stubbed(archive, uid).status == "failed"}
    assert summary["gone"] == 0
    assert read_tables(tmp_path / "out") == whole
    for uid in asked[1:]:
        (archive / uid[-6:]).rename(tmp_path / uid[-6:])  # now they are gone, and the part is all there is
    _, summary = run(monkeypatch, part, scorer, tmp_path / "out")
    assert (summary["counts"]["discovered"], summary["gone"]) == (1, 2)


def test_two_that_are_alike_in_all_are_two_rows(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = find_series(archive)
    twice = type(inventory)(root=archive, series=(inventory.series[0], inventory.series[0], *inventory.series[1:]))
    monkeypatch.setattr("seriatim.scoring.search.find_many", lambda *_, **__: twice)
    asked, summary = run(monkeypatch, archive, scorer, tmp_path / "out")
    assert len(asked) == len(twice.series) == len(read_rows(tmp_path / "out" / "scores.csv"))
    assert summary["counts"]["discovered"] == len(twice.series)


def test_files_that_change_while_they_are_scored_fail_and_are_scored_next_time(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = next(one.series_uid for one in find_series(archive).series if stub_prediction(one).status == "scored")

    def touch(series: object) -> None:
        if series.series_uid == uid:  # type: ignore[attr-defined]
            file = min((archive / uid[-6:]).iterdir())
            file.write_bytes(file.read_bytes() + b"\0\0")

    run(monkeypatch, archive, scorer, tmp_path / "out", stub=Stub(before=touch))
    row = next(row for row in read_rows(tmp_path / "out" / "scores.csv") if row["series_uid"] == uid)
    assert row["status"] == "failed"
    assert row["reason"].startswith("CHANGED: ")
    asked, _ = run(monkeypatch, archive, scorer, tmp_path / "out")
    assert uid in asked
    row = next(row for row in read_rows(tmp_path / "out" / "scores.csv") if row["series_uid"] == uid)
    assert row["status"] == "scored"


def test_files_that_change_while_they_are_found_are_not_trusted(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = next(one.series_uid for one in find_series(archive).series if stub_prediction(one).status == "scored")

    def find(*arguments: object, **options: object) -> object:
        found = find_many(*arguments, **options)
        file = min((archive / uid[-6:]).iterdir())
        time.sleep(0.02)  # longer than a tick of the clock of the file system
        file.write_bytes(file.read_bytes())
        return found

    with monkeypatch.context() as patched:
        patched.setattr("seriatim.scoring.search.find_many", find)
        run(monkeypatch, archive, scorer, tmp_path / "out")
    row = next(row for row in read_rows(tmp_path / "out" / "scores.csv") if row["series_uid"] == uid)
    assert row["reason"].startswith("CHANGED: ")


def test_only_is_a_question_of_each_run(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = [one.series_uid for one in find_series(archive).series if stub_prediction(one).status != "failed"]
    run(monkeypatch, archive, scorer, tmp_path / "out", only=uids[:1])
    assert [row["series_uid"] for row in read_rows(tmp_path / "out" / "scores.csv")] == uids[:1]
    again, summary = run(monkeypatch, archive, scorer, tmp_path / "out")
    assert uids[0] not in again
    assert summary["counts"]["not_asked_for"] == 0
    assert len(read_rows(tmp_path / "out" / "scores.csv")) == 3


def test_the_output_may_lie_in_what_is_searched(
    tmp_path: Path, archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for output in (archive / "scores", archive):
        run(monkeypatch, archive, scorer, output)
        before = read_tables(output)
        run(monkeypatch, archive, scorer, output)
        assert read_tables(output) == before
        if output == archive / "scores":
            shutil.rmtree(output)


def test_one_process_at_a_time(tmp_path: Path, archive: Path, scorer: Scorer) -> None:
    with State(tmp_path / "out"), pytest.raises(OutputError, match="Another process scores into"):
        score(archive, model=scorer, output=tmp_path / "out")
    with State(tmp_path / "out"):
        pass


def test_after_a_crash_what_was_in_hand_comes_last(
    tmp_path: Path, head_ct: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A series that takes the process with it each time must not keep the others from being scored."""
    monkeypatch.setattr("seriatim.scoring.state.IN_HAND", 1)
    uids = [one.series_uid for one in find_series(head_ct).series]

    def die(series: object) -> None:
        if series.series_uid == uids[3]:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    for already in (3, 11):
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, head_ct, scorer, tmp_path, stub=Stub(before=die))
        with State(tmp_path) as state:
            counts = state.count()
        assert sum(counts.values()) - counts["pending"] == already
    asked, _ = run(monkeypatch, head_ct, scorer, tmp_path)
    assert asked[-1] == uids[3]
    assert [row["series_uid"] for row in read_rows(tmp_path / "scores.csv")] == uids


@pytest.mark.parametrize("content", [b"no database, but long enough to be one", b"SQLite format 3\0" + b"x" * 500])
def test_a_damaged_state_is_told(tmp_path: Path, archive: Path, scorer: Scorer, content: bytes) -> None:
    (tmp_path / STATE).write_bytes(content)
    with pytest.raises(OutputError, match="Move it away"):
        score(archive, model=scorer, output=tmp_path)


def test_a_state_of_another_format_is_left_alone(tmp_path: Path, archive: Path, scorer: Scorer) -> None:
    database = sqlite3.connect(tmp_path / STATE)
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(OutputError, match="is of format 7"):
        score(archive, model=scorer, output=tmp_path)


def test_run_json_says_how_it_ended(
    tmp_path: Path, head_ct: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, head_ct, scorer, tmp_path)
    found = json.loads((tmp_path / "run.json").read_text())
    assert (found["ended"], found["pending"], found["gone"]) == ("finished", 0, 0)
    counts = found["counts"]
    assert counts["scored"] + counts["refused"] + counts["failed"] == counts["discovered"] == found["scored_now"]
    assert sum(found["reasons"].values()) == counts["refused"] + counts["failed"]
