"""Fewer resamples: what these tests ask does not rest on the last digits of an interval."""

import pytest

from seriatim.evaluation import intervals


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 300)
