"""The live line of scoring: how many are scored, refused and failed, how fast, and how long it will take."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from seriatim.series import Prediction

RATE_SECONDS = 120.0
"""The rate and the time left are those of the last two minutes."""


class ScoreBar:
    """A line for all series; nothing where there is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("scoring"), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True,
                             speed_estimate_period=RATE_SECONDS)
        self._task = self._bar.add_task("scoring", total=None, told="looking for series")
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def report(self, done: int, of: int, prediction: Prediction) -> None:
        """Count one more series; what an earlier run did is part of ``done`` and not of the counts."""
        self._counts[prediction.status] += 1
        speed = self._bar.tasks[self._task].speed
        rate = f", {60 * speed:.1f} a minute" if speed else ""
        told = ", ".join(f"{self._counts[status]} {status}" for status in ("scored", "refused", "failed"))
        self._bar.update(self._task, completed=done, total=of, told=told + rate)
