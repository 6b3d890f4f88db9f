"""A bar over series or bytes; nothing where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class SeriesBar:
    """Shows how many series (or bytes) are done, how fast, and how long it will take."""

    def __init__(self, name: str, *, in_bytes: bool = False) -> None:
        console = Console(stderr=True)
        counted = DownloadColumn() if in_bytes else MofNCompleteColumn()
        columns = (TextColumn(name), BarColumn(bar_width=30), counted, TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._bar.add_task(name, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, done: int, of: int) -> None:
        """Show that ``done`` of ``of`` are done; 0 is not known."""
        self._bar.update(self._task, completed=done, total=of or None)
