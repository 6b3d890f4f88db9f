"""score --watch: what arrives is scored when it is complete, and again when more of it comes."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stub_batch import Stub, in_child, read_tables, stub_prediction

from seriatim.errors import InputError
from seriatim.io.growing import RestingFiles
from seriatim.scoring import inbox, score, watch_folder
from seriatim.scoring import run as batch_run
from seriatim.scoring.options import Options
from seriatim.scoring.standing import read_standing
from seriatim.trained import Scorer, load_scorer
from tiny_runs import read_rows

SETTLE_S = 0.4


@pytest.fixture(scope="module")
def scorer(tiny_run: Path) -> Scorer:
    return load_scorer(tiny_run)


@pytest.fixture
def cases(head_ct: Path) -> list[Path]:
    """Folders of series that the stub scores."""
    from seriatim.io import find_series

    return [one.path for one in find_series(head_ct).series if stub_prediction(one).status == "scored"]


class Watching:
    """A watch in a thread of this process, and what it asked for."""

    def __init__(self, folder: Path, scorer: Scorer, output: Path, **options: object) -> None:
        self.stub, self._stop, self.summary = Stub(), threading.Event(), {}
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(batch_run, "predict_all", self.stub)
        self._patch.setattr(inbox, "MOST_WAIT_S", 0.05)
        self._patch.setattr(inbox, "TABLES_SHARE", 1.0)
        arguments = {"model": scorer, "output": output, "stop": self._stop.is_set, "settle_s": SETTLE_S,
                     "options": Options(seconds=False, gone="keep"), **options}
        self._thread = threading.Thread(target=lambda: self.summary.update(watch_folder(folder, **arguments)))

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        self._patch.undo()
        assert not self._thread.is_alive()


def wait_for(what: Callable[[], bool], *, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def rows_of(output: Path) -> list[dict[str, str]]:
    return read_rows(output / "scores.csv") if (output / "scores.csv").is_file() else []


def test_series_are_scored_when_they_are_complete(tmp_path: Path, cases: list[Path], scorer: Scorer) -> None:
    arriving, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(cases[0], arriving / "a")
    with Watching(arriving, scorer, output) as watching:
        wait_for(lambda: len(rows_of(output)) == 1)
        (arriving / "b").mkdir()
        moments = [time.monotonic()]
        for file in sorted(cases[1].iterdir()):  # slice by slice, for longer than a series must rest
            shutil.copy2(file, arriving / "b")  # with the times of its source
            time.sleep(0.03)
            moments.append(time.monotonic())
        if np.diff(moments).max() > SETTLE_S / 2:
            pytest.skip("the machine is too busy to copy slice after slice")
        wait_for(lambda: len(rows_of(output)) == 2)
        assert len(watching.stub.asked) == 2
        shutil.copy(next(cases[2].iterdir()), arriving / "late.dcm.part")
        time.sleep(3 * SETTLE_S)
        assert len(watching.stub.asked) == 2  # is still being written, its name says
    (arriving / "late.dcm.part").unlink()
    score(arriving, model=scorer, output=output, options=Options(seconds=False))
    patched = pytest.MonkeyPatch()
    patched.setattr(batch_run, "predict_all", Stub())
    score(arriving, model=scorer, output=tmp_path / "whole", options=Options(seconds=False))
    patched.undo()
    assert read_tables(output) == read_tables(tmp_path / "whole")


def test_more_of_a_series_scores_it_again_and_what_is_taken_away_stays_a_row(
    tmp_path: Path, cases: list[Path], scorer: Scorer
) -> None:
    arriving, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(cases[0], arriving / "a")
    last = max((arriving / "a").iterdir())
    last.rename(tmp_path / "last")
    filed: list[str] = []
    with Watching(arriving, scorer, output, keep=lambda series, _: filed.append(series.series_uid)) as watching:
        wait_for(lambda: len(rows_of(output)) == 1)
        first = rows_of(output)[0]
        (tmp_path / "last").rename(last)
        wait_for(lambda: len(watching.stub.asked) == 2)
        wait_for(lambda: rows_of(output)[0]["slices"] != first["slices"])
        shutil.rmtree(arriving / "a")
        shutil.copytree(cases[1], arriving / "b")
        wait_for(lambda: len(rows_of(output)) == 2)
        wait_for(lambda: len(filed) == 3)
    assert watching.summary["gone"] == 1
    assert [int(row["slices"]) for row in rows_of(output)][1] == int(first["slices"]) + 1
    assert len(watching.stub.asked) == 3


def test_what_fails_is_not_tried_again_and_again(tmp_path: Path, head_ct: Path, scorer: Scorer) -> None:
    from seriatim.io import find_series

    found = find_series(head_ct).series
    failing = next((one for one in found if stub_prediction(one).status == "failed"), None)
    if failing is None:
        pytest.skip("the stub fails none of these series")
    good = next(one for one in found if stub_prediction(one).status == "scored")
    arriving, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(failing.path, arriving / "a")
    with Watching(arriving, scorer, output) as watching:
        wait_for(lambda: len(rows_of(output)) == 1)
        shutil.copytree(good.path, arriving / "b")
        wait_for(lambda: len(rows_of(output)) == 2)
    assert watching.stub.asked == [failing.series_uid, good.series_uid]


def test_sigterm_ends_a_watch_in_good_order(
    tmp_path: Path, cases: list[Path], tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.cli import main

    arriving, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(cases[0], arriving / "a")
    monkeypatch.setattr(batch_run, "predict_all", Stub())
    monkeypatch.setattr(inbox, "MOST_WAIT_S", 0.05)
    monkeypatch.setattr("sys.argv", ["seriatim", "score", str(arriving), "--model", str(tiny_run), "--output",
                                     str(output), "--device", "cpu", "--watch", "--settle", "1"])

    def work() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        parent = os.getppid()
        threading.Thread(target=lambda: (wait_for(lambda: (output / "scores.csv").is_file() and bool(rows_of(output))),
                                         os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start()
        assert parent
        try:
            main()
        except SystemExit as done:
            os._exit(int(done.code or 0))

    assert in_child(work) == 0  # nothing was left
    assert read_standing(output).run == "finished"
    assert len(rows_of(output)) == 1


def test_files_rest_when_they_did_not_change_for_a_while(tmp_path: Path) -> None:
    file = tmp_path / "a" / "one.dcm"
    file.parent.mkdir()
    file.write_bytes(b"1")
    (tmp_path / "out").mkdir()
    files = RestingFiles(folder=tmp_path, settle_s=0.2, ignored=lambda path: path.parent.name == "out")
    assert not files.look()
    assert not files.rest([file])
    time.sleep(0.25)
    assert files.look()  # came to rest
    assert files.rest([file, file.parent])
    (tmp_path / "out" / "scores.csv").write_text("")
    assert not files.look()
    file.write_bytes(b"12")
    assert files.look()  # is in motion again
    assert not files.rest([file])
    time.sleep(0.25)
    assert files.look()
    told = file.stat()
    (tmp_path / "new").write_bytes(b"34")
    os.utime(tmp_path / "new", ns=(told.st_atime_ns, told.st_mtime_ns))
    (tmp_path / "new").replace(file)  # another file of the same size and time
    assert files.look()
    assert not files.rest([file])
    file.unlink()
    files.look()
    assert not files.rest([file])


@pytest.mark.parametrize("place", ["out", ""])
def test_tables_in_the_watched_folder_are_no_news(
    tmp_path: Path, cases: list[Path], scorer: Scorer, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    shutil.copytree(cases[0], tmp_path / "in" / "a")
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "in" / place
    with Watching(Path("in"), scorer, output):
        wait_for(lambda: len(rows_of(output)) == 1)
        time.sleep(2 * SETTLE_S)  # the series came to rest, and the tables told it
        before = (output / "scores.csv").stat().st_mtime_ns
        time.sleep(4 * SETTLE_S)
        assert (output / "scores.csv").stat().st_mtime_ns == before


def test_only_a_folder_can_be_watched(tmp_path: Path, scorer: Scorer) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        watch_folder(tmp_path / "file", model=scorer, output=tmp_path / "out", stop=lambda: True)
