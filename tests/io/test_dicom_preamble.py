"""What stands before the DICOM prefix is told, and never stops a series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import make_stack, random_stack, save_stack

from seriatim.io import find_series, read_volume


def with_preamble(folder: Path, start: bytes) -> Path:
    datasets = make_stack(random_stack(4))
    for dataset in datasets:
        dataset.preamble = start.ljust(128, b"\0")
    return save_stack(datasets, folder)


@pytest.mark.parametrize(("start", "told"), [
    (b"MZ\x90\0", "Windows"), (b"\x7fELF\2", "Linux"), (b"\xcf\xfa\xed\xfe", "macOS"), (b"\xca\xfe\xba\xbe", "macOS"),
    (b"#!/bin/sh\n", "script"), (b"%PDF-1.7", "PDF"), (b"PK\3\4", "archive"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"),
    (b"<html>", "web page"),
])
def test_a_second_kind_is_told_and_the_series_is_read(tmp_path: Path, start: bytes, told: str) -> None:
    (series,) = find_series(with_preamble(tmp_path, start)).series
    (finding,) = series.findings
    assert (finding.code, finding.action) == ("POLYGLOT", "keep")
    assert told in finding.message
    np.testing.assert_array_equal(read_volume(series).array, random_stack(4).astype(int) - 1024)


@pytest.mark.parametrize("start", [b"", b"plain text of a maker", b"\0MZ"])
def test_other_preambles_are_no_finding(tmp_path: Path, start: bytes) -> None:
    (series,) = find_series(with_preamble(tmp_path, start)).series
    assert series.findings == ()


def test_it_can_be_refused(tmp_path: Path) -> None:
    (series,) = find_series(with_preamble(tmp_path, b"MZ"), {"POLYGLOT": "refuse"}).series
    assert series.reason.startswith("POLYGLOT")
