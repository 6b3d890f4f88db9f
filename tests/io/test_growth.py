"""Twice as many odd things cost twice as much: steps of Python and of SQLite are counted, never seconds."""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from seriatim.io import discover, time_frames
from seriatim.io.dicom import duplicates
from seriatim.io.dicom.coverage import name_like, note_broken
from seriatim.io.dicom.groups import PlaneGroup, group_planes
from seriatim.io.dicom.plane import Plane, Stored
from seriatim.io.dicom.series import build_series
from seriatim.io.dicom.shelf import PlaneShelf
from seriatim.scoring.state import Row, State
from seriatim.series import Code
from seriatim.series.findings import find
from seriatim.series.series import Instance, Series
from seriatim.series.spacing import find_gaps

MORE = 2.3
"""Twice the steps, and some for what is sorted; what is quadratic takes nearly four times as many."""
PLANE = Plane(
    path=Path("a"), frame=None, sop_instance_uid="1", sop_class_uid="1.2.840.10008.5.1.4.1.1.4", study_uid="1",
    series_uid="2", modality="MR", rows=4, columns=5, position=(0.0, 0.0, 0.0),
    orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), spacing_mm=(1.0, 1.0), number=1, traits={},
    stored=Stored(photometric="MONOCHROME2", layout=(16, 16, 15, 0), rescale=(None, None)),
)


def count_steps(work: Callable[[], object]) -> int:
    """The bytecodes that run in ``work``."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


class CountingPath(type(Path())):  # type: ignore[misc]
    """Counts how often it is looked up."""

    looked_up = 0

    def __hash__(self) -> int:
        CountingPath.looked_up += 1
        return super().__hash__()


def plane_at(z: float, number: int, **more: Any) -> Plane:
    return replace(PLANE, path=Path(str(number)), sop_instance_uid=str(number), number=number,
                   position=(0.0, 0.0, z), **more)


def times_twice(count: int) -> list[Plane]:
    """A 4D series of which each slice lies in two folders."""
    return [replace(plane_at(2.0 * z, 3 * time + z, traits={"TemporalPositionIdentifier": float(time)}),
                    path=CountingPath(f"{folder}/{time}-{z}"))
            for time in range(count // 6) for z in range(3) for folder in "ab"]


def numbered_volumes(count: int) -> list[Plane]:
    """Volumes that only numbers tell apart, one slice missing."""
    return [plane_at(2.0 * (index % 3), index) for index in range(count) if index != count - 2]


def test_volumes_that_numbers_tell_apart() -> None:
    few, many = numbered_volumes(240), numbered_volumes(480)
    build_series(few, path=Path())
    steps = [count_steps(lambda planes=planes: build_series(planes, path=Path())) for planes in (few, many)]
    assert steps[1] < MORE * steps[0]


def test_copies_in_a_series_of_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "pixel_digest", lambda _: b"")

    def look_up(count: int) -> int:
        planes, before = times_twice(count), CountingPath.looked_up
        volumes = build_series(planes, path=Path())
        assert [finding.numbers for one in volumes for finding in one.findings] == [{"copies": 3}] * (count // 6)
        return CountingPath.looked_up - before

    assert look_up(480) < MORE * look_up(240)


def test_holes_between_slices() -> None:
    few, many = (np.cumsum([1.0, 1.0, 1.0, 3.0, 5.0, 9.0] * count) for count in (40, 80))
    assert len(find_gaps(few)) == 40 * 3 - 1 + 1
    assert count_steps(lambda: find_gaps(many)) < MORE * count_steps(lambda: find_gaps(few))


def test_a_header_may_skip_any_instance_number() -> None:
    planes = [plane_at(2.0 * index, index + 1) for index in range(4)]
    (series,) = build_series([*planes, plane_at(40.0, 2_000_000_000)], path=Path())
    assert not series.usable

    def build(last: int) -> Callable[[], object]:
        return lambda: build_series([*planes, plane_at(40.0, last)], path=Path())

    assert count_steps(build(2_000_000_000)) < 1.1 * count_steps(build(2_000))


def count_sql(database: sqlite3.Connection, work: Callable[[], object]) -> int:
    """About how many steps of SQLite ``work`` takes, in tens."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    database.set_progress_handler(step, 10)
    work()
    return count


