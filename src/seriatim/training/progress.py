"""The progress bar of an epoch: loss, best score, speed and time left; nothing where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class EpochBar:
    """A bar over the steps of one epoch."""

    def __init__(self, *, epoch: int, epochs: int, best: str, enabled: bool) -> None:
        console = Console(stderr=True)
        self._best = best
        self._bar = Progress(
            TextColumn(f"epoch {epoch}/{epochs}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  best {task.fields[best]}  {task.fields[speed]} steps/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not (enabled and console.is_terminal),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, loss="-", best=best, speed="-")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, *, done: int, of: int, loss: float) -> None:
        """Show that ``done`` of ``of`` steps are made at a mean loss."""
        speed = self._bar.tasks[0].speed
        shown = "-" if speed is None else f"{speed:.1f}"
        self._bar.update(self._task, completed=done, total=of, loss=f"{loss:.3f}", best=self._best, speed=shown)
