"""The key images: which to open first, as a Key Object Selection that viewers list beside the series."""

from __future__ import annotations

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset

from seriatim.io.results import codes
from seriatim.io.results.objects import describe_object, finish, make_head, observer
from seriatim.io.results.result import SeriesResult
from seriatim.io.results.source import Source
from seriatim.io.results.uids import name_object, name_series

KIND = "key-images"
OF_INTEREST = codes.standard("113000", "DCM", "Of Interest")


def make_key_images(result: SeriesResult, source: Source) -> Dataset:
    """The selection of ``result.top`` (PS3.16 TID 2010), frames of one object in one reference."""
    frames: dict[str, list[int]] = {}
    for index in result.top:
        one = source.slices[index]
        frames.setdefault(one.sop_instance_uid, []).extend([one.frame_number] if one.frame_number else [])
    heads = [make_head(source, uid) for uid in frames]
    text = describe(result)
    content = KeyObjectSelection(
        document_title=OF_INTEREST, referenced_objects=heads, observer_device_context=observer(result),
        description=text,
    )
    for item in content[0].ContentSequence:
        if item.ValueType == "IMAGE":
            reference = item.ReferencedSOPSequence[0]
            reference.ReferencedSOPClassUID = source.instances[reference.ReferencedSOPInstanceUID].sop_class_uid
            if numbers := frames[reference.ReferencedSOPInstanceUID]:
                reference.ReferencedFrameNumber = numbers
    dataset = KeyObjectSelectionDocument(
        evidence=heads, content=content, series_instance_uid=name_series(result, KIND),
        sop_instance_uid=name_object(result, KIND, content[0].to_json()), **describe_object(result, KIND),
    )
    return finish(dataset, source)


def describe(result: SeriesResult) -> str:
    """Why these images, and what is not said by it."""
    noun = "frame" if result.series.axis == "time" else "image"
    count, all_of = len(result.top), len(result.series.instances)
    return (f"{count} of {all_of} {noun}s, {result.chosen_by} (model {codes.shorten(result.algorithm.name)}, "
            f"{result.algorithm.digest[:12]}). Research use only, not a medical device. Other images may matter more.")
