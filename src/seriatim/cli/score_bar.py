"""The live lines of scoring: a line for each stage with its rate, and what became of the series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
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


class ScoreBar:
    """Three lines that stand while it is entered; nothing where there is no terminal.

    ``costs`` counts what is through each stage; on a cluster, nothing does.
    """

    def __init__(self, costs: Costs) -> None:
        self._costs, self._started = costs, monotonic()
        self._counts: Counter[str] = Counter()
        self._done = self._of = 0
        console = Console(stderr=True)
        self._live = Live(console=console, get_renderable=self._render, transient=True) if console.is_terminal else None

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
        return Text("\n".join(self.lines()))

    def lines(self) -> Iterator[str]:
        """What stands on the screen."""
        if not self._of:
            yield "looking for series, or reading the first"
            return
        seconds, fresh = max(monotonic() - self._started, 1e-3), sum(self._counts.values())
        for stage, name in STAGES.items():
            passed = self._costs.passed[stage]
            if passed:
                yield f"{name}: {passed} series, {60 * passed / seconds:.1f} a minute"
        told = ", ".join(f"{self._counts[status]} {status}" for status in ("scored", "refused", "failed"))
        left = timedelta(seconds=round((self._of - self._done) * seconds / fresh))
        yield f"done: {self._done} of {self._of} series ({told}), {60 * fresh / seconds:.1f} a minute, {left} left"
