"""Score what arrives in a folder: each series when its files have been at rest for a while."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seriatim.errors import InputError, SeriatimError
from seriatim.experiment.envelope import Outside
from seriatim.io.dicom.known import KnownFiles
from seriatim.io.growing import RestingFiles
from seriatim.io.isolation.limits import Limits
from seriatim.io.stamps import files_of
from seriatim.scoring.options import Keep, Options, Report, Stop
from seriatim.scoring.run import BatchRun
from seriatim.scoring.search import Search, prepare_search
from seriatim.scoring.state import State
from seriatim.series import Code, Series
from seriatim.series.findings import Action
from seriatim.trained import Models

SETTLE_S = 10.0
TABLES_SHARE = 0.05
"""Of all time, that writing the tables may take: they are made anew each time."""
LOOKS_SHARE = 0.2
"""Of all time, that looking through the folder may take."""
MOST_WAIT_S = 1.0


def watch_folder(
    path: Path | str, *, model: Models, output: Path | str, device: str = "auto",
    only: Collection[str] | None = None, actions: Mapping[Code, Action] | None = None, limits: Limits | None = None,
    outside: Outside | None = None, report: Report | None = None, options: Options | None = None,
    stop: Stop, keep: Keep | None = None, settle_s: float = SETTLE_S,
) -> dict[str, Any]:
    """Score what lies below ``path`` and what arrives there, until it is to ``stop``.

    A series is scored when none of its files changed for ``settle_s`` seconds, and again when more of it arrives. The
    tables are written whenever something was scored, seldom where they are long; ``keep`` is given what was scored
    since. Else as ``score``, whose arguments these are, and which gives the same tables of the same folder.

    Raises:
        InputError: ``path`` is no folder.
        ModelError, OutputError: as ``score``.
    """
    if not Path(path).is_dir():
        raise InputError(f"{path} is no folder. Give the folder in which series arrive.")
    search = prepare_search(path, model, device=device, actions=actions, limits=limits, outside=outside)
    search = replace(search, known=KnownFiles())
    with State(Path(output)) as state:
        run = BatchRun(state, search.model, options=options or Options(gone="keep"))
        files = RestingFiles(folder=Path(path), settle_s=settle_s, ignored=run.is_own)
        inbox = _Inbox(run=run, search=search, only=only, files=files, keep=keep)
        told = {**search.describe(), "only": None if only is None else len(only)}
        while not stop():
            if inbox.look():
                inbox.score(report, stop)
            inbox.write(told, stop)
            _wait(inbox.pause_s, stop)
        summary = run.finish(told)
        inbox.file(stop)
        return summary


@dataclass(slots=True, kw_only=True)
class _Inbox:
    """What was last seen of the folder, and when something is due."""

    run: BatchRun
    search: Search
    only: Collection[str] | None
    files: RestingFiles
    keep: Keep | None
    pause_s: float = 0.0
    _due: bool = True
    _first: bool = True
    _unwritten: bool = False
    _write_after: float = 0.0
    _filed: float = 0.0

    def look(self) -> bool:
        """Search the folder if something came to rest, or went, since the last time; whether it did."""
        started = time.monotonic()
        due = self.files.look() or self._due
        if due:
            inventory, _ = self.search.find()
            self.run.look(inventory, only=self.only, retry=self._first)
            self._due = self.files.look()  # what changed meanwhile was not at rest, and is not scored below
            self._first, self._unwritten = False, True
        self.pause_s = max(MOST_WAIT_S, (time.monotonic() - started) / LOOKS_SHARE)
        return due

    def score(self, report: Report | None, stop: Stop) -> None:
        """Score the series that are at rest."""
        self.run.score(report, stop, ready=self._is_ready)

    def _is_ready(self, series: Series) -> bool:
        try:
            return self.files.rest({*series.files, *files_of(series)})
        except (OSError, SeriatimError):  # a header changed since it was found
            return False

    def write(self, told: Mapping[str, Any], stop: Stop) -> None:
        """Write the tables, if that is due."""
        started = time.monotonic()
        if self._unwritten and started >= self._write_after:
            self.run.write(told)
            self.file(stop)
            self._unwritten = False
            self._write_after = time.monotonic() + (time.monotonic() - started) / TABLES_SHARE

    def file(self, stop: Stop) -> None:
        """Hand on what was scored since the last time; what is left where it is to stop, the next watch hands on."""
        if self.keep is not None:
            now = time.time()
            self.run.file(self.keep, since=self._filed, stop=stop)
            self._filed = now


def _wait(seconds: float, stop: Stop) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop():
        time.sleep(min(0.1, seconds))
