"""Killed (SIGKILL) at any moment, out of disk at any write: nothing lost, nothing twice, the same tables in the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stub_batch import TABLES, Stub, in_child, read_tables

from seriatim.errors import OutputError
from seriatim.scoring import run as batch_run
from seriatim.scoring import score, state
from seriatim.scoring.options import Options
from seriatim.scoring.sinks import Sink
from seriatim.scoring.standing import read_standing
from seriatim.trained import Scorer, load_scorer
from tiny_runs import read_rows

PLAIN = Options(seconds=False)
DONE = "SELECT series_uid FROM series WHERE status IN ('scored', 'refused')"
NO_SPACE = 7
PLACES = (21, 53, 96, 98, 104)
"""Of 107: in the look, at a result, and before each of some files is put in place."""


@pytest.fixture(scope="module")
def scorer(tiny_run: Path) -> Scorer:
    return load_scorer(tiny_run)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, head_ct: Path, scorer: Scorer) -> dict[str, bytes]:
    """The tables of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batch_run, "predict_all", Stub())
        score(head_ct, model=scorer, output=folder, options=PLAIN)
    return read_tables(folder)


def read_done(folder: Path) -> set[str]:
    """The series that the state says are done, read beside whoever writes it."""
    if not (folder / state.STATE).is_file():
        return set()
    database = sqlite3.connect(folder / state.STATE)
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {uid for (uid,) in database.execute(DONE)}
    except sqlite3.OperationalError:  # killed before it had a table
        return set()
    finally:
        database.close()


