"""The summary: the picture of the explanation as a Secondary Capture, which every viewer shows."""

from __future__ import annotations

from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from seriatim.io.results import codes
from seriatim.io.results.objects import describe_object, finish
from seriatim.io.results.result import SeriesResult
from seriatim.io.results.source import Source
from seriatim.io.results.uids import name_object, name_series

KIND = "summary"


def make_summary(result: SeriesResult, source: Source) -> Dataset:
    """``result.picture`` as an image of the study, derived from the slices it shows.

    BurnedInAnnotation is NO, since the picture shows no identifier; YES where pixels of the source do, and left out
    where that is not known.
    """
    picture = result.picture
    assert picture is not None
    described = describe_object(result, KIND)
    dataset = SCImage(
        pixel_array=picture, photometric_interpretation="RGB", bits_allocated=8, coordinate_system="PATIENT",
        patient_orientation=("L", "P"), study_instance_uid=source.study_uid,
        series_instance_uid=name_series(result, KIND),
        sop_instance_uid=name_object(result, KIND, picture.shape, picture.tobytes(), result.top),
        transfer_syntax_uid=ExplicitVRLittleEndian, **described,
    )
    dataset.PatientOrientation = dataset.Laterality = None  # a page has no directions
    if source.burned_in is not None:
        dataset.BurnedInAnnotation = "YES" if source.burned_in else "NO"
    for keyword, value in source.loss.items():
        setattr(dataset, keyword, value)
    dataset.DerivationDescription = codes.shorten("Explanation of a score, drawn by seriatim. Research use only.", 1024)
    dataset.ImageComments = "Research use only, not a medical device."
    if result.top:
        dataset.SourceImageSequence = _refer(source, sorted(result.top))
    return finish(dataset, source)


def _refer(source: Source, indices: list[int]) -> list[Dataset]:
    """One reference for each object, with its frames where it has several."""
    found: dict[str, Dataset] = {}
    frames: dict[str, list[int]] = {}
    for one in (source.slices[index] for index in indices):
        item = found.setdefault(one.sop_instance_uid, Dataset())
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class_uid, one.sop_instance_uid
        item.PurposeOfReferenceCodeSequence = [codes.SOURCE_FOR_PROCESSING]
        if one.frame_number is not None:
            frames.setdefault(one.sop_instance_uid, []).append(one.frame_number)
            item.ReferencedFrameNumber = frames[one.sop_instance_uid]
    return list(found.values())
