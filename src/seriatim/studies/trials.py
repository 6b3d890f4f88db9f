"""The trials of a study in Optuna's journal: any number of processes may share it, and any of them may be killed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import Trial, TrialState

from seriatim.experiment import TuneSettings
from seriatim.io.lock import FileLock
from seriatim.io.tables.outputs import make_folder

JOURNAL = "journal.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A trial that this process runs, and its folder."""

    trial: Trial
    folder: Path


class Trials:
    """The trials in a folder: ``journal.log``, and ``trials/NNNN`` for each.

    A trial is drawn by a sampler seeded with the study's seed and the trial's number, so a study that was stopped goes
    on with the draws that it would have made. A trial whose process died is gone on with, not drawn again.
    """

    def __init__(
        self, folder: Path, settings: TuneSettings, *, seed: int, direction: Literal["max", "min"], steps: int
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder, self._seed = make_folder(folder), seed
        lock = FileLock(folder / f"{JOURNAL}.lock")
        with lock:
            _mend(folder / JOURNAL)
        # Optuna's own lock is a file, which a killed process leaves behind
        backend = JournalFileBackend(str(folder / JOURNAL), lock_obj=lock)  # type: ignore[arg-type]
        self.study: Study = optuna.create_study(
            storage=JournalStorage(backend),
            study_name="tune",
            direction="maximize" if direction == "max" else "minimize",
            load_if_exists=True,
            pruner=_build_pruner(settings, steps=steps),
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While no other process claims a trial or writes results."""
        with FileLock(self._folder / "lock"):
            yield

    @contextmanager
    def claim(self, count: int) -> Iterator[Claimed | None]:
        """A trial to run: one whose process died, else a new one; None where ``count`` are there already."""
        with self.alone():
            trial, lock = self._find_lost() or self._draw(count) or (None, None)
        if trial is None or lock is None:
            yield None
            return
        try:
            yield Claimed(trial=trial, folder=self._place(trial.number))
        finally:
            lock.release()

    def _find_lost(self) -> tuple[Trial, FileLock] | None:
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            lock = FileLock(make_folder(self._place(frozen.number)) / "lock")
            if lock.try_acquire():
                self._seed_sampler(frozen.number)
                return Trial(self.study, frozen._trial_id), lock  # noqa: SLF001 - Optuna names a trial by nothing else
        return None

    def _draw(self, count: int) -> tuple[Trial, FileLock] | None:
        if len(self.study.get_trials(deepcopy=False)) >= count:
            return None
        trial = self.study.ask()
        self._seed_sampler(trial.number)  # before its first value is drawn
        lock = FileLock(make_folder(self._place(trial.number)) / "lock")
        lock.acquire()
        return trial, lock

    def _seed_sampler(self, number: int) -> None:
        own = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        self.study.sampler = optuna.samplers.TPESampler(seed=own)

    def _place(self, number: int) -> Path:
        return self._folder / "trials" / f"{number:04}"


def _build_pruner(settings: TuneSettings, *, steps: int) -> optuna.pruners.BasePruner:
    """``steps``: the epochs of a whole trial. The median stops nothing in their first quarter."""
    if settings.pruning == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=steps // 4)
    if settings.pruning == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(1, steps // 9), max_resource=steps)
    return optuna.pruners.NopPruner()


def _mend(journal: Path) -> None:
    """Cut off a last line that a killed process left torn: the next would be written into it."""
    if not journal.is_file():
        return
    with journal.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            logging.getLogger(__name__).warning("a torn last line of %s is left out", JOURNAL)
            file.truncate(whole)
