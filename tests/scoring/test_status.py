"""seriatim status and score --dry-run: how far it is, and what would become of every series."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from rich.console import Console
from stub_batch import Stub, in_child

from seriatim.scoring import run as batch_run
from seriatim.scoring import score
from seriatim.scoring.options import Options
from seriatim.scoring.standing import read_standing
from seriatim.scoring.state import STATE
from seriatim.trained import Scorer, load_scorer
from tiny_runs import CommandLine, read_rows


@pytest.fixture(scope="module")
def scorer(tiny_run: Path) -> Scorer:
    return load_scorer(tiny_run)


def test_status_beside_a_running_one(
    tmp_path: Path, head_ct: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(done: int, of: int, _: object) -> None:
        def tell() -> None:  # as another process sees it
            (tmp_path / f"{done}.json").write_text(json.dumps(vars_of(tmp_path / "out")))

        if done in (1, 7, of):
            assert in_child(tell) == 0
            seen.append(json.loads((tmp_path / f"{done}.json").read_text()))

    monkeypatch.setattr(batch_run, "predict_all", Stub(delay_s=0.01))
    score(head_ct, model=scorer, output=tmp_path / "out", report=look)
    assert [one["run"] for one in seen] == ["running"] * 3
    assert [one["counts"]["pending"] for one in seen] == [11, 5, 0]
    assert all(one["per_minute"] > 0 for one in seen)
    assert seen[0]["seconds_left"] > seen[1]["seconds_left"] > seen[2]["seconds_left"] == 0
    ended = read_standing(tmp_path / "out")
    assert (ended.run, ended.per_minute, ended.looking) == ("finished", None, False)


def vars_of(folder: Path) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(read_standing(folder))


def test_status_tells_reasons_and_the_last_error(
    tmp_path: Path, head_ct: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch, seriatim_command: CommandLine
) -> None:
    monkeypatch.setattr(batch_run, "predict_all", Stub())
    summary = score(head_ct, model=scorer, output=tmp_path)
    told = seriatim_command("status", tmp_path)
    assert told.code == 0
    assert "run: finished" in told.out
    assert "done: 12 of 12 series, 0 left" in told.out
    for code, number in summary["reasons"].items():
        assert f"{number} x {code}" in told.out
    found = json.loads(seriatim_command("status", tmp_path, "--json").out)
    assert found["reasons"] == summary["reasons"]
    assert found["last_error"] == ("TRUNCATED: it is damaged." if found["counts"]["failed"] else "")


def test_status_of_a_killed_run_in_a_folder_that_cannot_be_written(
    tmp_path: Path, head_ct: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "predict_all", Stub(delay_s=5))
    assert in_child(lambda: score(head_ct, model=scorer, output=tmp_path / "out"), kill_after_s=0.8) == -9
    standing = read_standing(tmp_path / "out")
    assert standing.run == "ended without a word"
    assert sum(standing.counts.values()) in (0, 12)


def test_status_of_nothing(tmp_path: Path, seriatim_command: CommandLine) -> None:
    told = seriatim_command("status", tmp_path)
    assert told.code == 2
    assert "nothing was scored into it" in told.err
    database = sqlite3.connect(tmp_path / STATE)
    database.execute("PRAGMA user_version = 9")
    database.close()
    told = seriatim_command("status", tmp_path)
    assert told.code == 2
    assert "another version" in told.err


def test_a_dry_run_lists_every_series_and_writes_nothing(
    tmp_path: Path, head_ct: Path, tiny_run: Path, seriatim_command: CommandLine
) -> None:
    data = tmp_path / "data"
    for row in read_rows(head_ct / "labels.csv")[:3]:
        shutil.copytree(head_ct / row["path"], data / row["path"])
    gappy = next(iter((data / "series").iterdir()))
    sorted(gappy.iterdir())[7].unlink()
    options = ("--model", tiny_run, "--device", "cpu", "--output", tmp_path / "out")
    told = seriatim_command("score", data, *options, "--dry-run", "--report", tmp_path / "plan.json")
    assert told.code == 8
    assert not (tmp_path / "out").exists()
    lines = told.out.splitlines()
    assert sum(line.startswith("score   ") for line in lines) == 2
    (refused,) = (line for line in lines if line.startswith("refuse  "))
    assert str(gappy) in refused
    assert "GAP" in refused
    assert "2 of 3 series would be scored, 1 refused" in told.out
    assert "cores are busy" in told.out
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert len(plan["series"]) == 3
    assert 0 < plan["cost"]["seconds_busy"] <= plan["cost"]["seconds_waiting"]
    assert plan["cost"]["cpu_seconds"]["network"] > 0
    assert plan["cost"]["memory_mb"] > 50
    done = seriatim_command("score", data, *options)
    assert done.code == told.code
    rows = read_rows(tmp_path / "out" / "scores.csv")
    assert [row["reason"] for row in rows] == [one["reason"] for one in plan["series"]]
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert 0.2 < plan["cost"]["disk_mb"] * (1 << 20) / written < 3


def test_a_report_and_formats_by_the_command(
    tmp_path: Path, head_ct: Path, tiny_run: Path, seriatim_command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "predict_all", Stub())
    command = ("score", head_ct, "--model", tiny_run, "--device", "cpu", "--output", tmp_path / "out")
    done = seriatim_command(*command, "--format", "jsonl", "--report", tmp_path / "report.json")
    assert done.code == 8
    assert (tmp_path / "report.json").read_bytes() == (tmp_path / "out" / "run.json").read_bytes()
    assert not (tmp_path / "out" / "scores.csv").exists()
    again = seriatim_command(*command)
    assert "were done before" in again.out
    assert seriatim_command(*command, "--format", "xls").code == 2


def test_options_of_another_kind_change_nothing(tmp_path: Path, head_ct: Path, scorer: Scorer,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub()
    monkeypatch.setattr(batch_run, "predict_all", stub)
    score(head_ct, model=scorer, output=tmp_path)
    done = len(stub.asked)
    score(head_ct, model=scorer, output=tmp_path, options=Options(formats=("jsonl",), seconds=False))
    assert len(stub.asked) - done == json.loads((tmp_path / "run.json").read_text())["counts"]["failed"]


def test_the_live_lines_tell_stages_and_counts(head_ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stub_batch import stub_prediction

    from seriatim.cli import score_bar
    from seriatim.io import find_series
    from seriatim.scoring.pipeline_costs import Costs

    costs, now, asked = Costs(), [1000.0], [False]
    monkeypatch.setattr(score_bar, "monotonic", lambda: now[0])
    bar = score_bar.ScoreBar(costs, stopping=lambda: asked[0])
    assert list(bar.lines()) == ["looking for series"]
    now[0] += 5000  # a long search says nothing of the time that scoring takes
    with costs.alone("discover"):
        pass
    assert list(bar.lines()) == ["reading the first series"]
    series = [one for one in find_series(head_ct).series if stub_prediction(one).status == "scored"][:2]
    for done, one in enumerate(series, start=9):
        now[0] += 30
        costs.count("read")
        costs.count("score")
        bar.report(done, 12, stub_prediction(one))
        lines = list(bar.lines())
    assert lines == ["read and prepared: 2 series, 2.0 a minute", "through the network: 2 series, 2.0 a minute",
                     "done: 10 of 12 series, 2.0 a minute, 0:01:00 left", "2 scored, 0 refused, 0 failed"]
    asked[0] = True
    now[0] += 60
    *lines, last = bar.lines()
    assert lines[2] == "done: 10 of 12 series, 1.0 a minute, 0:02:00 left"
    assert last.startswith("finishing the series in hand")
    now[0] += 10 * score_bar.WINDOW_S
    assert list(bar.lines())[2] == "done: 10 of 12 series, 0.0 a minute"


def test_no_live_line_is_wider_than_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from seriatim.cli import score_bar
    from seriatim.scoring.pipeline_costs import Costs

    costs, now = Costs(), [0.0]
    monkeypatch.setattr(score_bar, "monotonic", lambda: now[0])
    bar = score_bar.ScoreBar(costs, stopping=lambda: True)
    bar._done, bar._of = 1, 1_000_000
    costs.passed.update(read=1, score=1)
    list(bar.lines())
    now[0] = 110.0
    costs.passed.update(read=123_456, score=123_456)
    bar._counts.update(scored=100)
    assert max(map(len, bar.lines())) < 80
    assert len(Console(width=40).render_lines(bar._render())) == 5


def test_the_pipeline_counts_what_is_through_each_stage(tmp_path: Path, head_ct: Path, scorer: Scorer) -> None:
    from seriatim.scoring.pipeline_costs import Costs

    costs = Costs()
    score(head_ct, model=scorer, output=tmp_path, options=Options(costs=costs))
    assert dict(costs.passed) == {"read": 12, "score": 12}


def test_a_folder_whose_name_is_no_text(tmp_path: Path, head_ct: Path, tiny_run: Path, seriatim_command: CommandLine,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_run, "predict_all", Stub())
    output = tmp_path / os.fsdecode(b"out\n\xff")
    told = seriatim_command("score", head_ct, "--model", tiny_run, "--output", output)
    assert "out\\n\\xff" in told.out
    assert seriatim_command("status", output).out.startswith("run: finished")


def test_a_state_that_was_emptied(tmp_path: Path, seriatim_command: CommandLine) -> None:
    (tmp_path / STATE).write_bytes(b"")
    told = seriatim_command("status", tmp_path)
    assert told.code == 2
    assert "cut short. Move it away" in told.err


def test_a_folder_without_images(tmp_path: Path, tiny_run: Path, seriatim_command: CommandLine) -> None:
    (tmp_path / "in").mkdir()
    told = seriatim_command("score", tmp_path / "in", "--model", tiny_run, "--output", tmp_path / "out")
    assert (told.code, "No series was found" in told.err) == (3, True)


def test_a_report_that_cannot_be_written_is_told_before_scoring(
    tmp_path: Path, head_ct: Path, tiny_run: Path, seriatim_command: CommandLine
) -> None:
    for report in (tmp_path, tmp_path / "missing" / "run.json"):
        told = seriatim_command("score", head_ct, "--model", tiny_run, "--output", tmp_path / "out", "--report", report)
        assert told.code == 2
        assert "in a folder that is there" in told.err
    assert not (tmp_path / "out").exists()


def test_warnings_stand_above_the_live_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import logging
    import sys

    from seriatim.cli import _StderrHandler

    record = logging.LogRecord("seriatim", logging.WARNING, "", 0, "a series failed", (), None)
    handler, live = _StderrHandler(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", live)  # as rich does while live lines stand
    handler.emit(record)
    assert live.getvalue() == "a series failed\n"
