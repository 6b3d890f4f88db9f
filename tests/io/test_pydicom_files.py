"""Every DICOM file that pydicom's wheel brings: read like pydicom reads it, or left out with a reason that fits.

``REFUSED`` says for each file that is not read why it must not be. Every other file is an image, and is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from seriatim.errors import DecoderError
from seriatim.io import find_series, read_volume

pytestmark = pytest.mark.filterwarnings("ignore")

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
REFUSED = {
    "badVR.dcm": "NumberOfFrames",
    "MR_truncated.dcm": "TRUNCATED",
    "no_meta.dcm": "named as DICOM",
    "empty_charset_LEI.dcm": "without an image",
    "meta_missing_tsyntax.dcm": "without an image",
    "nested_priv_SQ.dcm": "without an image",
    "no_meta_group_length.dcm": "RT Image Storage",
    "priv_SQ.dcm": "without an image",
    "UN_sequence.dcm": "without an image",
    "ExplVR_BigEndNoMeta.dcm": "RT Ion Plan Storage",
    "ExplVR_LitEndNoMeta.dcm": "RT Ion Plan Storage",
    "rtplan.dcm": "RT Plan Storage",
    "rtplan_truncated.dcm": "RT Plan Storage",
    "rtstruct.dcm": "RT Structure Set Storage",
    "reportsi.dcm": "Basic Text SR Storage",
    "reportsi_with_empty_number_tags.dcm": "Basic Text SR Storage",
    "test-SR.dcm": "Comprehensive SR Storage",
    "waveform_ecg.dcm": "12-lead ECG Waveform Storage",
    "liver_1frame.dcm": "Segmentation Storage",
    "liver_expb_1frame.dcm": "Segmentation Storage",
    "examples_overlay.dcm": "DERIVED",
    "JPEG-lossy.dcm": "NOT_A_SERIES",  # screen captures of nuclear medicine
    "JPEG2000.dcm": "NOT_A_SERIES",
    "JPEG2000-embedded-sequence-delimiter.dcm": "NOT_A_SERIES",
    "JPGExtended.dcm": "NOT_A_SERIES",
}
IMAGES = sorted(path.name for path in FILES.glob("*.dcm") if path.name not in REFUSED)


@pytest.mark.parametrize("name", [name for name in REFUSED if (FILES / name).exists()])
def test_what_is_not_read_has_its_reason(name: str) -> None:
    found = find_series(FILES / name)
    reasons = [one.reason for one in found.series] + [one.reason for one in found.skipped]
    assert len(reasons) == 1
    assert REFUSED[name] in reasons[0]


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_an_image_is_read_as_pydicom_reads_it(name: str) -> None:
    (series,) = find_series(FILES / name).series
    assert series.usable, series.reason
    try:
        array = read_volume(series).array
    except DecoderError as error:
        pytest.skip(f"no decoder for it here: {error}"[:120])
    dataset = pydicom.dcmread(FILES / name, force=True)
    if not hasattr(dataset.file_meta, "TransferSyntaxUID") or dataset.get("PhotometricInterpretation") != "MONOCHROME2":
        return
    try:
        stored = dataset.pixel_array
    except Exception:  # noqa: BLE001 - pydicom has fewer decoders than we have
        return
    slope = float(dataset.get("DoseGridScaling", dataset.get("RescaleSlope", 1)))
    expected = stored * slope + float(dataset.get("RescaleIntercept", 0))
    expected = expected if expected.ndim == 3 else expected[None]
    order = np.argsort([instance.frame or 0 for instance in series.instances])
    np.testing.assert_allclose(array[order], expected, rtol=1e-6)
