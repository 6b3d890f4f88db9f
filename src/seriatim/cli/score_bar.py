"""The live lines of scoring: a line for each stage with its rate, and what became of the series."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from seriatim.scoring.pipeline_costs import Costs
    from seriatim.series import Prediction

STAGES = {"read": "read and prepared", "score": "through the network"}
WINDOW_S = 120.0
"""Rates are those of the last minutes: what was found at first need not be like what comes."""


class _Rate:
    """How fast a count grows."""

    def __init__(self, started: float, count: int) -> None:
        self._seen = deque([(started, count)])

    def per_minute(self, count: int, now: float) -> float:
        """The rate up to now, at which it stands at ``count``, over the last WINDOW_S seconds."""
        while len(self._seen) > 1 and self._seen[1][0] <= now - WINDOW_S:
            self._seen.popleft()
        self._seen.append((now, count))
        (since, before) = self._seen[0]
        return 60 * (count - before) / max(now - since, 1e-3)


class ScoreBar:
    """Some lines that stand while it is entered; nothing where there is no terminal that can move its cursor.

    ``costs`` counts what is through each stage; on a cluster, nothing does. ``stopping`` says whether the end was asked
    for. Each line has its place in a terminal of 80 columns; a narrower one shows its beginning.
    """

    def __init__(self, costs: Costs, *, stopping: Callable[[], bool] = lambda: False) -> None:
        self._costs, self._stopping = costs, stopping
        self._counts: Counter[str] = Counter()
        self._done = self._of = 0
        self._rates: dict[str, _Rate] | None = None
        console = Console(stderr=True)
        self.is_live = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, get_renderable=self._render, transient=True) if self.is_live else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def report(self, done: int, of: int, prediction: Prediction) -> None:
        """Count one more series; what an earlier run did is part of ``done`` and not of the counts."""
        self._counts[prediction.status] += 1
        self._done, self._of = done, of

    def _render(self) -> Text:
        return Text("\n".join(self.lines()), no_wrap=True, overflow="ellipsis")

    def lines(self) -> Iterator[str]:
        """What stands on the screen."""
        now, counts = monotonic(), {**self._costs.passed, "done": sum(self._counts.values())}
        if self._rates is None and (self._of or "discover" in self._costs.over):  # finding tells nothing of scoring
            self._rates = {name: _Rate(now, counts.get(name, 0)) for name in (*STAGES, "done")}
        if self._rates is None:
            yield "looking for series"
        elif not self._of:
            yield "reading the first series"
        else:
            rates = {name: rate.per_minute(counts.get(name, 0), now) for name, rate in self._rates.items()}
            yield from (f"{told}: {counts[name]} series, {rates[name]:.1f} a minute"
                        for name, told in STAGES.items() if counts.get(name))
            yield from self._tell_done(rates["done"])
        if self._stopping():
            yield "finishing the series in hand, then the tables; once more stops at once"

    def _tell_done(self, rate: float) -> Iterator[str]:
        left = f", {timedelta(seconds=round(60 * (self._of - self._done) / rate))} left" if rate else ""
        yield f"done: {self._done} of {self._of} series, {rate:.1f} a minute{left}"
        yield ", ".join(f"{self._counts[status]} {status}" for status in ("scored", "refused", "failed"))
