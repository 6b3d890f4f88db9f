"""Work done ahead: always in order, in threads only where it waits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from dicom_files import make_stack, random_stack, save_stack

from seriatim.io import ahead, find_series, walk
from seriatim.io.ahead import map_ahead
from seriatim.io.source import read_head


@pytest.mark.parametrize("count", [0, 1, ahead.TIMED, ahead.TIMED + 1, 1200])
@pytest.mark.parametrize("slow", [False, True])
def test_results_come_in_order(monkeypatch: pytest.MonkeyPatch, count: int, slow: bool) -> None:
    monkeypatch.setattr(ahead, "SLOW_SECONDS", -1.0 if slow else 1e9)
    names: set[str] = set()

    def work(item: int) -> int:
        names.add(threading.current_thread().name)
        return item * item

    assert list(map_ahead(work, range(count))) == [item * item for item in range(count)]
    assert any(name.startswith("seriatim-ahead") for name in names) == (slow and count > ahead.TIMED)


def test_work_that_waits_is_done_side_by_side() -> None:
    inside, most = set(), []

    def wait(item: int) -> None:
        inside.add(item)
        most.append(len(inside))
        time.sleep(0.01)
        inside.remove(item)

    list(map_ahead(wait, range(200)))
    assert max(most) > 1


def test_an_error_is_raised_where_its_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "SLOW_SECONDS", -1.0)
    results = map_ahead(lambda item: 1 // (item - 20), range(30))
    assert len([next(results) for _ in range(20)]) == 20
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_slow_storage_gives_the_same_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        save_stack(make_stack(random_stack(9, seed=seed), SeriesInstanceUID=f"1.2.{seed + 1}"), tmp_path / str(seed))
    (tmp_path / "1" / "empty").write_bytes(b"")
    expected = find_series(tmp_path)

    def read_slowly(path: Path, count: int) -> tuple[bytes, int]:
        time.sleep(0.002)
        return read_head(path, count)

    monkeypatch.setattr(walk, "read_head", read_slowly)
    found = find_series(tmp_path)
    assert repr(found.series) == repr(expected.series)
    assert found.skipped == expected.skipped
