"""What all results share: whose they are, which software made them, and the images they refer to."""

from __future__ import annotations

from typing import Any

from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as known
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, CTImageStorage

from seriatim import __version__
from seriatim.io.results import codes
from seriatim.io.results.identity import apply_identity
from seriatim.io.results.result import MANUFACTURER, SeriesResult
from seriatim.io.results.source import Source
from seriatim.io.results.uids import name_device

NUMBERS = {"report": 9801, "key-images": 9802, "attention": 9803, "gradcam": 9804, "anomaly": 9804, "summary": 9805}
"""Series numbers: behind those of the scanner."""
TITLES = {"report": "report", "key-images": "key images", "attention": "attention", "gradcam": "Grad-CAM",
          "anomaly": "places unlike normal", "summary": "summary"}


def describe_object(result: SeriesResult, kind: str) -> dict[str, Any]:
    """The arguments that highdicom takes for every object of a kind."""
    title = f"seriatim {codes.shorten(result.algorithm.name, 30)}: {TITLES[kind]} (research use)"
    return {
        "series_number": NUMBERS[kind], "instance_number": 1, "manufacturer": MANUFACTURER,
        "manufacturer_model_name": "seriatim", "software_versions": software(result),
        "device_serial_number": result.algorithm.digest[:64],
        "series_description": codes.shorten(title), "specific_character_set": "ISO_IR 192",
    }


def software(result: SeriesResult) -> list[str]:
    """The versions of the software and of the model, each as an LO."""
    one = result.algorithm
    return [codes.shorten(f"seriatim {one.version}"),
            f"{codes.shorten(one.name, 40) or 'model'} {one.digest[:12]}"]


def observer(result: SeriesResult) -> ObserverContext:
    """The software as the observer (PS3.16 TID 1002 and 1004)."""
    attributes = DeviceObserverIdentifyingAttributes(
        uid=name_device(), name="seriatim", manufacturer_name=MANUFACTURER, model_name="seriatim",
        serial_number=result.algorithm.digest[:64],
    )
    return ObserverContext(observer_type=known.DCM.Device, observer_identifying_attributes=attributes)


def make_heads(source: Source) -> list[Dataset]:
    """A header for each object of the source, with what refers to it; whose it is comes with ``finish``."""
    return [make_head(source, uid) for uid in source.instances]


def make_head(source: Source, sop_instance_uid: str) -> Dataset:
    """A header that refers to one object of the source, with empty attributes of the patient.

    Its class is that of a CT image: highdicom knows no private and no retired classes. ``finish`` sets the true one.
    """
    head = Dataset()
    head.SOPClassUID, head.SOPInstanceUID = CTImageStorage, sop_instance_uid
    head.StudyInstanceUID, head.SeriesInstanceUID = source.study_uid, source.series_uid
    head.Modality, head.Rows, head.Columns = source.modality, source.rows, source.columns
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                    "ReferringPhysicianName"):
        setattr(head, keyword, "")
    head.StudyDate = head.StudyTime = None
    return head


def finish(dataset: Dataset, source: Source) -> Dataset:
    """Give an object the patient and the study of its source, and this software as what wrote it."""
    apply_identity(dataset, source.identity)
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence", ()):
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                item.ReferencedSOPClassUID = source.instances[item.ReferencedSOPInstanceUID].sop_class_uid
    dataset.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset.file_meta.ImplementationVersionName = f"SERIATIM {__version__}"[:16]
    return dataset
