"""The matrix: clean series in legal but unusual form load exactly; faults are right, told or rightly refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from matrix.case import Kind
from matrix.run import every_kind, run_kind

CORE_FORMS = 3


def check(kind: Kind, folder: Path, *, forms: int | None = None, scale: int = 1) -> None:
    bad = [(result.detail, result.verdict) for result in run_kind(kind, folder, forms=forms, scale=scale)
           if not result.good]
    assert not bad


@pytest.mark.parametrize("kind", every_kind(), ids=lambda kind: kind.name)
@pytest.mark.filterwarnings("ignore")
def test_no_kind_is_missed_or_silently_wrong(kind: Kind, tmp_path: Path) -> None:
    check(kind, tmp_path, forms=CORE_FORMS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", every_kind(), ids=lambda kind: kind.name)
@pytest.mark.filterwarnings("ignore")
def test_no_form_of_a_kind_is_missed_or_silently_wrong(kind: Kind, tmp_path: Path) -> None:
    check(kind, tmp_path, scale=3)