def test_one_series_uid_in_many_studies() -> None:
    def count(studies: int) -> int:
        with PlaneShelf() as filled:
            for index in range(studies):
                filled.put([plane_at(2.0 * index, index, study_uid=f"1.{index}")])
            found: list[PlaneGroup] = []
            steps = count_sql(filled._database, lambda: found.extend(group_planes(filled)))
        assert len(found) == studies
        assert all(group.notes for group in found)
        return steps

    assert count(400) < MORE * count(200)


def make_volume(uid: str, time: int, *, broken: bool = False) -> Series:
    instances = tuple(Instance(path=Path(f"{uid}/{time}{z}"), sop_instance_uid=f"{time}.{z}", frame=None,
                               position=2.0 * z) for z in range(2))
    findings = (find(Code.UNREADABLE, "broken"),) if broken else ()
    return Series(study_uid="1", series_uid=uid, modality="MR", axis="space", format="dicom", path=Path(uid),
                  instances=instances, rows=4, columns=4, affine=np.eye(4), volume=f"t {time}", findings=findings)


def test_many_series_in_time_with_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_frames, "_make_reader", lambda: lambda _: [])

    def make(count: int) -> list[Series]:
        return [make_volume(str(uid), time, broken=time == 2) for uid in range(count) for time in range(3)]

    clips = time_frames.turn_to_frames(make(2))
    assert [finding.code for one in clips if one.axis == "time" for finding in one.findings] == [
        "GAP", "MISSING_GEOMETRY"] * 4
    few, many = make(30), make(60)
    assert count_steps(lambda: time_frames.turn_to_frames(many)) < MORE * count_steps(
        lambda: time_frames.turn_to_frames(few))


def test_damaged_files_beside_series() -> None:
    series = replace(make_volume("x", 1), path=Path("x"))
    broken = Counter({name_like(Path(f"{folder}/a.dcm")): 3 for folder in range(1000)})
    broken[Path("x"), ""] = 2
    told = note_broken(series, broken)
    assert [finding.numbers["files"] for finding in told.findings] == [2]
    alone = Counter({(Path("x"), ""): 2})
    assert count_steps(lambda: note_broken(series, broken)) < 2 * count_steps(lambda: note_broken(series, alone))


def test_tiffs_of_one_and_of_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "_has_pages", lambda path, _: int(path.name) % 2 == 0)
    monkeypatch.setattr(discover, "_find_each", lambda paths, *_: (list(paths), []))
    monkeypatch.setattr(discover, "_find_stacks", lambda paths, *_: (list(paths), []))

    def look_up(count: int) -> int:
        files = discover._Files()
        files.by_kind["tiff"] = [CountingPath(str(index)) for index in range(count)]
        before = CountingPath.looked_up
        assert len(discover._find_frames(files, None)[0]) == count
        return CountingPath.looked_up - before

    assert look_up(200) <= MORE * look_up(100)


def test_series_that_were_moved(tmp_path: Path) -> None:
    def count(moved: int) -> int:
        def rows(folder: str) -> list[tuple[Row, bool]]:
            return [(Row(path=f"{folder}/{index}", study_uid="1", series_uid=str(index), volume="", number=0,
                         first_file=f"{folder}/{index}/a", asked=True, facts="", stamp=""), False)
                    for index in range(moved)]

        with State(tmp_path / str(moved)) as state:
            state.look(rows("before"), (), root=tmp_path, relative=str)
            state.look(rows("after"), (), root=tmp_path, relative=str)
            assert state.count()["gone"] == moved
            steps = count_sql(state._database, lambda: state.forget_moved(lambda _: False))
            assert state.count()["gone"] == 0
        return steps

    assert count(400) < MORE * count(200)
