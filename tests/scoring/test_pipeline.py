"""The pipeline: the same bits however it is run, nothing lost, bounded memory, and an end at once."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from seriatim.io import Limits, find_series
from seriatim.io.isolation import isolated
from seriatim.scoring import pipeline, score
from seriatim.scoring.engine import score_one
from seriatim.scoring.options import Options
from seriatim.scoring.pipeline import Resources, predict_all
from seriatim.scoring.pipeline_costs import STAGES, Costs, count_cores
from seriatim.series import Code, Prediction, Series
from seriatim.series.findings import find
from seriatim.trained import Ensemble, load_ensemble

PLANTED = ("-P", str(Path(__file__).parents[1] / "io" / "planted_worker.py"))
HERE = Limits(isolated=False)
isolating = pytest.mark.skipif(os.name == "nt", reason="Windows reads in one process")


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> Ensemble:
    """Scores without worker processes, which most of these tests do not need."""
    return replace(load_ensemble(tiny_run), limits=HERE)


@pytest.fixture(scope="module")
def series(head_ct: Path) -> tuple[Series, ...]:
    return find_series(head_ct).series


@pytest.fixture(scope="module")
def expected(series: Sequence[Series], model: Ensemble) -> list[Prediction]:
    """One series after the other."""
    return [score_one(one, model) for one in series]


def predict(series: Sequence[Series], model: Ensemble, **options: Any) -> list[Prediction]:
    """In the order of the series; each exactly once."""
    found = dict(predict_all(series, model, **options))
    assert sorted(found) == list(range(len(series)))
    return [found[index] for index in range(len(series))]


def check_same_bits(found: Prediction, expected: Prediction) -> None:
    for field in fields(Prediction):
        mine, other = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "seconds":
            assert mine > 0
        elif isinstance(mine, dict):
            assert mine.keys() == other.keys()
            assert all(np.array_equal(mine[name], other[name]) for name in mine), field.name
        else:
            assert np.array_equal(mine, other) if isinstance(mine, np.ndarray) else mine == other, field.name


@pytest.mark.parametrize("cases", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_no_bit_depends_on_how_a_batch_is_run(
    series: Sequence[Series], model: Ensemble, expected: list[Prediction], cases: int
) -> None:
    for case in range(cases):
        rng = random.Random(case)
        chosen = rng.sample(range(len(series)), rng.randint(1, len(series)))
        resources = Resources(workers=rng.randint(1, 5), threads=rng.randint(1, 4),
                              memory_bytes=rng.choice([None, 1, 300_000]))
        found = predict([series[place] for place in chosen], model, resources=resources)
        for place, one in zip(chosen, found, strict=True):
            check_same_bits(one, expected[place])


@isolating
@pytest.mark.parametrize("workers", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_worker_processes_change_no_bit(
    series: Sequence[Series], model: Ensemble, expected: list[Prediction], workers: int
) -> None:
    apart, costs = replace(model, limits=Limits()), Costs()
    for one, other in zip(predict(series, apart, resources=Resources(workers=workers, threads=2), costs=costs),
                          expected, strict=True):
        check_same_bits(one, other)
    assert all(costs.cpu_s[stage] > 0 for stage in ("decode", "read", "prepare", "network", "score"))
    told = costs.describe()
    assert list(told["cpu_seconds"]) == list(STAGES)
    assert 0 < told["cpu_efficiency"] < 1.2
    assert not alive_threads()


def test_what_is_wrong_with_a_series_is_its_row(series: Sequence[Series], model: Ensemble, tmp_path: Path) -> None:
    gone = replace(series[0].instances[0], path=tmp_path / "gone.dcm")
    broken = replace(series[1], instances=(gone, *series[1].instances[1:]))
    foreign = replace(series[2], modality="MR")
    found = predict([series[0], broken, foreign, series[3]], model)
    assert [one.status for one in found] == ["scored", "failed", "refused", "scored"]
    assert "cannot be read" in found[1].reason


def test_a_check_of_headers_that_breaks_is_a_row(
    series: Sequence[Series], model: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Ensemble.refuse

    def broken(self: Ensemble, one: Series) -> str:
        if one is series[1]:
            raise LookupError
        return whole(self, one)

    monkeypatch.setattr(Ensemble, "refuse", broken)
    found = dict(predict_all(series[:3], model))
    assert [found[place].status for place in range(3)] == ["scored", "failed", "scored"]
    assert found[1].reason.startswith("LookupError")


def test_no_more_workers_start_than_have_something_to_do(series: Sequence[Series]) -> None:
    assert pipeline._worthwhile(series, room=1 << 40) == 1
    large = replace(series[0], rows=4096, columns=4096)
    assert pipeline._worthwhile([large] * 100, room=1 << 40) == count_cores()
    unusable = replace(large, findings=(find(Code.TOO_LARGE, "no"),))
    assert pipeline._worthwhile([unusable] * 100, room=1 << 40) == 1


def test_no_more_workers_start_than_there_is_room_for(series: Sequence[Series]) -> None:
    large = [replace(series[0], rows=4096, columns=4096)] * 100
    assert pipeline._worthwhile(large, room=1) == 1
    assert pipeline._worthwhile(large, room=3 * pipeline.BYTES_FOR_A_WORKER) == min(3, count_cores())


def test_a_container_with_little_memory_bounds_what_is_worked_on(
    series: Sequence[Series], model: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = max(sum(pipeline._expect_bytes(one, model)) for one in series)
    monkeypatch.setattr(pipeline, "machine_bytes", lambda: 4 * 2 * each)  # a quarter is room for two
    costs = Costs()
    predict(series, model, resources=Resources(workers=4, threads=4), costs=costs)
    assert 0 < costs.peak_bytes <= 2 * each


def test_all_volumes_of_a_packed_file_are_counted(series: Sequence[Series], model: Ensemble, tmp_path: Path) -> None:
    stored, paths = np.zeros((16, 16, 4, 50), dtype=np.int16), [tmp_path / "a.nii", tmp_path / "a.nii.gz"]
    plain, packed = [], []
    for path, found in zip(paths, (plain, packed), strict=True):
        nib.save(nib.Nifti1Image(stored, np.eye(4)), path)
        found += find_series(path).series
    assert len(plain) == len(packed) == 50
    counts = [pipeline._expect_bytes(one, model)[0] for one in (plain[0], packed[0])]
    assert counts[0] == 4 * 16 * 16 * 4
    assert counts[1] - counts[0] >= stored.nbytes
    paths[1].write_bytes(b"gone bad")
    assert pipeline._expect_bytes(packed[0], model)[0] == counts[0]
    paths[1].unlink()
    assert pipeline._expect_bytes(packed[0], model)[0] == counts[0]


def test_an_empty_batch_starts_nothing(model: Ensemble) -> None:
    assert list(predict_all([], model)) == []


def test_memory_is_bounded_and_a_larger_series_goes_alone(series: Sequence[Series], model: Ensemble) -> None:
    each = [sum(pipeline._expect_bytes(one, model)) for one in series]
    for most in (1, max(each), 3 * max(each)):
        costs = Costs()
        found = predict(series, model, resources=Resources(workers=4, threads=4, memory_bytes=most), costs=costs)
        assert {one.status for one in found} == {"scored"}
        assert costs.peak_bytes <= max(most, max(each))


def test_nobody_runs_far_ahead_of_a_slow_caller(
    series: Sequence[Series], model: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MOST_DONE", 1)
    read: list[int] = []
    prepare = pipeline.prepare_one
    monkeypatch.setattr(pipeline, "prepare_one", lambda *given: (read.append(1), prepare(*given))[1])
    found = predict_all(series, model, resources=Resources(workers=1, threads=1))
    next(found)
    time.sleep(1)
    # one with the caller, one done, two with the scorers, one ready, one with the reader
    assert len(read) <= 6
    assert len(list(found)) == len(series) - 1


def alive_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(("seriatim-read", "seriatim-score"))]


@isolating
def test_closing_ends_everything_at_once(
    series: Sequence[Series], model: Ensemble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(isolated, "WORKER", PLANTED)
    (tmp_path / "bad-native-hang").symlink_to(series[-1].path)
    (hanging,) = find_series(tmp_path / "bad-native-hang").series
    started: list[int] = []
    take_in = isolated.WorkerGroup.take_in
    monkeypatch.setattr(isolated.WorkerGroup, "take_in",
                        lambda group, worker: (started.append(worker._process.pid), take_in(group, worker))[1])
    found = predict_all([hanging, *series], replace(model, limits=Limits()), resources=Resources(workers=2, threads=2))
    next(found)
    before = time.monotonic()
    found.close()
    assert time.monotonic() - before < 30  # the series that hangs would be waited for for a minute and more
    assert not alive_threads()
    assert len(started) == 2
    assert not any(Path(f"/proc/{process}").exists() for process in started)


def kill_first(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Kill the worker at its first calls, as an administrator or a system without memory does."""
    killed: list[int] = []
    call = isolated.Worker.call

    def struck(worker: isolated.Worker, *given: Any, **options: Any) -> Any:
        if len(killed) < times:
            killed.append(worker._process.pid)
            os.kill(worker._process.pid, signal.SIGKILL)
        return call(worker, *given, **options)

    monkeypatch.setattr(isolated.Worker, "call", struck)
    return killed


