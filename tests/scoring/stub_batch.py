"""Batches whose predictions cost nothing, for tests of what lies around them: state, tables, crashes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np

from seriatim.scoring.engine import leave_unscored
from seriatim.series import Prediction, Series
from seriatim.trained import Scorer

TABLES = ("scores.csv", "slices.csv", "skipped.csv")


def stub_prediction(series: Series) -> Prediction:
    """A prediction that depends on nothing but the series: every fifth is refused, every seventh fails."""
    number = int.from_bytes(hashlib.sha256(series.series_uid.encode()).digest()[:4])
    if number % 7 == 0:
        return leave_unscored(series, "failed", "TRUNCATED: it is damaged.", seconds=0.5)
    if number % 5 == 0:
        return leave_unscored(series, "refused", "INTENSITY: another unit.")
    count, rng = len(series.instances), np.random.default_rng(number)
    return Prediction(
        study_uid=series.study_uid, series_uid=series.series_uid, path=series.path, modality=series.modality,
        status="scored", probabilities={"bleed": float(rng.random())}, prediction="1", seconds=rng.random(),
        slices=count, sop_instance_uids=tuple(one.sop_instance_uid for one in series.instances),
        frames=tuple(one.frame for one in series.instances), positions=series.positions,
        attention=rng.random(count).astype(np.float32), slice_scores={"bleed": rng.random(count)},
        distance=float(rng.random()),
    )


class Stub:
    """Stands in for ``predict_all``: tells what it was asked for, in ``log`` where several processes share it."""

    def __init__(self, *, log: Path | None = None, delay_s: float = 0.0, backwards: bool = False,
                 before: Callable[[Series], None] | None = None) -> None:
        self.asked: list[str] = []
        self._log, self._delay_s, self._backwards, self._before = log, delay_s, backwards, before

    def __call__(
        self, series: Sequence[Series], model: Scorer, **_: object
    ) -> Generator[tuple[int, Prediction], None, None]:
        order = reversed(range(len(series))) if self._backwards else range(len(series))
        for index in order:
            self.asked.append(series[index].series_uid)
            if self._log is not None:
                with self._log.open("a") as file:
                    file.write(f"{series[index].series_uid}\n")
            time.sleep(self._delay_s)
            if self._before is not None:
                self._before(series[index])
            yield index, stub_prediction(series[index])


def read_tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def in_child(work: Callable[[], object], *, kill_after_s: float | None = None) -> int:
    """Run in a forked process, which is killed (SIGKILL) after a while; its exit code, negative for a signal."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(process, 9)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
