"""Results about a real series: tilted, unevenly spaced, with a name of one part and no date."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from results_of import check_valid, find_one, make_result, read_results

pytest.importorskip("highdicom", reason="the extra dicom-results is not installed")

from seriatim.io.results.write import write_results

TILTED = Path(__file__).parents[2].parent / "shared" / "data" / "dicom_demo" / "ct_head_ge_hispeed"
pytestmark = [pytest.mark.slow, pytest.mark.shared,
              pytest.mark.skipif(not TILTED.exists(), reason=f"not in ../shared on this machine: {TILTED.name}")]


def test_every_frame_lies_where_its_tilted_slice_lies(tmp_path: Path) -> None:
    series = find_one(TILTED)
    filed = write_results(make_result(series), tmp_path / "out")
    assert not filed.left_out
    objects = read_results(tmp_path / "out")
    sources = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, sorted(TILTED.glob("*.dcm")))}
    frames = objects["gradcam"].PerFrameFunctionalGroupsSequence
    assert len(frames) == 2
    for frame in frames:
        source = sources[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(place, source.ImagePositionPatient, atol=1e-6)
        shared = objects["gradcam"].SharedFunctionalGroupsSequence[0]
        assert shared.PixelMeasuresSequence[0].PixelSpacing == source.PixelSpacing
        np.testing.assert_allclose(shared.PlaneOrientationSequence[0].ImageOrientationPatient,
                                   source.ImageOrientationPatient, atol=1e-6)
    assert len(objects["attention"].PerFrameFunctionalGroupsSequence) == len(sources) == 28
    for dataset in objects.values():
        assert (str(dataset.PatientName), dataset.StudyInstanceUID) == (
            str(source.PatientName), source.StudyInstanceUID)
    check_valid(sorted((tmp_path / "out").iterdir()))