def read_log(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.is_file() else []


def kill_again_and_again(
    folder: Path, data: Path, scorer: Scorer, *, kills: int, seed: int, most_s: float, patch: pytest.MonkeyPatch
) -> int:
    """Start and kill; how often it was killed before it came to its end. What was done is never asked for again."""
    chance, log, killed = random.Random(seed), folder / "asked.txt", 0
    patch.setattr(batch_run, "predict_all", Stub(log=log, delay_s=0.01, backwards=bool(seed % 2)))
    for _ in range(kills):
        done, before = read_done(folder), len(read_log(log))
        code = in_child(lambda: score(data, model=scorer, output=folder, options=PLAIN),
                        kill_after_s=chance.uniform(0, most_s))
        killed += code == -signal.SIGKILL
        assert not done & set(read_log(log)[before:])
        assert done <= read_done(folder)
        for name in TABLES:  # whole or not there
            if (folder / name).exists():
                assert read_rows(folder / name) is not None
                assert (folder / name).read_bytes().endswith(b"\r\n")
    return killed


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments(
    tmp_path: Path, head_ct: Path, scorer: Scorer, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    kill_again_and_again(out, head_ct, scorer, kills=4, seed=seed, most_s=0.6, patch=monkeypatch)
    score(head_ct, model=scorer, output=out, options=PLAIN)
    assert read_tables(out) == whole
    assert not list(out.glob("*.partial"))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_a_hundred_times(
    tmp_path: Path, head_ct: Path, scorer: Scorer, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "predict_all", Stub(delay_s=0.01))
    started = time.perf_counter()
    assert in_child(lambda: score(head_ct, model=scorer, output=tmp_path / "timed", options=PLAIN)) == 0
    most_s, killed = time.perf_counter() - started, 0
    for seed in range(100):
        if killed >= 100:
            break
        folder = tmp_path / str(seed)
        folder.mkdir()
        killed += kill_again_and_again(folder, head_ct, scorer, kills=6, seed=seed, most_s=most_s, patch=monkeypatch)
        score(head_ct, model=scorer, output=folder, options=PLAIN)
        assert read_tables(folder) == whole, seed
    assert killed >= 100


class Place:
    """Dies at the N-th place where something is changed: a statement of SQL, a file opened to write or put in place."""

    def __init__(self, number: int, folder: Path) -> None:
        self.left, self._folder = number, str(folder)

    def count(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        written = event == "open" and self._folder in str(arguments[0]) and set("wa") & set(str(arguments[1]))
        if written or event == "os.rename":
            self.count()

    def watch(self) -> None:
        """From here on, in this process for good."""
        original = state.open_database

        def open_database(path: Path) -> sqlite3.Connection:
            database = original(path)
            database.set_trace_callback(self.count)
            return database

        state.open_database = open_database  # only ever called in a forked process
        sys.addaudithook(self.audit)


def die_at(place: int, folder: Path, data: Path, scorer: Scorer) -> int:
    def work() -> None:
        Place(place, folder).watch()
        score(data, model=scorer, output=folder, options=PLAIN)

    return in_child(work)


def test_killed_at_a_place(
    tmp_path: Path, head_ct: Path, scorer: Scorer, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two statements of the look, around a result, and while tables are put in place."""
    monkeypatch.setattr(batch_run, "predict_all", Stub())
    for place in PLACES:
        folder = tmp_path / str(place)
        code = die_at(place, folder, head_ct, scorer)
        assert code in (0, -signal.SIGKILL)
        score(head_ct, model=scorer, output=folder, options=PLAIN)
        assert read_tables(folder) == whole, place


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_at_every_place(
    tmp_path: Path, head_ct: Path, scorer: Scorer, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "predict_all", Stub())
    for place in range(1, 1000):
        folder = tmp_path / str(place)
        if die_at(place, folder, head_ct, scorer) == 0:
            assert place > 100
            return
        score(head_ct, model=scorer, output=folder, options=PLAIN)
        assert read_tables(folder) == whole, place
    pytest.fail("it never came to its end")


def place_one_and_die(folder: Path, data: Path, scorer: Scorer) -> None:
    place, placed = Sink.place, []

    def place_and_die(sink: Sink) -> None:
        if placed:
            os.kill(os.getpid(), signal.SIGKILL)
        placed.append(sink)
        place(sink)

    Sink.place = place_and_die  # type: ignore[method-assign]
    score(data, model=scorer, output=folder, options=PLAIN)


def test_killed_between_two_tables_and_nothing_left_to_score(
    tmp_path: Path, head_ct: Path, scorer: Scorer, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is the truth: a run that has nothing to do makes the tables of it."""
    monkeypatch.setattr(batch_run, "predict_all", Stub())
    failed = {row["series_uid"] for row in read_table(whole, "scores.csv", tmp_path) if row["status"] == "failed"}
    assert in_child(lambda: place_one_and_die(tmp_path / "out", head_ct, scorer)) == -signal.SIGKILL
    found = [name for name in TABLES if (tmp_path / "out" / name).exists()]
    assert len(found) == 1
    monkeypatch.setattr(batch_run, "predict_all", again := Stub())
    score(head_ct, model=scorer, output=tmp_path / "out", options=PLAIN)
    assert set(again.asked) == failed
    assert read_tables(tmp_path / "out") == whole


def read_table(tables: dict[str, bytes], name: str, folder: Path) -> list[dict[str, str]]:
    (folder / name).write_bytes(tables[name])
    return read_rows(folder / name)


def test_what_is_put_in_place_outlasts_a_power_cut(
    tmp_path: Path, head_ct: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is flushed before it is put in place, and the folder after all are."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def tell_fsync(handle: int) -> None:
        steps.append(f"flush {Path(f'/proc/self/fd/{handle}').readlink().name}")
        fsync(handle)

    def tell_replace(path: Path, target: Path) -> Path:
        steps.append(f"place {path.name}")
        return replace(path, target)

    monkeypatch.setattr(batch_run, "predict_all", Stub())
    monkeypatch.setattr(os, "fsync", tell_fsync)
    monkeypatch.setattr(Path, "replace", tell_replace)
    score(head_ct, model=scorer, output=tmp_path / "out", options=PLAIN)
    for name in (*TABLES, "run.json"):
        assert steps.index(f"flush {name}.partial") < steps.index(f"place {name}.partial")
    assert steps[-2:] == ["place run.json.partial", "flush out"]


def score_or_tell(data: Path, scorer: Scorer, folder: Path) -> None:
    try:
        score(data, model=scorer, output=folder, options=PLAIN)
    except OutputError:
        os._exit(NO_SPACE)


@pytest.mark.parametrize("most_bytes", [0, 3_000, 5_000, 30_000, 60_000, 75_000])
def test_no_file_may_grow_further(
    tmp_path: Path, head_ct: Path, scorer: Scorer, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch,
    most_bytes: int,
) -> None:
    """A limit on the size of files ends the writes one after the other: lock, state, write-ahead log, tables."""
    monkeypatch.setattr(batch_run, "predict_all", Stub(log=tmp_path / "asked.txt"))
    score_or_tell(head_ct, scorer, tmp_path / "out")
    before = read_tables(tmp_path / "out")
    assert before == whole
    database = sqlite3.connect(tmp_path / "out" / state.STATE)
    database.execute("UPDATE series SET status = 'pending', prediction = NULL")
    database.commit()
    database.close()

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
        score_or_tell(head_ct, scorer, tmp_path / "out")

    assert in_child(work) == NO_SPACE
    assert read_tables(tmp_path / "out") == before  # nothing half in place
    done = read_done(tmp_path / "out")
    (tmp_path / "asked.txt").unlink(missing_ok=True)
    score(head_ct, model=scorer, output=tmp_path / "out", options=PLAIN)
    assert read_tables(tmp_path / "out") == whole
    assert not done & set(read_log(tmp_path / "asked.txt"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB. Skips where it cannot be made."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
                          check=False, capture_output=True) if sys.platform == "linux" and os.geteuid() == 0 else None
    if made is None or made.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(
    small_disk: Path, head_ct: Path, scorer: Scorer, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "predict_all", Stub())
    filler, full = small_disk / "filler", []
    for free_kib in (0, 16, 48, 96, 160):
        filler.write_bytes(b"x" * 1024 * (1024 - free_kib))
        with contextlib.suppress(OutputError):
            score(head_ct, model=scorer, output=small_disk, options=PLAIN)
        full.append(not (small_disk / "scores.csv").exists())
    assert full[:4] == [True] * 4
    filler.unlink()
    score(head_ct, model=scorer, output=small_disk, options=PLAIN)
    assert read_tables(small_disk) == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_ends_in_good_order(
    tmp_path: Path, head_ct: Path, tiny_run: Path, scorer: Scorer, whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch, number: int, code: int,
) -> None:
    out = tmp_path / "out"
    command = ["score", head_ct, "--model", tiny_run, "--output", out, "--device", "cpu", "--no-seconds"]
    signalled = Stub(delay_s=0.02, before=lambda series: os.kill(os.getpid(), number) if not out_rows(out) else None)
    assert run_command(command, signalled, monkeypatch) == code
    found = json.loads((out / "run.json").read_text())
    rows = read_rows(out / "scores.csv")
    assert found["ended"] == "stopped"
    assert len(rows) == found["scored_now"] == 12 - found["pending"] == 1
    assert read_standing(out).run == "stopped"
    monkeypatch.setattr(batch_run, "predict_all", Stub())
    score(head_ct, model=scorer, output=out, options=PLAIN)
    assert read_tables(out) == whole


def out_rows(out: Path) -> bool:
    return (out / "scores.csv").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_at_once(
    tmp_path: Path, head_ct: Path, tiny_run: Path, scorer: Scorer, whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch, number: int,
) -> None:
    def twice(series: object) -> None:
        if read_done(out):
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            time.sleep(5)

    out = tmp_path / "out"
    command = ["score", head_ct, "--model", tiny_run, "--output", out, "--device", "cpu", "--no-seconds"]
    assert run_command(command, Stub(before=twice), monkeypatch) == (143 if number == signal.SIGTERM else 130)
    assert not (out / "scores.csv").exists()
    assert read_standing(out).run == "ended without a word"
    done = read_done(out)
    assert done
    stub = Stub()
    monkeypatch.setattr(batch_run, "predict_all", stub)
    score(head_ct, model=scorer, output=out, options=PLAIN)
    assert not done & set(stub.asked)
    assert read_tables(out) == whole


def run_command(arguments: list[object], stub: Stub, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the command line in a process of its own, which has real signals."""
    from seriatim.cli import main

    def work() -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
        sys.argv = ["seriatim", *map(str, arguments)]
        try:
            main()
        except SystemExit as done:
            os._exit(int(done.code or 0))

    monkeypatch.setattr(batch_run, "predict_all", stub)
    return in_child(work)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_real_thing_killed_and_resumed(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    """The command itself, its network and its reading processes: killed, and gone on with to the same bytes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def command(out: Path) -> list[str]:
        return [sys.executable, "-m", "seriatim", "score", str(head_ct), "--model", str(tiny_run), "--output",
                str(out), "--device", "cpu", "--no-seconds"]

    started = time.perf_counter()
    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True, env=environment)
    seconds, chance = time.perf_counter() - started, random.Random(0)
    for attempt in range(4):
        out = tmp_path / f"killed{attempt}"
        for _ in range(3):
            process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       env=environment)
            time.sleep(chance.uniform(0.3, 1) * seconds)
            process.kill()
            process.wait()
        subprocess.run(command(out), check=True, capture_output=True, env=environment)
        assert read_tables(out) == read_tables(tmp_path / "whole")
