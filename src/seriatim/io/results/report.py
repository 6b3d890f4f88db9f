"""The report: a Comprehensive SR on TID 1500 with the score of each class and the numbers of each image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset

from seriatim.io.results import codes
from seriatim.io.results.library import make_library
from seriatim.io.results.objects import describe_object, finish, make_heads, observer
from seriatim.io.results.result import MANUFACTURER, SeriesResult
from seriatim.io.results.source import Source
from seriatim.io.results.uids import name_finding, name_object, name_series

KIND = "report"
IMAGING_MEASUREMENTS = "126010"
Group: TypeAlias = MeasurementsAndQualitativeEvaluations


def make_report(result: SeriesResult, source: Source) -> Dataset:
    """The report on one series (PS3.16 TID 1500): a measurement group for each class, then for each image."""
    groups = list(_tell_classes(result, source))
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer(result)),
        procedure_reported=codes.procedure(source.modality), imaging_measurements=groups,
    )
    for line in comment(result):
        report[0].ContentSequence.append(TextContentItem(name=codes.COMMENT, value=line,
                                       relationship_type=RelationshipTypeValues.CONTAINS))
    dataset = ComprehensiveSR(
        evidence=make_heads(source), content=report[0], series_instance_uid=name_series(result, KIND),
        sop_instance_uid=name_object(result, KIND, report[0].to_json(), *_numbers_of_slices(result)),
        is_complete=True, is_final=False, coding_schemes=[codes.scheme()], **describe_object(result, KIND),
    )
    _add_slices(dataset, result, source)
    return finish(dataset, source)


def _add_slices(dataset: Dataset, result: SeriesResult, source: Source) -> None:
    """Add what there is for each image: here, since highdicom copies and searches all content that it is given, which
    would take most of the time.
    """
    names = [item.ConceptNameCodeSequence[0].CodeValue for item in dataset.ContentSequence]
    place = names.index(IMAGING_MEASUREMENTS)
    imaging = dataset.ContentSequence[place]
    imaging.ContentSequence.extend([group[0] for group in _tell_slices(result, source)])
    dataset.ContentSequence.insert(place, make_library(source))


def _numbers_of_slices(result: SeriesResult) -> Iterator[bytes]:
    told = result.prediction
    more = [] if result.attribution is None else [result.attribution.values]
    for values in (told.attention, *told.class_attention.values(), *told.slice_scores.values(), *more):
        if values is not None:
            yield values.astype("<f8").tobytes()


def comment(result: SeriesResult) -> list[str]:
    """What a reader must know beside the numbers, one sentence group each."""
    told = result.prediction
    lines = ["Research use only, not a medical device. Made by software without review."]
    if result.answer == "anomaly":
        lines.append("A score is no probability: 0.5 is the threshold. Unlike normal is not ill.")
    elif result.answer != "regression":
        bent = "are calibrated on validation data" if result.calibrated else "are not calibrated: 0.8 is not 80 of 100"
        lines.append(f"Probabilities of the series {bent}. Those of single images are never calibrated.")
    if result.thresholds and result.thresholds_from:
        but = f", but {result.stand_ins}" if result.stand_ins else ""
        lines.append(f"Threshold chosen on: {result.thresholds_from}{but}.")
    if result.answer != "anomaly":
        lines.append("Attention says which images the model weighed, not why.")
    if result.attribution is not None:
        lines.append(f"Attribution by {result.attribution.title}: positive speaks for {result.attribution.label}.")
    if told.prediction_set:
        lines.append(f"Answers of the stated coverage: {told.prediction_set}")
    if told.distance is not None:
        lines.append(f"Distance to the series of training: {told.distance:.4g}, where above 1 is foreign.")
    if told.findings:
        lines.append(f"Noticed: {', '.join(told.findings)}")
    return lines


def _identify(result: SeriesResult, *, whole: bool) -> AlgorithmIdentification:
    """PS3.16 TID 4019; not ``whole`` is name and version, which tell the model, for each of many groups."""
    one = result.algorithm
    more = {
        "manufacturer": MANUFACTURER, "family": codes.FAMILY,
        "parameters": [f"model sha256 {one.digest}", *(codes.shorten(line, 256) for line in one.parameters)],
    }
    return AlgorithmIdentification(name=codes.shorten(one.name) or "model",
                                   version=f"seriatim {one.version}, model {one.digest[:12]}", **more if whole else {})


def _tell_classes(result: SeriesResult, source: Source) -> Iterator[Group]:
    images, algorithm = _refer_all(source), _identify(result, whole=True)
    for label in result.prediction.probabilities:
        numbers = _measure_class(result, label)
        if label in result.thresholds and result.answer != "regression":
            numbers += _measure(codes.THRESHOLD, result.thresholds[label])
        if label in result.prediction.disagreement:
            numbers += _measure(codes.DISAGREEMENT, result.prediction.disagreement[label])
        yield Group(
            tracking_identifier=TrackingIdentifier(
                uid=name_finding(result, "class", label), identifier=f"series: {codes.shorten(label, 200)}"
            ),
            finding_type=codes.finding(label), algorithm_id=algorithm, source_images=images,
            measurements=numbers, qualitative_evaluations=_decide(result, label),
        )


def _measure_class(result: SeriesResult, label: str) -> list[Measurement]:
    value = result.prediction.probabilities[label]
    if result.answer == "regression":
        return _measure(codes.VALUE, value)
    if result.answer == "anomaly":
        return _measure(codes.ANOMALY_SCORE, value)
    return _measure(codes.PROBABILITY, value, codes.CALIBRATED if result.calibrated else codes.UNCALIBRATED)


def _decide(result: SeriesResult, label: str) -> list[QualitativeEvaluation]:
    answer = result.prediction.prediction
    if result.answer == "regression":
        return []
    if result.answer == "multiclass":
        return [QualitativeEvaluation(codes.LIKELIEST, codes.YES if answer == label else codes.NO)]
    yes = label in answer.split(";") if result.answer == "multilabel" else answer == "1"
    return [QualitativeEvaluation(codes.DECISION, codes.PRESENT if yes else codes.ABSENT)]


def _tell_slices(result: SeriesResult, source: Source) -> Iterator[Group]:
    """For each image a group of what all classes share, and one for each class that says something of its own.

    Where there is one class, one group holds both.
    """
    told = result.prediction
    ranked = [] if result.attribution is None else [result.attribution.label]
    own: list[str] = list(dict.fromkeys([*told.slice_scores, *told.class_attention, *ranked]))
    labels = own if len(own) == 1 == len(told.probabilities) else [None, *own]
    for index in range(len(source.slices)):
        for place, label in enumerate(labels):
            numbers = _measure_shared(result, index) if place == 0 else []
            numbers += [] if label is None else _measure_slice(result, label, index)
            if numbers:
                yield _tell_slice(result, source, index, label, numbers)


def _tell_slice(
    result: SeriesResult, source: Source, index: int, label: str | None, numbers: list[Measurement]
) -> Group:
    noun = "frame" if result.series.axis == "time" else "image"
    one, name = source.slices[index], f"{noun} {index + 1} of {len(source.slices)}"
    image = SourceImageForMeasurementGroup(
        one.sop_class_uid, one.sop_instance_uid, None if one.frame_number is None else [one.frame_number]
    )
    return Group(
        tracking_identifier=TrackingIdentifier(
            uid=name_finding(result, "slice", one.sop_instance_uid, one.frame_number, label),
            identifier=name if label is None else f"{name}: {codes.shorten(label, 200)}",
        ),
        finding_type=None if label is None else codes.finding(label), algorithm_id=_identify(result, whole=False),
        source_images=[image], measurements=numbers,
    )


def _measure_shared(result: SeriesResult, index: int) -> list[Measurement]:
    told = result.prediction
    if told.class_attention or told.attention is None:
        return []
    weight = codes.SURPRISE_SHARE if result.answer == "anomaly" else codes.ATTENTION
    return _measure(weight, told.attention[index])


def _measure_slice(result: SeriesResult, label: str, index: int) -> list[Measurement]:
    told = result.prediction
    numbers = []
    if label in told.class_attention:
        numbers += _measure(codes.ATTENTION, told.class_attention[label][index])
    if label in told.slice_scores:
        named = {"anomaly": codes.ANOMALY_SCORE, "regression": codes.VALUE}.get(result.answer, codes.PROBABILITY)
        bent = codes.UNCALIBRATED if named is codes.PROBABILITY else None
        numbers += _measure(named, told.slice_scores[label][index], bent)
    if (method := result.attribution) is not None and method.label == label:
        numbers += _measure(codes.attribution(method.code, method.title), method.values[index])
    return numbers


def _measure(name: CodedConcept, value: float, derivation: CodedConcept | None = None) -> list[Measurement]:
    """A number without a unit; nothing of what is none."""
    if not math.isfinite(value):
        return []
    return [Measurement(name=name, value=float(value), unit=codes.NO_UNITS, derivation=derivation)]


def _refer_all(source: Source) -> list[SourceImageForMeasurementGroup]:
    """Every image that was scored; of an object of which each frame was, the object."""
    frames: dict[str, list[int]] = {}
    for one in source.slices:
        frames.setdefault(one.sop_instance_uid, []).extend([one.frame_number] if one.frame_number else [])
    return [
        SourceImageForMeasurementGroup(one.sop_class_uid, uid, sorted(frames[uid]) or None)
        for uid, one in source.instances.items()
    ]