@isolating
@pytest.mark.parametrize(("times", "statuses"), [(1, ["scored"] * 3), (2, ["failed", "scored", "scored"])])
def test_a_killed_worker_costs_one_try(
    series: Sequence[Series], model: Ensemble, expected: list[Prediction], monkeypatch: pytest.MonkeyPatch, times: int,
    statuses: list[str],
) -> None:
    killed = kill_first(monkeypatch, times)
    found = predict(series[:3], replace(model, limits=Limits()), resources=Resources(workers=1))
    assert len(killed) == times
    assert [one.status for one in found] == statuses
    if times == 2:
        assert found[0].reason.startswith("DECODER_CRASH: The decoder died on it (SIGKILL")
    for one, other in zip(found, expected[:3], strict=True):
        if one.status == "scored":
            check_same_bits(one, other)


@pytest.mark.parametrize("stage", ["prepare_one", "finish_one"])
def test_a_broken_stage_is_told_to_the_caller(
    series: Sequence[Series], model: Ensemble, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def fail(*_: object) -> None:
        raise SystemError("a bug of ours")

    monkeypatch.setattr(pipeline, stage, fail)
    with pytest.raises(SystemError, match="a bug of ours"):
        list(predict_all(series, model))
    assert not alive_threads()


def test_the_callers_error_ends_the_pipeline(series: Sequence[Series], model: Ensemble) -> None:
    def use() -> None:
        for _ in predict_all(series, model, resources=Resources(workers=2, threads=2)):
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        use()
    assert not alive_threads()


def test_a_run_tells_where_its_time_went(tiny_scores: Path) -> None:
    stages = json.loads((tiny_scores / "run.json").read_text())["stages"]
    assert all(stages["cpu_seconds"][name] > 0 for name in ("discover", "decode", "prepare", "network", "write"))
    assert stages["wall_seconds"] > 0
    assert 0 < stages["cpu_efficiency"] < 1.2


def test_tables_are_the_same_bytes_with_any_resources(head_ct: Path, tiny_run: Path, tmp_path: Path) -> None:
    for name, resources in {"one": Resources(workers=1, threads=1), "many": Resources(workers=3, threads=2)}.items():
        score(head_ct, model=tiny_run, output=tmp_path / name, device="cpu",
              options=Options(seconds=False, resources=resources))
    for table in ("scores.csv", "slices.csv", "skipped.csv"):
        assert (tmp_path / "one" / table).read_bytes() == (tmp_path / "many" / table).read_bytes()
