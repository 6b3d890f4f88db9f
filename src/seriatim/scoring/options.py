"""How a batch is run, beside what is asked and of which model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from seriatim.io.stamps import Check
from seriatim.scoring.cluster import Cluster
from seriatim.scoring.pipeline import Resources
from seriatim.scoring.pipeline_costs import Costs
from seriatim.scoring.sinks import Format
from seriatim.series import Prediction, Series

Report: TypeAlias = Callable[[int, int, Prediction], None]
"""(series done, series in all, the last one's prediction): called after every series."""
Stop: TypeAlias = Callable[[], bool]
"""Whether to end in good order: asked after every series."""

Keep: TypeAlias = Callable[[Series, Prediction], object]
"""Given every scored series and its result, once all are in the tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the tables look like, and what counts as done.

    ``formats`` of the tables. ``seconds`` False leaves that column empty, so that the files of two runs can be compared
    byte by byte. ``check``: how a changed input is noticed. ``gone``: whether results of series whose files are no
    longer there are dropped from the tables or kept, below the others. ``resources``: what scoring in this process may
    use; it changes no bit of a score. ``costs`` is where that is counted while it runs.
    """

    formats: tuple[Format, ...] = ("csv",)
    seconds: bool = True
    check: Check = "times"
    gone: Literal["drop", "keep"] = "drop"
    resources: Resources = field(default_factory=Resources)
    costs: Costs | None = None
    cluster: Cluster | None = None
    """Score on the nodes of this cluster instead of in this process."""
